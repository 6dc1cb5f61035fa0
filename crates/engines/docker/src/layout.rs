//! Where the engine's own files lie.
//!
//! ```text
//! <run>/<stack>/replicas/<id>/   hosts, files/<n>: what is mounted into the container; gone with the machine's boot
//! <run>/<stack>/networks/<name>  names.json: what names resolve to on it
//! <logs>/<stack>/<id>/log        output, kept when the replica is removed
//! <ledgers>/<stack>              what was taken over from other tools
//! ```

use model::{NetworkName, ReplicaId, StackId};
use runtime::files::{self, FileError};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What lives no longer than the machine runs.
    pub run: PathBuf,
    /// Logs.
    pub logs: PathBuf,
    /// What was taken over from other tools, a file a stack: as durable as the containers are.
    pub ledgers: PathBuf,
}

impl Layout {
    /// The folder of a replica.
    pub(crate) fn replica(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.run.join(stack.to_string()).join("replicas").join(id.to_string())
    }

    /// The hosts file of a replica.
    pub(crate) fn hosts(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.replica(stack, id).join("hosts")
    }

    /// The log file of a replica.
    pub(crate) fn log(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.logs.join(stack.to_string()).join(id.to_string()).join("log")
    }

    fn networks(&self, stack: &StackId) -> PathBuf {
        self.run.join(stack.to_string()).join("networks")
    }

    /// What names resolve to on a network; nothing when that is not known, so that it is told again.
    pub(crate) fn names(&self, stack: &StackId, name: &NetworkName) -> BTreeMap<String, Ipv4Addr> {
        let path = self.networks(stack).join(name.as_str());
        let text = files::read_if_there(&path).ok().flatten().unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps what names resolve to on a network.
    pub(crate) fn keep_names(
        &self,
        stack: &StackId,
        name: &NetworkName,
        names: &BTreeMap<String, Ipv4Addr>,
    ) -> Result<(), FileError> {
        let folder = self.networks(stack);
        files::create_dir(&folder, 0o755)?;
        let text = serde_json::to_vec(names).expect("names and addresses are plain data");
        files::write_in_place(&folder.join(name.as_str()), &text, 0o644)
    }

    /// Forgets what names resolve to on a network that is gone.
    pub(crate) fn forget_names(&self, stack: &StackId, name: &NetworkName) -> Result<(), FileError> {
        files::remove(&self.networks(stack).join(name.as_str()))
    }
}
