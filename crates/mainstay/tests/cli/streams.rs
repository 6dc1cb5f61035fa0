//! `logs` and `events`: streams that outlive a daemon.

use crate::fake::Fake;
use crate::harness::Project;
use expect_test::expect;
use server::api::event::Event;
use server::api::status::LogLine;
use std::process::Stdio;
use std::time::Duration;

fn line(replica: &str, second: u32, text: &str) -> LogLine {
    let time = format!("2026-01-01T00:00:{second:02}.000000000Z");
    LogLine { time, replica: replica.into(), stream: "stdout".into(), line: text.into() }
}

#[test]
fn lines_carry_their_replica_and_cannot_drive_the_terminal() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().logs.push_back(vec![line("api.10", 1, "\x1b[2J\x1b]0;x\x07one"), line("db.1", 2, "two")]);
    project.run(&["logs", "--tail", "5", "api", "db.1"]).expect(
        0,
        expect![[r#"
            api.10 │ one
            db.1   │ two"#]],
        expect!["next: `mainstay logs -f` goes on with what is written from now on"],
    );
    assert_eq!(fake.world().log_queries[0], "tail=5&follow=false&target=api&target=db.1");
    fake.world().logs.push_back(vec![line("api.1", 1, "one"), line("api.1", 2, "two")]);
    let json = project.run(&["logs", "--json"]).code(0).out;
    assert_eq!(
        json.lines().map(|line| serde_json::from_str::<LogLine>(line).expect("JSON").line).collect::<String>(),
        "onetwo"
    );
}

#[test]
fn a_followed_log_goes_on_after_a_restart_without_gaps_or_doubles() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().absence = Duration::from_millis(500);
    fake.world().logs.push_back(vec![line("api.1", 1, "one"), line("api.1", 2, "two")]);
    fake.world().logs.push_back(vec![line("api.1", 1, "one"), line("api.1", 2, "two"), line("api.1", 3, "three")]);
    fake.world().logs.push_back(Vec::new());
    let mut child = project.command(&["logs", "-f"]).stderr(Stdio::null()).spawn().expect("spawned");
    let out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let lines: Vec<String> = std::io::BufRead::lines(out).take(3).map(|line| line.expect("text")).collect();
    child.kill().expect("it runs");
    child.wait().expect("waited");
    assert_eq!(lines, ["api.1 │ one", "api.1 │ two", "api.1 │ three"]);
    assert!(fake.world().log_queries[1].starts_with("tail=all&follow=true"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    let many = (0..50_000).map(|_| line("api.1", 1, &"x".repeat(100)));
    // Times must grow for lines to be new.
    let many = many.enumerate().map(|(n, line)| LogLine { time: format!("2026-01-01T00:00:00.{n:09}Z"), ..line });
    fake.world().logs.push_back(many.collect());
    let line = format!("{} logs | head -n 1", env!("CARGO_BIN_EXE_mainstay"));
    let child = project.bare("sh").args(["-c", &line]).spawn().expect("spawned");
    let ended = project.ended(child).code(0);
    assert_eq!(ended.out.lines().count(), 1);
    assert!(!ended.err.contains("panicked") && !ended.err.contains("error"), "{}", ended.err);
}

#[test]
fn events_are_lines_and_json() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().events.push(Event {
        id: 7,
        time: "2026-01-02T03:04:05Z".into(),
        stack: Some("shop@development".into()),
        subject: "api.1".into(),
        kind: "replica.exited".into(),
        actor: "mainstay".into(),
        cause: None,
        text: "exited with code 1".into(),
    });
    project.run(&["events"]).expect(
        0,
        expect!["2026-01-02 03:04:05 UTC  replica.exited      api.1         exited with code 1"],
        expect!["next: `mainstay events -f` goes on with what happens from now on"],
    );
    assert_eq!(project.run(&["events", "--json"]).code(0).json()["id"], 7);
}

#[test]
fn broken_files_keep_nobody_from_the_logs() {
    let project = Project::new(&[("compose.yaml", "name: shop\nservices:\n  api: { imgae: x\n")]);
    let fake = Fake::start(project.socket());
    fake.world().logs.push_back(vec![line("api.1", 1, "one")]);
    assert_eq!(project.run(&["logs"]).code(0).out.trim(), "api.1 │ one");
    // Without a name nobody knows which.
    project.write("compose.yaml", "services: [");
    project.run(&["logs"]).code(2);
}
