//! What is durable of a stack: what is wanted, since when, and the run that is under way.

use crate::api::release::Explanation;
use jiff::Timestamp;
use model::container::Pinned;
use model::policy::EngineKind;
use model::{BundleId, ReleaseNumber, ServiceName, VolumeName};
use plan::allocate::Allocation;
use std::collections::{BTreeMap, BTreeSet};

/// What is durable of a stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Start of its block of user numbers.
    pub uid_base: u32,
    /// The engine that it lies on; the usual one when none was named yet.
    pub engine: Option<EngineKind>,
    /// What is wanted.
    pub wanted: Wanted,
    /// The release that last became ready as a whole: where a failed one falls back to.
    pub good: Option<Good>,
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
    /// Nobody has ordered anything yet, as far as we know: what runs is left alone.
    Nothing,
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
    /// The images it was pinned to; empty where images are only names.
    pub images: BTreeMap<ServiceName, Pinned>,
}

/// A release that was ready as a whole, with everything it was settled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Good {
    /// The release.
    pub running: Running,
    /// Its addresses.
    pub allocation: Allocation,
    /// Its numbers of replicas that differed from what it declares.
    pub scale: BTreeMap<ServiceName, u32>,
}

/// What a release is settled with beside its bundle.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Start of the stack's block of user numbers.
    pub uid_base: u32,
    /// Addresses that were given out.
    pub allocation: &'a Allocation,
    /// Numbers of replicas that differ from what is declared.
    pub scale: &'a BTreeMap<ServiceName, u32>,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRun {
    /// Its number.
    pub run: u64,
    /// What it is for.
    pub kind: Kind,
    /// Who ordered it.
    pub actor: String,
    /// Since when.
    pub since: Timestamp,
    /// What its release died of: the last good one is being put back.
    pub failed: Option<Explanation>,
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
            engine: None,
            wanted: Wanted::Nothing,
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
            Wanted::Down(_) | Wanted::Nothing => None,
        }
    }

    /// What the wanted release is settled with.
    pub fn given(&self) -> Given<'_> {
        Given { uid_base: self.uid_base, allocation: &self.allocation, scale: &self.scale }
    }

    /// What the last good release is settled with.
    pub fn given_good<'a>(&self, good: &'a Good) -> Given<'a> {
        Given { uid_base: self.uid_base, allocation: &good.allocation, scale: &good.scale }
    }
}
