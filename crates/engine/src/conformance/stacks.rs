//! What every engine does alike that takes whole stacks.

use super::bench::chain;
use crate::{EngineError, StackEngine};
use model::StackId;
use plan::action::object::{Action, Manifest, ObjectId};
use plan::objects::{self, ObjectState};
use plan::observed::Known;
use plan::{Action as Step, Generation, Plan};
use std::collections::BTreeMap;
use std::time::Duration;

/// Long enough for an engine to roll out what the suite gives it.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the suite applies on an engine.
pub trait Objects: Send + Sync {
    /// A small object that can be rolled out, in this version; another version is another manifest.
    fn object(&self, name: &str, version: u8) -> (ObjectId, Manifest);
}

/// Runs the whole suite.
///
/// Panics: at the first behaviour that differs.
pub async fn run(engine: &dyn StackEngine, objects: &dyn Objects) {
    objects_are_applied_rolled_out_and_deleted(engine, objects).await;
    what_is_not_there_is_not_watched(engine, objects).await;
    stacks_keep_apart(engine, objects).await;
    a_stack_converges_wherever_it_was_cut(engine, objects).await;
}

type Wanted = BTreeMap<ObjectId, Manifest>;

/// One stack on one engine.
struct Bench<'a> {
    engine: &'a dyn StackEngine,
    stack: StackId,
}

impl<'a> Bench<'a> {
    async fn new(engine: &'a dyn StackEngine, name: &str) -> Self {
        let bench = Self { engine, stack: format!("{name}@conformance").parse().expect("a legal name") };
        assert_eq!(bench.seen().await, BTreeMap::new(), "nothing of {name} is there before");
        bench
    }

    async fn seen(&self) -> BTreeMap<ObjectId, Known<ObjectState>> {
        match self.engine.observe(&self.stack).await {
            Ok(seen) => seen,
            Err(error) => panic!("observe `{}`: {}", self.stack, chain(&error)),
        }
    }

    async fn perform(&self, action: Action) {
        if let Err(error) = self.engine.perform(&self.stack, &action).await {
            panic!("{action:?}: {}", chain(&error));
        }
    }

    async fn apply(&self, (id, manifest): &(ObjectId, Manifest)) {
        self.perform(Action::Apply { id: id.clone(), manifest: manifest.clone().into() }).await;
    }

    async fn watch(&self, id: &ObjectId) -> Result<(), EngineError> {
        self.engine.perform(&self.stack, &Action::Watch { id: id.clone(), deadline: DEADLINE }).await
    }

    async fn delete(&self, id: &ObjectId) {
        self.perform(Action::Delete { id: id.clone() }).await;
    }

    async fn is(&self, (id, manifest): &(ObjectId, Manifest)) -> bool {
        match self.seen().await.get(id) {
            Some(Known::Is(state)) => {
                assert_eq!(state.hash, manifest.hash, "{id} is as it was applied last");
                state.rolled_out
            }
            other => panic!("{id} was applied, and is seen as {other:?}"),
        }
    }

    async fn plan(&self, want: &Wanted) -> Plan {
        objects::reconcile(want, &self.seen().await, Generation(0), DEADLINE)
    }

    async fn carry_out(&self, plan: &Plan, steps: usize) {
        for step in plan.steps.values().take(steps) {
            let Step::Object(action) = &step.action else { panic!("{:?} is no object", step.action) };
            self.perform(action.clone()).await;
        }
    }
}

async fn objects_are_applied_rolled_out_and_deleted(engine: &dyn StackEngine, objects: &dyn Objects) {
    let bench = Bench::new(engine, "applied").await;
    for version in [1, 2] {
        let object = objects.object("web", version);
        bench.apply(&object).await;
        bench.apply(&object).await;
        bench.is(&object).await;
        if let Err(error) = bench.watch(&object.0).await {
            panic!("roll {} out: {}", object.0, chain(&error));
        }
        assert!(bench.is(&object).await, "it is rolled out once that was waited for");
        bench.apply(&object).await;
        assert!(bench.is(&object).await, "applying it again changes nothing");
    }
    let (id, _) = objects.object("web", 2);
    bench.delete(&id).await;
    bench.delete(&id).await;
    assert_eq!(bench.seen().await, BTreeMap::new());
}

async fn what_is_not_there_is_not_watched(engine: &dyn StackEngine, objects: &dyn Objects) {
    let bench = Bench::new(engine, "not-there").await;
    let (id, _) = objects.object("web", 1);
    match bench.watch(&id).await {
        Ok(()) => panic!("{id} is rolled out although it is not there"),
        Err(error) => assert!(chain(&error).contains(&*id.name), "it is named: {}", chain(&error)),
    }
    assert_eq!(bench.seen().await, BTreeMap::new());
}

async fn stacks_keep_apart(engine: &dyn StackEngine, objects: &dyn Objects) {
    let (one, other) = (Bench::new(engine, "one").await, Bench::new(engine, "other").await);
    let (first, second) = (objects.object("web", 1), objects.object("web", 2));
    one.apply(&first).await;
    other.apply(&second).await;
    one.is(&first).await;
    one.delete(&first.0).await;
    other.is(&second).await;
    other.delete(&second.0).await;
    assert_eq!(other.seen().await, BTreeMap::new());
}

/// From one set of objects to another and to none, cut after every number of steps.
async fn a_stack_converges_wherever_it_was_cut(engine: &dyn StackEngine, objects: &dyn Objects) {
    let bench = Bench::new(engine, "cut").await;
    let set = |versions: &[(&str, u8)]| -> Wanted {
        versions.iter().map(|(name, version)| objects.object(name, *version)).collect()
    };
    let wanted = [set(&[("a", 1), ("b", 1), ("c", 1)]), set(&[("a", 2), ("b", 1), ("d", 1)]), set(&[])];
    for cut in 0.. {
        let mut longest = 0;
        for want in &wanted {
            let plan = bench.plan(want).await;
            longest = longest.max(plan.steps.len());
            bench.carry_out(&plan, cut).await;
            let rest = bench.plan(want).await;
            bench.carry_out(&rest, usize::MAX).await;
            let last = bench.plan(want).await;
            assert!(last.is_empty(), "cut after {cut} steps, it is not as wanted: {last:?}");
            assert!(bench.seen().await.keys().eq(want.keys()));
        }
        if cut > longest {
            break;
        }
    }
}
