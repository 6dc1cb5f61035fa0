//! Commands inside replicas, orders that meet, and what people get to see of a stack's secrets.

use crate::hut::{Hut, Web, until};
use crate::load::Load;
use crate::processes;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

const SECRET: &str = "hunter2-hunter2";

/// How many replicas `web` has, one-offs included.
fn instances(hut: &Hut) -> usize {
    hut.json(&["status"])["services"][0]["instances"].as_array().map_or(0, Vec::len)
}

/// The processes of a `sleep` that only this hut has.
fn sleepers(hut: &Hut) -> (String, impl Fn() -> Vec<i32>) {
    let seconds = format!("9{}", hut.http());
    let line = format!("sleep {seconds}");
    // The client's own command line has the words as well.
    let find = move || processes::with(&[&line]).into_iter().filter(|pid| is_sleep(*pid)).collect();
    (seconds, find)
}

fn is_sleep(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep\0"))
}

fn interrupt(child: &std::process::Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[test]
fn ctrl_c_ends_a_command_that_reads_nothing() {
    let hut = Hut::up(&Web::version("1").replicas(1));
    let (seconds, sleepers) = sleepers(&hut);
    let words = ["exec", "web", "--", "sleep", &seconds];
    // More input than any pipe holds.
    let zeroes = std::fs::File::open("/dev/zero").unwrap();
    let child = hut.command(&words).stdin(Stdio::from(zeroes)).spawn().unwrap();
    until("the command", || !sleepers().is_empty());
    interrupt(&child);
    Hut::ended(child, &words).code(130);
    until("the command's end", || sleepers().is_empty());
}

#[test]
fn a_client_that_dies_takes_its_command_and_its_one_off_along() {
    let hut = Hut::up(&Web::version("1").replicas(1));
    let (seconds, sleepers) = sleepers(&hut);
    let words = ["run", "web", "--", "sleep", &seconds];
    let child = hut.command(&words).spawn().unwrap();
    until("the command", || !sleepers().is_empty());
    processes::kill(i32::try_from(child.id()).unwrap());
    drop(Hut::ended(child, &words));
    until("the command's end", || sleepers().is_empty());
    until("the one-off to be gone", || instances(&hut) == 1);
}

#[test]
fn one_offs_of_a_killed_daemon_are_swept_by_the_next() {
    let hut = Hut::up(&Web::version("1").replicas(1));
    let (seconds, sleepers) = sleepers(&hut);
    let words = ["run", "web", "--", "sleep", &seconds];
    let child = hut.command(&words).spawn().unwrap();
    until("the command", || !sleepers().is_empty());
    hut.kill_daemon();
    Hut::ended(child, &words).code(1).says("broke");
    hut.run(&["plan"]).code(0);
    assert_eq!(instances(&hut), 1);
    until("the command's end", || sleepers().is_empty());
}

#[test]
fn a_second_release_waits_or_takes_the_place_of_the_first() {
    let hut = Hut::new();
    hut.declare(&Web::version("1").slow("3"));
    let first = hut.command(&["up"]).spawn().unwrap();
    until("a replica", || !hut.replicas().is_empty());
    hut.run(&["up"]).code(1).says("MS0215").says("mainstay up --replace");
    hut.run(&["up", "--replace"]).code(0);
    Hut::ended(first, &["up"]).code(1).says("superseded");
    assert_eq!(hut.get().unwrap(), "version 1");
    let states: Vec<_> = hut.json(&["releases"]).as_array().unwrap().iter().map(|r| r["state"].clone()).collect();
    assert_eq!(states, ["done", "superseded"]);
}

#[test]
fn ctrl_c_leaves_the_run_to_go_on() {
    let hut = Hut::new();
    hut.declare(&Web::version("1").slow("1"));
    let up = hut.command(&["up"]).spawn().unwrap();
    until("a replica", || !hut.replicas().is_empty());
    interrupt(&up);
    Hut::ended(up, &["up"]).code(130).says("detached:");
    until("the end of the run", || hut.json(&["releases"])[0]["state"] == "done");
    assert_eq!(hut.get().unwrap(), "version 1");
}

#[test]
fn a_kept_plan_is_carried_out_once() {
    let hut = Hut::new();
    hut.declare(&Web::version("1"));
    let plan = hut.path().join("plan.json");
    let plan = plan.to_str().unwrap();
    hut.run(&["plan", "--out", plan]).code(3);
    hut.run(&["up", "--plan", plan]).code(0);
    assert_eq!(hut.get().unwrap(), "version 1");
    hut.run(&["up", "--plan", plan]).code(1).says("MS0213");
    assert_eq!(hut.json(&["releases"]).as_array().unwrap().len(), 1);
}

#[test]
fn another_daemon_takes_the_place_of_the_one_that_runs() {
    let hut = Hut::up(&Web::version("1"));
    let (daemon, edge, replicas) = (hut.daemon(), hut.edge(), hut.replicas());
    let mut serve = hut.command(&["serve", "--replace"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("another daemon", || hut.pids().is_some_and(|(pid, _)| pid != daemon));
    assert_eq!((hut.edge(), hut.replicas()), (edge, replicas), "the edge is of the same program");
    hut.run(&["plan"]).code(0);
    drop(hut);
    serve.wait().unwrap();
}

#[test]
fn an_upgrade_replaces_daemon_and_edge_without_a_lost_request() {
    let hut = Hut::new();
    hut.declare(&Web::version("1"));
    let old = hut.path().join("earlier");
    std::fs::copy(env!("CARGO_BIN_EXE_mainstay"), &old).unwrap();
    Hut::ended(hut.command_of(&old, &["up"]).spawn().unwrap(), &["up"]).code(0);
    let (daemon, edge, replicas) = (hut.daemon(), hut.edge(), hut.replicas());
    let load = Load::start(hut.http());
    load.at_least(50);
    let mut serve = hut.command(&["serve", "--replace"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("another daemon and edge", || {
        hut.pids().is_some_and(|(pid, new)| pid != daemon && new.is_some_and(|new| new != edge))
    });
    until("the old edge's end", || !processes::is_alive(edge));
    load.at_least(50);
    assert_eq!(load.end().without_failure(), ["version 1".to_owned()].into());
    assert_eq!(hut.replicas(), replicas);
    hut.run(&["events", "--all"]).code(0).says("an edge of another program was replaced");
    drop(hut);
    serve.wait().unwrap();
}

#[test]
fn a_secret_shows_nowhere_but_in_the_logs() {
    let hut = Hut::new();
    let script = format!("echo the password {SECRET} is wrong; exit 3");
    hut.declare(&Web::of(&["sh", "-c", &script]));
    let text = std::fs::read_to_string(hut.project().join("compose.yaml")).unwrap();
    hut.write("compose.yaml", &text.replace("environment: {", &format!("environment: {{ PASSWORD: {SECRET},")));
    let mut seen = hut.run(&["plan", "--json"]).out;
    let up = hut.run(&["up"]).code(1).says("the password *** is wrong");
    seen += &(up.out + &up.err);
    for words in [&["status", "--json"][..], &["events", "--json"], &["releases", "show", "1"], &["health", "--json"]] {
        let ended = hut.run(words);
        seen += &(ended.out + &ended.err);
    }
    assert!(!seen.contains(SECRET), "{seen}");
    hut.run(&["logs"]).code(0).says(SECRET);
}

#[test]
fn the_socket_is_for_root_and_the_group() {
    let hut = Hut::up(&Web::version("1").replicas(1));
    let socket = std::fs::symlink_metadata(hut.socket()).unwrap();
    assert_eq!(socket.mode() & 0o777, 0o660);
    assert_eq!(socket.uid(), 0);
}
