//! The lines of a replica's control socket: one JSON request a line, answered by JSON lines.
//!
//! `watch` and `stop` answer with the status now and after every change; the connection ends with the final one.
//! A connection that ends without a final status means that the shim itself died.

use crate::status::Status;
use serde::{Deserialize, Serialize};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// The longest request line a shim reads: room for an environment and an argv of the kernel's usual size.
pub const MAX_LINE: usize = 256 * 1024;

/// What can be asked of a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// The status now.
    Status,
    /// The status now and after every change.
    Watch,
    /// Sends the workload a signal.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// Asks the workload to stop; kills everything of the replica when it has not within the grace period.
    Stop {
        /// The signal that asks.
        signal: i32,
        /// How long it has, at once when 0.
        grace_ms: u64,
    },
    /// Runs a program beside the workload; three file descriptors come along: its stdin, stdout and stderr.
    Exec(Exec),
}

/// A program run inside a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Variables beyond the workload's own.
    pub env: Vec<(String, String)>,
    /// Working directory; the workload's when none.
    pub cwd: Option<String>,
    /// User and group, as the machine counts; the workload's when none.
    pub user: Option<(u32, u32)>,
    /// The file descriptors are a terminal, which becomes the program's controlling one.
    pub tty: bool,
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "re", rename_all = "snake_case")]
pub enum Answer {
    /// The status.
    Status(Box<Status>),
    /// Done.
    Done,
    /// The program of an `exec` ended.
    Ended {
        /// Its exit code, when it ended by itself.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// The program of an `exec` could not be started.
    NotStarted {
        /// There is no such program.
        not_found: bool,
        /// Why, in words.
        message: String,
    },
    /// The request cannot be carried out.
    Refused {
        /// Why, in words.
        message: String,
    },
}

/// The path of the socket in a replica's folder, short enough for any folder.
///
/// A socket address holds 107 bytes; by way of the open folder the path never exceeds them.
/// Use it while `dir` stays open.
pub fn socket_path(dir: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/control.sock", dir.as_raw_fd()))
}
