//! The engines of this machine, and which stack lies on which.
//!
//! A stack stays on its engine as long as anything of it is there: its volumes, networks and replicas are the engine's own.

use engine::{Engine, EngineError, Unusable};
use futures_util::future::{join_all, select_all};
use model::StackId;
use model::policy::EngineKind;
use runtime::Clock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Whoever asks which engines there are waits for a person: one that says nothing for so long is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// The engines, the usual one first.
pub struct Engines {
    all: Vec<Arc<dyn Engine>>,
    of: RwLock<BTreeMap<StackId, EngineKind>>,
}

impl Engines {
    /// Panics: without any.
    pub fn new(all: Vec<Arc<dyn Engine>>) -> Self {
        assert!(!all.is_empty(), "a daemon has an engine");
        Self { all, of: RwLock::default() }
    }

    /// The engine of a stack; the usual one of a stack that is on none yet.
    pub fn of(&self, stack: &StackId) -> &Arc<dyn Engine> {
        let kind = self.of.read().unwrap_or_else(PoisonError::into_inner).get(stack).copied();
        kind.and_then(|kind| self.get(kind)).unwrap_or(&self.all[0])
    }

    /// The engine of this kind; none when this daemon has no such.
    pub fn get(&self, kind: EngineKind) -> Option<&Arc<dyn Engine>> {
        self.all.iter().find(|engine| engine.kind() == kind)
    }

    /// The kind where nobody names one.
    pub fn usual(&self) -> EngineKind {
        self.all[0].kind()
    }

    /// Which of them can be used now, and why not the others.
    pub async fn offered(&self, clock: &dyn Clock) -> Vec<(EngineKind, Result<(), Unusable>)> {
        let one = |engine: &Arc<dyn Engine>| {
            let engine = Arc::clone(engine);
            async move {
                let asked = runtime::clock::timeout(clock, PATIENCE, engine.usable()).await;
                let silent = || Unusable {
                    why: format!("it has not answered within {} seconds", PATIENCE.as_secs()),
                    cure: "see its own log, or use another engine".into(),
                    may_pass: true,
                };
                (engine.kind(), asked.unwrap_or_else(|_| Err(silent())))
            }
        };
        join_all(self.all.iter().map(one)).await
    }

    /// Has a stack lie on the engine of this kind from now on.
    pub fn put(&self, stack: &StackId, kind: EngineKind) {
        self.of.write().unwrap_or_else(PoisonError::into_inner).insert(stack.clone(), kind);
    }

    /// The stacks of which anything exists, each with its engine.
    ///
    /// Errors: an engine does not answer. One that no stack was ever put on need not: many a machine has no Docker.
    pub async fn stacks(&self) -> Result<Vec<(StackId, &Arc<dyn Engine>)>, EngineError> {
        let mut stacks = Vec::new();
        for engine in &self.all {
            match engine.stacks().await {
                Ok(found) => stacks.extend(found.into_iter().map(|stack| (stack, engine))),
                Err(_) if !self.is_used(engine.kind()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(stacks)
    }

    fn is_used(&self, kind: EngineKind) -> bool {
        kind == self.usual() || self.of.read().unwrap_or_else(PoisonError::into_inner).values().any(|of| *of == kind)
    }

    /// Subnets that networks must keep away from.
    pub async fn subnets_in_use(&self) -> Result<Vec<ipnet::Ipv4Net>, EngineError> {
        let mut subnets = BTreeSet::new();
        for engine in &self.all {
            subnets.extend(engine.subnets_in_use().await?);
        }
        Ok(subnets.into_iter().collect())
    }

    /// Waits until something happened to some stack. Cancel-safe.
    pub async fn changed(&self) -> StackId {
        select_all(self.all.iter().map(|engine| engine.changed())).await.0
    }
}
