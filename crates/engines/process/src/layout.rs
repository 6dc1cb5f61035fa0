//! Where things lie: the run folder (gone after a reboot) and the state folder's parts that the engine owns.
//!
//! ```text
//! <run>/<stack>/replicas/<id>/   labels.json lock status control.sock netns hosts resolv.conf hostname root/
//! <run>/<stack>/networks/<name>/ network.json netns
//! <scratch>/<stack>/<id>/        upper, work: changes to the private root, gone with the replica
//! <volumes>/<stack>/<name>/      volumes; those without a name get one (see `anonymous`)
//! <volumes>/<stack>/.one-off/<id>/<n>  those of one-off replicas, gone with the replica
//! <logs>/<stack>/<id>/log        output, kept when the replica is removed
//! ```
#![expect(clippy::disallowed_methods, reason = "the engine's own folders, read where blocking is allowed")]

use model::{NetworkName, ReplicaId, StackId, VolumeName};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What lives no longer than the machine runs. Only root may enter it.
    pub run: PathBuf,
    /// Changes to private roots; on a disk, not in memory.
    pub scratch: PathBuf,
    /// Volumes.
    pub volumes: PathBuf,
    /// Logs.
    pub logs: PathBuf,
}

impl Layout {
    /// The folder of a replica.
    pub fn replica(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.replicas(stack).join(id.to_string())
    }

    fn replicas(&self, stack: &StackId) -> PathBuf {
        self.run.join(stack.to_string()).join("replicas")
    }

    /// The folder of a network.
    pub fn network(&self, stack: &StackId, name: &NetworkName) -> PathBuf {
        self.run.join(stack.to_string()).join("networks").join(name.as_str())
    }

    /// The folder of a replica's changes to its private root.
    pub fn changes(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.scratch.join(stack.to_string()).join(id.to_string())
    }

    /// The folder of a volume.
    pub fn volume(&self, stack: &StackId, name: &VolumeName) -> PathBuf {
        self.volumes.join(stack.to_string()).join(name.as_str())
    }

    /// The folder of the volumes that go with a one-off replica: no volume's name begins with a dot.
    pub fn passing(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.volumes.join(stack.to_string()).join(".one-off").join(id.to_string())
    }

    /// The log file of a replica.
    pub fn log(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.logs.join(stack.to_string()).join(id.to_string()).join("log")
    }

    /// The stacks of which a replica, network or volume exists.
    pub fn stacks(&self) -> io::Result<Vec<StackId>> {
        let mut stacks: Vec<StackId> = names(&self.run)?;
        stacks.extend(names::<StackId>(&self.volumes)?);
        stacks.sort();
        stacks.dedup();
        Ok(stacks)
    }

    /// The stacks that have scratch folders.
    pub fn scratched(&self) -> io::Result<Vec<StackId>> {
        names(&self.scratch)
    }

    /// The replicas of a stack that have scratch folders.
    pub fn scratched_of(&self, stack: &StackId) -> io::Result<Vec<ReplicaId>> {
        names(&self.scratch.join(stack.to_string()))
    }

    /// Removes folders of a stack that nothing is left in.
    pub fn tidy(&self, stack: &StackId) {
        let stack = stack.to_string();
        let (run, volumes) = (self.run.join(&stack), self.volumes.join(&stack));
        let scratch = self.scratch.join(&stack);
        for dir in [run.join("replicas"), run.join("networks"), run, scratch, volumes.join(".one-off"), volumes] {
            // Only an empty one goes, which is the purpose.
            let _ = std::fs::remove_dir(dir);
        }
    }

    /// The networks of a stack.
    pub fn networks_of(&self, stack: &StackId) -> io::Result<Vec<NetworkName>> {
        names(&self.run.join(stack.to_string()).join("networks"))
    }

    /// The replicas of a stack.
    pub fn replicas_of(&self, stack: &StackId) -> io::Result<Vec<ReplicaId>> {
        names(&self.replicas(stack))
    }

    /// The volumes of a stack.
    pub fn volumes_of(&self, stack: &StackId) -> io::Result<Vec<VolumeName>> {
        names(&self.volumes.join(stack.to_string()))
    }
}

/// The folder's entries that are such names; everything else in it is none of ours.
fn names<T: FromStr + Ord>(dir: &Path) -> io::Result<Vec<T>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
    }
    names.sort();
    Ok(names)
}
