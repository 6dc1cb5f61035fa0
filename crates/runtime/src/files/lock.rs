//! One process at a time on a folder.

use super::FileError;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("`{}` is locked by {owner}", path.display())]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// Who, as they wrote it themselves.
        owner: String,
    },
    /// The file could not be opened or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A lock that is held; given back when dropped, and by the kernel when the process dies however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock at `path` without waiting and writes `owner` (who we are, in words) into it.
pub fn lock(path: &Path, owner: &str) -> Result<Lock, LockError> {
    let failed = |source: io::Error| FileError::new("lock", path, source);
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o644).open(path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            // Who holds it is a courtesy; that it is held is the answer.
            let known = file.read_to_string(&mut owner).is_ok() && !owner.trim().is_empty();
            let owner = if known { owner.trim().to_owned() } else { "another process".to_owned() };
            return Err(LockError::Held { path: path.to_owned(), owner });
        }
        Err(errno) => return Err(failed(errno.into()).into()),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{owner}")
    };
    write(&mut file).map_err(failed)?;
    Ok(Lock { _file: file })
}
