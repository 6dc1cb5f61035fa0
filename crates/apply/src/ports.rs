//! The ports a plan's steps go to: engines, probes, the edge, jobs.
//!
//! Owns the traits and their errors; whoever wires the daemon implements them. Every call is idempotent: a step that
//! was cut short is done again. Start with [`Ports`].

use async_trait::async_trait;
use engine::{BoxError, Engine, Retry, StackEngine};
use model::{ReplicaId, SpecHash, StackId};
use plan::Desired;
use plan::observed::Exit;
use std::time::Duration;

/// Where the steps of one plan go.
#[derive(Clone, Copy)]
pub struct Ports<'a> {
    /// Where replicas or whole stacks are placed.
    pub placing: Placing<'a>,
    /// Tells when a replica is ready.
    pub probes: &'a dyn Readiness,
    /// Gives and takes traffic.
    pub edge: &'a dyn Edge,
    /// Tells when a job has ended.
    pub jobs: &'a dyn Jobs,
}

/// The engine, of one sort or the other.
#[derive(Clone, Copy)]
pub enum Placing<'a> {
    /// We place replicas.
    Replicas(&'a dyn Engine),
    /// The engine takes whole stacks.
    Stacks(&'a dyn StackEngine),
}

/// Tells when a replica is ready.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// Waits until the replica is ready, at most until `deadline` has passed. Cancel-safe.
    ///
    /// Errors: at once when the replica has exited for good, else when the deadline is over.
    async fn wait_ready(&self, stack: &StackId, id: &ReplicaId, deadline: Duration) -> Result<(), NotReady>;
}

/// A replica did not become ready.
#[derive(Debug, thiserror::Error)]
#[error("`{id}` did not become ready: {why}")]
pub struct NotReady {
    /// Which.
    pub id: ReplicaId,
    /// What its probe last answered, or how it exited, in words.
    pub why: String,
    /// It has exited and nothing will start it again by itself.
    pub exited: bool,
}

/// Tells when a job has ended.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Waits until the replica has exited, and says how. Returns at once for one that has. Cancel-safe.
    async fn wait_exit(&self, stack: &StackId, id: &ReplicaId) -> Result<Exit, JobLost>;
}

/// Nobody can tell any more how a job ended.
#[derive(Debug, thiserror::Error)]
#[error("could not learn how job `{id}` ended")]
pub struct JobLost {
    /// Which.
    pub id: ReplicaId,
    /// Why.
    #[source]
    pub source: BoxError,
}

/// Gives traffic to replicas and takes it from them.
///
/// What is wanted is handed over with each call that needs it, so that an implementation keeps no second copy.
#[async_trait]
pub trait Edge: Send + Sync {
    /// Opens the listeners of `want` beside those that are open; routes stay as they are.
    async fn open(&self, stack: &StackId, want: &Desired) -> Result<(), EdgeError>;

    /// Gives traffic to the replica from now on whenever it is ready.
    async fn route(&self, stack: &StackId, id: &ReplicaId) -> Result<(), EdgeError>;

    /// Gives no more traffic to the replica and waits for what is in flight; cuts after `grace`.
    async fn drain(&self, stack: &StackId, id: &ReplicaId, grace: Duration) -> Result<(), EdgeError>;

    /// Switches routes, listeners and static folders to those of `want` (to nothing when it is down) and remembers `hash`.
    async fn settle(&self, stack: &StackId, want: &Desired, hash: SpecHash) -> Result<(), EdgeError>;
}

/// The edge refused or could not do something.
#[derive(Debug, thiserror::Error)]
#[error("edge: could not {doing}")]
pub struct EdgeError {
    /// What it was doing, with its subject.
    pub doing: String,
    /// Whether trying again may help.
    pub retry: Retry,
    /// Why.
    #[source]
    pub source: BoxError,
}
