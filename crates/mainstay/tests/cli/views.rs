//! What is shown of a stack: status, health, releases, versions.

use crate::fake::{Fake, health_of};
use crate::harness::Project;
use expect_test::expect;
use server::api::plan::NoteView;
use server::api::status::{ReplicaStatus, ServiceStatus, StackStatus, StackSummary};
use std::collections::BTreeMap;

fn replica(id: &str, health: &str, detail: &str) -> ReplicaStatus {
    ReplicaStatus {
        id: id.into(),
        release: 4,
        phase: "running".into(),
        health: health.into(),
        detail: detail.into(),
        routed: health == "ready",
        since: None,
        failures: u32::from(health != "ready"),
        addresses: BTreeMap::from([("default".into(), "10.210.0.9".into())]),
        cpu_millis: Some(1_300),
        memory: Some(13 << 20),
        pids: Some(4),
    }
}

fn service(name: &str, role: &str, state: &str, instances: Vec<ReplicaStatus>) -> ServiceStatus {
    let ready = u32::try_from(instances.iter().filter(|replica| replica.health == "ready").count()).expect("few");
    ServiceStatus {
        name: name.into(),
        role: role.into(),
        state: state.into(),
        runs: format!("./{name}"),
        ready,
        replicas: u32::try_from(instances.len()).expect("few"),
        addresses: vec!["10.210.0.3:3000".into()],
        published: if name == "api" { vec!["3000→3000".into()] } else { Vec::new() },
        instances,
    }
}

/// A stack of which one replica is ill.
pub fn status() -> StackStatus {
    StackStatus {
        summary: StackSummary {
            project: "shop".into(),
            environment: "development".into(),
            wanted: "up".into(),
            health: "degraded".into(),
            release: Some(4),
            ready: 1,
            replicas: 2,
        },
        run: None,
        urls: vec!["http://shop.localhost:8080".into()],
        services: vec![
            service(
                "api",
                "service",
                "degraded",
                vec![replica("api.1", "ready", "GET /ready → 200"), replica("api.2", "unready", "GET /ready → 503")],
            ),
            service("migrate", "job", "completed", Vec::new()),
            service("web", "static", "ok", Vec::new()),
        ],
        notes: vec![NoteView { subject: "api.2".into(), text: "is asked again in 5s".into() }],
    }
}

#[test]
fn status_shows_services_replicas_and_reasons() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().status = Some(status());
    project.run(&["ps"]).expect(
        0,
        expect![[r#"
            shop@development  degraded  release 4
            at  http://shop.localhost:8080

            SERVICE  STATE      READY  MEMORY    CPU   PUBLISHED  RUNS
            api      degraded   1/2                    3000→3000  ./api
              api.1    ready           13.0 MiB  TIME
              api.2    unready         13.0 MiB  TIME             GET /ready → 503, exited 1 time before
            migrate  completed                                    ./migrate
            web      ok                                           ./web

            ! api.2: is asked again in 5s"#]],
        expect!["next: `mainstay logs api` shows what it wrote"],
    );
    let json = project.run(&["status", "--json"]).code(0).json();
    assert_eq!(json["services"][0]["instances"][1]["health"], "unready");
}

#[test]
fn outside_a_project_every_stack_is_listed() {
    let project = Project::new(&[]);
    let fake = Fake::start(project.socket());
    fake.world().status = Some(status());
    project.run(&["status"]).expect(
        0,
        expect![[r#"
            STACK             HEALTH    READY  RELEASE
            shop@development  degraded  1/2    4"#]],
        expect!["next: `mainstay -p PROJECT -e ENVIRONMENT status` shows one of them"],
    );
    assert!(project.run(&["status", "--json"]).code(0).json().is_array());
    project.run(&["-p", "shop", "status"]).code(0);
}

#[test]
fn a_stack_that_never_was_is_said_to_be_so() {
    let project = Project::shop();
    let _fake = Fake::start(project.socket());
    let ended = project.run(&["status"]).code(1);
    assert!(
        ended.err.contains("nothing of `shop@development` runs here") && ended.err.contains("mainstay up"),
        "{}",
        ended.err
    );
}

#[test]
fn health_is_exit_code_1_when_degraded() {
    let project = Project::shop();
    let fake = Fake::start(project.socket());
    fake.world().health = Some(health_of(&[("api", "degraded", Some("GET /ready → 503")), ("db", "ok", None)]));
    project.run(&["health"]).expect(
        1,
        expect![[r#"
            shop@development  degraded
            SERVICE  STATUS    READY  WHY
            api      degraded  0/1    GET /ready → 503
            db       ok        1/1"#]],
        expect!["next: `mainstay logs api` shows what it wrote"],
    );
    assert_eq!(project.run(&["health", "--json"]).code(1).json()["status"], "degraded");
    fake.world().health = Some(health_of(&[("api", "ok", None)]));
    project.run(&["health"]).code(0);
}

#[test]
fn versions_of_both_are_shown() {
    let project = Project::new(&[]);
    assert!(project.run(&["version"]).code(0).out.starts_with("mainstay 0."));
    assert!(project.run(&["version", "--json"]).code(0).json()["daemon"].is_null());
    let _fake = Fake::start(project.socket());
    assert_eq!(project.run(&["version", "--json"]).code(0).json()["daemon"]["pid"], 4242);
}

#[test]
fn outside_a_project_health_is_that_of_all_stacks() {
    let project = Project::new(&[]);
    let fake = Fake::start(project.socket());
    fake.world().health = Some(health_of(&[("shop@development/api", "degraded", None)]));
    let ended = project.run(&["health"]).code(1);
    assert!(ended.out.starts_with("all stacks  degraded\n"), "{}", ended.out);
}
