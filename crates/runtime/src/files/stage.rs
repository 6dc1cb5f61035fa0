//! Replacing a file as a whole.

use super::{FileError, failed, parent, sync_dir};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that is being written beside its later place; removed unless it is put there.
#[derive(Debug)]
pub struct Staged {
    file: File,
    temp: PathBuf,
    target: PathBuf,
    placed: bool,
}

/// Begins a file that shall replace `target`, with exactly this mode.
///
/// A crash may leave the temp file behind: it begins with `.tmp-`, in the target's folder, and nobody reads it.
pub fn stage(target: &Path, mode: u32) -> Result<Staged, FileError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Unique among this process's threads by the counter, among processes by the id, after a crash by create_new.
    loop {
        let name = format!(".tmp-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let temp = parent(target).join(name);
        match File::options().read(true).write(true).create_new(true).mode(0o600).open(&temp) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FileError::new("write", target, error)),
            Ok(file) => {
                let staged = Staged { file, temp, target: target.to_owned(), placed: false };
                staged.file.set_permissions(Permissions::from_mode(mode)).map_err(failed("write", target))?;
                return Ok(staged);
            }
        }
    }
}

impl Staged {
    /// Adds bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(failed("write", &self.target))
    }

    /// Makes it durable and puts it in its place, over what was there.
    pub fn place(mut self) -> Result<(), FileError> {
        self.file.sync_all().map_err(failed("write", &self.target))?;
        std::fs::rename(&self.temp, &self.target).map_err(failed("replace", &self.target))?;
        self.placed = true;
        sync_dir(parent(&self.target))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = std::fs::remove_file(&self.temp)
        {
            // The caller has an error of its own to report; this leftover is harmless.
            tracing::warn!(path = %self.temp.display(), %error, "a temporary file is left behind");
        }
    }
}

/// Replaces a file as a whole: temp, fsync, rename, fsync of the folder. It has exactly this mode.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut staged = stage(path, mode)?;
    staged.append(bytes)?;
    staged.place()
}
