//! Plans for an engine that takes whole stacks: the same journal, checks, cuts and stops.

use crate::rig::{Impatient, Rig};
use engine::fake::FakeStackEngine;
use engine::{Retry, StackEngine};
use mainstay_apply::ports::{Placing, Ports};
use mainstay_apply::{ApplyError, Journal, MadeFrom, MemoryJournal, Outcome, Task, apply};
use model::{SpecHash, StackId};
use plan::action::object::{Manifest, ObjectId};
use plan::observed::Known;
use plan::{Generation, Plan, objects};
use proptest::prelude::*;
use runtime::CancellationToken;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

type Wanted = BTreeMap<ObjectId, Manifest>;

fn wanted(objects: &[(&str, u8)]) -> Wanted {
    let one = |(name, version): &(&str, u8)| {
        let manifest = Manifest { text: version.to_string().into(), hash: SpecHash::from_digest([*version; 16]) };
        (ObjectId { kind: "service".into(), name: (*name).into() }, manifest)
    };
    objects.iter().map(one).collect()
}

/// A stack on a whole-stack engine, with its journal.
struct Scene {
    engine: FakeStackEngine,
    journal: MemoryJournal,
    stack: StackId,
    stop: CancellationToken,
    /// Has the ports that no step of such a plan needs.
    rig: Rig,
}

impl Scene {
    fn new() -> Self {
        let (engine, journal) = (FakeStackEngine::default(), MemoryJournal::default());
        let stack = "shop@production".parse().unwrap();
        Self { engine, journal, stack, stop: CancellationToken::new(), rig: Rig::new() }
    }

    async fn plan(&self, want: &Wanted) -> Plan {
        let have = self.engine.observe(&self.stack).await.unwrap();
        objects::reconcile(want, &have, Generation(0), Duration::from_secs(60))
    }

    async fn apply(&self, want: &Wanted, plan: &Plan) -> Result<Outcome, ApplyError> {
        self.journal.close_interrupted(&self.stack).await.unwrap();
        let have = self.engine.observe(&self.stack).await.unwrap();
        let made_from = MadeFrom::Objects { want, have: &have, generation: Generation(0) };
        let task = Task { stack: &self.stack, made_from, plan };
        let ports =
            Ports { placing: Placing::Stacks(&self.engine), probes: &self.rig, edge: &self.rig, jobs: &self.rig };
        let width = NonZeroUsize::new(2).unwrap();
        apply(task, ports, &self.journal, &self.rig, &Impatient, width, &self.stop).await
    }

    /// Plans and carries out; the plan after it is empty.
    async fn converge(&self, want: &Wanted) {
        let plan = self.plan(want).await;
        assert_eq!(self.apply(want, &plan).await.unwrap(), Outcome::Done);
        assert!(self.plan(want).await.is_empty());
        assert!(self.engine.observe(&self.stack).await.unwrap().keys().eq(want.keys()));
    }

    /// Plans and carries out, as often as calls still fail, until nothing is left to do.
    async fn lead_on(&self, want: &Wanted) {
        for _ in 0..10 {
            let plan = self.plan(want).await;
            if plan.is_empty() {
                assert!(self.engine.observe(&self.stack).await.unwrap().keys().eq(want.keys()));
                return;
            }
            self.apply(want, &plan).await.unwrap();
        }
        panic!("does not converge");
    }
}

fn first() -> Wanted {
    wanted(&[("a", 1), ("b", 1), ("c", 1)])
}

/// `a` changes, `d` comes, `c` goes.
fn second() -> Wanted {
    wanted(&[("a", 2), ("b", 1), ("d", 1)])
}

#[tokio::test]
async fn whatever_fails_on_the_way_the_next_plan_leads_on() {
    for n in 1..=5 {
        let scene = Scene::new();
        scene.converge(&first()).await;
        scene.engine.fail_nth(n, Retry::Never);
        let plan = scene.plan(&second()).await;
        assert_eq!(plan.steps.len(), 5, "two applied and watched, one deleted");
        assert!(matches!(scene.apply(&second(), &plan).await.unwrap(), Outcome::Failed { .. }), "call {n}");
        scene.converge(&second()).await;
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let scene = Scene::new();
    scene.engine.fail_nth(2, Retry::Later);
    scene.converge(&first()).await;
}

#[tokio::test]
async fn a_disk_that_fills_at_any_write_leaves_a_stack_that_the_next_run_finishes() {
    let mut n = 0;
    loop {
        let scene = Scene::new();
        scene.converge(&first()).await;
        scene.journal.fail_after(Some(n));
        let plan = scene.plan(&second()).await;
        let have = scene.engine.observe(&scene.stack).await.unwrap();
        let made_from = MadeFrom::Objects { want: &second(), have: &have, generation: Generation(0) };
        let task = Task { stack: &scene.stack, made_from, plan: &plan };
        let (probes, edge, jobs) = (&scene.rig, &scene.rig, &scene.rig);
        let ports = Ports { placing: Placing::Stacks(&scene.engine), probes, edge, jobs };
        let width = NonZeroUsize::new(2).unwrap();
        let ended = apply(task, ports, &scene.journal, &scene.rig, &Impatient, width, &scene.stop).await;
        scene.journal.fail_after(None);
        if ended.is_ok() {
            break;
        }
        scene.converge(&second()).await;
        n += 1;
    }
    // A run begins and ends, and so does each of its five steps.
    assert_eq!(n, 12);
}

#[tokio::test]
async fn a_plan_that_breaks_a_rule_is_refused_and_nothing_is_done() {
    let scene = Scene::new();
    scene.converge(&first()).await;
    let plan = scene.plan(&second()).await;
    let other = wanted(&[("a", 3), ("b", 1), ("c", 1)]);
    assert!(matches!(scene.apply(&other, &plan).await, Err(ApplyError::Unsound(_))));
    assert!(scene.plan(&first()).await.is_empty());
}

#[tokio::test]
async fn a_stop_ends_between_two_steps() {
    let scene = Scene::new();
    scene.stop.cancel();
    let plan = scene.plan(&first()).await;
    assert_eq!(scene.apply(&first(), &plan).await.unwrap(), Outcome::Stopped);
    assert!(scene.engine.observe(&scene.stack).await.unwrap().is_empty());
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let versions = prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c", "d", "e"]), 0u8..3, 0..5);
    versions.prop_map(|versions| wanted(&versions.into_iter().collect::<Vec<_>>()))
}

/// A release, the call to the engine that fails and whether for good, and the write after which the disk is full.
type Turn = (Wanted, Option<(u64, bool)>, Option<u64>);

async fn live(turns: Vec<Turn>) {
    let scene = Scene::new();
    for (want, fault, full_after) in turns {
        if let Some((n, passes)) = fault {
            scene.engine.fail_nth(n, if passes { Retry::Later } else { Retry::Never });
        }
        let plan = scene.plan(&want).await;
        let earlier = scene.engine.observe(&scene.stack).await.unwrap();
        scene.journal.fail_after(full_after);
        let result = scene.apply(&want, &plan).await;
        scene.journal.fail_after(None);
        if !matches!(result, Ok(Outcome::Done)) {
            let now = scene.engine.observe(&scene.stack).await.unwrap();
            let is_whole = want.iter().all(|(id, manifest)| {
                matches!(now.get(id), Some(Known::Is(state)) if state.hash == manifest.hash && state.rolled_out)
            });
            let lost = earlier.keys().find(|id| !now.contains_key(*id));
            assert!(is_whole || lost.is_none(), "{lost:?} goes before all that is wanted is there");
        }
    }
    scene.lead_on(&first()).await;
    scene.lead_on(&Wanted::new()).await;
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_of_whole_stacks_converges_and_ends_in_nothing(
        turns in prop::collection::vec(
            (any_wanted(), prop::option::of((1u64..8, any::<bool>())), prop::option::of(1u64..20)),
            1..5,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(turns));
    }
}
