//! `kill -9` of everything, at any time.

use crate::hut::{Hut, Web, get, until};
use crate::load::{self, Load};
use crate::processes;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};

#[test]
fn the_next_daemon_adopts_what_a_killed_one_left() {
    let hut = Hut::up(&Web::version("1"));
    let (replicas, edge) = (hut.replicas(), hut.edge());
    let load = Load::start(hut.http());
    for _ in 0..3 {
        hut.kill_daemon();
        load.at_least(50);
        hut.run(&["plan"]).code(0).says("nothing to do");
        assert_eq!(hut.replicas(), replicas);
        assert_eq!(hut.edge(), edge);
    }
    hut.run(&["health"]).code(0);
    load.end().without_failure();
}

#[test]
fn every_order_starts_the_daemon_that_was_killed() {
    let hut = Hut::up(&Web::version("1"));
    for words in [
        &["exec", "web", "true"][..],
        &["run", "web", "true"],
        &["scale", "web=1"],
        &["restart", "web"],
        &["down", "--yes"],
    ] {
        hut.kill_daemon();
        hut.run(words).code(0).says("started the daemon");
    }
    assert_eq!(hut.leftovers(), Vec::<String>::new());
}

/// Kills the daemon once the line of `up` has this text, and expects the next one to finish what was begun.
#[track_caller]
fn check_killed_at(text: &str) {
    let hut = Hut::new();
    hut.declare(&Web::version("1").slow("0.3"));
    let mut up = hut.command(&["up"]).spawn().unwrap();
    let lines = BufReader::new(up.stderr.take().unwrap()).lines();
    let mut seen = String::new();
    for line in lines {
        seen += &(line.unwrap() + "\n");
        if seen.contains(text) {
            break;
        }
    }
    assert!(seen.contains(text), "{seen}");
    hut.kill_daemon();
    let _ = up.kill();
    up.wait().unwrap();

    // Any command that needs a daemon starts one, which goes on by itself.
    hut.run(&["plan"]);
    until("the end of the run", || hut.json(&["releases"])[0]["state"] == "done");
    assert_eq!(hut.get().unwrap(), "version 1");
    hut.run(&["plan"]).code(0);
    assert_eq!(hut.replicas().len(), 2);
    let status = hut.json(&["status"]);
    let instances = status["services"][0]["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 2, "{status}");
    let logs = hut.run(&["logs", "--tail", "all"]).code(0).out;
    let starts: Vec<&str> = logs.lines().filter(|line| line.contains("listening on")).collect();
    let distinct: BTreeSet<&str> = starts.iter().copied().collect();
    assert_eq!(starts.len(), distinct.len(), "a replica was started twice\n{logs}");
    let releases = hut.json(&["releases"]);
    assert_eq!(releases.as_array().unwrap().len(), 1, "{releases}");
    assert_eq!(releases[0]["state"], "done");
}

#[test]
fn a_daemon_killed_after_the_bundle_came_is_continued() {
    check_killed_at("release 1");
}

#[test]
fn a_daemon_killed_after_the_network_is_continued() {
    check_killed_at("network default");
}

#[test]
fn a_daemon_killed_after_the_first_start_is_continued() {
    check_killed_at("started  ");
}

#[test]
fn a_daemon_killed_after_the_first_route_is_continued() {
    check_killed_at("takes traffic");
}

#[test]
fn the_client_follows_its_run_into_the_next_daemon() {
    let hut = Hut::new();
    hut.declare(&Web::version("1").slow("1"));
    let up = hut.command(&["up"]).spawn().unwrap();
    until("a replica", || !hut.replicas().is_empty());
    hut.kill_daemon();
    // Any command that needs a daemon starts one.
    hut.run(&["plan"]);
    Hut::ended(up, &["up"]).code(0).says("is up");
    assert_eq!(hut.get().unwrap(), "version 1");
}

#[test]
fn a_daemon_killed_in_a_rollout_loses_no_request_and_finishes_it() {
    let hut = Hut::up(&Web::version("1"));
    let load = Load::start(hut.http());
    hut.declare(&Web::version("2").slow("0.5"));
    let up = hut.command(&["up"]).spawn().unwrap();
    until("a third replica", || hut.replicas().len() == 3);
    hut.kill_daemon();
    load.at_least(50);
    hut.run(&["plan"]);
    Hut::ended(up, &["up"]).code(0);
    let seen = load.end().without_failure();
    assert!(seen.contains("version 1"), "{seen:?}");
    assert_eq!(hut.get().unwrap(), "version 2");
    assert_eq!(hut.replicas().len(), 2);
}

#[test]
fn an_edge_killed_in_a_rollout_costs_what_it_held_and_the_rollout_is_finished() {
    let hut = Hut::up(&Web::version("0"));
    let load = Load::start(hut.http());
    for (version, lines) in [("1", 2), ("2", 4), ("3", 7)] {
        hut.declare(&Web::version(version));
        let mut up = hut.command(&["up"]).spawn().unwrap();
        let mut said = BufReader::new(up.stderr.take().unwrap()).lines();
        let before: Vec<_> = said.by_ref().take(lines).collect();
        assert_eq!(before.len(), lines, "the rollout was over before the edge was killed");
        processes::kill(hut.edge());
        // Whoever reads no longer would stop it.
        let rest: Vec<_> = said.map_while(Result::ok).collect();
        assert!(up.wait().unwrap().success(), "{rest:?}");
        load.at_least(50);
        assert_eq!(hut.get().unwrap(), format!("version {version}"));
        // A child of the old one, which serves a connection to the dead edge, may outlive it for a moment.
        until("two replicas", || hut.replicas().len() == 2);
    }
    load.end().with_failures_at_most(3 * load::CLIENTS);
}

#[test]
fn another_edge_serves_on_the_same_sockets() {
    let hut = Hut::up(&Web::version("1"));
    let (edge, replicas) = (hut.edge(), hut.replicas());
    for port in [hut.http(), hut.published()] {
        let edge = hut.edge();
        processes::kill(edge);
        // The daemon holds the sockets, so that a connection waits instead of being refused. One that the kernel had
        // given to the dead edge already is lost with it.
        until("an answer", || get(port).is_ok_and(|body| body == "version 1"));
        until("another edge", || hut.pids().is_some_and(|(_, new)| new.is_some_and(|new| new != edge)));
    }
    assert_ne!(hut.edge(), edge);
    assert_eq!(hut.replicas(), replicas);
    hut.run(&["plan"]).code(0);
}

#[test]
fn edge_and_daemon_killed_together_come_back() {
    let hut = Hut::up(&Web::version("1"));
    let (edge, replicas) = (hut.edge(), hut.replicas());
    hut.kill_daemon();
    processes::kill(edge);
    until("the edge's end", || !processes::is_alive(edge));
    hut.run(&["up"]).code(0);
    assert_eq!(hut.get().unwrap(), "version 1");
    assert_eq!(hut.replicas(), replicas);
}

/// Kills something of the first of two replicas and waits for another in its place.
#[track_caller]
fn check_comes_back(victim: impl Fn(i32) -> i32) {
    let hut = Hut::up(&Web::version("1"));
    let before = hut.replicas();
    processes::kill(victim(before[0]));
    until("the replica's end", || !processes::is_alive(before[0]));
    until("another replica", || {
        let now = hut.replicas();
        now.len() == 2 && !now.contains(&before[0])
    });
    assert!(hut.replicas().contains(&before[1]), "the other one was left alone");
    until("health", || hut.run(&["health"]).code == 0);
    assert_eq!(hut.get().unwrap(), "version 1");
    hut.run(&["plan"]).code(0);
}

#[test]
fn a_killed_replica_comes_back() {
    check_comes_back(|replica| replica);
}

#[test]
fn a_replica_whose_shim_is_killed_comes_back() {
    check_comes_back(|replica| processes::parent(replica).filter(|shim| *shim > 1).unwrap());
}

#[test]
fn a_replica_that_dies_again_and_again_is_held_back() {
    let hut = Hut::up(&Web::version("1").replicas(1));
    for pause in [100, 200, 400] {
        let pid = hut.replicas()[0];
        let begun = std::time::Instant::now();
        processes::kill(pid);
        until("another replica", || hut.replicas().first().is_some_and(|new| *new != pid));
        assert!(
            begun.elapsed() >= std::time::Duration::from_millis(pause),
            "each start waits longer than the one before"
        );
    }
    let status = hut.json(&["status"]);
    assert_eq!(status["services"][0]["instances"][0]["failures"], 3, "{status}");
}
