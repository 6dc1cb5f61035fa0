//! A stack's whole life with a disk that fails and a daemon that dies, at every write.

#![allow(clippy::disallowed_methods, reason = "tests touch the machine and wait for it")]

mod rig;

use crate::api::release::{DownRequest, RestartRequest, ScaleRequest};
use rig::{HEALTHY, Rig};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[tokio::test]
async fn a_release_runs_and_the_next_one_takes_its_place() {
    let rig = Rig::new();
    let life = rig.begin().await;
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    assert_eq!(rig.running().await, ["api r1", "api r1"]);
    assert_eq!(life.up("run v2").await.unwrap(), "done");
    assert_eq!(rig.running().await, ["api r2", "api r2"]);
    assert_eq!(life.up("exit 1").await.unwrap(), "failed");
    assert_eq!(rig.running().await, ["api r2", "api r2"]);
    let releases = life.releases().await;
    let states: Vec<_> = releases.iter().map(|release| release.state.as_str()).collect();
    assert_eq!(states, ["failed", "done", "done"]);
    assert!(releases[0].explanation.as_ref().unwrap().state.contains("release 2 serves as before"), "{releases:?}");
}

#[tokio::test]
async fn a_disk_that_is_full_at_any_write_keeps_nothing_out_once_it_has_room() {
    let rig = Rig::new();
    let life = rig.begin().await;
    assert_eq!(life.up("run v0").await.unwrap(), "done");
    for left in (0..60).step_by(2) {
        let before = life.releases().await.len();
        rig.writes_left(left);
        let ended = life.up(&format!("run a{left}")).await;
        rig.writes_left(HEALTHY);
        if ended.is_err() {
            assert_eq!(life.releases().await.len(), before, "an order that was refused has left nothing");
        }
        assert_eq!(life.up(&format!("run b{left}")).await.unwrap(), "done", "after {left} writes: {ended:?}");
        let newest = life.releases().await[0].number;
        assert_eq!(rig.running().await, [format!("api r{newest}"), format!("api r{newest}")]);
        assert!(life.releases().await.iter().all(|release| release.state != "running"), "{:?}", life.releases().await);
    }
}

#[tokio::test]
async fn an_order_that_could_not_be_written_down_is_never_carried_out() {
    let rig = Rig::new();
    let life = rig.begin().await;
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    life.settled().await;
    let stack = life.daemon.stack(&rig.id).unwrap();
    rig.writes_left(0);
    stack.down(DownRequest { volumes: vec!["data".into()] }, "ann".into()).await.unwrap_err();
    stack.scale(ScaleRequest { replicas: BTreeMap::from([("api".into(), 5)]) }, "ann".into()).await.unwrap_err();
    stack.restart(RestartRequest::default(), "ann".into()).await.unwrap_err();
    life.up("run v2").await.unwrap_err();
    rig.writes_left(HEALTHY);
    let wrong = ScaleRequest { replicas: BTreeMap::from([("api".into(), 3), ("nosuch".into(), 1)]) };
    assert_eq!(stack.scale(wrong, "ann".into()).await.unwrap_err().status, 404);
    rig.pass(Duration::from_secs(20)).await;
    rig.crash_one().await;
    rig.pass(Duration::from_secs(20)).await;
    assert_eq!(rig.running().await, ["api r1", "api r1"]);
    assert_eq!(life.releases().await.len(), 1);
}

/// Kills the daemon after so many writes of a release that fails; the next one must have gone back, and say why.
#[tokio::test]
async fn a_release_that_failed_is_told_as_failed_wherever_the_daemon_dies() {
    let rig = Rig::new();
    let mut life = rig.begin().await;
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    for left in (4..64).step_by(4) {
        let before = life.releases().await.len();
        rig.writes_left(left);
        let accepted = life.order_up(&format!("exit {left}")).await;
        if let Ok(accepted) = accepted {
            let _ = tokio::time::timeout(Duration::from_millis(400), life.outcome(accepted.run)).await;
        }
        life.kill(&rig).await;
        life = rig.begin().await;
        life.settled().await;
        assert_eq!(rig.running().await, ["api r1", "api r1"], "after {left} writes");
        let releases = life.releases().await;
        assert!(releases.len() <= before + 1);
        if releases.len() > before {
            assert_eq!(releases[0].state, "failed", "after {left} writes: {:?}", releases[0]);
            let explanation = releases[0].explanation.as_ref().expect("it says why");
            assert!(explanation.summary.contains("exited with code"), "{explanation:?}");
        }
    }
}

#[tokio::test]
async fn a_daemon_killed_at_any_write_is_continued_by_the_next() {
    let rig = Rig::new();
    let mut life = rig.begin().await;
    assert_eq!(life.up("run v0").await.unwrap(), "done");
    for left in (3..48).step_by(3) {
        rig.writes_left(left);
        let accepted = life.order_up(&format!("run v{left}")).await;
        if let Ok(accepted) = &accepted {
            let _ = tokio::time::timeout(Duration::from_millis(300), life.outcome(accepted.run)).await;
        }
        life.kill(&rig).await;
        life = rig.begin().await;
        life.settled().await;
        let wanted = accepted.ok().and_then(|accepted| accepted.release);
        let current = life.releases().await.into_iter().find(|release| release.current).unwrap();
        assert!(wanted.is_none_or(|wanted| wanted == current.number), "what was accepted is carried out: {current:?}");
        assert_eq!(current.state, "done");
        assert_eq!(rig.running().await, [format!("api r{}", current.number), format!("api r{}", current.number)]);
        assert_eq!(rig.count("SELECT count(*) FROM runs WHERE ended_at IS NULL"), 0);
    }
}

#[tokio::test]
async fn a_stack_whose_bundle_is_damaged_is_left_as_it_runs() {
    let rig = Rig::new();
    let life = rig.begin().await;
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    let file = rig.dir.path().join(format!("state/bundles/manifests/{}.sealed", life.bundle("run v1").await));
    life.end().await;
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"damaged").unwrap();

    let life = rig.begin().await;
    let stack = life.daemon.stack(&rig.id).expect("it is known");
    let other = life.bundle("run v2").await;
    assert!(stack.plan(of(&other)).await.is_ok(), "what another release would do can be asked");
    assert_eq!(stack.restart(RestartRequest::default(), "ann".into()).await.unwrap_err().code, "MS0227");
    let status = stack.status().await.unwrap();
    assert!(status.notes.iter().any(|note| note.text.contains("cannot be read")), "{status:?}");
    rig.pass(Duration::from_secs(35)).await;
    assert_eq!(rig.running().await, ["api r1", "api r1"]);

    std::fs::write(&file, whole).unwrap();
    rig.pass(Duration::from_secs(35)).await;
    stack.restart(RestartRequest::default(), "ann".into()).await.expect("it is read again by itself");
    life.settled().await;
}

#[tokio::test]
async fn a_stack_nobody_knows_of_any_more_is_left_as_it_runs_and_adopted() {
    let rig = Rig::new();
    let life = rig.begin().await;
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    life.end().await;
    rig.sql("DELETE FROM stacks; DELETE FROM settings;");
    let life = rig.begin().await;
    let plan = life.daemon.plan(&rig.id, of(&life.bundle("run v1").await)).await.unwrap();
    assert!(plan.steps.iter().all(|step| step.action != "stop"), "{plan:?}");
    let typo = "shop@prodction".parse().unwrap();
    life.daemon.plan(&typo, of(&life.bundle("run v1").await)).await.unwrap_err();
    life.daemon.stack(&typo).unwrap_err();
    rig.pass(Duration::from_secs(20)).await;
    assert_eq!(rig.count("SELECT count(*) FROM stacks"), 0, "a plan leaves nothing");
    assert_eq!(rig.running().await, ["api r1", "api r1"]);
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    assert_eq!(rig.running().await, ["api r1", "api r1"], "what ran was adopted");
}

#[tokio::test]
async fn a_record_that_is_lost_takes_nothing_down_and_refuses_orders() {
    let rig = Rig::new();
    let life = rig.begin().await;
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    life.end().await;
    rig.sql("DELETE FROM settings WHERE key LIKE 'record/%'");
    let life = rig.begin().await;
    assert_eq!(life.up("run v2").await.unwrap_err().code, "MS0227");
    let stack = life.daemon.stack(&rig.id).unwrap();
    assert_eq!(stack.status().await.unwrap().summary.health, "degraded");
    rig.pass(Duration::from_secs(20)).await;
    assert_eq!(rig.running().await, ["api r1", "api r1"]);
}

#[tokio::test]
async fn a_repair_that_fails_again_and_again_is_told_once_and_tried_more_rarely() {
    let rig = Rig::new();
    let life = rig.begin().await;
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    life.settled().await;
    let before = rig.count("SELECT count(*) FROM runs");
    (1..2000).for_each(|n| rig.engine.fail_nth(n, engine::Retry::Never));
    rig.crash_one().await;
    rig.pass(Duration::from_secs(100)).await;
    let runs = rig.count("SELECT count(*) FROM runs") - before;
    assert!((2..=7).contains(&runs), "{runs} runs in 100 s");
    assert_eq!(rig.count("SELECT count(*) FROM events WHERE kind = 'run.failed'"), 1);
    drop(life);
}

#[tokio::test]
async fn a_job_that_has_done_its_work_is_not_run_again_after_a_reboot() {
    let rig = Rig::new();
    let life = rig.begin().await;
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    life.settled().await;
    life.end().await;
    // The machine has been started anew: nothing is left of any replica.
    let rebooted = Rig { engine: Rig::new().engine, ..rig };
    let life = rebooted.begin().await;
    life.settled().await;
    assert_eq!(rebooted.running().await, ["api r1", "api r1"]);
    let placed = engine::Engine::observe(&*rebooted.engine, &rebooted.id).await.unwrap();
    assert!(placed.replicas.keys().all(|id| id.service.as_str() == "api"), "{:?}", placed.replicas.keys());
    drop(life);
}

#[tokio::test]
async fn a_down_is_taken_at_once_while_a_step_takes_long() {
    let rig = Rig::new();
    let life = rig.begin().await;
    assert_eq!(life.up("run v1").await.unwrap(), "done");
    rig.engine.set_slowness(200_000);
    let release = life.order_up("run v2").await.unwrap();
    let stack = life.daemon.stack(&rig.id).unwrap();
    let begun = std::time::Instant::now();
    let down = stack.down(DownRequest::default(), "ann".into()).await.unwrap();
    stack.status().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    rig.engine.set_slowness(0);
    assert_eq!(life.outcome(release.run).await, "superseded");
    assert_eq!(life.outcome(down.run).await, "done");
    assert!(rig.running().await.is_empty());
    assert_eq!(life.releases().await[0].state, "superseded");
}

#[tokio::test]
async fn stacks_that_are_released_at_once_choose_different_addresses() {
    let rig = Rig::new();
    let life = rig.begin().await;
    let names = ["one", "two", "three", "four"];
    for published in [false, true] {
        let orders = names.map(|name| life.release_as(name, published));
        for accepted in futures_util::future::join_all(orders).await {
            accepted.unwrap();
        }
    }
    let allocations = life.daemon.world().other_allocations(&rig.id).await.unwrap();
    let subnets: BTreeSet<_> =
        allocations.iter().flat_map(|given| given.networks.values()).map(|net| net.net).collect();
    // One whose port somebody else on the machine took meanwhile has gone back to the release before.
    let given: Vec<_> = allocations.iter().flat_map(|given| given.ports.values()).flat_map(BTreeMap::values).collect();
    let ports: BTreeSet<_> = given.iter().copied().collect();
    assert!(given.len() > 1, "{allocations:?}");
    assert_eq!((subnets.len(), ports.len()), (names.len(), given.len()), "{allocations:?}");
    life.end().await;
}

fn of(bundle: &model::BundleId) -> crate::api::plan::PlanRequest {
    crate::api::plan::PlanRequest { bundle: bundle.to_string(), images: Default::default(), adopt: None }
}
