//! What a shim knows of its replica: the file `status`, also the answer to every question on the socket.
//!
//! ```text
//! starting ──> running ──> stopping ──> exited
//!    │            └───────────────────────^
//!    └──> failed        (nothing of the workload ever ran)
//! ```

use crate::life::Process;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::Path;

/// The version of [`Status`] that is written. A daemon may meet shims of an older build, so older ones stay readable.
pub const VERSION: u32 = 1;

/// A replica's state, as its shim saw it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// The name from the spec.
    pub name: String,
    /// The boot this happened in: after another boot nothing of it runs.
    pub boot_id: String,
    /// The shim.
    pub shim: Process,
    /// The first process of its process namespace.
    pub init: Option<Process>,
    /// The workload, as the machine counts processes.
    pub workload: Option<Process>,
    /// How far it is.
    pub state: State,
    /// What could not be done as asked, in words.
    pub notes: Vec<String>,
    /// When the shim began, RFC 3339.
    pub created_at: String,
    /// When the workload began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
}

/// How far a replica is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    /// Being made.
    Starting {
        /// What is being done.
        step: Step,
    },
    /// The workload's program runs.
    Running,
    /// It was asked to stop and has not ended yet.
    Stopping,
    /// It ran and ended.
    Exited(Exit),
    /// It never ran.
    Failed {
        /// What was being done.
        step: Step,
        /// What went wrong, in words.
        message: String,
    },
}

impl State {
    /// Nothing will change any more.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Exited(_) | Self::Failed { .. })
    }
}

/// How a workload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed it, or a process of it, because its memory limit was reached.
    pub out_of_memory: bool,
    /// It was asked to stop before.
    pub stopped: bool,
}

/// What a shim does on the way to a running workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Reading the spec.
    Spec,
    /// Taking the replica's folder: lock, socket, log.
    Folder,
    /// Making namespaces.
    Namespaces,
    /// Joining the network namespace.
    Network,
    /// Building the private root.
    Root,
    /// Joining the control groups.
    Cgroups,
    /// Setting resource limits.
    Limits,
    /// Becoming the unprivileged user.
    Identity,
    /// Preparing the data folder.
    Prepare,
    /// Handing over to the program.
    Exec,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spec => "read what to run",
            Self::Folder => "take the replica's folder",
            Self::Namespaces => "make its namespaces",
            Self::Network => "join its network",
            Self::Root => "build its private root",
            Self::Cgroups => "join its control groups",
            Self::Limits => "set its resource limits",
            Self::Identity => "become its user",
            Self::Prepare => "prepare its data",
            Self::Exec => "start its program",
        })
    }
}

/// Reads `<dir>/status`; none when there is no such file.
///
/// Errors: an unreadable file, or one that is no status of a known version.
pub fn read(dir: &Path) -> io::Result<Option<Status>> {
    let bytes = match std::fs::read(dir.join("status")) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let status: Status = serde_json::from_slice(&bytes)?;
    if status.version != VERSION {
        let text = format!("status has version {}, this build reads {VERSION}", status.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Some(status))
}
