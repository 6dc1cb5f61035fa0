//! A project carried through ssh: every command means the daemon over there, and a cut costs nothing but the sight.

use crate::hut::{Ended, Hut, Web, until};
use crate::processes;
use crate::sshd::Sshd;
use crate::yard::{Site, Yard};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

/// Two machines that are one: the hut's daemon is reached through ssh alone.
struct Remote {
    // Ended in this order: the hut's daemon is asked without ssh.
    sshd: Sshd,
    hut: Hut,
}

impl Remote {
    fn new(web: &Web<'_>) -> Self {
        let hut = Hut::new();
        hut.declare(web);
        Self { sshd: Sshd::of(&hut), hut }
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Ended {
        self.sshd.run(&self.hut, words)
    }

    fn spawn(&self, words: &[&str]) -> Child {
        self.sshd.command(&self.hut, words).spawn().unwrap()
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> serde_json::Value {
        let ended = self.run(&[words, &["--json"]].concat());
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }
}

#[test]
fn a_project_is_carried_through_ssh() {
    let remote = Remote::new(&Web::version("1"));
    remote.run(&["status"]).code(1).says("MS0309");
    remote.run(&["plan"]).code(3).says("started the daemon on ssh://root@127.0.0.1").says("sent 1 file");
    remote.run(&["up"]).code(0).says("is up");
    assert_eq!(remote.hut.get().unwrap(), "version 1");
    remote.run(&["plan"]).code(0).says("nothing to do");
    remote.run(&["status"]).code(0).says("web.1");
    remote.run(&["logs"]).code(0).says("listening on");
    remote.run(&["scale", "web=1"]).code(0);
    remote.run(&["restart"]).code(0);
    remote.run(&["health"]).code(0);
    remote.run(&["events", "-n", "500"]).code(0).says("by root");
    assert_eq!(remote.json(&["releases"])[0]["state"], "done");
    assert_eq!(remote.json(&["version"])["daemon"]["pid"].as_i64(), Some(remote.hut.daemon().into()));
    remote.run(&["down", "--yes"]).code(0);
    assert_eq!(remote.hut.leftovers(), Vec::<String>::new());
}

#[test]
fn a_command_over_there_has_input_output_exit_code_and_a_terminal() {
    let remote = Remote::new(&Web::version("1").replicas(1));
    remote.run(&["up"]).code(0);
    let words = ["exec", "web", "--", "sh", "-c", "cat; echo wrong >&2; exit 7"];
    let mut child = remote.sshd.command(&remote.hut, &words).stdin(Stdio::piped()).spawn().unwrap();
    // More than every pipe on the way holds.
    let much = "0123456789abcdef\n".repeat(64 << 10);
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(much.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(7), 17 * (64 << 10)));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "wrong\n");

    let line = format!("{} exec web -- sh -c 'test -t 0 && stty size && exit 5'", env!("CARGO_BIN_EXE_mainstay"));
    let typed = remote.sshd.command(&remote.hut, &[]);
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]).env_clear();
    terminal.envs(typed.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
    terminal.current_dir(remote.hut.project()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Hut::ended(terminal.spawn().unwrap(), &["exec"]).code(5);
    assert!(ended.out.lines().any(|line| line.trim().split(' ').count() == 2), "{ended:?}");
}

#[test]
fn ctrl_c_reaches_the_command_and_not_the_connection() {
    let remote = Remote::new(&Web::version("1").replicas(1));
    remote.run(&["up"]).code(0);
    let words = ["exec", "web", "--", "sh", "-c", "echo armed; sleep 60"];
    let mut command = remote.sshd.command(&remote.hut, &words);
    // A group of its own, as a shell gives to what it starts: Ctrl-C is sent to all of it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "armed\n");
    let group = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    let ended = Hut::ended(child, &words).code(130);
    assert!(!ended.err.contains("broke"), "{ended:?}");
}

/// The `ssh` children of a command.
fn connections(command: &Child) -> Vec<i32> {
    let children = processes::children(i32::try_from(command.id()).unwrap());
    children.into_iter().filter(|child| processes::name(*child) == "ssh").collect()
}

#[test]
fn a_connection_that_is_cut_in_a_release_is_made_again() {
    let remote = Remote::new(&Web::version("1").slow("2"));
    let up = remote.spawn(&["up"]);
    until("a replica", || !remote.hut.replicas().is_empty());
    for cut in 0..3 {
        until("a connection", || !connections(&up).is_empty());
        connections(&up).into_iter().for_each(processes::kill);
        until("another connection", || !connections(&up).is_empty() || cut == 2);
    }
    Hut::ended(up, &["up"]).code(0).says("the connection broke").says("is up");
    assert_eq!(remote.hut.get().unwrap(), "version 1");
}

#[test]
fn a_host_that_vanishes_in_a_release_finishes_it() {
    let mut remote = Remote::new(&Web::version("1").slow("3"));
    let up = remote.spawn(&["up"]);
    let exec = {
        until("a replica", || !remote.hut.replicas().is_empty());
        remote.sshd.vanish();
        up
    };
    Hut::ended(exec, &["up"]).code(1).says("MS0301").says("goes on in the daemon").says("mainstay status");
    until("the end of the release", || remote.hut.json(&["releases"])[0]["state"] == "done");
    assert_eq!(remote.hut.get().unwrap(), "version 1");
    remote.run(&["status"]).code(1).says("MS0301");
    remote.sshd.start();
    remote.run(&["status"]).code(0).says("ok");
}

#[test]
fn logs_that_are_followed_go_on_after_a_cut() {
    let remote = Remote::new(&Web::version("1").replicas(1));
    remote.run(&["up"]).code(0);
    let mut logs = remote.spawn(&["logs", "-f"]);
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("listening on"));
    until("a connection", || !connections(&logs).is_empty());
    connections(&logs).into_iter().for_each(processes::kill);
    remote.run(&["restart"]).code(0);
    assert!(lines.next().unwrap().unwrap().starts_with("web.2"), "a line of the first replica came twice");
    processes::terminate(i32::try_from(logs.id()).unwrap());
    logs.wait().unwrap();
}

#[test]
fn what_is_in_the_way_is_said_with_its_cure() {
    let mut remote = Remote::new(&Web::version("1"));
    let far = remote.hut.path().join("far-bin/mainstay");
    let program = std::fs::read_link(&far).unwrap();
    std::fs::remove_file(&far).unwrap();
    remote.run(&["status"]).code(1).says("MS0305").says("mainstay host prepare ssh://root@127.0.0.1");
    // An earlier program knows no such command.
    std::os::unix::fs::symlink("/usr/bin/ssh-keygen", &far).unwrap();
    remote.run(&["status"]).code(1).says("MS0308");
    std::fs::remove_file(&far).unwrap();
    std::os::unix::fs::symlink(program, &far).unwrap();
    remote.run(&["version"]).code(0);
    // The login is shared for a minute: a new one is needed for what follows.
    remote.sshd.vanish();
    remote.run(&["version"]).code(1).says("MS0301").says("Connection refused");
    remote.sshd.start();

    remote.sshd.write("known_hosts", "");
    remote.run(&["version"]).code(1).says("MS0302").says("fingerprint");
    remote.sshd.trust("stranger");
    remote.run(&["version"]).code(1).says("MS0303").says("has changed");
    remote.sshd.trust("host");
    remote.sshd.identify("stranger");
    remote.run(&["up"]).code(1).says("MS0304").says("Permission denied");
    let json = remote.json(&["version"]);
    assert_eq!(json["error"]["code"], "MS0304");
    remote.sshd.identify("user");
    remote.run(&["--host", "ssh://root:secret@127.0.0.1", "version"]).code(2).says("no password");
    let mut bare = remote.sshd.command(&remote.hut, &["version"]);
    Hut::ended(bare.env("PATH", "/nowhere").spawn().unwrap(), &["version"]).code(1).says("MS0300");
}

#[test]
fn an_environment_says_where_it_lives() {
    let remote = Remote::new(&Web::version("1").replicas(1));
    let policy = std::fs::read_to_string(remote.hut.project().join("mainstay.yaml")).unwrap();
    let placed = policy.replace("{ engine: process }", "{ engine: process, host: \"${WHERE}\" }");
    assert_ne!(placed, policy);
    remote.hut.write("mainstay.yaml", &placed);
    let run = |words: &[&str], url: &str| {
        let mut command = remote.sshd.command(&remote.hut, words);
        command.env_remove("MAINSTAY_HOST").env("WHERE", url);
        Hut::ended(command.spawn().unwrap(), words)
    };
    let url = remote.sshd.url();
    run(&["up"], &url).code(0).says(&format!("started the daemon on {url}"));
    run(&["validate"], &url).code(0);
    run(&["status"], "ssh://-oProxyCommand=x").code(2).says("host");
    run(&["--host", "local", "--socket", "/nowhere/mainstay.sock", "status"], &url).code(2);
    run(&["--socket", "/nowhere/mainstay.sock", "status"], &url).code(1).says("MS0091");
    // What else is wrong with the files keeps nobody from what runs.
    remote.hut.write("mainstay.yaml", &format!("{placed}nonsense: 1\n"));
    run(&["status"], &url).code(0).says("web.1");
    // But where it lives must be told: what runs is not here.
    remote.hut.write("mainstay.yaml", &format!("{}\n  - [", placed.replace("${WHERE}", &url)));
    run(&["status"], &url).code(2).says("which machine");
    remote.hut.write("mainstay.yaml", &policy);
}

/// Runs a command over there for files that name no engine, on a machine of ours that has this Docker.
#[track_caller]
fn without_an_engine(sshd: &Sshd, hut: &Hut, docker_here: &str, words: &[&str]) -> Ended {
    let policy = std::fs::read_to_string(hut.project().join("mainstay.yaml")).unwrap();
    let lines: Vec<&str> = policy.lines().filter(|line| !line.contains("engine: ")).collect();
    hut.write("mainstay.yaml", &lines.join("\n").replace("environments:\n", ""));
    let mut command = sshd.command(hut, words);
    let ended = Hut::ended(command.env("DOCKER_HOST", docker_here).spawn().unwrap(), words);
    hut.write("mainstay.yaml", &policy);
    ended
}

#[test]
fn docker_over_there_is_the_usual_engine_of_a_machine_without_it() {
    let yard = Yard::new();
    let sshd = Sshd::of(&yard);
    yard.declare(&Site { replicas: 1, ..Site::version("1") });
    without_an_engine(&sshd, &yard, "unix:///nowhere/docker.sock", &["up"]).code(0);
    assert_eq!(yard.containers().len(), 1);
    without_an_engine(&sshd, &yard, "unix:///nowhere/docker.sock", &["plan"]).code(0).says("nothing to do");
}

#[test]
fn processes_over_there_are_the_usual_engine_of_a_machine_with_docker() {
    let remote = Remote::new(&Web::version("1").replicas(1));
    let here = testkit::docker::url();
    without_an_engine(&remote.sshd, &remote.hut, &here, &["up"]).code(0);
    assert_eq!(remote.hut.replicas().len(), 1);
    let compose = std::fs::read_to_string(remote.hut.project().join("compose.yaml")).unwrap();
    let cache = "services:\n  cache: { image: \"redis:7\", build: . }\n";
    remote.hut.write("compose.yaml", &compose.replace("services:\n", cache));
    let plan = without_an_engine(&remote.sshd, &remote.hut, &here, &["plan"]).code(2);
    plan.says("default: no Docker on ssh://root@127.0.0.1").says("MS0011").says("`--engine docker`");
    remote.hut.write("compose.yaml", &compose);
}

#[test]
fn more_commands_at_once_than_one_login_may_carry() {
    let remote = Remote::new(&Web::version("1").replicas(1));
    remote.run(&["up"]).code(0);
    let all: Vec<Child> = (0..15).map(|_| remote.spawn(&["logs", "-f"])).collect();
    let mut readers: Vec<_> = all;
    for logs in &mut readers {
        let mut line = String::new();
        BufReader::new(logs.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listening on"), "{line}");
    }
    for mut logs in readers {
        processes::terminate(i32::try_from(logs.id()).unwrap());
        logs.wait().unwrap();
    }
}
