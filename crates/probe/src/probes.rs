//! The loops that ask, one task per probe, and what they found so far.
//!
//! Owns which replicas are watched. Never asks two questions of one probe at once, keeps nothing over a restart
//! of the daemon: an adopted replica is asked at once. Start with [`Probes::watch`].

mod observation;
#[cfg(test)]
mod tests;

pub use observation::{Answer, Change, NotReady, Observation};

use crate::check::{self, CommandRunner, Whom};
use crate::judge::{Early, Judge, Verdict};
use jiff::Timestamp;
use model::probe::{Probe, Probes as Spec};
use model::{ReplicaId, StackId};
use observation::{Kind, Seen};
use plan::observed::Health;
use runtime::tasks::Task;
use runtime::{Clock, OnError, Tasks};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// What is asked of one running replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// When its process was started: tells this run from an earlier one in the same slot.
    pub since: Timestamp,
    /// Where it can be reached from here.
    pub address: Option<IpAddr>,
    /// The questions.
    pub probes: Spec,
}

/// Watches replicas; clones are the same registry.
#[derive(Clone)]
pub struct Probes {
    shared: Arc<Shared>,
}

struct Shared {
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    runner: Arc<dyn CommandRunner>,
    watched: Mutex<Watched>,
    /// The number of the next watch.
    next: AtomicU64,
    version: watch::Sender<u64>,
    changes: broadcast::Sender<Change>,
}

type Watched = BTreeMap<StackId, BTreeMap<ReplicaId, Entry>>;

/// One watched replica.
struct Entry {
    watch: Watch,
    /// Tells this watch from a later one of the same replica, whose loops may still be ending.
    number: u64,
    seen: Seen,
    loops: Vec<Task>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.loops.iter().for_each(Task::abort);
    }
}

impl Probes {
    /// Watches nothing yet. The loops are tasks of `tasks`.
    pub fn new(tasks: &Tasks, clock: Arc<dyn Clock>, runner: Arc<dyn CommandRunner>) -> Self {
        let shared = Shared {
            tasks: tasks.child("probes"),
            clock,
            runner,
            watched: Mutex::default(),
            next: AtomicU64::new(0),
            version: watch::Sender::new(0),
            // Who falls further behind than this reads the snapshot again.
            changes: broadcast::Sender::new(1024),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Watches a running replica from now on. The same watch again changes nothing; another one (a new start, an
    /// other address, other probes) begins anew. Without a ready probe it is ready because it runs.
    pub fn watch(&self, stack: &StackId, id: &ReplicaId, watch: Watch) {
        let shared = &self.shared;
        let now = shared.clock.now();
        let mut watched = shared.watched();
        let replicas = watched.entry(stack.clone()).or_default();
        let before = replicas.get(id);
        if before.is_some_and(|entry| entry.watch == watch) {
            return;
        }
        let from = before.filter(|entry| entry.watch.since == watch.since).map(|entry| entry.seen.health().clone());
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let seen = Seen::begin(&watch.probes, now);
        let health = seen.health().clone();
        let loops = shared.start_loops(stack, id, &watch, number);
        replicas.insert(id.clone(), Entry { watch, number, seen, loops });
        shared.tell(watched, Change { stack: stack.clone(), id: id.clone(), at: now, from, to: Some(health) });
    }

    /// Watches a replica no more; one that is not watched is none the worse.
    pub fn forget(&self, stack: &StackId, id: &ReplicaId) {
        let mut watched = self.shared.watched();
        let Some(replicas) = watched.get_mut(stack) else { return };
        let Some(entry) = replicas.remove(id) else { return };
        if replicas.is_empty() {
            watched.remove(stack);
        }
        let from = Some(entry.seen.health().clone());
        let at = self.shared.clock.now();
        self.shared.tell(watched, Change { stack: stack.clone(), id: id.clone(), at, from, to: None });
    }

    /// Makes the watched replicas of a stack exactly these: watches, begins anew, forgets.
    pub fn settle(&self, stack: &StackId, running: &BTreeMap<ReplicaId, Watch>) {
        let gone: Vec<ReplicaId> = match self.shared.watched().get(stack) {
            Some(replicas) => replicas.keys().filter(|id| !running.contains_key(*id)).cloned().collect(),
            None => Vec::new(),
        };
        gone.iter().for_each(|id| self.forget(stack, id));
        running.iter().for_each(|(id, watch)| self.watch(stack, id, watch.clone()));
    }

    /// What is known of a stack's watched replicas.
    pub fn snapshot(&self, stack: &StackId) -> BTreeMap<ReplicaId, Observation> {
        let watched = self.shared.watched();
        let replicas = watched.get(stack).into_iter().flatten();
        replicas.map(|(id, entry)| (id.clone(), entry.seen.observation())).collect()
    }

    /// The health of a stack's watched replicas, as plans want it.
    pub fn health(&self, stack: &StackId) -> BTreeMap<ReplicaId, Health> {
        let watched = self.shared.watched();
        let replicas = watched.get(stack).into_iter().flatten();
        replicas.map(|(id, entry)| (id.clone(), entry.seen.health().clone())).collect()
    }

    /// How a replica is watched now.
    pub fn watched(&self, stack: &StackId, id: &ReplicaId) -> Option<Watch> {
        Some(self.shared.watched().get(stack)?.get(id)?.watch.clone())
    }

    /// What is known of one replica.
    pub fn observation(&self, stack: &StackId, id: &ReplicaId) -> Option<Observation> {
        Some(self.shared.watched().get(stack)?.get(id)?.seen.observation())
    }

    /// A number that grows with every change of a health, and with each first answer.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Every change from now on. Who lags behind loses changes and reads [`Probes::snapshot`].
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    /// Waits until the replica is ready, at most so long. It need not be watched yet. Cancel-safe.
    ///
    /// Errors: the deadline is over; the error says what its probe answered last.
    pub async fn wait_ready(&self, stack: &StackId, id: &ReplicaId, deadline: Duration) -> Result<(), NotReady> {
        let ready = || self.shared.watched().get(stack).and_then(|all| all.get(id)).is_some_and(Entry::is_ready);
        let mut version = self.version();
        // The sender lives in `self`, so the wait cannot fail.
        let wait = version.wait_for(|_| ready());
        let waited = runtime::clock::timeout(&*self.shared.clock, deadline, wait).await.is_ok();
        if waited {
            return Ok(());
        }
        Err(NotReady { id: id.clone(), deadline, observation: self.observation(stack, id) })
    }

    /// Waits until each replica of the stack that has a ready probe was asked once, at most so long; tells
    /// whether it was. After an adoption the healths mean something only then. Cancel-safe.
    pub async fn all_asked(&self, stack: &StackId, deadline: Duration) -> bool {
        let asked = || self.shared.watched().get(stack).into_iter().flatten().all(|(_, entry)| entry.seen.is_asked());
        let mut version = self.version();
        let wait = version.wait_for(|_| asked());
        runtime::clock::timeout(&*self.shared.clock, deadline, wait).await.is_ok()
    }
}

impl Entry {
    fn is_ready(&self) -> bool {
        *self.seen.health() == Health::Ready
    }
}

impl Shared {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a change after the registry is unlocked: a listener may look at it at once.
    fn tell(&self, watched: MutexGuard<'_, Watched>, change: Change) {
        drop(watched);
        self.version.send_modify(|version| *version += 1);
        // Nobody needs to listen.
        let _listeners = self.changes.send(change);
    }

    fn start_loops(self: &Arc<Self>, stack: &StackId, id: &ReplicaId, watch: &Watch, number: u64) -> Vec<Task> {
        let kinds = [(Kind::Ready, &watch.probes.ready), (Kind::Live, &watch.probes.live)];
        let start = |(kind, probe): (Kind, &Option<Probe>)| {
            let questions = Questions {
                shared: Arc::clone(self),
                stack: stack.clone(),
                id: id.clone(),
                number,
                kind,
                probe: probe.clone()?,
                address: watch.address,
                age: Age::since(watch.since, &*self.clock),
            };
            Some(self.tasks.spawn(&format!("{stack}/{id}"), OnError::Log, |stop| async move {
                stop.run_until_cancelled(questions.ask()).await;
            }))
        };
        kinds.into_iter().filter_map(start).collect()
    }

    /// Keeps an answer; tells when it changed the replica's health.
    fn answered(&self, questions: &Questions, verdict: Verdict, answer: Answer) {
        let Questions { stack, id, number, kind, .. } = questions;
        let mut watched = self.watched();
        let entry = watched.get_mut(stack).and_then(|replicas| replicas.get_mut(id));
        let Some(entry) = entry.filter(|entry| entry.number == *number) else { return };
        let (from, first, at) = (entry.seen.health().clone(), !entry.seen.is_asked(), answer.at);
        if entry.seen.record(*kind, verdict, answer) {
            let to = Some(entry.seen.health().clone());
            self.tell(watched, Change { stack: stack.clone(), id: id.clone(), at, from: Some(from), to });
        } else if first {
            drop(watched);
            self.version.send_modify(|version| *version += 1);
        }
    }
}

/// How old a replica is. Its start is a time on the wall; from here on only steady time counts.
#[derive(Clone, Copy)]
struct Age {
    at_begin: Duration,
    begin: std::time::Instant,
}

impl Age {
    fn since(start: Timestamp, clock: &dyn Clock) -> Self {
        // A start in the future means that the wall clock was set back: then it is as good as new.
        let at_begin = Duration::try_from(clock.now().duration_since(start)).unwrap_or_default();
        Self { at_begin, begin: clock.monotonic() }
    }

    fn now(self, clock: &dyn Clock) -> Duration {
        self.at_begin + clock.monotonic().duration_since(self.begin)
    }
}

/// One loop.
struct Questions {
    shared: Arc<Shared>,
    stack: StackId,
    id: ReplicaId,
    number: u64,
    kind: Kind,
    probe: Probe,
    address: Option<IpAddr>,
    age: Age,
}

impl Questions {
    /// Asks until it is aborted.
    async fn ask(self) {
        let clock = &*self.shared.clock;
        let early = if self.kind == Kind::Ready { Early::Yes } else { Early::No };
        let mut judge = Judge::new(self.probe.clone(), self.age.now(clock), early);
        let whom = Whom { stack: &self.stack, id: &self.id, address: self.address };
        loop {
            let next = judge.next();
            clock.sleep(next.at.saturating_sub(self.age.now(clock))).await;
            let began = self.age.now(clock);
            let found = check::ask(clock, &*self.shared.runner, whom, &self.probe.check, next.timeout).await;
            let ended = self.age.now(clock);
            judge.record(began, ended, found.is_ok());
            let passed = found.is_ok();
            let detail = found.unwrap_or_else(|why| why);
            let answer = Answer { at: clock.now(), took: ended - began, passed, detail, failures: judge.streak() };
            self.shared.answered(&self, judge.verdict(), answer);
        }
    }
}
