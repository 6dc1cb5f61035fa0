//! The commands that act on what runs.

use crate::hut::{Hut, Web, until};

#[test]
fn restart_replaces_every_replica() {
    let hut = Hut::up(&Web::version("1"));
    let before = hut.replicas();
    hut.run(&["restart", "web"]).code(0);
    let after = hut.replicas();
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    hut.run(&["plan"]).code(0);
    hut.run(&["restart", "nothing"]).code(1).says("nothing");
}

#[test]
fn scale_keeps_replicas_that_stay() {
    let hut = Hut::up(&Web::version("1"));
    let before = hut.replicas();
    hut.run(&["scale", "web=4"]).code(0);
    let more = hut.replicas();
    assert_eq!(more.len(), 4);
    assert!(before.iter().all(|pid| more.contains(pid)), "{before:?} {more:?}");
    hut.run(&["scale", "web=1"]).code(0);
    let fewer = hut.replicas();
    assert_eq!(fewer.len(), 1);
    assert!(more.contains(&fewer[0]));
    assert_eq!(hut.get().unwrap(), "version 1");
}

#[test]
fn exec_and_run_pass_exit_codes_and_output_on() {
    let hut = Hut::up(&Web::version("1"));
    hut.run(&["exec", "web", "--", "sh", "-c", "echo inside; echo wrong >&2; exit 7"]).code(7).says("inside");
    hut.run(&["exec", "web.2", "--", "true"]).code(0);
    let missing = hut.run(&["exec", "web", "--", "/no/such/program"]);
    assert!([126, 127].contains(&missing.code), "{missing:?}");
    hut.run(&["exec", "web.9", "--", "true"]).code(1).says("web.9");
    let before = hut.replicas();
    hut.run(&["run", "web", "--", "sh", "-c", "echo once; exit 5"]).code(5).says("once");
    assert_eq!(hut.replicas(), before);
    until("the one-off to be gone", || {
        hut.json(&["status"])["services"][0]["instances"].as_array().unwrap().len() == 2
    });
    hut.run(&["plan"]).code(0);
}

#[test]
fn logs_begin_with_the_last_lines_of_each_replica() {
    let hut = Hut::up(&Web::of(&["sh", "-c", "seq 1 50; exec perl /app/server.pl 3000 1"]).replicas(2));
    let all = hut.run(&["logs", "--tail", "all"]).code(0).out;
    assert_eq!(all.lines().count(), 102, "{all}");
    let tail = hut.run(&["logs", "web.1", "--tail", "2"]).code(0).out;
    let lines: Vec<&str> = tail.lines().collect();
    assert_eq!(lines.len(), 2, "{tail}");
    assert!(lines[0].ends_with("50") && lines[1].ends_with("listening on 3000"), "{tail}");
    hut.run(&["logs", "nothing"]).code(1).says("nothing");
}

#[test]
fn health_tells_a_degraded_service_by_its_exit_code() {
    let hut = Hut::up(&Web::version("1"));
    hut.run(&["health"]).code(0).says("ok");
    // The first replica stops answering; nothing restarts it, there is no live probe.
    let pid = hut.replicas()[0];
    let stop = |signal| rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    stop(rustix::process::Signal::STOP);
    until("a degraded service", || hut.run(&["health"]).code == 1);
    assert_eq!(hut.json(&["health"])["status"], "degraded");
    assert_eq!(hut.get().unwrap(), "version 1");
    stop(rustix::process::Signal::CONT);
    until("health", || hut.run(&["health"]).code == 0);
}
