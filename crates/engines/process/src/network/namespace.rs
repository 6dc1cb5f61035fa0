//! Network namespaces kept by a bind mount, as `ip netns` keeps them: they need no process to live on.
//!
//! A thread changes its namespace for good, so everything done inside one is done in a thread of its own.
#![expect(clippy::disallowed_methods, reason = "kernel settings and files that hold namespaces")]

use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// A file that holds a namespace has this file system's magic number, `NSFS_MAGIC`.
const NSFS: i64 = 0x6e73_6673;

/// Makes a namespace at `path` unless there is one, and opens it.
///
/// A file without a namespace, left by a start that was cut short or by an earlier boot, is used.
pub fn ensure(path: &Path) -> io::Result<File> {
    if let Some(namespace) = find(path)? {
        return Ok(namespace);
    }
    File::options().write(true).create(true).truncate(false).open(path)?;
    in_thread(|| {
        unshare()?;
        settings();
        rustix::mount::mount_bind("/proc/thread-self/ns/net", path)?;
        Ok(())
    })?;
    inside(&File::open(path)?, || {
        let mut netlink = network::Netlink::open()?;
        let index = netlink.index("lo")?;
        netlink.up(index)
    })?;
    File::open(path)
}

/// Opens the namespace at `path`, none when there is none.
pub fn find(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) if is_namespace(&file)? => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets go of the namespace at `path`; it ends with its last process. None at all is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    // A start that was cut short and done again may have mounted twice.
    while find(path)?.is_some() {
        rustix::mount::unmount(path, UnmountFlags::DETACH)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Runs `work` inside a namespace.
pub fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    in_thread(|| {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    })
}

fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[expect(unsafe_code, reason = "unsafe for CLONE_FILES only, which is not among the flags")]
fn unshare() -> io::Result<()> {
    // SAFETY: the table of open files stays shared.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// What a fresh namespace has otherwise than the machine. A kernel without one of the settings needs none of it.
fn settings() {
    // Inside, every port is the replica's own: an unprivileged user may listen on 80.
    let _ = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    // Networks have IPv4 addresses; a link-local IPv6 one would only delay a link's begin. `::1` stays.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
}

fn is_namespace(file: &File) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(file)?.f_type == NSFS)
}
