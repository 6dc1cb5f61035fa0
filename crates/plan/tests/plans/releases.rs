//! How a service gets from one version to the next, and to more or fewer replicas.

use crate::notation::{check, scene};
use crate::world::World;
use expect_test::expect;
use mainstay_plan::Desired;
use mainstay_plan::action::{Action, replica};
use mainstay_plan::desired::Up;
use mainstay_plan::observed::Completed;
use model::ServiceName;

#[test]
fn an_update_starts_before_it_stops() {
    check(
        "x1 v2 +1",
        "1:v1",
        expect![[r#"
        1  start  2 v2  spec changed
        2  await  2 1m  must be ready first  after 1
        3  route  2  ready for traffic  after 2
        4  drain  1 10s  about to stop  after 3
        5  stop   1 10s  spec changed  after 4
        6  remove 1  spec changed  after 5
    "#]],
    );
}

#[test]
fn what_is_as_wanted_costs_no_step() {
    check("x2 v1", "1:v1 2:v1", expect![[""]]);
}

#[test]
fn replicas_that_are_missing_start_at_once() {
    check(
        "x2 v1",
        "",
        expect![[r#"
        1  start  1 v1  missing
        2  await  1 1m  must be ready first  after 1
        3  route  1  ready for traffic  after 2
        4  start  2 v1  missing
        5  await  2 1m  must be ready first  after 4
        6  route  2  ready for traffic  after 5
    "#]],
    );
}

#[test]
fn replicas_are_replaced_one_after_the_other() {
    check(
        "x2 v2 +1",
        "1:v1 2:v1",
        expect![[r#"
        1  start  3 v2  spec changed
        2  await  3 1m  must be ready first  after 1
        3  route  3  ready for traffic  after 2
        4  drain  1 10s  about to stop  after 3
        5  stop   1 10s  spec changed  after 4
        6  remove 1  spec changed  after 5
        7  start  4 v2  spec changed  after 6
        8  await  4 1m  must be ready first  after 7
        9  route  4  ready for traffic  after 8
        10 drain  2 10s  about to stop  after 9
        11 stop   2 10s  spec changed  after 10
        12 remove 2  spec changed  after 11
    "#]],
    );
}

#[test]
fn as_many_are_replaced_at_once_as_the_release_says() {
    check(
        "x3 v2 +2",
        "1:v1 2:v1 3:v1",
        expect![[r#"
        1  start  4 v2  spec changed
        2  await  4 1m  must be ready first  after 1
        3  route  4  ready for traffic  after 2
        4  drain  1 10s  about to stop  after 3
        5  stop   1 10s  spec changed  after 4
        6  remove 1  spec changed  after 5
        7  start  5 v2  spec changed
        8  await  5 1m  must be ready first  after 7
        9  route  5  ready for traffic  after 8
        10 drain  2 10s  about to stop  after 9
        11 stop   2 10s  spec changed  after 10
        12 remove 2  spec changed  after 11
        13 start  6 v2  spec changed  after 6
        14 await  6 1m  must be ready first  after 13
        15 route  6  ready for traffic  after 14
        16 drain  3 10s  about to stop  after 15
        17 stop   3 10s  spec changed  after 16
        18 remove 3  spec changed  after 17
    "#]],
    );
}

#[test]
fn more_replicas_of_a_new_version_start_without_waiting() {
    check(
        "x3 v2",
        "1:v1",
        expect![[r#"
        1  start  2 v2  spec changed
        2  await  2 1m  must be ready first  after 1
        3  route  2  ready for traffic  after 2
        4  drain  1 10s  about to stop  after 3
        5  stop   1 10s  spec changed  after 4
        6  remove 1  spec changed  after 5
        7  start  3 v2  missing
        8  await  3 1m  must be ready first  after 7
        9  route  3  ready for traffic  after 8
        10 start  4 v2  missing
        11 await  4 1m  must be ready first  after 10
        12 route  4  ready for traffic  after 11
    "#]],
    );
}

#[test]
fn fewer_replicas_of_a_new_version_let_the_spare_ones_go() {
    check(
        "x1 v2",
        "1:v1 2:v1",
        expect![[r#"
        1  start  3 v2  spec changed
        2  await  3 1m  must be ready first  after 1
        3  route  3  ready for traffic  after 2
        4  drain  2 10s  about to stop  after 3
        5  stop   2 10s  spec changed  after 4
        6  remove 2  spec changed  after 5
        7  drain  1 10s  about to stop  after 3
        8  stop   1 10s  spec changed  after 7
        9  remove 1  spec changed  after 8
    "#]],
    );
}

#[test]
fn surplus_replicas_leave_from_the_highest_slot() {
    check(
        "x1 v1",
        "1:v1 2:v1 3:v1",
        expect![[r#"
        1  drain  3 10s  about to stop
        2  stop   3 10s  more than wanted  after 1
        3  remove 3  more than wanted  after 2
        4  drain  2 10s  about to stop
        5  stop   2 10s  more than wanted  after 4
        6  remove 2  more than wanted  after 5
    "#]],
    );
}

#[test]
fn surplus_replicas_that_are_not_ready_leave_first() {
    check(
        "x1 v1",
        "1:v1/unready 2:v1 3:v1/dead",
        expect![[r#"
        1  drain  3 10s  about to stop
        2  stop   3 10s  more than wanted  after 1
        3  remove 3  more than wanted  after 2
        4  drain  1 10s  about to stop
        5  stop   1 10s  more than wanted  after 4
        6  remove 1  more than wanted  after 5
    "#]],
    );
}

#[test]
fn a_service_nothing_reaches_is_neither_routed_nor_drained() {
    check(
        "x1 v2 quiet",
        "1:v1",
        expect![[r#"
        1  start  2 v2  spec changed
        2  await  2 1m  must be ready first  after 1
        3  stop   1 10s  spec changed  after 2
        4  remove 1  spec changed  after 3
    "#]],
    );
}

#[test]
fn a_release_that_was_cut_short_goes_on() {
    check(
        "x2 v2",
        "1:v1 2:v1 3:v2/starting/unrouted",
        expect![[r#"
        1  await  3 1m  must be ready first
        2  route  3  ready for traffic  after 1
        3  drain  1 10s  about to stop  after 2
        4  stop   1 10s  spec changed  after 3
        5  remove 1  spec changed  after 4
        6  start  4 v2  spec changed  after 5
        7  await  4 1m  must be ready first  after 6
        8  route  4  ready for traffic  after 7
        9  drain  2 10s  about to stop  after 8
        10 stop   2 10s  spec changed  after 9
        11 remove 2  spec changed  after 10
    "#]],
    );
}

#[test]
fn a_release_that_was_cut_short_before_routing_goes_on() {
    check(
        "x2 v2",
        "1:v1 2:v1 3:v2/unrouted",
        expect![[r#"
        1  route  3  ready for traffic
        2  drain  1 10s  about to stop  after 1
        3  stop   1 10s  spec changed  after 2
        4  remove 1  spec changed  after 3
        5  start  4 v2  spec changed  after 4
        6  await  4 1m  must be ready first  after 5
        7  route  4  ready for traffic  after 6
        8  drain  2 10s  about to stop  after 7
        9  stop   2 10s  spec changed  after 8
        10 remove 2  spec changed  after 9
    "#]],
    );
}

#[test]
fn a_release_that_was_cut_short_while_it_removed_goes_on() {
    check(
        "x1 v2",
        "1:v1/exit0/unrouted 2:v2",
        expect![[r#"
        1  remove 1  spec changed
    "#]],
    );
}

#[test]
fn a_failed_release_gives_way_to_the_next() {
    check(
        "x1 v3",
        "1:v1 2:v2/unready/unrouted",
        expect![[r#"
        1  stop   2 10s  spec changed
        2  remove 2  spec changed  after 1
        3  start  3 v3  spec changed
        4  await  3 1m  must be ready first  after 3
        5  route  3  ready for traffic  after 4
        6  drain  1 10s  about to stop  after 5
        7  stop   1 10s  spec changed  after 6
        8  remove 1  spec changed  after 7
    "#]],
    );
}

#[test]
fn stop_first_stops_before_it_starts() {
    check(
        "x2 v2 stop-first",
        "1:v1 2:v1",
        expect![[r#"
        1  drain  1 10s  about to stop
        2  stop   1 10s  spec changed  after 1
        3  remove 1  spec changed  after 2
        4  start  3 v2  spec changed  after 3
        5  await  3 1m  must be ready first  after 4
        6  route  3  ready for traffic  after 5
        7  drain  2 10s  about to stop  after 6
        8  stop   2 10s  spec changed  after 7
        9  remove 2  spec changed  after 8
        10 start  4 v2  spec changed  after 6 9
        11 await  4 1m  must be ready first  after 10
        12 route  4  ready for traffic  after 11
    "#]],
    );
}

#[test]
fn a_direct_service_gives_its_address_to_its_successor() {
    check(
        "x1 v2 direct",
        "1:v1",
        expect![[r#"
        1  stop   1 10s  spec changed
        2  remove 1  spec changed  after 1
        3  start  2 v2 stable  spec changed  after 2
        4  await  2 1m  must be ready first  after 3
    "#]],
    );
}

#[test]
fn a_restart_replaces_what_runs_the_same() {
    check(
        "x1 v1 restart",
        "1:v1",
        expect![[r#"
        1  start  2 v1  restart asked for
        2  await  2 1m  must be ready first  after 1
        3  route  2  ready for traffic  after 2
        4  drain  1 10s  about to stop  after 3
        5  stop   1 10s  restart asked for  after 4
        6  remove 1  restart asked for  after 5
    "#]],
    );
}

#[test]
fn when_routes_change_the_last_old_replica_stays_for_them() {
    check(
        "x2 v2 routes",
        "1:v1 2:v1",
        expect![[r#"
        1  open  routing changed
        2  start  3 v2  spec changed  after 1
        3  await  3 1m  must be ready first  after 2
        4  route  3  ready for traffic  after 3
        5  drain  1 10s  about to stop  after 4
        6  stop   1 10s  spec changed  after 5
        7  remove 1  spec changed  after 6
        8  start  4 v2  spec changed  after 1 7
        9  await  4 1m  must be ready first  after 8
        10 route  4  ready for traffic  after 9
        11 settle  routing changed  after 1 4 10
        12 drain  2 10s  about to stop  after 10 11
        13 stop   2 10s  spec changed  after 12
        14 remove 2  spec changed  after 13
    "#]],
    );
}

#[test]
fn a_scale_down_while_routes_change_comes_after_them() {
    check(
        "x1 v1 routes",
        "1:v1 2:v1",
        expect![[r#"
        1  open  routing changed
        2  settle  routing changed  after 1
        3  drain  2 10s  about to stop  after 2
        4  stop   2 10s  more than wanted  after 3
        5  remove 2  more than wanted  after 4
    "#]],
    );
}

#[test]
fn replicas_not_probed_yet_count_as_serving() {
    check(
        "x2 v2",
        "1:v1/new 2:v1/new",
        expect![[r#"
        1  start  3 v2  spec changed
        2  await  3 1m  must be ready first  after 1
        3  route  3  ready for traffic  after 2
        4  drain  1 10s  about to stop  after 3
        5  stop   1 10s  spec changed  after 4
        6  remove 1  spec changed  after 5
        7  start  4 v2  spec changed  after 6
        8  await  4 1m  must be ready first  after 7
        9  route  4  ready for traffic  after 8
        10 drain  2 10s  about to stop  after 9
        11 stop   2 10s  spec changed  after 10
        12 remove 2  spec changed  after 11
    "#]],
    );
}

#[test]
fn a_scale_down_waits_for_the_others_when_probes_have_not_spoken() {
    check(
        "x1 v1",
        "1:v1/new 2:v1/new",
        expect![[r#"
        1  await  1 1m  must be ready first
        2  drain  2 10s  about to stop  after 1
        3  stop   2 10s  more than wanted  after 2
        4  remove 2  more than wanted  after 3
    "#]],
    );
}

#[test]
fn replicas_on_a_network_that_moves_leave_before_it_does() {
    check(
        "x2 v1 moved",
        "1:v1 2:v1",
        expect![[r#"
        1  drain  1 10s  about to stop
        2  stop   1 10s  address changed  after 1
        3  remove 1  address changed  after 2
        4  drain  2 10s  about to stop
        5  stop   2 10s  address changed  after 4
        6  remove 2  address changed  after 5
        7  ensure network default  routing changed  after 3 6
        8  open  routing changed  after 7
        9  start  3 v1  missing  after 3 6 8
        10 await  3 1m  must be ready first  after 9
        11 route  3  ready for traffic  after 10
        12 start  4 v1  missing  after 3 6 8
        13 await  4 1m  must be ready first  after 12
        14 route  4  ready for traffic  after 13
        15 settle  routing changed  after 8 11 14
    "#]],
    );
}

#[test]
fn a_network_does_not_move_under_a_one_off_run() {
    check(
        "x1 v1 moved",
        "1:v1 1000:v1",
        expect![[r#"
        -- network default: cannot be changed yet: `x.1000` stands on it and is not to be touched
        -- edge: listeners and routes stay as they are: network `default` cannot be changed yet
    "#]],
    );
}

#[test]
fn one_off_runs_are_left_alone() {
    check("x1 v1", "1:v1 1000:v0 1001:v0/exit1", expect![[""]]);
}

#[test]
fn what_cannot_be_read_keeps_its_place() {
    check(
        "x2 v2",
        "1:v1/unknown 2:v1",
        expect![[r#"
        1  start  3 v2  spec changed
        2  await  3 1m  must be ready first  after 1
        3  route  3  ready for traffic  after 2
        4  drain  2 10s  about to stop  after 3
        5  stop   2 10s  spec changed  after 4
        6  remove 2  spec changed  after 5
        -- x.1: cannot be read and is left as it is: no answer
    "#]],
    );
}

#[test]
fn nothing_that_needs_draining_leaves_while_the_edge_cannot_be_read() {
    check(
        "x2 v2 edge?",
        "1:v1 2:v1",
        expect![[r#"
        -- edge: cannot be read, traffic stays as it is: no answer
        -- x.1: stays while the edge cannot be told to drain it
        -- x.2: stays while the edge cannot be told to drain it
    "#]],
    );
}

#[test]
fn new_replicas_start_while_the_edge_cannot_be_read() {
    check(
        "x2 v1 edge?",
        "1:v1",
        expect![[r#"
        1  start  2 v1  missing
        2  await  2 1m  must be ready first  after 1
        -- edge: cannot be read, traffic stays as it is: no answer
    "#]],
    );
}

#[test]
fn a_dependency_that_does_not_change_costs_no_step() {
    check(
        "x1 v2 needs-db-ready",
        "1:v1",
        expect![[r#"
        1  start  2 v2  spec changed
        2  await  2 1m  must be ready first  after 1
        3  route  2  ready for traffic  after 2
        4  drain  1 10s  about to stop  after 3
        5  stop   1 10s  spec changed  after 4
        6  remove 1  spec changed  after 5
    "#]],
    );
}

#[test]
fn a_change_waits_for_the_change_of_its_dependency() {
    check(
        "x1 v2 needs-db-ready db-changed",
        "1:v1",
        expect![[r#"
        1  start  db.2 db-v2  spec changed
        2  await  db.2 2m  must be ready first  after 1
        3  stop   db.1 10s  spec changed  after 2
        4  remove db.1  spec changed  after 3
        5  start  2 v2  spec changed  after 2
        6  await  2 1m  must be ready first  after 5
        7  route  2  ready for traffic  after 6
        8  drain  1 10s  about to stop  after 7
        9  stop   1 10s  spec changed  after 8
        10 remove 1  spec changed  after 9
    "#]],
    );
}

#[test]
fn a_change_waits_only_for_the_start_when_that_is_declared() {
    check(
        "x1 v2 needs-db db-changed",
        "1:v1",
        expect![[r#"
        1  start  db.2 db-v2  spec changed
        2  await  db.2 2m  must be ready first  after 1
        3  stop   db.1 10s  spec changed  after 2
        4  remove db.1  spec changed  after 3
        5  start  2 v2  spec changed  after 1
        6  await  2 1m  must be ready first  after 5
        7  route  2  ready for traffic  after 6
        8  drain  1 10s  about to stop  after 7
        9  stop   1 10s  spec changed  after 8
        10 remove 1  spec changed  after 9
    "#]],
    );
}

#[test]
fn a_change_waits_for_the_job_it_needs() {
    check(
        "x1 v2 needs-db-done db-changed",
        "1:v1",
        expect![[r#"
        1  remove db.1  spec changed
        2  start  db.2 db-v2  spec changed  after 1
        3  finish db.2  must complete first  after 2
        4  start  2 v2  spec changed  after 3
        5  await  2 1m  must be ready first  after 4
        6  route  2  ready for traffic  after 5
        7  drain  1 10s  about to stop  after 6
        8  stop   1 10s  spec changed  after 7
        9  remove 1  spec changed  after 8
    "#]],
    );
}

#[test]
fn nothing_starts_while_its_dependency_cannot_be_read() {
    check(
        "x1 v2 needs-db-done db? db-changed",
        "1:v1",
        expect![[r#"
        -- db.1: cannot be read and is left as it is: no answer
        -- x: waits for `db`, which has not completed
        -- x.1: stays until another is ready in its place
    "#]],
    );
}

#[test]
fn a_dependency_that_is_not_ready_is_waited_for() {
    check(
        "x1 v2 needs-db-ready db-unready",
        "1:v1",
        expect![[r#"
        1  await  db.1 2m  must be ready first
        2  start  2 v2  spec changed  after 1
        3  await  2 1m  must be ready first  after 2
        4  route  2  ready for traffic  after 3
        5  drain  1 10s  about to stop  after 4
        6  stop   1 10s  spec changed  after 5
        7  remove 1  spec changed  after 6
    "#]],
    );
}

#[test]
fn what_runs_and_is_not_ready_is_named_when_no_step_waits_for_it() {
    check(
        "x3 v1",
        "1:v1 2:v1/starting 3:v1/unready",
        expect![[r#"
            -- x.2: runs and is not ready yet
            -- x.3: runs and is not ready: refused
        "#]],
    );
}

#[test]
fn a_network_does_not_move_while_the_edge_cannot_drain_who_stands_on_it() {
    check(
        "x1 v1 moved edge?",
        "1:v1",
        expect![[r#"
            -- network default: cannot be changed yet: `x.1` stands on it and the edge cannot be told to drain it
            -- edge: cannot be read, traffic stays as it is: no answer
        "#]],
    );
}

#[test]
fn a_job_that_has_done_its_work_is_not_run_again_when_nothing_is_left_of_it() {
    let (want, mut world) = scene("x1 v1 needs-db-done", "");
    let Desired::Up(up) = &want else { panic!("it is up") };
    let db: ServiceName = "db".parse().unwrap();
    world.have.placed.replicas.clear();
    let starts_db = |world: &World, want: &Desired| {
        let steps = world.plan(want).steps;
        steps.values().any(
            |step| matches!(&step.action, Action::Replica(replica::Action::Start(start)) if start.id.service == db),
        )
    };
    assert!(starts_db(&world, &want), "nobody knows that it was run");
    let done = Completed { replicas: 1, at: world.now };
    world.have.completed.insert((db.clone(), up.stack.services[&db].hash), done);
    assert!(!starts_db(&world, &want));
    let later = world.now + jiff::SignedDuration::from_secs(1);
    let again = Up { restart: [(db.clone(), later)].into(), ..up.clone() };
    assert!(starts_db(&world, &Desired::Up(again)), "somebody asked for it");
    world.converge(&want, &mut |_| 0);
    assert!(world.have.placed.replicas.keys().all(|id| id.service != db));
}
