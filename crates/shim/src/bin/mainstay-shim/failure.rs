//! What went wrong, at which step, in words; and the lines in which a child reports it to the shim.

use serde::{Deserialize, Serialize};
use shim::status::Step;
use std::fmt::Display;
use std::io::Write;

/// Why a step could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) message: String,
    /// The program itself does not exist, as opposed to one that cannot be run.
    pub(crate) not_found: bool,
}

impl Failure {
    pub(crate) fn new(step: Step, message: impl Into<String>) -> Self {
        Self { step, message: message.into(), not_found: false }
    }
}

/// Gives an error its step and its subject.
pub(crate) trait At<T> {
    fn at(self, step: Step, subject: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Display> At<T> for Result<T, E> {
    fn at(self, step: Step, subject: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(step, format!("{}: {error}", subject())))
    }
}

/// A line from a child of the shim, before its program takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The private root stands.
    RootReady,
    /// It is at this step now.
    Step(Step),
    /// Something could not be done as asked, and is not needed.
    Note(String),
    /// The program is about to take over; nothing follows unless that fails.
    Exec,
    /// It could not go on.
    Failed(Failure),
}

/// The writing end of a child's reports; closed by the kernel when the program takes over.
pub(crate) struct Reporter(std::fs::File);

impl Reporter {
    pub(crate) fn new(fd: rustix::fd::OwnedFd) -> Self {
        Self(fd.into())
    }

    /// Sends one line. A report that nobody reads any more is of no use, so failing to send it is no error.
    pub(crate) fn send(&mut self, report: &Report) {
        let mut line = serde_json::to_vec(report).unwrap_or_default();
        line.push(b'\n');
        let _ = self.0.write_all(&line);
    }
}

/// The reading end: bytes come in as they may, whole reports go out.
#[derive(Default)]
pub(crate) struct Reports {
    bytes: Vec<u8>,
}

impl Reports {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Report> {
        self.bytes.extend_from_slice(bytes);
        let Some(end) = self.bytes.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.bytes.drain(..=end).collect();
        whole.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}
