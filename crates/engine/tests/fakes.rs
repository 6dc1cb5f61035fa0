//! The fakes: the suite that every engine passes, faults, and convergence of a whole-stack engine.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "tests: a deadline on the real clock")]

use jiff::{SignedDuration, Timestamp};
use mainstay_engine::conformance::{self, Objects, Workloads};
use mainstay_engine::fake::{FakeEngine, FakeStackEngine};
use mainstay_engine::{Engine, EngineError, Retry, StackEngine};
use model::project::{Mount, MountSource, Template};
use model::stack::Subnet;
use model::{SpecHash, StackId, VolumeName};
use plan::action::object::{Manifest, ObjectId};
use plan::action::replica::Action as ReplicaAction;
use plan::{Action, Generation, Plan, objects};
use std::collections::BTreeMap;
use std::time::Duration;

struct InMemory;

impl Workloads for InMemory {
    fn runs(&self) -> Template {
        testkit::project::template("run")
    }
    fn exits(&self, code: i32) -> Template {
        testkit::project::template(&format!("exit {code}"))
    }
    fn is_deaf(&self) -> Template {
        testkit::project::template("deaf")
    }
    fn deaf_command(&self) -> Vec<String> {
        self.exit_command(0)
    }
    fn remembers(&self, volume: &VolumeName) -> Template {
        let source = MountSource::Volume(volume.clone());
        let mut template = testkit::project::template("remember /data");
        template.mounts.push(Mount { target: "/data".into(), source, read_only: false });
        template
    }
    fn exit_command(&self, code: i32) -> Vec<String> {
        vec!["exit".into(), code.to_string()]
    }
    fn endless_command(&self) -> Vec<String> {
        vec!["run".into()]
    }
    fn subnet(&self) -> Subnet {
        let at = |last| std::net::Ipv4Addr::new(10, 9, 8, last);
        Subnet { net: "10.9.8.0/26".parse().unwrap(), gateway: at(1), replicas_from: at(10), internal: true }
    }
    fn uid_base(&self) -> u32 {
        100_000
    }
}

fn fake() -> FakeEngine {
    FakeEngine::new(Timestamp::from_second(1_767_225_600).unwrap())
}

fn stack() -> StackId {
    "shop@test".parse().unwrap()
}

#[tokio::test]
async fn the_fake_is_an_engine() {
    let engine = fake();
    // So that a start has places at which it can be cut.
    engine.set_slowness(3);
    tokio::time::timeout(Duration::from_secs(10), conformance::run(&engine, &engine, &InMemory))
        .await
        .expect("it ends");
}

#[tokio::test]
async fn a_fault_has_no_effect_and_passes() {
    let (engine, name) = (fake(), "data".parse::<VolumeName>().unwrap());
    engine.fail_nth(2, Retry::Later);
    let ensure = ReplicaAction::EnsureVolume { name: name.clone(), made: Default::default() };
    let remove = ReplicaAction::RemoveVolume { name };
    engine.perform(&stack(), &ensure).await.unwrap();
    let error: EngineError = engine.perform(&stack(), &remove).await.unwrap_err();
    assert_eq!(error.retry, Retry::Later);
    assert_eq!(engine.observe(&stack()).await.unwrap().volumes.len(), 1);
    engine.perform(&stack(), &remove).await.unwrap();
    assert_eq!(engine.stacks().await.unwrap(), []);
}

#[tokio::test]
async fn time_passes_when_it_is_told_to() {
    let engine = fake();
    let before = engine.now();
    engine.advance(SignedDuration::from_secs(5));
    assert_eq!(engine.now().duration_since(before), SignedDuration::from_secs(5));
}

impl Objects for InMemory {
    fn object(&self, name: &str, version: u8) -> (ObjectId, Manifest) {
        let manifest = Manifest { text: version.to_string().into(), hash: SpecHash::from_digest([version; 16]) };
        (ObjectId { kind: "service".into(), name: name.into() }, manifest)
    }
}

#[tokio::test]
async fn the_fake_of_whole_stacks_is_an_engine() {
    let engine = FakeStackEngine::default();
    tokio::time::timeout(Duration::from_secs(10), conformance::run_stacks(&engine, &InMemory)).await.expect("it ends");
}

fn wanted(objects: &[(&str, u8)]) -> BTreeMap<ObjectId, Manifest> {
    objects.iter().map(|(name, version)| InMemory.object(name, *version)).collect()
}

async fn plan_of(engine: &FakeStackEngine, want: &BTreeMap<ObjectId, Manifest>) -> Plan {
    let have = engine.observe(&stack()).await.unwrap();
    objects::reconcile(want, &have, Generation(0), Duration::from_secs(60))
}

async fn carry_out(engine: &FakeStackEngine, plan: &Plan) -> Result<(), EngineError> {
    for step in plan.steps.values() {
        let Action::Object(action) = &step.action else { panic!("{:?} is no object", step.action) };
        engine.perform(&stack(), action).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_whole_stack_converges_whatever_fails_on_the_way() {
    let (first, second) = (wanted(&[("a", 1), ("b", 1), ("c", 1)]), wanted(&[("a", 2), ("b", 1), ("d", 1)]));
    for n in 1..=5 {
        let engine = FakeStackEngine::default();
        carry_out(&engine, &plan_of(&engine, &first).await).await.unwrap();
        assert!(plan_of(&engine, &first).await.is_empty(), "a second plan is empty");
        let plan = plan_of(&engine, &second).await;
        assert_eq!(plan.steps.len(), 5, "two applied and watched, one deleted");
        engine.fail_nth(n, Retry::Never);
        carry_out(&engine, &plan).await.unwrap_err();
        carry_out(&engine, &plan_of(&engine, &second).await).await.unwrap();
        assert!(plan_of(&engine, &second).await.is_empty(), "after step {n} failed");
        assert!(engine.observe(&stack()).await.unwrap().keys().eq(second.keys()));
    }
}

#[tokio::test]
async fn what_is_never_rolled_out_keeps_what_it_replaces() {
    let engine = FakeStackEngine::default();
    carry_out(&engine, &plan_of(&engine, &wanted(&[("old", 1)])).await).await.unwrap();
    let want = wanted(&[("new", 1)]);
    let new = want.keys().next().unwrap();
    engine.set_stuck(new, true);
    carry_out(&engine, &plan_of(&engine, &want).await).await.unwrap_err();
    assert_eq!(engine.observe(&stack()).await.unwrap().len(), 2);
    engine.set_stuck(new, false);
    engine.set_unreadable(new, true);
    assert!(plan_of(&engine, &want).await.is_empty(), "nothing is deleted while what replaces it cannot be read");
    engine.set_unreadable(new, false);
    carry_out(&engine, &plan_of(&engine, &want).await).await.unwrap();
    assert!(engine.observe(&stack()).await.unwrap().keys().eq(want.keys()));
}
