//! What must hold of what was counted: pure, from figures to claims in words. [`super::story`] collects the figures.

use crate::load::socket::Counts;
use crate::load::{Phase, Report};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The phase with a violent death: the only one in which anything may be cut.
pub const VIOLENT: &str = "a replica is killed";

/// More than was under way on one of two replicas at the moment of its death.
const MOST_LOST: u64 = 20;
/// What was under way is known to be lost at once; later losses are not the death's.
const LOST_WITHIN: Duration = Duration::from_secs(1);

/// Something that holds or not, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whether it holds.
    pub holds: bool,
    /// What is claimed, with its figures.
    pub text: String,
}

fn claim(holds: bool, text: impl Into<String>) -> Claim {
    Claim { holds, text: text.into() }
}

/// The load: enough was sent, nothing failed, and only what was under way on a replica `killed` then was cut.
pub fn requests(report: &Report, wanted: u64, killed: Instant) -> Vec<Claim> {
    let idempotent = report.idempotent();
    let mut claims = vec![
        claim(idempotent.sent >= wanted, format!("{} idempotent requests sent", idempotent.sent)),
        claim(idempotent.failed == 0, format!("{} idempotent requests failed", idempotent.failed)),
    ];
    claims.extend(report.phases.iter().map(|phase| match phase.name.as_str() {
        VIOLENT => violent(phase, killed),
        name => claim(phase.lost() == 0, format!("nothing failed at all: {name}")),
    }));
    claims
}

fn violent(phase: &Phase, killed: Instant) -> Claim {
    let late = phase.last_loss.map(|last| last.saturating_duration_since(killed));
    let holds = phase.lost() <= MOST_LOST && late.is_none_or(|late| late <= LOST_WITHIN);
    let when = late.map(|late| format!(", the last {:.1} s after the kill", late.as_secs_f64())).unwrap_or_default();
    claim(holds, format!("lost with the killed replica: {} (at most {MOST_LOST}, at once){when}", phase.lost()))
}

/// The WebSockets: texts came back, and none of the `connections` was cut but by the violent death, once each, and by a
/// release, once per old replica: one that stays open beyond the grace period is cut, by design.
pub fn sockets(all: Counts, released: Counts, violent: Counts, connections: u64) -> Vec<Claim> {
    const OLD_REPLICAS: u64 = 2;
    let outside = all.cut - released.cut - violent.cut;
    // A goodbye or a cut may come in place of the echo under way.
    let silent = all.sent.saturating_sub(all.echoed + all.moved + all.cut);
    vec![
        claim(
            all.echoed > 0 && silent == 0,
            format!("WebSocket: {} texts echoed, {silent} without an answer", all.echoed),
        ),
        claim(outside == 0, format!("WebSocket: {outside} connections cut without a reason")),
        claim(
            released.cut <= OLD_REPLICAS * connections,
            format!("WebSocket: {} cuts after the grace period of {OLD_REPLICAS} old replicas", released.cut),
        ),
        claim(
            violent.cut <= connections,
            format!("WebSocket: {} of {connections} connections cut by the violent death", violent.cut),
        ),
    ]
}

/// What all workers together did between two looks: no call failed or was refused, and the steady ones kept their rate.
pub fn worker(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
    steady_rate: f64,
    time: Duration,
) -> Vec<Claim> {
    let of = |counts: &BTreeMap<String, u64>, name: &str| counts.get(name).copied().unwrap_or(0);
    let new = |name: &str| of(after, name).saturating_sub(of(before, name));
    let (calls, failed, refused) = (new("calls"), new("calls_failed"), new("refused"));
    let (steady, jobs) = (new("steady"), new("jobs_done"));
    let due = steady_rate * time.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
    let kept = steady as f64 >= due * 0.9;
    vec![
        claim(
            calls > 0 && failed == 0 && refused == 0,
            format!("worker → API: {calls} calls, {failed} failed, {refused} connections refused"),
        ),
        claim(kept, format!("worker → API: {steady} of {due:.0} steady calls made")),
        claim(jobs > 0, format!("worker: {jobs} orders carried out")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Outcome;

    fn phase(name: &str, answered: u64, cut: u64) -> Phase {
        let mut phase = Phase::new(name);
        (0..answered).for_each(|_| phase.add(true, Outcome::Answered, Duration::ZERO));
        (0..cut).for_each(|_| phase.add(true, Outcome::Cut("half".into()), Duration::ZERO));
        phase
    }

    /// The texts of what does not hold.
    fn broken(claims: Vec<Claim>) -> Vec<String> {
        claims.into_iter().filter(|claim| !claim.holds).map(|claim| claim.text).collect()
    }

    #[test]
    fn only_a_violent_death_may_cut_requests_and_only_a_few_at_once() {
        let now = Instant::now();
        let check = |phases: Vec<Phase>, killed| broken(requests(&Report { phases }, 10, killed));
        assert_eq!(check(vec![phase("calm", 5, 0), phase(VIOLENT, 5, 20)], now), Vec::<String>::new());
        assert_eq!(check(vec![phase("calm", 10, 1)], now), ["nothing failed at all: calm"]);
        assert_eq!(check(vec![phase("calm", 9, 0)], now), ["9 idempotent requests sent"]);
        let many = check(vec![phase(VIOLENT, 10, 21)], now);
        assert!(many[0].starts_with("lost with the killed replica: 21 (at most 20, at once)"), "{many:?}");
        let long_ago = now.checked_sub(Duration::from_secs(3)).unwrap();
        assert_eq!(check(vec![phase(VIOLENT, 10, 1)], long_ago).len(), 1);
    }

    #[test]
    fn websockets_are_echoed_and_cut_by_a_violent_death_only() {
        let counts = |sent, echoed, moved, cut| Counts { sent, echoed, moved, cut };
        let none = Counts::default();
        let check = |all, violent| broken(sockets(all, none, violent, 8));
        assert_eq!(check(counts(100, 90, 4, 8), counts(20, 12, 0, 8)), Vec::<String>::new());
        assert_eq!(check(none, none), ["WebSocket: 0 texts echoed, 0 without an answer"]);
        assert_eq!(check(counts(9, 5, 0, 0), none), ["WebSocket: 5 texts echoed, 4 without an answer"]);
        let check_released = |cut| broken(sockets(counts(96, 80, 0, cut), counts(50, 40, 0, cut), none, 8));
        assert_eq!(check_released(16)[..], [] as [String; 0]);
        assert_eq!(check_released(17), ["WebSocket: 17 cuts after the grace period of 2 old replicas"]);
        assert_eq!(check(counts(9, 8, 0, 3), counts(0, 0, 0, 2)), ["WebSocket: 1 connections cut without a reason"]);
        assert_eq!(
            check(counts(9, 8, 0, 9), counts(0, 0, 0, 9)),
            ["WebSocket: 9 of 8 connections cut by the violent death"]
        );
    }

    #[test]
    fn a_worker_that_was_refused_or_fell_behind_shows() {
        let counts = |calls, failed, refused, steady| {
            let pairs = [("calls", calls), ("calls_failed", failed), ("refused", refused), ("steady", steady)];
            let mut counts: BTreeMap<_, _> = pairs.map(|(name, count)| (name.to_owned(), count)).into();
            counts.insert("jobs_done".to_owned(), calls / 2);
            counts
        };
        let check = |after| broken(worker(&counts(10, 1, 1, 4), &after, 20.0, Duration::from_secs(10)));
        assert_eq!(check(counts(400, 1, 1, 184)), Vec::<String>::new());
        assert_eq!(check(counts(400, 1, 3, 204)), ["worker → API: 390 calls, 0 failed, 2 connections refused"]);
        assert_eq!(check(counts(400, 2, 1, 204)), ["worker → API: 390 calls, 1 failed, 0 connections refused"]);
        assert_eq!(check(counts(400, 1, 1, 183)), ["worker → API: 179 of 200 steady calls made"]);
    }
}
