//! Child processes, and processes that an earlier daemon started.
//!
//! Owns spawning with exactly the descriptors, environment and user that were asked for, and signals that can
//! never hit a stranger: a process is named by its number *and* its start time, because numbers are used again.
//! A child lives on when its handle is dropped. Start with [`Spawn`] and [`ProcessId`].

mod identity;
mod spawn;

pub use identity::{ProcessId, Sent, runs_our_program};
pub use spawn::{Capture, Child, Output, Spawn, Stdio};

use std::io;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it ended by itself with code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    fn of(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}

/// A process could not be started, watched or signalled.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {subject}")]
pub struct ProcessError {
    /// What was tried.
    pub doing: &'static str,
    /// The program or the process number.
    pub subject: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl ProcessError {
    fn new(doing: &'static str, subject: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { doing, subject: subject.into(), source: source.into() }
    }

    /// Whether there is no such program.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}
