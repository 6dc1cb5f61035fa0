//! What is durable of a stack: what is wanted, since when, and the run that is under way.

use jiff::Timestamp;
use model::{BundleId, ReleaseNumber, ServiceName, VolumeName};
use plan::allocate::Allocation;
use std::collections::{BTreeMap, BTreeSet};

/// What is durable of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Start of its block of user numbers.
    pub uid_base: u32,
    /// What is wanted.
    pub wanted: Wanted,
    /// The release that last became ready as a whole: where a failed one falls back to.
    pub good: Option<Running>,
    /// When somebody last asked for it to be up.
    pub asked_at: Timestamp,
    /// Replicas of these services that are older are replaced.
    pub restart: BTreeMap<ServiceName, Timestamp>,
    /// Numbers of replicas that differ from the release's.
    pub scale: BTreeMap<ServiceName, u32>,
    /// Addresses that were given out.
    pub allocation: Allocation,
    /// Since when it is up.
    pub up_since: Option<Timestamp>,
    /// The number of the newest run.
    pub last_run: u64,
    /// The run under way, to be taken up again by the next daemon.
    pub open: Option<OpenRun>,
}

/// What is wanted of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This release runs.
    Up(Running),
    /// Nothing runs; these volumes go as well.
    Down(BTreeSet<VolumeName>),
}

/// A release and what it runs from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The release.
    pub release: ReleaseNumber,
    /// Its bundle.
    pub bundle: BundleId,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// Its number.
    pub run: u64,
    /// What it is for.
    pub kind: Kind,
    /// Who ordered it.
    pub actor: String,
    /// Since when.
    pub since: Timestamp,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new release.
    Release(ReleaseNumber),
    /// Taking everything down.
    Down,
    /// Fresh replicas.
    Restart,
    /// Another number of replicas.
    Scale,
    /// Nobody ordered it: something crashed, or was changed by hand.
    Repair,
}

impl Kind {
    /// In words.
    pub fn name(self) -> String {
        match self {
            Self::Release(number) => format!("release {number}"),
            Self::Down => "down".into(),
            Self::Restart => "restart".into(),
            Self::Scale => "scale".into(),
            Self::Repair => "repair".into(),
        }
    }
}

impl Record {
    /// A stack nobody has released yet.
    pub fn new(uid_base: u32, now: Timestamp) -> Self {
        Self {
            uid_base,
            wanted: Wanted::Down(BTreeSet::new()),
            good: None,
            asked_at: now,
            restart: BTreeMap::new(),
            scale: BTreeMap::new(),
            allocation: Allocation::default(),
            up_since: None,
            last_run: 0,
            open: None,
        }
    }

    /// The release that is wanted.
    pub fn release(&self) -> Option<&Running> {
        match &self.wanted {
            Wanted::Up(running) => Some(running),
            Wanted::Down(_) => None,
        }
    }
}
