//! What was seen: never cached, and what could not be read says so.

use crate::Addresses;
use crate::step::Generation;
use jiff::Timestamp;
use model::project::Role;
use model::stack::Subnet;
use model::{BundleId, NetworkName, ReleaseNumber, ReplicaId, ServiceName, SpecHash, VolumeName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Everything seen of one stack: what the engine tells, what the probes tell, what the edge tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The state of the stack this was seen in.
    pub generation: Generation,
    /// What the engine tells.
    pub placed: Placed,
    /// What the probes tell; a replica that is not named has not been probed yet.
    pub health: BTreeMap<ReplicaId, Health>,
    /// What the edge tells.
    pub edge: Known<Routing>,
    /// Jobs that have done their work, by name and hash of their template, whether or not their replicas are still
    /// there: those do not outlive the machine's next start.
    pub completed: BTreeMap<(ServiceName, SpecHash), Completed>,
}

/// A job that has done its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// So many of its replicas exited with 0.
    pub replicas: u32,
    /// When that was seen.
    pub at: Timestamp,
}

impl Observed {
    /// Whether the replica runs and its probe, if it has one, says it is ready.
    pub fn is_ready(&self, id: &ReplicaId) -> bool {
        let running = self.placed.replicas.get(id).is_some_and(|r| matches!(r.phase, Phase::Running { .. }));
        running && self.health.get(id) == Some(&Health::Ready)
    }

    /// How many replicas of a job with this template are known to have done their work, of those that were not asked to
    /// be run again since.
    pub fn n_completed(&self, job: &ServiceName, hash: SpecHash, asked_again: Option<Timestamp>) -> u32 {
        let done = self.completed.get(&(job.clone(), hash));
        let counts = |done: &&Completed| asked_again.is_none_or(|asked| asked <= done.at);
        done.filter(counts).map_or(0, |done| done.replicas)
    }

    /// Whether the replica gets traffic; unknown counts as yes, which is the careful side before a stop.
    pub fn is_routed(&self, id: &ReplicaId) -> bool {
        match &self.edge {
            Known::Is(routing) => routing.routed.contains(id),
            Known::Unknown(_) => true,
        }
    }
}

/// A thing that was read, or the reason why it could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<T> {
    /// It was read.
    Is(T),
    /// It could not be read: why.
    Unknown(String),
}

impl<T: Default> Default for Known<T> {
    fn default() -> Self {
        Self::Is(T::default())
    }
}

/// What an engine that places replicas tells of one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Replicas that bear our label, in whatever phase.
    pub replicas: BTreeMap<ReplicaId, Replica>,
    /// Networks that bear our label.
    pub networks: BTreeMap<NetworkName, Known<NetworkState>>,
    /// Volumes that bear our label.
    pub volumes: BTreeSet<VolumeName>,
}

/// One replica as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Runs on or once.
    pub role: Role,
    /// The hash of the template it was started with.
    pub hash: SpecHash,
    /// The release that started it.
    pub release: ReleaseNumber,
    /// The bundle it runs from.
    pub bundle: BundleId,
    /// Its address per network.
    pub addresses: Addresses,
    /// How many times in a row it had exited by itself before it was started.
    pub failures: u32,
    /// The signal its own template wants to be stopped with, kept as a label: the wanted one may say otherwise.
    pub stop_signal: i32,
    /// How long its own template wants to have after that signal, kept as a label.
    pub stop_grace: Duration,
    /// Where it is in its life.
    pub phase: Phase,
}

/// Where a replica is in its life.
///
/// ```text
/// Half ──start──► Running ──exit──► Exited ──start──► Running …
///   └───────────► Failed (never ran)          any ──remove──► gone
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Parts of it exist: a start was cut short.
    Half,
    /// Its process runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Its process ended.
    Exited {
        /// When it had been started.
        since: Timestamp,
        /// When it ended.
        at: Timestamp,
        /// How.
        how: Exit,
    },
    /// It could not be started at all.
    Failed {
        /// When.
        at: Timestamp,
        /// Why, in words.
        why: String,
    },
    /// It could not be read: why.
    Unknown(String),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The kernel ended it because it went over its memory limit.
    OutOfMemory,
    /// Nobody saw how: its shim was ended by force.
    Lost,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::OutOfMemory => f.write_str("ended by the kernel: over its memory limit"),
            Self::Lost => f.write_str("ended together with its shim"),
        }
    }
}

/// A network as it is or shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkState {
    /// Its addresses.
    pub subnet: Subnet,
    /// Stable addresses on the host's side: the edge listens there.
    pub stable: BTreeSet<Ipv4Addr>,
    /// What names resolve to inside: services and aliases.
    pub names: BTreeMap<String, Ipv4Addr>,
}

/// What a replica's probe says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Within its start period, or not asked yet.
    Starting,
    /// Passes, or has no probe and runs.
    Ready,
    /// Ready probe failed `retries` times: why, in words.
    Unready(String),
    /// Live probe failed `retries` times: why, in words. The replica is replaced.
    Dead(String),
}

/// What the edge tells of one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// Replicas that get traffic when they are ready.
    pub routed: BTreeSet<ReplicaId>,
    /// The hash of the routing that was last settled.
    pub settled: Option<SpecHash>,
}
