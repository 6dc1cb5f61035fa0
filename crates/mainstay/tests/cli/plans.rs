//! `plan`, plan files, and what goes into a bundle.

use crate::fake::{Fake, done, ended, rolling, step};
use crate::harness::{Project, until};
use expect_test::expect;
use server::api::ApiError;

#[test]
fn pending_changes_are_shown_with_reasons_and_exit_code_3() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().steps = rolling();
    project.run(&["plan"]).expect(
        3,
        expect![[r#"
            Services
              ~  api  changed  environment.LOG_LEVEL at compose.yaml:8
              = unchanged: db

            Steps
              api.2  start → await → route  spec changed
              api.1  drain → stop           spec changed"#]],
        expect![[r#"
            3 pieces of advice: see `mainstay validate`
              · building api  echo building the api && touch built
              ✔ built api  TIME
              ✔ sent 2 files, 40 B
            shop@development  engine process


            shop@development: 5 steps, 1 replica to start, 1 replica to stop
            next: `mainstay up` does this; `mainstay plan --out FILE` keeps it for later"#]],
    );
    assert!(project.path().join("built").exists());

    let again = project.run(&["plan", "--no-build", "--json"]).code(3);
    assert_eq!(again.json()["steps"].as_array().expect("a list").len(), 5);
    assert!(!again.err.contains("sent"), "blobs that are there are not sent again\n{}", again.err);

    fake.world().steps.clear();
    project.run(&["plan", "--no-build"]).code(0);
}

#[test]
fn a_bundle_holds_the_files_with_their_modes_and_no_plain_values_in_plans() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    project.run(&["plan", "--no-build"]).code(0);
    let world = fake.world();
    let bundle = world.bundles.values().next().expect("one bundle");
    let files: Vec<(&str, u32)> = bundle.files.iter().map(|file| (file.path.as_str(), file.mode)).collect();
    assert_eq!(files, [("bin/api", 0o755), ("web/index.html", 0o644)]);
    assert!(bundle.declaration.contains("hunter2"), "the daemon needs the values");
}

#[test]
fn a_kept_plan_is_carried_out_exactly_or_not_at_all() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().steps = rolling();
    project.run(&["plan", "--no-build", "--out", "plan.json"]).code(3);
    let text = project.read("plan.json");
    assert!(!text.contains("hunter2"));
    let kept: serde_json::Value = serde_json::from_str(&text).expect("JSON");

    fake.world().runs.push_back(vec![ended(1, 5), done()]);
    project.run(&["up", "--plan", "plan.json"]).code(0);
    let ordered = fake.world().ordered[0].clone();
    assert_eq!(ordered.expect_plan.as_deref(), kept["digest"].as_str());
    assert_eq!(Some(ordered.bundle.as_str()), kept["bundle"].as_str());

    let message = "the stack has changed since the plan was made".to_owned();
    fake.world().refusal = Some(ApiError { code: "MS0213".into(), message, help: None, status: 409 });
    project.run(&["up", "--plan", "plan.json"]).expect(
        1,
        expect![""],
        expect![[r#"
            error[MS0213]: the stack has changed since the plan was made
              help: look at a new plan with `mainstay plan --out FILE`, then carry that one out"#]],
    );
    fake.world().bundles.clear();
    let ended = project.run(&["up", "--plan", "plan.json"]).code(2);
    assert!(
        ended.err.contains("there is no such bundle") && ended.err.contains("mainstay plan --out"),
        "{}",
        ended.err
    );
}

#[test]
fn a_file_that_is_no_plan_is_refused_with_the_cure() {
    let project = Project::shop();
    let _fake = Fake::start(project.socket());
    for text in
        ["", "{", "[]", "{\"version\":99,\"stack\":\"a@b\",\"bundle\":\"x\",\"basis\":1,\"digest\":\"d\",\"text\":[]}"]
    {
        project.write("plan.json", text);
        let ended = project.run(&["up", "--plan", "plan.json"]).code(2);
        assert!(ended.err.contains("mainstay plan --out FILE"), "{text}: {}", ended.err);
    }
    project.run(&["up", "--plan", "nowhere.json"]).code(2);
}

#[test]
fn files_that_cannot_be_collected_are_all_named_and_nothing_is_sent() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    std::fs::remove_file(project.path().join("bin/api")).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", project.path().join("web/passwd")).expect("linked");
    project.run(&["up", "--no-build"]).expect(
        2,
        expect![""],
        expect![[r#"
            3 pieces of advice: see `mainstay validate`
            error: the files of the release cannot be collected
              because `bin/api` is not there
                      `web/passwd` leads to /etc/passwd, outside the project
              help: build it, or correct its path in mainstay.yaml"#]],
    );
    assert!(fake.world().blobs.is_empty());
}

#[test]
fn a_failed_build_shows_its_output_and_changes_nothing() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    let policy = project
        .read("mainstay.yaml")
        .replace("echo building the api && touch built", "echo compiling; echo no such type >&2; exit 3");
    project.write("mainstay.yaml", &policy);
    let ended = project.run(&["up"]).code(1);
    assert!(ended.err.contains("    compiling\n") && ended.err.contains("    no such type\n"), "{}", ended.err);
    assert!(ended.err.contains("the build of api failed (exit status: 3)"), "{}", ended.err);
    assert!(fake.world().ordered.is_empty());
}

/// Interrupts `up` once `begun` says so; it ends at once and has ordered nothing.
fn check_interrupted(project: &Project, fake: &Fake, begun: impl Fn() -> bool) {
    let child = project.command(&["up"]).spawn().expect("spawned");
    let pid = rustix::process::Pid::from_child(&child);
    until("the phase has begun", begun);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let ended = project.ended(child).code(130);
    assert!(ended.err.contains("interrupted; nothing was changed"), "{}", ended.err);
    assert!(fake.world().ordered.is_empty());
}

#[test]
fn ctrl_c_ends_a_build_and_every_phase_after_it() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().stuck = true;
    check_interrupted(&project, &fake, || project.path().join("built").exists() && fake.world().asked > 0);
    let policy = project.read("mainstay.yaml").replace("touch built", "touch begun && sleep 1000");
    project.write("mainstay.yaml", &policy);
    check_interrupted(&project, &fake, || project.path().join("begun").exists());
}

#[test]
fn a_reader_that_has_gone_does_not_change_the_exit_code() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().steps = (1..5000).map(|n| step(n, &[], "start", &format!("api.{n}"), "missing")).collect();
    let line =
        format!("{{ {} plan --no-build --detailed; echo $? >code; }} | head -n 1", env!("CARGO_BIN_EXE_mainstay"));
    project.ended(project.bare("sh").args(["-c", &line]).spawn().expect("spawned")).code(0);
    assert_eq!(project.read("code"), "3\n");
}

#[test]
fn a_daemon_of_another_version_is_told_of_with_the_cure() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().version = Some("0.0.1".into());
    let ended = project.run(&["plan", "--no-build"]).code(0);
    assert!(ended.err.contains("the daemon has version 0.0.1"), "{}", ended.err);
    assert!(ended.err.contains("mainstay serve --replace"), "{}", ended.err);
}
