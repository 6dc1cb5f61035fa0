//! What is wanted of one stack.

use jiff::Timestamp;
use model::project::Template;
use model::stack::Stack;
use model::{BundleId, ReleaseNumber, ServiceName, SpecHash, VolumeName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is wanted of one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one for each stack, and most are up")]
pub enum Desired {
    /// It runs.
    Up(Up),
    /// Nothing of it runs.
    Down(Down),
}

/// A stack that shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    /// How it shall be.
    pub stack: Stack,
    /// When somebody last asked for it. A replica that exited before and is not restarted by its policy
    /// is started again, because they asked.
    pub asked_at: Timestamp,
    /// Replicas of these services that were started before are replaced.
    pub restart: BTreeMap<ServiceName, Timestamp>,
    /// What earlier releases started replicas with, by hash, as far as replicas of them may still run: a crashed
    /// one that cannot be replaced yet is started again as the code it was.
    pub former: BTreeMap<SpecHash, Former>,
}

/// What an earlier release started the replicas of one service with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// What each replica was started with.
    pub template: Arc<Template>,
    /// The release.
    pub release: ReleaseNumber,
    /// What that release runs from.
    pub bundle: BundleId,
}

/// A stack that shall be gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Down {
    /// These volumes go with it; all others stay.
    pub volumes: BTreeSet<VolumeName>,
    /// What each service depended on, as last declared: dependents stop first. Services it does not name stop at once.
    pub depends_on: BTreeMap<ServiceName, BTreeSet<ServiceName>>,
}
