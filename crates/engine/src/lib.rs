//! The traits every engine implements, the fakes, and the conformance suite.
//!
//! Engines come in two sorts: where *we* place replicas ([`Engine`]: process, docker), and where the engine
//! takes whole stacks and rolls them out itself ([`StackEngine`]: swarm, kubernetes, ecs).
//! [`fake`] has one of each in memory; [`conformance`] says what all of the first sort have in common.

pub mod anonymous;
pub mod changes;
pub mod conformance;
pub mod fake;
pub mod hosts;
pub mod images;
pub mod takeover;

pub use changes::Changes;

use async_trait::async_trait;
use model::policy::EngineKind;
use model::{ReplicaId, StackId};
use plan::action::{object, replica};
use plan::objects::ObjectState;
use plan::observed::{Known, Placed};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// The cause of an error, of whatever type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An engine refused or could not do something.
#[derive(Debug, thiserror::Error)]
#[error("{engine}: could not {doing}")]
pub struct EngineError {
    /// Which engine.
    pub engine: EngineKind,
    /// What it was doing, with its subject.
    pub doing: String,
    /// Whether trying again may help.
    pub retry: Retry,
    /// Why.
    #[source]
    pub source: BoxError,
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call may succeed later.
    Later,
    /// It will fail until somebody changes something.
    Never,
}

/// A place where we put replicas. Every one of them and the fake pass one suite.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Which kind this is.
    fn kind(&self) -> EngineKind;

    /// What runs now of one stack. Never cached; what cannot be read is unknown, never an absence.
    async fn observe(&self, stack: &StackId) -> Result<Placed, EngineError>;

    /// Carries out one action. Idempotent: doing a done action again succeeds and changes nothing.
    async fn perform(&self, stack: &StackId, action: &replica::Action) -> Result<(), EngineError>;

    /// The stacks of which anything exists here.
    async fn stacks(&self) -> Result<Vec<StackId>, EngineError>;

    /// Waits until something happened to some stack since the last call (a replica exited, was removed by
    /// hand…). Cancel-safe; may wake without cause.
    async fn changed(&self) -> StackId;

    /// Whether replicas can run here now.
    ///
    /// Errors: why not, with its cure.
    async fn usable(&self) -> Result<(), Unusable> {
        Ok(())
    }

    /// Subnets that networks must keep away from: the machine's own routes.
    async fn subnets_in_use(&self) -> Result<Vec<ipnet::Ipv4Net>, EngineError>;

    /// What a template needs that this engine cannot give, each with its cure; empty when it can run.
    async fn check(&self, template: &model::project::Template) -> Vec<Shortcoming>;

    /// Where the replica's log lies, in CRI log format, newest last; rotated files end in `.1`, `.2`…
    fn log_path(&self, stack: &StackId, id: &ReplicaId) -> PathBuf;

    /// Runs a command inside a running replica.
    async fn exec(&self, stack: &StackId, id: &ReplicaId, exec: Exec) -> Result<ExecExit, EngineError>;

    /// What replicas use now; one that cannot be read is unknown.
    async fn usage(&self, stack: &StackId) -> Result<BTreeMap<ReplicaId, Known<Usage>>, EngineError>;

    /// The TCP ports that a running replica listens on for others than itself; none when that cannot be told.
    async fn listens(&self, _stack: &StackId, _id: &ReplicaId) -> Result<Option<BTreeSet<u16>>, EngineError> {
        Ok(None)
    }

    /// Finds, fetches and builds images; none where images are only names.
    fn images(&self) -> Option<&dyn images::Images> {
        None
    }

    /// Takes over what another tool has started; none where there is no such tool.
    fn takeover(&self) -> Option<&dyn takeover::Takeover> {
        None
    }
}

/// Why no replica can run on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Why, in words that follow the engine's name.
    pub why: String,
    /// What to do, one imperative sentence.
    pub cure: String,
    /// Whether it may be otherwise the next time it is asked.
    pub may_pass: bool,
}

/// Something a template asks for that an engine cannot give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortcoming {
    /// Whether it can be run all the same.
    pub fatal: bool,
    /// What, in words.
    pub what: String,
    /// What to do, one imperative sentence.
    pub cure: String,
}

/// A command to run inside a replica.
#[derive(Debug)]
pub struct Exec {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Variables beside the replica's own.
    pub environment: BTreeMap<String, String>,
    /// Working directory; the replica's own when none.
    pub working_dir: Option<String>,
    /// User number inside the replica; its own when none.
    pub user: Option<u32>,
    /// Standard input, output and error. With `tty` all three are the same terminal.
    pub stdio: [OwnedFd; 3],
    /// The descriptors are a terminal that becomes the controlling one.
    pub tty: bool,
    /// The command is ended after this; never when none.
    pub timeout: Option<Duration>,
}

/// How a command inside a replica ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecExit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It took longer than its timeout and was ended.
    TimedOut,
    /// No such program inside the replica.
    NotFound,
}

/// What a replica uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since its start.
    pub cpu: Duration,
    /// Memory in bytes, without the file cache where the engine can tell.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u32,
}

/// A place that takes whole stacks and rolls them out itself.
#[async_trait]
pub trait StackEngine: Send + Sync {
    /// Which kind this is.
    fn kind(&self) -> EngineKind;

    /// The objects that bear our label.
    async fn observe(&self, stack: &StackId) -> Result<BTreeMap<object::ObjectId, Known<ObjectState>>, EngineError>;

    /// Carries out one action. Idempotent. `Watch` returns when the engine has rolled the object out.
    async fn perform(&self, stack: &StackId, action: &object::Action) -> Result<(), EngineError>;
}
