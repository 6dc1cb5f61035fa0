//! Files and folders: read, replaced as a whole, locked, measured.
//!
//! Owns the one way a file is replaced: temp beside it, fsync, rename, fsync of the folder, so that a crash
//! leaves the old content or the new, never half of one. Everything here blocks. Start with [`write()`].

mod lock;
mod stage;

pub use lock::{Lock, LockError, lock};
pub use stage::{Staged, stage, write};

use std::fs::{File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file or folder refused an operation.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} `{}`", path.display())]
pub struct FileError {
    /// What was tried, as a verb with its particles.
    pub doing: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// An error of `doing` something to `path`.
    pub fn new(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { doing, path: path.to_owned(), source: source.into() }
    }

    /// Whether the disk or the quota is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    }

    /// Whether the file system is mounted read-only.
    pub fn is_read_only(&self) -> bool {
        self.source.kind() == ErrorKind::ReadOnlyFilesystem
    }

    /// Whether the path is not there.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == ErrorKind::NotFound
    }

    /// What to do about it, one imperative sentence, when there is something general to say.
    pub fn cure(&self) -> Option<&'static str> {
        match self.source.kind() {
            ErrorKind::StorageFull => Some("free some space on that disk"),
            ErrorKind::QuotaExceeded => Some("free some space or raise the quota"),
            ErrorKind::ReadOnlyFilesystem => Some("mount that file system writable, or choose another folder"),
            ErrorKind::PermissionDenied => Some("run as the user who owns it, or as root"),
            _ => None,
        }
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError::new(doing, path, source)
}

/// Nothing to read, and nowhere for what is written.
pub fn null() -> Result<File, FileError> {
    let path = Path::new("/dev/null");
    File::options().read(true).write(true).open(path).map_err(failed("open", path))
}

/// All bytes of a file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(failed("read", path))
}

/// All bytes of a file, none when it is not there.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// All text of a file.
///
/// Errors: also when it is no UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(failed("read", path))
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(failed("open", path))
}

/// Opens a file for appending, made with this mode when it is not there.
pub fn open_append(path: &Path, mode: u32) -> Result<File, FileError> {
    File::options().append(true).create(true).mode(mode).open(path).map_err(failed("open", path))
}

/// Overwrites the file where it lies and makes it durable; made with this mode when it is not there.
///
/// Only for files that are bind-mounted into a namespace, which would keep the old file after a rename. Readers
/// may see half of it, so its reader must bear that.
pub fn write_in_place(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let write = || {
        let mut file = File::options().write(true).create(true).truncate(false).mode(mode).open(path)?;
        // Written before it is cut: a reader between the two sees the new lines and some old ones, never none.
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    write().map_err(failed("write in place", path))
}

/// Makes a folder and those above it, each new one with exactly this mode whatever the umask.
pub fn create_dir(path: &Path, mode: u32) -> Result<(), FileError> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => set_mode(path, mode),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => match path.parent() {
            Some(parent) if parent != Path::new("") => {
                create_dir(parent, mode)?;
                create_dir(path, mode)
            }
            _ => Err(FileError::new("create folder", path, error)),
        },
        Err(error) => Err(FileError::new("create folder", path, error)),
    }
}

/// Sets the permission bits.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
}

/// Gives a file or folder to a user and group.
pub fn set_owner(path: &Path, uid: u32, gid: u32) -> Result<(), FileError> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(failed("set the owner of", path))
}

/// What the path itself is, without following a symbolic link; none when it is not there.
pub fn metadata(path: &Path) -> Result<Option<Metadata>, FileError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("look at", path, error)),
    }
}

/// The paths in a folder, sorted; none when the folder is not there.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let read = || std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    match read() {
        Ok(mut paths) => {
            paths.sort();
            Ok(paths)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(FileError::new("list", path, error)),
    }
}

/// Removes a file; a file that is not there counts as removed.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::new("remove", path, error)),
        _ => Ok(()),
    }
}

/// Removes a folder and all in it, without following links; one that is not there counts as removed.
pub fn remove_tree(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::new("remove", path, error)),
        _ => Ok(()),
    }
}

/// Renames within a file system and makes it durable.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    std::fs::rename(from, to).map_err(failed("rename", from))?;
    sync_dir(parent(to))
}

/// Gives the file at `from` a second name.
pub fn hard_link(from: &Path, to: &Path) -> Result<(), FileError> {
    std::fs::hard_link(from, to).map_err(failed("link", to))
}

/// Copies a file's content and mode.
pub fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    std::fs::copy(from, to).map(drop).map_err(failed("copy", from))
}

/// Writes down that a file was used at this time: its time of access, which nothing of ours reads otherwise.
pub fn mark_used(path: &Path, at: SystemTime) -> Result<(), FileError> {
    let times = std::fs::FileTimes::new().set_accessed(at);
    File::open(path).and_then(|file| file.set_times(times)).map_err(failed("mark the use of", path))
}

/// When a file was last used: the later of [`mark_used`] and its last change.
pub fn last_used(metadata: &Metadata) -> SystemTime {
    let times = [metadata.accessed(), metadata.modified()];
    times.into_iter().filter_map(Result::ok).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Makes the names in a folder durable.
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(failed("sync folder", path))
}

/// The absolute path without links.
pub fn canonical(path: &Path) -> Result<PathBuf, FileError> {
    std::fs::canonicalize(path).map_err(failed("resolve", path))
}

/// Room of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this user may still write.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// The room of the file system that holds `path`.
pub fn space(path: &Path) -> Result<Space, FileError> {
    let stat = rustix::fs::statvfs(path).map_err(|errno| FileError::new("measure the disk of", path, errno))?;
    Ok(Space { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
}

/// The folder a path lies in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
