//! What our things are called on the Engine.
//!
//! Names are for people; what is whose is told by labels. A name that somebody else has is an error with a cure.

use model::fingerprint::short_hash;
use model::{NetworkName, ReplicaId, StackId, VolumeName};

/// Names that are the machine's, not the project's: two daemons on one machine need different ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Prefix of bridges, at most 5 characters.
    pub links: String,
    /// The nftables table.
    pub table: String,
    /// Whose containers are meant: the daemon's name, kept as a label on everything.
    pub owner: String,
}

impl Default for Names {
    /// `mdk…`, `mainstay-docker`, `mainstay`. The third letter is no hexadecimal digit: names made of hashes never begin so.
    fn default() -> Self {
        Self { links: "mdk".into(), table: "mainstay-docker".into(), owner: "mainstay".into() }
    }
}

impl Names {
    /// The bridge of a network: within the kernel's 15 characters.
    pub(crate) fn bridge(&self, stack: &StackId, name: &NetworkName) -> String {
        format!("{}{}", self.links, short_hash(format!("{stack}/{name}")))
    }
}

/// What other tools take for Compose's project: a stack's environment is part of it, so that two of them keep apart and
/// `docker compose up` in the same folder does not take our containers for its own.
pub(crate) fn project(stack: &StackId) -> String {
    format!("{}-{}", stack.project, stack.environment)
}

/// A container's name: `shop-production-api-1`.
pub(crate) fn container(stack: &StackId, id: &ReplicaId) -> String {
    format!("{}-{}-{}", project(stack), id.service, id.slot.number())
}

/// A network's name: `shop-production_back`.
pub(crate) fn network(stack: &StackId, name: &NetworkName) -> String {
    format!("{}_{name}", project(stack))
}

/// A volume's name: `shop-production_db-data`.
pub(crate) fn volume(stack: &StackId, name: &VolumeName) -> String {
    format!("{}_{name}", project(stack))
}
