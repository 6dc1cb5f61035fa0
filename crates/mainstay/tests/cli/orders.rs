//! Orders: `up`, `down`, `restart`, `scale`, followed to their end.

use crate::fake::{Fake, began, done, ended, rolling, step};
use crate::harness::{Project, until};
use expect_test::expect;
use server::api::ApiError;
use server::api::release::{Explanation, ReleaseView, RunEvent};
use std::collections::BTreeMap;
use std::time::Duration;

fn whole_run() -> Vec<RunEvent> {
    (1..=5).flat_map(|n| [began(n), ended(n, u64::from(n) * 100)]).chain([done()]).collect()
}

#[test]
fn up_follows_the_release_and_ends_with_a_summary() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().steps = rolling();
    fake.world().runs.push_back(whole_run());
    fake.world().status = Some(crate::views::status());
    project.run(&["up", "--no-build", "-m", "more logging"]).expect(
        0,
        expect![""],
        expect![[r#"
            3 pieces of advice: see `mainstay validate`
              ✔ sent 2 files, 40 B
            shop@development  release 4  more logging
              ✔ api.2  started  TIME
              ✔ api.2  ready  TIME
              ✔ api.2  ready, takes traffic  TIME
              ✔ api.1  drained  TIME
              ✔ api.1  stopped  TIME
            ✔ shop@development is up  TIME
              http://shop.localhost:8080
            next: `mainstay status` shows what runs, `mainstay logs -f` what it writes"#]],
    );
    assert_eq!(fake.world().ordered[0].message.as_deref(), Some("more logging"));
}

#[test]
fn nothing_to_do_is_said_and_is_no_failure() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().runs.push_back(vec![done()]);
    fake.world().status = Some(crate::views::status());
    let ended = project.run(&["up", "--no-build"]).code(0);
    assert!(ended.err.contains("shop@development was as it shall be"), "{}", ended.err);
}

#[test]
fn up_as_json_is_one_document_with_the_outcome() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().steps = rolling();
    fake.world().runs.push_back(whole_run());
    fake.world().status = Some(crate::views::status());
    let report = project.run(&["up", "--no-build", "--json"]).code(0).json();
    assert_eq!(
        (report["outcome"].as_str(), report["release"].as_u64(), report["run"].as_u64()),
        (Some("done"), Some(4), Some(3))
    );
    assert_eq!(report["urls"][0], "http://shop.localhost:8080");
}

#[test]
fn a_dry_run_changes_nothing_and_detach_does_not_wait() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().steps = rolling();
    project.run(&["up", "--no-build", "--dry-run"]).code(3);
    assert!(fake.world().ordered.is_empty());
    project.run(&["up", "--no-build", "--detach"]).code(0);
    assert_eq!(fake.world().ordered.len(), 1);
}

#[test]
fn a_daemon_that_dies_in_the_middle_is_waited_for_and_the_run_followed_on() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    {
        let mut world = fake.world();
        world.steps = rolling();
        world.absence = Duration::from_millis(700);
        world.runs.push_back(vec![began(1), ended(1, 100), began(2)]);
        let rest =
            vec![step(1, &[], "await", "api.2", "must be ready first"), step(2, &[1], "stop", "api.1", "spec changed")];
        world.runs.push_back(vec![RunEvent::Replanned { steps: rest }, ended(1, 50), ended(2, 60), done()]);
        world.status = Some(crate::views::status());
    }
    project.run(&["up", "--no-build"]).expect(
        0,
        expect![""],
        expect![[r#"
            3 pieces of advice: see `mainstay validate`
              ✔ sent 2 files, 40 B
            shop@development  release 4
              ✔ api.2  started  TIME
              ! the daemon is gone; waiting for it
              · planned again: 2 steps left
              ✔ api.2  ready  TIME
              ✔ api.1  stopped  TIME
            ✔ shop@development is up  TIME
              http://shop.localhost:8080
            next: `mainstay status` shows what runs, `mainstay logs -f` what it writes"#]],
    );
}

#[test]
fn a_run_that_the_restarted_daemon_does_not_know_is_looked_up_in_the_history() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().steps = rolling();
    fake.world().runs.push_back(vec![began(1)]);
    fake.world().releases.push(release(None));
    fake.world().status = Some(crate::views::status());
    let ended = project.run(&["up", "--no-build"]).code(0);
    assert!(ended.err.contains("is up"), "{}", ended.err);
}

fn explanation() -> Explanation {
    Explanation {
        summary: "`api.2` did not become ready within 60s".into(),
        step: Some("await api.2".into()),
        replica: Some("api.2".into()),
        probe: Some("GET http://10.210.0.9:3000/ready → connection refused".into()),
        exit: Some("exited with code 1 after 0.3s".into()),
        log: vec!["starting".into(), "\x1b[2Jerror: DATABASE_HOST is not set".into()],
        differs: vec!["environment.LOG_LEVEL".into()],
        state: "release 3 serves with 2 replicas".into(),
        help: Some("set `DATABASE_HOST`, then run `mainstay up` again".into()),
    }
}

fn release(explanation: Option<Explanation>) -> ReleaseView {
    ReleaseView {
        number: 4,
        bundle: "b0b".into(),
        actor: "ada".into(),
        message: Some("more logging".into()),
        created: "2026-01-01T00:00:00Z".into(),
        finished: Some("2026-01-01T00:01:02Z".into()),
        state: if explanation.is_some() { "failed" } else { "done" }.into(),
        current: true,
        images: BTreeMap::new(),
        again: None,
        kept: false,
        explanation,
    }
}

#[test]
fn a_failed_release_explains_itself_now_and_later() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().steps = rolling();
    let failed =
        RunEvent::Failed { step: 2, at: "2026-01-01T00:01:00Z".into(), error: "not ready within 60s\nrefused".into() };
    let finished = RunEvent::Finished { outcome: "failed".into(), explanation: Some(explanation()), millis: 42_000 };
    fake.world().runs.push_back(vec![began(1), ended(1, 100), began(2), failed, finished]);
    project.run(&["up", "--no-build"]).expect(
        1,
        expect![""],
        expect![[r#"
            3 pieces of advice: see `mainstay validate`
              ✔ sent 2 files, 40 B
            shop@development  release 4
              ✔ api.2  started  TIME
              ✘ api.2  waiting until ready failed: not ready within 60s: refused

            ✘ release 4 failed after TIME: `api.2` did not become ready within 60s
              step     await api.2
              replica  api.2
              probe    GET http://10.210.0.9:3000/ready → connection refused
              exit     exited with code 1 after TIME
              differs  environment.LOG_LEVEL (from the last good release)
              last lines of its log
                │ starting
                │ error: DATABASE_HOST is not set
              now  release 3 serves with 2 replicas
              help: set `DATABASE_HOST`, then run `mainstay up` again
            next: `mainstay explain release 4` shows this again"#]],
    );
    fake.world().releases.push(release(Some(explanation())));
    let again = project.run(&["explain", "release", "4"]).code(0);
    assert!(again.out.contains("DATABASE_HOST is not set") && again.out.contains("ada"), "{}", again.out);
}

#[test]
fn ctrl_c_leaves_the_release_alone() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().steps = rolling();
    fake.world().hang = true;
    fake.world().runs.push_back(vec![began(1)]);
    let child = project.command(&["up", "--no-build"]).spawn().expect("spawned");
    let pid = rustix::process::Pid::from_child(&child);
    until("the run is followed", || fake.world().runs.is_empty());
    // The order was given; whether its first event has been read yet makes no difference.
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let ended = project.ended(child).code(130);
    assert!(ended.err.contains("the up goes on without you"), "{}", ended.err);
}

#[test]
fn a_policy_that_forbids_it_is_exit_code_4() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    let message = "production needs an approval\nby somebody else than ada".to_owned();
    fake.world().refusal =
        Some(ApiError { code: "MS0300".into(), message, help: Some("ask for one".into()), status: 403 });
    project.run(&["up", "--no-build", "-q"]).expect(
        4,
        expect![""],
        expect![[r#"
            error[MS0300]: production needs an approval
              because by somebody else than ada
              help: ask for one"#]],
    );
}

#[test]
fn down_keeps_volumes_unless_told_and_names_what_is_lost() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().volumes = vec!["db-data".into(), "uploads".into()];
    fake.world().steps = vec![step(1, &[], "stop", "api.1", "taken down")];

    fake.world().runs.push_back(vec![ended(1, 100), done()]);
    let ended_well = project.run(&["down"]).code(0);
    assert!(ended_well.err.contains("volumes stay"), "{}", ended_well.err);
    assert!(fake.world().downs.remove(0).volumes.is_empty());

    project.run(&["down", "--volumes"]).expect(
        2,
        expect![""],
        expect![[r#"
            error: `shop@development` would lose the volumes db-data, uploads and all they hold
              because nobody can be asked: standard input is no terminal
              help: say `--yes` when that is what you want"#]],
    );
    assert!(fake.world().downs.is_empty());

    fake.world().runs.push_back(vec![ended(1, 100), done()]);
    project.run(&["down", "--volumes", "--yes"]).code(0);
    assert_eq!(fake.world().downs.remove(0).volumes, ["db-data", "uploads"]);
}

#[test]
fn on_a_terminal_the_project_s_name_must_be_typed() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().volumes = vec!["db-data".into()];
    let refused = project.run_on_terminal("down --volumes", "yes\n");
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.out.contains("db-data") && refused.out.contains("nothing was changed"), "{}", refused.out);
    assert!(fake.world().downs.is_empty());
    fake.world().runs.push_back(vec![done()]);
    let taken = project.run_on_terminal("down --volumes", "shop\n");
    assert_eq!(taken.code, 0, "{}", taken.out);
    assert_eq!(fake.world().downs[0].volumes, ["db-data"]);
}

#[test]
fn restart_and_scale_are_followed_too() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().status = Some(crate::views::status());
    for words in [&["restart", "api"][..], &["scale", "api=3", "web=1"], &["-p", "shop", "-C", "/", "restart"]] {
        fake.world().runs.push_back(vec![done()]);
        project.run(words).code(0);
    }
    project.run(&["scale", "api=3", "api=1"]).code(2);
}

#[test]
fn another_project_than_the_folder_s_is_refused_for_up() {
    let project = Project::shop();
    let ended = project.run(&["-p", "other", "up"]).code(2);
    assert!(ended.err.contains("`--project` is `other`"), "{}", ended.err);
}
