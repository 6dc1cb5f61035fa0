//! Projects that `docker compose` runs, taken over while they serve.

use crate::hut::{Hut, until};
use crate::load::Load;
use crate::yard::{Site, Yard};
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::process::Command;
use testkit::docker::docker;

/// A yard whose project is run by `docker compose`, the real one.
struct Composed(Yard);

impl Deref for Composed {
    type Target = Yard;
    fn deref(&self) -> &Yard {
        &self.0
    }
}

impl Composed {
    fn up(site: &Site<'_>) -> Self {
        let composed = Self(Yard::new());
        composed.declare(site);
        // Its network is its own; ours has the subnet that no other test has.
        let ours = std::fs::read_to_string(composed.project().join("compose.yaml")).unwrap();
        let theirs = ours.split_once("networks:").unwrap().0;
        composed.write("compose.yaml", theirs);
        composed.compose(&["up", "--detach", "--build", "--quiet-pull"]);
        composed.write("compose.yaml", &ours);
        until("the first answer", || composed.answer().is_ok());
        composed
    }

    fn compose(&self, args: &[&str]) {
        let program = std::env::var_os("MAINSTAY_REFERENCE").expect("MAINSTAY_REFERENCE names docker-compose");
        let mut command = Command::new(program);
        command.args(["--project-name", self.name()]).args(args).current_dir(self.project());
        let ran = command.env("DOCKER_HOST", testkit::docker::url()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// A container of `docker compose`: its id, and when it was started.
    fn container(&self, rest: &str) -> String {
        docker(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &format!("{}{rest}", self.name())])
    }

    /// What the published port answers.
    fn answer(&self) -> Result<String, String> {
        crate::hut::get_from((Ipv4Addr::LOCALHOST, self.published()).into())
    }

    fn load(&self) -> Load {
        Load::at((Ipv4Addr::LOCALHOST, self.published()).into())
    }

    /// Whether new connections are led to another port.
    fn has_detours(&self) -> bool {
        let table = crate::leftovers::table("detours", self.run_folder());
        Command::new("nft").args(["list", "table", "inet", &table]).output().unwrap().status.success()
    }

    /// The ports that the Engine listens on for the project.
    fn held(&self) -> String {
        docker(&["ps", "--filter", &format!("name={}", self.name()), "--format", "{{.Ports}}"])
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        self.0.run(&["down", "--yes", "--volumes"]);
        self.compose(&["down", "--volumes", "--rmi", "local", "--remove-orphans"]);
    }
}

/// Keys of `web`, and a second service that publishes nothing: it may run twice.
const TWO: &str = "    environment: { A: one }
  back:
    image: mainstay-test/base
    command: [sh, -c, \"trap 'exit 0' TERM; sleep 1000 & wait\"]
    volumes: [/scratch]
    deploy: { replicas: 2 }";

#[test]
fn what_has_not_changed_goes_on_and_its_first_release_drops_no_request() {
    let site = |version: &'static str| Site { replicas: 1, keys: TWO, ..Site::version(version) };
    let composed = Composed::up(&site("1"));
    docker(&["exec", &format!("{}-web-1", composed.name()), "touch", "/data/kept"]);
    let now = || ["-web-1", "-back-1", "-back-2"].map(|rest| composed.container(rest));
    let before = now();
    composed.run(&["plan", "--adopt"]).code(3).says("-web-1` goes on as `web.1`").says("-back-2` goes on as `back.2`");
    let load = composed.load();
    load.at_least(20);
    composed.run(&["up", "--adopt"]).code(0);
    load.at_least(50);
    assert!(composed.has_detours(), "the Engine has the port");
    assert_eq!(now(), before, "nothing was started anew");
    assert_eq!(composed.json(&["status"])["release"], 1);
    composed.run(&["logs", "web"]).code(0).says("listening on 3000");
    composed.run(&["exec", "web", "test", "-e", "/data/kept"]).code(0);
    composed.declare(&site("2"));
    composed.run(&["plan"]).code(3).says("`back.1` is still the container that was taken over");
    composed.run(&["up"]).code(0);
    load.at_least(50);
    assert_eq!(load.end().without_failure(), ["version 1", "version 2"].map(str::to_owned).into());
    composed.run(&["exec", "web", "test", "-e", "/data/kept"]).code(0);
    assert_eq!(composed.containers(), [composed.called("-web-2")], "`back` has not changed");
    assert!(!composed.held().contains("->"), "{}", composed.held());
    until("the port without a detour", || !composed.has_detours());
    composed.answer().unwrap();
    composed.run(&["down", "--yes"]).code(0);
    let volume = format!("{}_data", composed.name());
    assert_eq!(docker(&["volume", "ls", "--quiet", "--filter", &format!("name={volume}")]), volume, "the data stay");
    composed.run(&["up"]).code(0);
    composed.run(&["exec", "web", "test", "-e", "/data/kept"]).code(0);
}

#[test]
fn what_has_changed_is_replaced_in_the_same_up_and_keeps_its_data() {
    let composed = Composed::up(&Site { replicas: 1, keys: "    environment: { A: one }", ..Site::version("1") });
    docker(&["exec", &format!("{}-web-1", composed.name()), "touch", "/data/kept"]);
    composed.declare(&Site { replicas: 1, keys: "    environment: { A: two }", ..Site::version("2") });
    composed.run(&["plan", "--adopt"]).code(3).says("until one takes its place: command, environment differ");
    let load = composed.load();
    load.at_least(20);
    composed.run(&["up", "--adopt"]).code(0);
    load.at_least(20);
    assert_eq!(load.end().without_failure(), ["version 1", "version 2"].map(str::to_owned).into());
    assert_eq!(composed.containers(), [composed.called("-web-2")]);
    composed.run(&["exec", "web", "sh", "-c", "test -e /data/kept && test $A = two"]).code(0);
    let left =
        docker(&["ps", "--all", "--filter", &format!("name={}-web-1", composed.name()), "--format", "{{.Names}}"]);
    assert_eq!(left, "");
}

#[test]
fn a_daemon_killed_in_a_takeover_loses_no_request_and_the_next_one_goes_on_with_it() {
    let composed = Composed::up(&Site { replicas: 1, ..Site::version("1") });
    let load = composed.load();
    load.at_least(20);
    let up = composed.command(&["up", "--adopt"]).spawn().unwrap();
    let taken = composed.state().join("taken-over").join(format!("{}@development", composed.name()));
    until("a first container", || std::fs::read_to_string(&taken).is_ok_and(|text| text.contains("\"web.")));
    composed.kill_daemon();
    Hut::ended(up, &["up", "--adopt"]);
    // Planning starts the next one.
    composed.run(&["plan"]);
    until("the end of the takeover", || composed.run(&["status"]).out.contains("  ok  release 1"));
    composed.kill_daemon();
    composed.declare(&Site { replicas: 1, ..Site::version("2") });
    composed.run(&["up"]).code(0);
    load.at_least(50);
    assert_eq!(load.end().without_failure(), ["version 1", "version 2"].map(str::to_owned).into());
    assert_eq!(composed.containers().len(), 1);
    assert!(!composed.held().contains("->"), "{}", composed.held());
}

#[test]
fn beside_a_running_project_nothing_is_started_unasked() {
    let composed = Composed::up(&Site { replicas: 1, ..Site::version("1") });
    composed.run(&["plan"]).code(3).says("`docker compose` runs this project").says("--adopt");
    composed.run(&["up"]).code(1).says("MS0255").says("mainstay up --adopt");
    assert_eq!(composed.containers(), Vec::<String>::new());
    assert_eq!(composed.answer().unwrap(), "version 1");
    composed.run(&["plan", "--adopt=nothing-of-that-name"]).code(1).says("MS0255");
}
