//! Releases that fail: explained, in time, and with the last good one serving on.

use crate::hut::{Hut, Web};
use std::time::{Duration, Instant};

const EXITS: [&str; 3] = ["sh", "-c", "echo the reason is here >&2; exit 3"];

#[test]
fn a_command_that_exits_at_once_is_explained_with_its_last_lines() {
    let hut = Hut::new();
    hut.declare(&Web::of(&EXITS));
    let begun = Instant::now();
    let up = hut.run(&["up"]).code(1).says("the reason is here").says("exited with code 3");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}\n{}", begun.elapsed(), up.err);
    assert_eq!(hut.json(&["releases"])[0]["state"], "failed");
    hut.run(&["explain", "release", "1"]).code(0).says("the reason is here");
    hut.run(&["health"]).code(1);
    hut.run(&["down", "--yes"]).code(0);
    assert_eq!(hut.leftovers(), Vec::<String>::new());
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let hut = Hut::new();
    hut.declare(&Web::of(&["/app/missing"]));
    let begun = Instant::now();
    hut.run(&["up"]).code(1).says("/app/missing");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// A second release that cannot do its work leaves the first one serving.
#[track_caller]
fn check_rolled_back(hut: &Hut, bad: &Web<'_>, reason: &str) {
    let load = crate::load::Load::start(hut.http());
    hut.declare(bad);
    hut.run(&["up"]).code(1).says(reason);
    load.at_least(20);
    let bodies = load.end().without_failure();
    assert_eq!(bodies, ["version 1".to_owned()].into());
    let releases = hut.json(&["releases"]);
    let state = |index: usize| (releases[index]["number"].as_u64(), releases[index]["state"].as_str());
    assert_eq!((state(0), state(1)), ((Some(2), Some("failed")), (Some(1), Some("done"))), "{releases}");
    assert_eq!(releases[1]["current"], true, "{releases}");
    let status = hut.json(&["status"]);
    assert_eq!((&status["release"], &status["ready"]), (&1.into(), &2.into()), "{status}");
    assert_eq!(hut.replicas().len(), 2);
    hut.run(&["explain", "release", "2"]).code(0).says(reason);
    hut.declare(&Web::version("3"));
    hut.run(&["up"]).code(0);
    assert_eq!(hut.get().unwrap(), "version 3");
}

#[test]
fn a_release_that_crashes_leaves_the_one_before_it_serving() {
    let hut = Hut::up(&Web::version("1"));
    check_rolled_back(&hut, &Web::of(&EXITS).replicas(2), "the reason is here");
}

#[test]
fn a_release_that_never_gets_ready_leaves_the_one_before_it_serving() {
    let hut = Hut::up(&Web::version("1"));
    // Runs, but listens where nobody asks.
    let command = vec!["perl", "/app/server.pl", "3999", "2"];
    let deaf = Web { command, ready_within: "3s", ..Web::version("2") };
    check_rolled_back(&hut, &deaf, "not ready after 3s");
}

#[test]
fn a_release_that_moves_the_health_path_keeps_the_old_replicas_in_rotation() {
    fn probed(version: &'static str, probe: &'static str) -> Web<'static> {
        Web { probe, ..Web::version(version) }
    }
    let hut = Hut::up(&probed(
        "1",
        "{ http: /health-1, port: 3000, interval: 200ms, timeout: 2s, start_interval: 50ms, start_period: 10s, retries: 1 }",
    ));
    let load = crate::load::Load::start(hut.http());
    hut.declare(&probed("2", "{ http: /health-2, port: 3000, interval: 200ms, timeout: 2s, start_interval: 50ms, start_period: 10s, retries: 1 }").slow("2"));
    // Looking at what would happen changes nothing either.
    hut.run(&["plan"]).code(3);
    load.at_least(100);
    hut.run(&["up"]).code(0);
    load.at_least(20);
    let bodies = load.end().without_failure();
    assert_eq!(bodies, ["version 1".to_owned(), "version 2".to_owned()].into());
}
