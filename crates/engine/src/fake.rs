//! Engines in memory: real behaviour, virtual time, faults on demand.
//!
//! [`FakeEngine`] passes the conformance suite. What a replica does is said by the first word of its template's command:
//! `exit N` ends at once with that code, `deaf` does not hear the stop signal, `remember DIR` exits with 0 on a volume at
//! `DIR` it has not seen and with 7 on one it has; anything else runs until it is stopped. Images run.
//! [`FakeStackEngine`] takes objects.

mod machine;
mod stacks;

pub use stacks::FakeStackEngine;

use crate::{BoxError, Engine, EngineError, Exec, ExecExit, Retry, Shortcoming, Unusable, Usage};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use machine::Machine;
use model::policy::EngineKind;
use model::project::{Runs, Template};
use model::{ReplicaId, StackId};
use plan::action::replica::{Action, Start};
use plan::observed::{Exit, Known, Phase, Placed};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// The cause of every error of a fake.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

fn refused(doing: impl Into<String>, why: impl Into<String>, retry: Retry) -> EngineError {
    let source: BoxError = Box::new(Refused(why.into()));
    EngineError { engine: EngineKind::Process, doing: doing.into(), retry, source }
}

/// Places replicas in memory.
pub struct FakeEngine {
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    now: Timestamp,
    machines: BTreeMap<StackId, Machine>,
    unreadable: BTreeMap<(StackId, ReplicaId), String>,
    changed: BTreeSet<StackId>,
    performed: u64,
    faults: BTreeMap<u64, Retry>,
    slowness: u32,
    at_once: usize,
    most_at_once: usize,
    unusable: Option<Unusable>,
}

/// A call of `perform` that goes on; one that is dropped is over as well.
struct Performing<'a>(&'a FakeEngine);

impl Drop for Performing<'_> {
    fn drop(&mut self) {
        self.0.lock().at_once -= 1;
    }
}

impl FakeEngine {
    /// An empty machine at this time.
    pub fn new(now: Timestamp) -> Self {
        let state = State {
            now,
            machines: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            changed: BTreeSet::new(),
            performed: 0,
            faults: BTreeMap::new(),
            slowness: 0,
            at_once: 0,
            most_at_once: 0,
            unusable: None,
        };
        Self { state: Mutex::new(state), arrived: Notify::new() }
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.lock().now
    }

    /// Lets virtual time pass.
    pub fn advance(&self, by: SignedDuration) {
        self.lock().now += by;
    }

    /// The `n`-th call of `perform` from now on fails without an effect; the next one is number 1.
    pub fn fail_nth(&self, n: u64, retry: Retry) {
        let mut state = self.lock();
        let at = state.performed + n;
        state.faults.insert(at, retry);
    }

    /// How many calls of `perform` there were.
    pub fn n_performed(&self) -> u64 {
        self.lock().performed
    }

    /// Each call of `perform` from now on lets others go first so many times before its effect. A start that is dropped
    /// in between is left half done.
    pub fn set_slowness(&self, turns: u32) {
        self.lock().slowness = turns;
    }

    /// From now on nothing can run here, for this reason; none lets it again.
    pub fn set_unusable(&self, why: Option<Unusable>) {
        self.lock().unusable = why;
    }

    /// The largest number of calls of `perform` that went on at the same time.
    pub fn most_at_once(&self) -> usize {
        self.lock().most_at_once
    }

    /// The replica's process ends by itself. No effect on one that does not run.
    pub fn crash(&self, stack: &StackId, id: &ReplicaId, how: Exit) {
        let mut state = self.lock();
        let now = state.now;
        state.machine(stack).end(id, how, now);
        drop(state);
        self.wake(stack);
    }

    /// What is there of the replica is what a start leaves that was cut short.
    pub fn halve(&self, stack: &StackId, id: &ReplicaId) {
        if let Some(replica) = self.lock().machine(stack).placed.replicas.get_mut(id) {
            replica.phase = Phase::Half;
        }
        self.wake(stack);
    }

    /// The replica cannot be read from now on, for this reason; with none it can be read again.
    pub fn set_unreadable(&self, stack: &StackId, id: &ReplicaId, why: Option<&str>) {
        let (mut state, key) = (self.lock(), (stack.clone(), id.clone()));
        match why {
            Some(why) => drop(state.unreadable.insert(key, why.to_owned())),
            None => drop(state.unreadable.remove(&key)),
        }
        drop(state);
        self.wake(stack);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while they hold the lock")
    }

    fn wake(&self, stack: &StackId) {
        self.lock().changed.insert(stack.clone());
        self.arrived.notify_one();
    }

    /// Counts the call, fails it when that was asked for, and says how many turns it takes.
    fn enter(&self) -> Result<(Performing<'_>, u32), EngineError> {
        let mut state = self.lock();
        state.performed += 1;
        let number = state.performed;
        if let Some(retry) = state.faults.remove(&number) {
            return Err(refused(format!("perform call {number}"), "a fault was asked for", retry));
        }
        state.at_once += 1;
        state.most_at_once = state.most_at_once.max(state.at_once);
        Ok((Performing(self), state.slowness))
    }

    fn begin(&self, stack: &StackId, start: &Start) -> Result<bool, EngineError> {
        let mut state = self.lock();
        if state.unreadable.contains_key(&(stack.clone(), start.id.clone())) {
            return Err(refused(format!("start `{}`", start.id), "it cannot be read", Retry::Later));
        }
        state.machine(stack).begin(start)
    }

    /// Everything but the first half of a start.
    fn act(&self, stack: &StackId, action: &Action) -> Result<(), EngineError> {
        let mut state = self.lock();
        let now = state.now;
        let machine = state.machine(stack);
        match action {
            Action::EnsureNetwork { name, state, .. } => machine.ensure_network(name, state)?,
            Action::RemoveNetwork { name } => machine.remove_network(name)?,
            Action::EnsureVolume { name, .. } => machine.ensure_volume(name),
            Action::RemoveVolume { name } => machine.remove_volume(name),
            Action::Start(start) => {
                if machine.run(start, now) {
                    drop(state);
                    self.wake(stack);
                    return Ok(());
                }
            }
            Action::Stop { id, signal, grace } => {
                let took = machine.stop(id, *signal, *grace, now);
                state.now += took;
                drop(state);
                self.wake(stack);
                return Ok(());
            }
            Action::Remove { id } => machine.remove(id)?,
        }
        state.machines.retain(|_, machine| !machine.is_empty());
        Ok(())
    }
}

impl State {
    fn machine(&mut self, stack: &StackId) -> &mut Machine {
        self.machines.entry(stack.clone()).or_default()
    }
}

#[async_trait]
impl Engine for FakeEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Process
    }

    async fn usable(&self) -> Result<(), Unusable> {
        self.lock().unusable.clone().map_or(Ok(()), Err)
    }

    async fn observe(&self, stack: &StackId) -> Result<Placed, EngineError> {
        let state = self.lock();
        let mut placed = state.machines.get(stack).map(|machine| machine.placed.clone()).unwrap_or_default();
        for ((_, id), why) in state.unreadable.iter().filter(|((owner, _), _)| owner == stack) {
            if let Some(replica) = placed.replicas.get_mut(id) {
                replica.phase = Phase::Unknown(why.clone());
            }
        }
        Ok(placed)
    }

    async fn perform(&self, stack: &StackId, action: &Action) -> Result<(), EngineError> {
        let (_performing, turns) = self.enter()?;
        if let Action::Start(start) = action
            && self.begin(stack, start)?
        {
            return Ok(());
        }
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        self.act(stack, action)
    }

    async fn stacks(&self) -> Result<Vec<StackId>, EngineError> {
        let state = self.lock();
        Ok(state.machines.iter().filter(|(_, machine)| !machine.is_empty()).map(|(stack, _)| stack.clone()).collect())
    }

    async fn changed(&self) -> StackId {
        loop {
            // Asked for before looking, so that a change between the two is not missed.
            let arrived = self.arrived.notified();
            if let Some(stack) = self.lock().changed.pop_first() {
                return stack;
            }
            arrived.await;
        }
    }

    async fn subnets_in_use(&self) -> Result<Vec<ipnet::Ipv4Net>, EngineError> {
        Ok(Vec::new())
    }

    async fn check(&self, template: &Template) -> Vec<Shortcoming> {
        match template.runs {
            Runs::Image { .. } | Runs::Build { .. } | Runs::Process { .. } => Vec::new(),
            Runs::Static { .. } => {
                let what = "it has nothing to run".to_owned();
                vec![Shortcoming { fatal: true, what, cure: "give it an image or a command".into() }]
            }
        }
    }

    fn log_path(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        PathBuf::from(format!("/nonexistent/{stack}/{id}.log"))
    }

    async fn exec(&self, stack: &StackId, id: &ReplicaId, exec: Exec) -> Result<ExecExit, EngineError> {
        let state = self.lock();
        let replica = state.machines.get(stack).and_then(|machine| machine.placed.replicas.get(id));
        if !replica.is_some_and(|replica| matches!(replica.phase, Phase::Running { .. })) {
            return Err(refused(format!("run a command in `{id}`"), "it does not run", Retry::Never));
        }
        let words: Vec<&str> = exec.argv.iter().map(String::as_str).collect();
        Ok(match words.as_slice() {
            ["exit", code] => code.parse().map_or(ExecExit::NotFound, ExecExit::Code),
            ["run"] if exec.timeout.is_some() => ExecExit::TimedOut,
            _ => ExecExit::NotFound,
        })
    }

    async fn usage(&self, stack: &StackId) -> Result<BTreeMap<ReplicaId, Known<Usage>>, EngineError> {
        let placed = self.observe(stack).await?;
        let usage = |phase: &Phase| match phase {
            Phase::Running { .. } => Some(Known::Is(Usage { cpu: Duration::ZERO, memory: 1 << 20, pids: 1 })),
            Phase::Unknown(why) => Some(Known::Unknown(why.clone())),
            _ => None,
        };
        Ok(placed.replicas.into_iter().filter_map(|(id, replica)| Some((id, usage(&replica.phase)?))).collect())
    }
}
