//! Proof of life: which process is meant, and whether a shim still holds its replica's folder.
//!
//! A process number alone proves nothing, it is used again; with its start tick and the boot it names one process.
//! The lock is an open-file-description lock: whoever asks does not take it, so asking never disturbs a shim that
//! is just starting, and the kernel drops it however the shim dies.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// One process of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number, as the machine counts.
    pub pid: i32,
    /// When it began, in clock ticks since the boot.
    pub start_ticks: u64,
}

impl Process {
    /// The process that has this number now, none when there is none.
    pub fn find(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, start_ticks: start_ticks(&stat)? })
    }

    /// Whether it is still there (a zombie counts).
    pub fn exists(self) -> bool {
        Self::find(self.pid) == Some(self)
    }
}

/// The 22nd field; the second one is a name in parentheses that may hold blanks and parentheses itself.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The id of the running boot.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Takes the lock of a replica's folder, kept as long as the file is open; none when another process has it.
pub fn hold(dir: &Path) -> io::Result<Option<File>> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(dir.join("lock"))?;
    match lock(&file, libc::F_OFD_SETLK) {
        Ok(_) => Ok(Some(file)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a shim holds the lock of a replica's folder.
pub fn is_held(dir: &Path) -> io::Result<bool> {
    match File::options().read(true).write(true).open(dir.join("lock")) {
        Ok(file) => Ok(lock(&file, libc::F_OFD_GETLK)?.l_type != libc::F_UNLCK as libc::c_short),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits until no shim holds the lock of a replica's folder.
///
/// Blocks; only for the moment between a shim's final status and its letting go of the lock.
pub fn wait_until_free(dir: &Path) -> io::Result<()> {
    match File::options().read(true).write(true).open(dir.join("lock")) {
        // The lock is taken for an instant, which disturbs nobody: its shim is ending.
        Ok(file) => lock(&file, libc::F_OFD_SETLKW).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[expect(unsafe_code, reason = "no safe wrapper knows open-file-description locks")]
fn lock(file: &File, command: libc::c_int) -> io::Result<libc::flock> {
    // SAFETY: `flock` is plain old data for which all zeroes are valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open and `lock` outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_tick_is_found_behind_any_name() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2 3";
        assert_eq!(start_ticks(stat), Some(4711));
        assert_eq!(start_ticks("12 (a"), None);
        let own = Process::find(std::process::id() as i32).expect("this process exists");
        assert!(own.exists());
        assert!(!Process { start_ticks: own.start_ticks + 1, ..own }.exists());
    }

    #[test]
    fn a_held_lock_is_seen_and_freed_with_its_file() {
        let dir = std::env::temp_dir().join(format!("mainstay-lock-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("makes a folder");
        assert!(!is_held(&dir).expect("asks"));
        let held = hold(&dir).expect("locks").expect("is free");
        assert!(is_held(&dir).expect("asks"));
        assert!(hold(&dir).expect("asks").is_none(), "a second holder is turned away");
        drop(held);
        assert!(!is_held(&dir).expect("asks"));
        std::fs::remove_dir_all(&dir).expect("cleans up");
    }
}
