//! Tables for what Compose says, properties for what must never happen.

use super::*;
use model::probe::Check;
use proptest::prelude::*;
use std::num::NonZeroU32;

fn probe(interval: u64, retries: u32, start_period: u64, start_interval: u64) -> Probe {
    Probe {
        check: Check::Tcp { port: 1 },
        interval: Duration::from_secs(interval),
        timeout: Duration::from_secs(1),
        retries: NonZeroU32::new(retries).expect("not zero"),
        start_period: Duration::from_secs(start_period),
        start_interval: Duration::from_secs(start_interval),
    }
}

/// Runs checks of no duration whose answers are `answers` (`+` or `-`); shows the age and verdict after each.
fn check(probe: Probe, early: Early, answers: &str, want: &str) {
    let mut judge = Judge::new(probe, Duration::ZERO, early);
    let mut got = Vec::new();
    for answer in answers.chars() {
        let at = judge.next().at;
        judge.record(at, at, answer == '+');
        let verdict = match judge.verdict() {
            Verdict::Starting => "starting",
            Verdict::Passing => "passing",
            Verdict::Failing => "failing",
        };
        got.push(format!("{} {verdict}", model::units::format_duration(at)));
    }
    assert_eq!(got.join(", "), want);
}

#[test]
fn without_a_start_period_the_first_failures_count() {
    check(probe(30, 2, 0, 5), Early::No, "--+", "30s starting, 1m failing, 1m30s passing");
}

#[test]
fn failures_in_the_start_period_do_not_count() {
    let want = "5s starting, 10s starting, 15s starting, 45s failing";
    check(probe(30, 2, 12, 5), Early::No, "----", want);
}

#[test]
fn after_the_first_success_failures_count_even_in_the_start_period() {
    check(probe(10, 2, 60, 5), Early::No, "-+--", "5s starting, 10s passing, 20s passing, 30s failing");
}

#[test]
fn a_success_begins_the_count_anew() {
    check(probe(10, 2, 0, 5), Early::No, "+-+--", "10s passing, 20s passing, 30s passing, 40s passing, 50s failing");
}

#[test]
fn early_checks_double_their_pauses_and_never_count() {
    let want = "0s starting, 50ms starting, 150ms starting, 350ms starting, 750ms starting, 1s failing";
    check(probe(1, 1, 0, 5), Early::Yes, "------", want);
}

#[test]
fn an_early_success_ends_the_early_checks() {
    check(probe(10, 1, 0, 5), Early::Yes, "-+-", "0s starting, 50ms passing, 10s50ms failing");
}

#[test]
fn an_early_check_gives_way_to_the_regular_one() {
    let mut judge = Judge::new(probe(1, 1, 0, 5), Duration::ZERO, Early::Yes);
    assert_eq!(judge.next().timeout, Duration::from_secs(1));
    judge.record(Duration::ZERO, Duration::from_millis(600), false);
    let next = judge.next();
    assert_eq!((next.at.as_millis(), next.timeout.as_millis()), (650, 350));
}

#[test]
fn a_check_that_began_late_is_still_an_early_one() {
    // Asked with what was left before the regular check, and begun when that was due already.
    let mut judge = Judge::new(probe(1, 1, 0, 1), Duration::ZERO, Early::Yes);
    assert!(judge.next().timeout <= Duration::from_secs(1));
    let late = Duration::from_secs(2);
    assert_eq!(judge.record(late, late, false), None, "it does not count");
    assert_eq!(judge.record(late, late, false), Some(Verdict::Failing), "the regular one does");
}

#[test]
fn an_adopted_replica_is_asked_at_once_and_is_long_past_its_start() {
    let day = Duration::from_secs(86_400);
    let mut judge = Judge::new(probe(30, 1, 60, 5), day, Early::Yes);
    assert_eq!(judge.next().at, day);
    while judge.verdict() == Verdict::Starting {
        let at = judge.next().at;
        judge.record(at, at, false);
        assert_eq!(judge.verdict() == Verdict::Failing, at >= day + Duration::from_secs(30), "{at:?}");
    }
}

fn any_probe() -> impl Strategy<Value = Probe> {
    (1u64..60, 1u32..5, 0u64..120, 1u64..20).prop_map(|(a, b, c, d)| probe(a, b, c, d))
}

proptest! {
    #[test]
    fn it_fails_only_after_enough_counted_failures(
        probe in any_probe(), early in prop_oneof![Just(Early::Yes), Just(Early::No)],
        answers in prop::collection::vec((any::<bool>(), 0u64..3000), 1..60),
    ) {
        let mut judge = Judge::new(probe.clone(), Duration::ZERO, early);
        let (mut passed_before, mut failures) = (false, 0u32);
        let longest = probe.interval.max(probe.start_interval);
        for (passed, took) in answers {
            let next = judge.next();
            let ended = next.at + Duration::from_millis(took).min(next.timeout);
            let regular = next.at >= judge.regular_from;
            let change = judge.record(next.at, ended, passed);
            if passed {
                (passed_before, failures) = (true, 0);
                prop_assert_eq!(judge.verdict(), Verdict::Passing);
            } else if passed_before || (regular && next.at >= probe.start_period) {
                failures += 1;
            }
            let enough = failures >= probe.retries.get();
            prop_assert_eq!(judge.verdict() == Verdict::Failing, enough);
            prop_assert!(change != Some(Verdict::Starting));
            prop_assert!(judge.next().at >= ended, "checks never overlap");
            prop_assert!(judge.next().at <= ended + longest, "and never stay away");
            prop_assert!(!judge.next().timeout.is_zero());
        }
    }

    #[test]
    fn asking_early_passes_no_later_and_fails_no_sooner_than_compose(
        probe in any_probe(), ready_at in 0u64..200_000, until in prop::option::of(0u64..100_000),
    ) {
        let ready_at = Duration::from_millis(ready_at);
        let until = until.map(|span| ready_at + Duration::from_millis(span));
        let first = |early: Early, wanted: Verdict| {
            let mut judge = Judge::new(probe.clone(), Duration::ZERO, early);
            (0..2000).find_map(|_| {
                let at = judge.next().at;
                let passes = at >= ready_at && until.is_none_or(|until| at < until);
                (judge.record(at, at, passes) == Some(wanted)).then_some(at)
            })
        };
        if until.is_none() {
            prop_assert!(first(Early::Yes, Verdict::Passing) <= first(Early::No, Verdict::Passing));
        }
        let never = Duration::MAX;
        if first(Early::Yes, Verdict::Passing).is_none() {
            let sooner = first(Early::Yes, Verdict::Failing).unwrap_or(never);
            prop_assert!(sooner >= first(Early::No, Verdict::Failing).unwrap_or(never));
        }
    }
}
