//! What happens to replicas that are not running although they should, and to jobs.

use crate::notation::check;
use expect_test::expect;

#[test]
fn a_crashed_replica_starts_again_in_its_slot() {
    check(
        "x2 v1",
        "1:v1 2:v1/exit1/ran1",
        expect![[r#"
        1  start  2 v1 f1  exited with code 1
        2  await  2 1m  must be ready first  after 1
    "#]],
    );
}

#[test]
fn it_waits_for_its_back_off() {
    check(
        "x1 v1",
        "1:v1/exit1/f5/ran1/ago1",
        expect![[r#"
        -- x.1: waits for its back-off until 2026-01-01T01:00:02.23Z
        -- wakes in 2s200ms
    "#]],
    );
}

#[test]
fn a_long_run_makes_failures_forgotten() {
    check(
        "x1 v1",
        "1:v1/exit1/f9/ran20/ago1",
        expect![[r#"
        1  start  1 v1 f1  exited with code 1
        2  await  1 1m  must be ready first  after 1
    "#]],
    );
}

#[test]
fn the_back_off_is_at_most_a_minute() {
    check(
        "x1 v1",
        "1:v1/exit1/f30/ran1/ago1",
        expect![[r#"
        -- x.1: waits for its back-off until 2026-01-01T01:00:59.03Z
        -- wakes in 59s
    "#]],
    );
}

#[test]
fn what_could_not_be_started_waits_as_well() {
    check(
        "x1 v1",
        "1:v1/failed/f6/ago1",
        expect![[r#"
        -- x.1: waits for its back-off until 2026-01-01T01:00:05.43Z
        -- wakes in 5s400ms
    "#]],
    );
}

#[test]
fn a_start_that_was_cut_short_is_done_again_at_once() {
    check(
        "x1 v1",
        "1:v1/half/unrouted",
        expect![[r#"
        1  start  1 v1  begun and not finished
        2  await  1 1m  must be ready first  after 1
        3  route  1  ready for traffic  after 2
    "#]],
    );
}

#[test]
fn policy_no_leaves_it() {
    check(
        "x1 v1 no",
        "1:v1/exit1",
        expect![[r#"
        -- x.1: exited with code 1; its restart policy leaves it so until it is asked for again
    "#]],
    );
}

#[test]
fn policy_no_is_overruled_by_asking_again() {
    check(
        "x1 v1 no asked",
        "1:v1/exit1",
        expect![[r#"
        1  start  1 v1  exited with code 1
        2  await  1 1m  must be ready first  after 1
    "#]],
    );
}

#[test]
fn who_is_done_is_left_even_when_asked_again() {
    check(
        "x1 v1 no asked",
        "1:v1/exit0",
        expect![[r#"
        -- x.1: has exited with code 0 and is done
    "#]],
    );
}

#[test]
fn always_starts_again_after_success() {
    check(
        "x1 v1 always",
        "1:v1/exit0/ran1/ago1",
        expect![[r#"
        1  start  1 v1 f1  exited with code 0
        2  await  1 1m  must be ready first  after 1
    "#]],
    );
}

#[test]
fn on_failure_leaves_success() {
    check(
        "x1 v1 on-failure",
        "1:v1/exit0",
        expect![[r#"
        -- x.1: has exited with code 0 and is done
    "#]],
    );
}

#[test]
fn on_failure_starts_again_after_failure() {
    check(
        "x1 v1 on-failure",
        "1:v1/exit1",
        expect![[r#"
        1  start  1 v1 f1  exited with code 1
        2  await  1 1m  must be ready first  after 1
    "#]],
    );
}

#[test]
fn on_failure_gives_up_after_its_maximum() {
    check(
        "x1 v1 on-failure:3",
        "1:v1/exit1/f3/ran1/ago30",
        expect![[r#"
        -- x.1: exited with code 1; after 3 failures in a row its restart policy leaves it so
    "#]],
    );
}

#[test]
fn asking_again_starts_over() {
    check(
        "x1 v1 on-failure:3 asked",
        "1:v1/exit1/f3/ran1",
        expect![[r#"
        1  start  1 v1  exited with code 1
        2  await  1 1m  must be ready first  after 1
    "#]],
    );
}

#[test]
fn a_replica_that_is_not_live_is_started_again() {
    check(
        "x2 v1",
        "1:v1 2:v1/dead",
        expect![[r#"
        1  drain  2 10s  about to stop
        2  stop   2 10s  liveness probe failed  after 1
        3  start  2 v1 f1  liveness probe failed  after 2
        4  await  2 1m  must be ready first  after 3
        5  route  2  ready for traffic  after 4
    "#]],
    );
}

#[test]
fn replicas_that_are_not_live_are_started_one_after_the_other() {
    check(
        "x2 v1",
        "1:v1/dead 2:v1/dead",
        expect![[r#"
        1  drain  1 10s  about to stop
        2  stop   1 10s  liveness probe failed  after 1
        3  start  1 v1 f1  liveness probe failed  after 2
        4  await  1 1m  must be ready first  after 3
        5  route  1  ready for traffic  after 4
        6  drain  2 10s  about to stop  after 5
        7  stop   2 10s  liveness probe failed  after 6
        8  start  2 v1 f1  liveness probe failed  after 7
        9  await  2 1m  must be ready first  after 8
        10 route  2  ready for traffic  after 9
    "#]],
    );
}

#[test]
fn one_that_is_never_live_waits_for_its_back_off_and_runs_on() {
    check(
        "x1 v1 live-probe",
        "1:v1/dead/f10/ran20",
        expect![[r#"
        -- x.1: is not live and waits for its back-off until 2026-01-01T01:00:40.03Z
        -- wakes in 40s
    "#]],
    );
}

#[test]
fn a_run_longer_than_the_probe_takes_makes_failures_forgotten() {
    check(
        "x1 v1 live-probe",
        "1:v1/dead/f10/ran239",
        expect![[r#"
        1  drain  1 10s  about to stop
        2  stop   1 10s  liveness probe failed  after 1
        3  start  1 v1 f11  liveness probe failed  after 2
        4  await  1 1m  must be ready first  after 3
        5  route  1  ready for traffic  after 4
    "#]],
    );
    check(
        "x1 v1 live-probe",
        "1:v1/dead/f10/ran250",
        expect![[r#"
        1  drain  1 10s  about to stop
        2  stop   1 10s  liveness probe failed  after 1
        3  start  1 v1 f1  liveness probe failed  after 2
        4  await  1 1m  must be ready first  after 3
        5  route  1  ready for traffic  after 4
    "#]],
    );
}

#[test]
fn restart_policies_leave_one_that_is_not_live_as_well() {
    check(
        "x1 v1 no",
        "1:v1/dead",
        expect![[r#"
        -- x.1: liveness probe failed; its restart policy leaves it so until it is asked for again
    "#]],
    );
    check(
        "x1 v1 on-failure:3 live-probe",
        "1:v1/dead/f3/ran120",
        expect![[r#"
        -- x.1: liveness probe failed; after 3 failures in a row its restart policy leaves it so
    "#]],
    );
    check(
        "x1 v1 no asked",
        "1:v1/dead",
        expect![[r#"
        1  drain  1 10s  about to stop
        2  stop   1 10s  liveness probe failed  after 1
        3  start  1 v1  liveness probe failed  after 2
        4  await  1 1m  must be ready first  after 3
        5  route  1  ready for traffic  after 4
    "#]],
    );
}

#[test]
fn a_crashed_replica_of_the_old_version_is_not_mended() {
    check(
        "x2 v2",
        "1:v1 2:v1/exit1",
        expect![[r#"
        1  drain  2 10s  about to stop
        2  remove 2  spec changed  after 1
        3  start  3 v2  spec changed
        4  await  3 1m  must be ready first  after 3
        5  route  3  ready for traffic  after 4
        6  drain  1 10s  about to stop  after 5
        7  stop   1 10s  spec changed  after 6
        8  remove 1  spec changed  after 7
        9  start  4 v2  missing
        10 await  4 1m  must be ready first  after 9
        11 route  4  ready for traffic  after 10
    "#]],
    );
}

#[test]
fn it_is_mended_while_the_new_version_waits() {
    check(
        "x2 v2",
        "1:v1 2:v1/exit1 3:v2/exit1/f5/ran1/unrouted 4:v2/exit1/f5/ran1/unrouted",
        expect![[r#"
        1  start  2 v1 f1  exited with code 1
        2  await  2 1m  must be ready first  after 1
        -- x.3: waits for its back-off until 2026-01-01T01:00:02.23Z
        -- x.4: waits for its back-off until 2026-01-01T01:00:02.23Z
        -- x.1: stays until another is ready in its place
        -- wakes in 2s200ms
    "#]],
    );
}

#[test]
fn it_is_not_mended_when_enough_run() {
    check(
        "x1 v2",
        "1:v1 2:v1/exit1 3:v2/exit1/f5/ran1/unrouted",
        expect![[r#"
        1  drain  2 10s  about to stop
        2  remove 2  spec changed  after 1
        -- x.3: waits for its back-off until 2026-01-01T01:00:02.23Z
        -- x.1: stays until another is ready in its place
        -- wakes in 2s200ms
    "#]],
    );
}

#[test]
fn it_is_not_mended_when_its_template_is_forgotten() {
    check(
        "x1 v2 forgotten",
        "2:v1/exit1 3:v2/exit1/f5/ran1/unrouted",
        expect![[r#"
        1  drain  2 10s  about to stop
        2  remove 2  spec changed  after 1
        -- x.3: waits for its back-off until 2026-01-01T01:00:02.23Z
        -- x.2: is still needed, but what its release started it with is no longer known
        -- wakes in 2s200ms
    "#]],
    );
}

#[test]
fn a_crash_is_mended_without_waiting_for_a_ready_dependency() {
    check(
        "x1 v1 needs-db-ready db-changed",
        "1:v1/exit1",
        expect![[r#"
        1  start  db.2 db-v2  spec changed
        2  await  db.2 2m  must be ready first  after 1
        3  stop   db.1 10s  spec changed  after 2
        4  remove db.1  spec changed  after 3
        5  start  1 v1 f1  exited with code 1
        6  await  1 1m  must be ready first  after 5
    "#]],
    );
}

#[test]
fn a_crash_waits_for_a_dependency_that_is_not_ready() {
    check(
        "x1 v1 needs-db-ready db-unready",
        "1:v1/exit1",
        expect![[r#"
        1  await  db.1 2m  must be ready first
        2  start  1 v1 f1  exited with code 1  after 1
        3  await  1 1m  must be ready first  after 2
    "#]],
    );
}

#[test]
fn a_crash_waits_for_a_dependency_that_is_not_live_and_started_again() {
    check(
        "x1 v1 needs-db db-dead",
        "1:v1/exit1",
        expect![[r#"
        1  stop   db.1 10s  liveness probe failed
        2  start  db.1 db-v1 f1  liveness probe failed  after 1
        3  await  db.1 2m  must be ready first  after 2
        4  start  1 v1 f1  exited with code 1  after 2
        5  await  1 1m  must be ready first  after 4
    "#]],
    );
}

#[test]
fn a_crash_waits_for_a_dependency_that_cannot_be_read() {
    check(
        "x1 v1 needs-db-ready db?",
        "1:v1/exit1",
        expect![[r#"
        -- db.1: cannot be read and is left as it is: no answer
        -- x.1: waits for `db`, which is not ready
    "#]],
    );
}

#[test]
fn a_job_runs_once() {
    check(
        "x1 v1 job no",
        "",
        expect![[r#"
        1  start  1 v1  missing
        2  finish 1  must complete first  after 1
    "#]],
    );
}

#[test]
fn a_job_that_succeeded_is_done() {
    check("x1 v1 job no asked", "1:v1/exit0", expect![[""]]);
}

#[test]
fn a_job_that_runs_is_waited_for() {
    check(
        "x1 v1 job no",
        "1:v1",
        expect![[r#"
        1  finish 1  must complete first
    "#]],
    );
}

#[test]
fn a_job_that_failed_is_left() {
    check(
        "x1 v1 job no",
        "1:v1/exit1",
        expect![[r#"
        -- x.1: exited with code 1; its restart policy leaves it so until it is asked for again
    "#]],
    );
}

#[test]
fn a_job_that_failed_runs_again_when_asked() {
    check(
        "x1 v1 job no asked",
        "1:v1/exit1",
        expect![[r#"
        1  start  1 v1  exited with code 1
        2  finish 1  must complete first  after 1
    "#]],
    );
}

#[test]
fn a_job_that_failed_follows_its_policy() {
    check(
        "x1 v1 job on-failure:2",
        "1:v1/exit1",
        expect![[r#"
        1  start  1 v1 f1  exited with code 1
        2  finish 1  must complete first  after 1
    "#]],
    );
}

#[test]
fn a_changed_job_removes_its_last_run_first() {
    check(
        "x1 v2 job no",
        "1:v1/exit0",
        expect![[r#"
        1  remove 1  spec changed
        2  start  2 v2  spec changed  after 1
        3  finish 2  must complete first  after 2
    "#]],
    );
}

#[test]
fn a_changed_job_stops_its_last_run_first() {
    check(
        "x1 v2 job no",
        "1:v1",
        expect![[r#"
        1  stop   1 10s  spec changed
        2  remove 1  spec changed  after 1
        3  start  2 v2  spec changed  after 2
        4  finish 2  must complete first  after 3
    "#]],
    );
}

#[test]
fn a_job_runs_as_often_as_wanted() {
    check(
        "x2 v1 job no",
        "1:v1/exit0",
        expect![[r#"
        1  start  2 v1  missing
        2  finish 2  must complete first  after 1
    "#]],
    );
}

#[test]
fn a_job_that_cannot_be_read_is_not_run_again() {
    check(
        "x1 v1 job no",
        "1:v1/unknown",
        expect![[r#"
        -- x.1: cannot be read and is left as it is: no answer
    "#]],
    );
}
