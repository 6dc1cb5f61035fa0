//! Docker Engines that die: what is told meanwhile, and how a stack comes back.

use crate::hut::{Hut, Web, until};
use crate::processes;
use crate::yard::{Site, Yard};
use std::io::{BufRead as _, BufReader};
use testkit::docker::Engine;

fn up(site: &Site<'_>) -> Yard {
    let yard = Yard::of_its_own(Engine::start());
    yard.declare(site);
    yard.run(&["up"]).code(0);
    yard
}

#[track_caller]
fn until_it_is_back(yard: &Yard, version: &str) {
    until("the stack", || yard.get().is_ok_and(|body| body == format!("version {version}")));
    until("health", || yard.run(&["health"]).code == 0);
    assert_eq!(yard.containers().len(), 2);
    yard.run(&["plan"]).code(0).says("nothing to do");
}

#[test]
fn an_engine_that_was_restarted_or_killed_has_its_stack_back_without_an_order() {
    let mut yard = up(&Site::version("1"));
    yard.own().stop();
    // Some commands tell that the Engine is away, none that there is nothing.
    yard.run(&["status"]).says("does not answer");
    yard.own().start_again();
    until_it_is_back(&yard, "1");
    yard.own().kill();
    yard.own().start_again();
    until_it_is_back(&yard, "1");
    assert_eq!(yard.json(&["releases"]).as_array().unwrap().len(), 1, "nobody ordered anything");
}

#[test]
fn an_engine_that_is_killed_in_an_up_is_told_with_a_cure_and_the_next_up_converges() {
    let mut yard = Yard::of_its_own(Engine::start());
    yard.declare(&Site::version("1").slow("0.3"));
    let mut up = yard.command(&["up"]).spawn().unwrap();
    let (mut said, mut is_killed) = (String::new(), false);
    for line in BufReader::new(up.stderr.take().unwrap()).lines() {
        said += &(line.unwrap() + "\n");
        if said.contains("started  ") && !is_killed {
            yard.own().kill();
            is_killed = true;
        }
    }
    let code = up.wait().unwrap().code();
    // As it was asked just then, or later.
    let is_told = said.contains("does not answer") || said.contains("conversation with the Docker Engine broke");
    assert!(code == Some(1) && is_told && said.contains("systemctl start docker"), "{said}");
    yard.own().start_again();
    yard.run(&["up"]).code(0);
    until_it_is_back(&yard, "1");
}

#[test]
fn a_machine_that_was_started_anew_has_its_stack_back_with_its_volumes() {
    let mut yard = up(&Site::version("1"));
    yard.run(&["exec", "web", "touch", "/data/kept"]).code(0);
    let edge = yard.edge();
    yard.kill_daemon();
    processes::kill(edge);
    until("the edge's end", || !processes::is_alive(edge));
    yard.own().kill();
    let run = yard.socket().parent().unwrap().to_owned();
    std::fs::remove_dir_all(&run).unwrap();
    let links = yard.own().command("ip").args(["-o", "link", "show"]).output().unwrap();
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    let name = |line: &str| line.split(": ").nth(1).map(|name| name.split('@').next().unwrap().to_owned());
    for link in links.lines().filter_map(name).filter(|name| name.starts_with("md")) {
        assert!(yard.own().command("ip").args(["link", "delete", &link]).status().unwrap().success());
    }
    yard.own().command("nft").args(["flush", "ruleset"]).status().unwrap();
    yard.own().start_again();
    // The service manager would do that.
    yard.run(&["plan"]);
    until_it_is_back(&yard, "1");
    assert_eq!(yard.kept(), "kept");
    yard.run(&["exec", "web", "test", "-e", "/data/kept"]).code(0);
}

#[test]
fn an_engine_that_is_away_disturbs_no_stack_on_another_engine() {
    let mut yard = up(&Site { replicas: 1, ..Site::version("1") });
    let other = yard.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let write = |version: &str| {
        let compose = "name: other\nservices: { job: { image: job, restart: always } }\n\
            networks: { default: { ipam: { config: [{ subnet: 10.97.3.0/24 }] } } }\n";
        let policy = format!(
            "project: other\nenvironments: {{ development: {{ engine: process }} }}\n\
            processes: {{ job: {{ command: [sh, -c, \"echo version {version}; exec sleep 1000\"] }} }}\n"
        );
        std::fs::write(other.join("compose.yaml"), compose).unwrap();
        std::fs::write(other.join("mainstay.yaml"), policy).unwrap();
    };
    let run = |yard: &Yard, words: &[&str]| {
        let mut command = yard.command(words);
        command.current_dir(&other).env("MAINSTAY_ENGINE", "process");
        Hut::ended(command.spawn().unwrap(), words)
    };
    write("1");
    run(&yard, &["up"]).code(0);
    yard.own().kill();
    yard.run(&["status"]).says("does not answer");
    yard.run(&["up"]).code(1).says("does not answer").says("systemctl start docker");
    run(&yard, &["status"]).code(0).says("job");
    run(&yard, &["health"]).code(0);
    write("2");
    run(&yard, &["up"]).code(0);
    run(&yard, &["logs", "--tail", "all"]).code(0).says("version 2");
    // The next daemon begins without the Engine as well.
    yard.kill_daemon();
    run(&yard, &["up"]).code(0);
    run(&yard, &["health"]).code(0);
    run(&yard, &["down", "--yes"]).code(0);
    yard.own().start_again();
    until("the stack", || yard.get().is_ok_and(|body| body == "version 1"));
}

#[test]
fn a_full_disk_in_a_build_is_told_and_the_next_up_converges() {
    let yard = Yard::of_its_own(Engine::start_with_disk(96 << 20));
    yard.declare(&Site { recipe: "RUN cat /dev/zero > /big", ..Site::version("1") });
    yard.run(&["up"]).code(1).says("MS0248").says("space left").says("docker system prune");
    assert_eq!(yard.containers(), Vec::<String>::new());
    yard.declare(&Site::version("1"));
    yard.run(&["up"]).code(0);
    until_it_is_back(&yard, "1");
}

#[test]
fn a_machine_without_docker_keeps_house_without_complaint() {
    let hut = Hut::new();
    hut.declare(&Web::version("1"));
    let mut up = hut.command(&["up"]);
    up.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    Hut::ended(up.spawn().unwrap(), &["up"]).code(0);
    // It has kept house by then, at its start and after the release.
    hut.run(&["down", "--yes"]).code(0);
    hut.end_daemon();
    let log = std::fs::read_to_string(hut.state().join("daemon.log")).unwrap();
    assert!(log.contains("serving") && !log.contains("could not keep"), "{log}");
}
