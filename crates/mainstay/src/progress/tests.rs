use super::*;
use expect_test::{Expect, expect};

fn step(id: u32, after: &[u32], action: &str, subject: &str) -> StepView {
    let service = subject.rsplit_once('.').map(|(service, _)| service.to_owned());
    let (subject, action) = (subject.to_owned(), action.to_owned());
    StepView { id, after: after.to_vec(), action, subject, service, detail: String::new(), why: String::new() }
}

fn first_plan() -> Vec<StepView> {
    vec![
        step(1, &[], "network", "default"),
        step(2, &[1], "start", "db.1"),
        step(3, &[2], "await", "db.1"),
        step(4, &[3], "start", "api.1"),
        step(5, &[4], "await", "api.1"),
        step(6, &[5], "route", "api.1"),
    ]
}

fn ended(step: u32, millis: u64) -> RunEvent {
    RunEvent::Ended { step, at: String::new(), millis }
}

fn began(step: u32) -> RunEvent {
    RunEvent::Began { step, at: "1970-01-01T00:00:01Z".into() }
}

fn check(steps: &[StepView], events: Vec<RunEvent>, height: usize, want: Expect) {
    let mut progress = Progress::new(steps);
    events.into_iter().for_each(|event| progress.take(event));
    let now = Timestamp::from_second(3).expect("legal");
    let lines = progress.lines(now, "⠋", Paint(false), 100, height);
    // Without the margin, which `expect!` cannot tell from its own.
    let lines: Vec<&str> = lines.iter().map(|line| line.strip_prefix("  ").expect("every line has a margin")).collect();
    want.assert_eq(&lines.join("\n"));
}

#[test]
fn each_thing_has_one_row_that_says_what_it_does_or_waits_for() {
    check(
        &first_plan(),
        vec![began(1), ended(1, 40), began(2), ended(2, 200), began(3)],
        10,
        expect![[r#"
              ✔ network default  made  0.0s
              ⠋ db.1             waiting until ready  2.2s
              · api.1            waits for db.1"#]],
    );
}

#[test]
fn rows_that_do_not_fit_become_numbers() {
    check(
        &first_plan(),
        vec![began(1), ended(1, 40), began(2)],
        2,
        expect![[r#"
              ⠋ db.1             starting  2.0s
              1 done, 1 to come"#]],
    );
}

#[test]
fn a_failure_keeps_its_row_and_the_rest_is_not_begun() {
    let failed = RunEvent::Failed { step: 3, at: String::new(), error: "no answer\nrefused\x1b[2J".into() };
    let finished = RunEvent::Finished { outcome: "failed".into(), explanation: None, millis: 9 };
    check(
        &first_plan(),
        vec![ended(1, 40), ended(2, 200), failed, finished],
        10,
        expect![[r#"
              ✔ network default  made  0.0s
              ✘ db.1             waiting until ready failed: no answer
              · api.1            not begun"#]],
    );
}

#[test]
fn a_new_plan_keeps_what_was_done_and_forgets_what_was_not() {
    let again = RunEvent::Replanned { steps: vec![step(1, &[], "await", "db.1"), step(2, &[1], "start", "api.2")] };
    check(
        &first_plan(),
        vec![ended(1, 40), ended(2, 200), again, ended(1, 100)],
        10,
        expect![[r#"
              ✔ network default  made  0.0s
              ✔ db.1             ready  0.3s
              · api.2            next"#]],
    );
}

#[test]
fn reading_a_run_again_ends_in_the_same_state() {
    let events = || vec![began(1), ended(1, 40), began(2), ended(2, 7)];
    let mut progress = Progress::new(&first_plan());
    events().into_iter().for_each(|event| progress.take(event));
    let mut again = Progress::new(&first_plan());
    events().into_iter().for_each(|event| again.take(event));
    let now = Timestamp::from_second(3).expect("legal");
    assert_eq!(progress.summary(now, Paint(false)), again.summary(now, Paint(false)));
}

#[test]
fn what_failed_is_not_hidden_by_the_plan_that_puts_things_right() {
    let failed = RunEvent::Failed { step: 3, at: String::new(), error: "exited with code 1".into() };
    let again = RunEvent::Replanned { steps: vec![step(1, &[], "remove", "db.1")] };
    check(
        &first_plan(),
        vec![ended(1, 40), ended(2, 200), failed, again, ended(1, 10)],
        10,
        expect![[r#"
            ✔ network default  made  0.0s
            ✘ db.1             waiting until ready failed: exited with code 1; now removed"#]],
    );
}

#[test]
fn what_a_newer_daemon_tells_is_passed_over() {
    let event = serde_json::from_str(r#"{"type":"paused","why":"a window is closed"}"#).expect("read");
    assert_eq!(event, RunEvent::Unknown);
    let mut progress = Progress::new(&first_plan());
    progress.take(event);
    assert!(progress.ending().is_none() && !progress.has_begun());
}
