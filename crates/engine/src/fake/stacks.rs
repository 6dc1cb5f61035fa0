//! A whole-stack engine in memory.

use crate::{EngineError, Retry, StackEngine};
use async_trait::async_trait;
use model::StackId;
use model::policy::EngineKind;
use plan::action::object::{Action, ObjectId};
use plan::objects::ObjectState;
use plan::observed::Known;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

fn refused(doing: String, why: impl Into<String>, retry: Retry) -> EngineError {
    EngineError { engine: EngineKind::Swarm, ..super::refused(doing, why, retry) }
}

/// Takes objects and rolls each out as soon as somebody watches it.
#[derive(Default)]
pub struct FakeStackEngine {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<StackId, BTreeMap<ObjectId, ObjectState>>,
    unreadable: BTreeSet<ObjectId>,
    stuck: BTreeSet<ObjectId>,
    performed: u64,
    faults: BTreeMap<u64, Retry>,
}

impl FakeStackEngine {
    /// The `n`-th call of `perform` from now on fails without an effect; the next one is number 1.
    pub fn fail_nth(&self, n: u64, retry: Retry) {
        let mut state = self.lock();
        let at = state.performed + n;
        state.faults.insert(at, retry);
    }

    /// Whether objects of this id are never rolled out from now on.
    pub fn set_stuck(&self, id: &ObjectId, is_stuck: bool) {
        let mut state = self.lock();
        if is_stuck {
            state.stuck.insert(id.clone())
        } else {
            state.stuck.remove(id)
        };
    }

    /// Whether objects of this id cannot be read from now on.
    pub fn set_unreadable(&self, id: &ObjectId, is_unreadable: bool) {
        let mut state = self.lock();
        if is_unreadable {
            state.unreadable.insert(id.clone())
        } else {
            state.unreadable.remove(id)
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while they hold the lock")
    }
}

#[async_trait]
impl StackEngine for FakeStackEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Swarm
    }

    async fn observe(&self, stack: &StackId) -> Result<BTreeMap<ObjectId, Known<ObjectState>>, EngineError> {
        let state = self.lock();
        let read = |(id, object): (&ObjectId, &ObjectState)| {
            let known = match state.unreadable.contains(id) {
                true => Known::Unknown("it cannot be read".to_owned()),
                false => Known::Is(object.clone()),
            };
            (id.clone(), known)
        };
        Ok(state.objects.get(stack).into_iter().flatten().map(read).collect())
    }

    async fn perform(&self, stack: &StackId, action: &Action) -> Result<(), EngineError> {
        let mut state = self.lock();
        state.performed += 1;
        let number = state.performed;
        if let Some(retry) = state.faults.remove(&number) {
            return Err(refused(format!("perform call {number}"), "a fault was asked for", retry));
        }
        let State { objects, stuck, .. } = &mut *state;
        let objects = objects.entry(stack.clone()).or_default();
        match action {
            Action::Apply { id, manifest } => {
                let object = ObjectState { hash: manifest.hash, rolled_out: false };
                let is_there = objects.get(id).is_some_and(|known| known.hash == manifest.hash);
                if !is_there {
                    objects.insert(id.clone(), object);
                }
            }
            Action::Watch { id, deadline } => {
                let doing = format!("roll `{id}` out");
                if stuck.contains(id) {
                    return Err(refused(doing, format!("not rolled out within {deadline:?}"), Retry::Never));
                }
                let Some(object) = objects.get_mut(id) else {
                    return Err(refused(doing, "there is no such object", Retry::Never));
                };
                object.rolled_out = true;
            }
            Action::Delete { id } => drop(objects.remove(id)),
        }
        Ok(())
    }
}
