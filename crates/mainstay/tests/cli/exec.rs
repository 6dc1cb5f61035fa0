//! `exec` and `run`: input, output, exit code, terminal, signals.

use crate::fake::Fake;
use crate::harness::{Project, until};
use server::api::exec::Frame;

#[test]
fn input_output_and_the_exit_code_pass_through() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    let words = ["exec", "-e", "A=1", "-e", "HOME", "-w", "/srv", "-u", "1000", "api.1", "--", "cat", "-n"];
    let ended = project.run_with_input(&words, "hello\n");
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (7, "HELLO\n", "ready\n"));
    let world = fake.world();
    let request = &world.execs[0];
    assert_eq!((request.target.as_str(), request.argv.join(" ").as_str()), ("api.1", "cat -n"));
    assert_eq!((request.working_dir.as_deref(), request.user), (Some("/srv"), Some(1000)));
    assert_eq!(request.environment["A"], "1");
    assert_eq!(request.environment["HOME"], project.path().display().to_string());
    assert!(request.tty.is_none());
    assert!(world.frames.iter().any(|(kind, _)| *kind == Frame::StdinEnd));
}

#[test]
fn a_one_off_may_leave_its_command_to_the_service() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    project.run(&["run", "api"]).code(7);
    assert!(fake.world().execs[0].argv.is_empty());
}

#[test]
fn a_missing_program_is_127_and_said() {
    let project = Project::shop();
    let _fake = Fake::start(project.socket());
    let ended = project.run(&["exec", "api", "nosuch"]).code(127);
    assert!(ended.err.contains("`nosuch` is not there inside the replica"), "{}", ended.err);
    let ended = project.run(&["exec", "-e", "NOT_SET_HERE", "api", "true"]).code(2);
    assert!(ended.err.contains("`NOT_SET_HERE` is not set here"), "{}", ended.err);
}

#[test]
fn on_a_terminal_the_command_gets_one_of_the_same_size() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    let ended = project.run_on_terminal("exec api sh", "exit\n");
    assert_eq!(ended.code, 7, "{}", ended.out);
    let world = fake.world();
    assert!(world.execs[0].tty.is_some());
    assert_eq!(world.execs[0].environment["TERM"], "xterm");
    // Raw: the key arrives as it was typed, and is not echoed by our own terminal a second time.
    assert!(ended.out.contains("EXIT"), "{}", ended.out);
}

#[test]
fn no_tty_is_asked_for_when_told_so() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    let ended = project.run_on_terminal("exec -T api sh", "exit\n");
    assert_eq!(ended.code, 7, "{}", ended.out);
    assert!(fake.world().execs[0].tty.is_none());
}

#[test]
fn without_a_terminal_signals_are_passed_on() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    let mut command = project.command(&["exec", "api", "sleep"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("spawned");
    let stdin = child.stdin.take();
    until("the session has begun", || !fake.world().execs.is_empty());
    // The handler is set before the first frame is read back; `ready` on standard error tells.
    let mut first = [0; 6];
    std::io::Read::read_exact(child.stderr.as_mut().expect("piped"), &mut first).expect("ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let ended = project.ended(child).code(7);
    drop((stdin, ended));
    assert!(fake.world().frames.iter().any(|(kind, bytes)| *kind == Frame::Signal && *bytes == [15]));
}
