//! `kill -9` of the daemon in the middle of every order: the next one finishes what was accepted.

use crate::hut::{Hut, Web, until};
use std::io::{BufRead as _, BufReader};

/// Orders, kills the daemon once the command has said so many lines, and waits until the next daemon is at rest.
fn cut(hut: &Hut, words: &[&str], lines: usize) {
    let daemon = hut.daemon();
    let mut command = hut.command(words).spawn().unwrap();
    let mut said = BufReader::new(command.stderr.take().unwrap()).lines();
    for _ in 0..lines {
        if said.next().is_none() {
            break;
        }
    }
    crate::processes::kill(daemon);
    until("the daemon's end", || !crate::processes::is_alive(daemon));
    let _ = command.kill();
    command.wait().unwrap();
    // Any command that needs a daemon starts one, which goes on by itself.
    hut.run(&["plan"]);
    until("rest", || hut.json(&["status"])["run"].is_null());
}

/// How many lines have been said when the daemon is killed.
const CUTS: [usize; 4] = [1, 3, 5, 8];

#[test]
fn a_first_release_is_finished() {
    for lines in CUTS {
        let hut = Hut::new();
        hut.declare(&Web::version("1"));
        hut.run(&["plan"]);
        cut(&hut, &["up"], lines + 1);
        until("the release", || hut.json(&["releases"])[0]["state"] == "done" || hut.run(&["up"]).code == 0);
        assert_eq!(hut.get().unwrap(), "version 1");
        assert_eq!(hut.replicas().len(), 2);
    }
}

#[test]
fn a_rollout_is_finished_without_a_lost_request() {
    let hut = Hut::up(&Web::version("0"));
    let load = crate::load::Load::start(hut.http());
    for (version, lines) in ["1", "2", "3", "4"].into_iter().zip(CUTS) {
        hut.declare(&Web::version(version));
        cut(&hut, &["up"], lines);
        hut.run(&["up"]).code(0);
        assert_eq!(hut.get().unwrap(), format!("version {version}"));
        assert_eq!(hut.replicas().len(), 2);
    }
    load.end().without_failure();
}

#[test]
fn a_fallback_is_finished_and_explained() {
    let hut = Hut::up(&Web::version("1"));
    let load = crate::load::Load::start(hut.http());
    for lines in CUTS {
        hut.declare(&Web::of(&["sh", "-c", "echo the reason is here >&2; exit 3"]).replicas(2));
        cut(&hut, &["up"], lines);
        let newest = &hut.json(&["releases"])[0];
        assert!(newest["number"] == 1 || newest["state"] == "failed", "after {lines} lines: {newest}");
        assert_eq!(hut.replicas().len(), 2);
        hut.declare(&Web::version("1"));
        hut.run(&["up"]).code(0);
    }
    assert_eq!(load.end().without_failure(), ["version 1".to_owned()].into());
}

#[test]
fn restart_scale_and_down_are_finished() {
    let hut = Hut::up(&Web::version("1"));
    for lines in [1, 4] {
        cut(&hut, &["restart", "web"], lines);
        assert_eq!(hut.replicas().len(), 2);
        cut(&hut, &["scale", "web=3"], lines);
        let running = hut.replicas().len();
        assert!(running == 2 || running == 3, "{running}");
        hut.run(&["scale", "web=2"]).code(0);
        assert_eq!(hut.get().unwrap(), "version 1");
    }
    for lines in [1, 3] {
        hut.run(&["up"]).code(0);
        cut(&hut, &["down", "--yes"], lines);
        hut.run(&["down", "--yes"]).code(0);
        assert_eq!(hut.leftovers(), Vec::<String>::new());
    }
}
