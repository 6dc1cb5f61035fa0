//! Paths inside a root that is not ours yet: looked up so that no link of it leads out to the machine.
//!
//! The machine's own `/` has absolute links (`/var/run`): followed naively below the new root they would end at the
//! machine's folder, and a mount there would be the machine's. `openat2` with `RESOLVE_IN_ROOT` cannot be led out.

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A place inside the new root, held open; its path is good for mounting on as long as it lives.
pub(crate) struct Place(OwnedFd);

impl Place {
    /// A path that names it for any system call.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Whether it is a folder.
    pub(crate) fn is_dir(&self) -> io::Result<bool> {
        Ok(FileType::from_raw_mode(rustix::fs::fstat(&self.0)?.st_mode) == FileType::Directory)
    }
}

/// Who owns what is made on the way.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The place of `path` below `root`, none when there is nothing.
pub(crate) fn find(root: &OwnedFd, path: &Path) -> io::Result<Option<Place>> {
    match open(root, &legal(path)?) {
        Ok(fd) => Ok(Some(Place(fd))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The folder `path` below `root`, made with everything above it when it is missing.
pub(crate) fn dir(root: &OwnedFd, path: &Path, owner: Owner) -> io::Result<Place> {
    let path = legal(path)?;
    match open(root, &path) {
        Ok(fd) => Ok(Place(fd)),
        Err(Errno::NOENT) => {
            let mut so_far = PathBuf::new();
            for part in path.components() {
                so_far.push(part);
                make_dir(root, &so_far, owner)?;
            }
            Ok(Place(open(root, &path)?))
        }
        Err(error) => Err(error.into()),
    }
}

/// The file `path` below `root`, made empty when it is missing.
pub(crate) fn file(root: &OwnedFd, path: &Path, owner: Owner) -> io::Result<Place> {
    if let Some(place) = find(root, path)? {
        return Ok(place);
    }
    let path = legal(path)?;
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    let above = dir(root, path.parent().unwrap_or(Path::new("")), owner)?;
    remove_dead_link(&above.0, name)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(&above.0, name, flags, Mode::from_raw_mode(0o644))?;
    Ok(Place(open(root, &path)?))
}

fn make_dir(root: &OwnedFd, path: &Path, owner: Owner) -> io::Result<()> {
    if open(root, path).is_ok() {
        return Ok(());
    }
    let name = path.file_name().ok_or(Errno::EXIST)?;
    let above = open(root, path.parent().unwrap_or(Path::new("")))?;
    remove_dead_link(&above, name)?;
    rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
    Ok(rustix::fs::chownat(&above, name, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A link that leads nowhere makes room: on many machines `/etc/resolv.conf` leads into a `/run` that is not ours.
fn remove_dead_link(above: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<()> {
    match rustix::fs::readlinkat(above, name, Vec::new()) {
        Ok(_) => Ok(rustix::fs::unlinkat(above, name, rustix::fs::AtFlags::empty())?),
        Err(Errno::NOENT | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn open(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// The path without its leading slash; `..` is refused, as nothing legal needs it.
fn legal(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path inside the replica has no `..`"));
            }
        }
    }
    Ok(clean)
}
