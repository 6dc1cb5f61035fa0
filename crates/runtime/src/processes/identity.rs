//! Processes that are not our children: recognised, watched, signalled.

use super::ProcessError;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use tokio::io::unix::AsyncFd;

/// A process, never to be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the machine's start: field 22 of `/proc/PID/stat`.
    pub started: u64,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The process got it.
    Delivered,
    /// There is no such process any more.
    Gone,
}

impl ProcessId {
    /// The process that has this number now; none when no process has it or it has ended and was not reaped.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        started(&stat).map(|started| Self { pid, started })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal (its number, e.g. 15) to this process and to no other.
    pub fn signal(self, signal: i32) -> Result<Sent, ProcessError> {
        let failed = |errno: Errno| ProcessError::new("signal", format!("process {}", self.pid), errno);
        let signal = Signal::from_named_raw(signal).ok_or(Errno::INVAL).map_err(failed)?;
        let Some(handle) = self.open().map_err(failed)? else { return Ok(Sent::Gone) };
        match pidfd_send_signal(handle, signal) {
            Ok(()) => Ok(Sent::Delivered),
            Err(Errno::SRCH) => Ok(Sent::Gone),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Waits until it has ended; who is not its parent cannot learn how. Cancel-safe.
    pub async fn gone(self) -> Result<(), ProcessError> {
        let failed = |source: std::io::Error| ProcessError::new("watch", format!("process {}", self.pid), source);
        let Some(handle) = self.open().map_err(|errno| failed(errno.into()))? else { return Ok(()) };
        // The descriptor becomes readable when the process ends, and stays so.
        polled(handle).map_err(failed)?.readable().await.map(drop).map_err(failed)
    }

    /// A descriptor of exactly this process: opened first, compared after, so that no other can slip in between.
    fn open(self) -> Result<Option<OwnedFd>, Errno> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Ok(self.is_alive().then_some(handle)),
            // EINVAL: the number belongs to a thread that leads no process.
            Err(Errno::SRCH | Errno::INVAL) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor's life")]
fn polled(handle: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one descriptor for its whole life, and the `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(handle, tokio::io::Interest::READABLE) }.map_err(Into::into)
}

/// The start time in a line of `/proc/PID/stat`; none for a zombie.
fn started(stat: &str) -> Option<u64> {
    // The name in parentheses may itself hold blanks and parentheses: begin after the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    // State is field 3 of the line, so field 22 is the 19th after it.
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// Whether the process was started from the file that we were started from, whatever lies there now; none when nobody
/// can tell.
pub fn runs_our_program(pid: u32) -> Option<bool> {
    let file = |process: &str| {
        let program = std::fs::metadata(format!("/proc/{process}/exe")).ok()?;
        Some((program.dev(), program.ino()))
    };
    Some(file(&pid.to_string())? == file("self")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_time_is_found_behind_any_name() {
        let line = |name: &str, state: &str| {
            format!("7 ({name}) {state} 1 7 7 0 -1 4194560 0 0 0 0 1 2 3 4 20 0 1 0 98765 1000 10 18446744073709551615")
        };
        assert_eq!(started(&line("sh", "S")), Some(98765));
        assert_eq!(started(&line("a ) R (b", "S")), Some(98765));
        assert_eq!(started(&line("sh", "Z")), None);
        assert_eq!(started("nonsense"), None);
    }

    #[test]
    fn we_are_alive_and_a_namesake_is_not() {
        let us = ProcessId::of(std::process::id()).expect("we run");
        assert!(us.is_alive());
        let namesake = ProcessId { started: us.started + 1, ..us };
        assert!(!namesake.is_alive());
        assert_eq!(namesake.signal(15).expect("nothing to send to"), Sent::Gone);
    }
}
