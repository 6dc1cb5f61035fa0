//! The private root: an overlay of the machine's `/` and of its other disks, with everything mounted over it that the
//! spec names.
//!
//! Works inside the replica's fresh mount namespace, and ends with the old root gone. Nothing here reaches the
//! machine: the namespace is made private first, and every target is looked up by [`inside`].

use crate::failure::{At, Failure};
use crate::inside::{self, Owner, Place};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use shim::spec::{File, Mount, MountKind, Root, Spec};
use shim::status::Step;
use std::ffi::CString;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What is covered inside `/proc`, as container runtimes do: they tell of the machine, not of the replica.
const MASKED: [&str; 11] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// What people and other applications keep on a machine: a replica sees it only where it is mounted. In a container's
/// image these folders are empty too.
const PEOPLES: [&str; 5] = ["home", "root", "srv", "mnt", "media"];
/// Tells an overlay to show nothing of the folder below.
const OPAQUE: &str = "trusted.overlay.opaque";
/// What can be read there, not written.
const READ_ONLY: [&str; 5] = ["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// File systems on a disk of this machine. Others are left out: a network disk may hang, and the roots of a machine's
/// containers are none of an application's business.
const DISKS: [&str; 9] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs"];

type Notes<'a> = &'a mut dyn FnMut(String);

/// Builds the root and moves into it.
pub(crate) fn build(spec: &Spec, note: Notes<'_>) -> Result<(), Failure> {
    let step = Step::Root;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .at(step, || "cut the mounts off from the machine's".into())?;
    let root = &spec.root;
    let others = other_mounts().at(step, || "/proc/self/mountinfo".into())?;
    let changes = overlay(root, note).at(step, || format!("overlay at {}", root.at.display()))?;
    let top = rustix::fs::open(&root.at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(step, || root.at.display().to_string())?;
    let builder = Builder { root: top, owner: Owner { uid: spec.identity.uid, gid: spec.identity.gid } };
    let mut disks = Vec::new();
    let is_seen = |path: &Path| !root.hidden.iter().any(|hidden| path.starts_with(hidden));
    for (number, path) in others.iter().enumerate().filter(|(_, path)| is_seen(path)) {
        match builder.disk(path, &changes.path.join(format!("disk-{number}"))) {
            Ok(disk) => disks.push(disk),
            // Gone since it was listed.
            Err(_) if !path.exists() => {}
            Err(error) => {
                note(format!("{} cannot be written: an overlay cannot use it: {error}", path.display()));
                // A replica that does not need the path must not fail for it.
                if let Err(error) = builder.bind(path, path, true) {
                    note(format!("{} is not visible: {error}", path.display()));
                }
            }
        }
    }
    builder.system(root.shm_bytes)?;
    for path in &root.hidden {
        builder.hide(path).at(step, || format!("hide {}", path.display()))?;
    }
    for mount in &root.mounts {
        builder.mount(mount).at(step, || format!("mount {}", mount.target.display()))?;
    }
    builder.files(&root.files)?;
    let cwd = Path::new(&spec.workload.cwd);
    inside::dir(&builder.root, cwd, builder.owner).at(step, || format!("working directory {}", cwd.display()))?;
    if root.read_only {
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        for place in disks.iter().map(Place::path).chain([root.at.clone()]) {
            rustix::mount::mount_remount(place, flags, c"").at(step, || "make it read-only".into())?;
        }
    }
    drop((builder, disks, changes));
    enter(&root.at).at(step, || "move into it".into())
}

/// Where changes to the overlays are kept.
struct Changes {
    path: PathBuf,
    /// Keeps a folder in memory open that an overlay covers.
    _kept: Option<OwnedFd>,
}

fn overlay(root: &Root, note: Notes<'_>) -> io::Result<Changes> {
    if let Some(dir) = &root.changes.dir {
        match overlay_root(&root.at, dir) {
            Ok(()) => return Ok(Changes { path: dir.clone(), _kept: None }),
            Err(error) => note(format!(
                "changes to the private root are kept in memory, at most {} bytes: an overlay cannot use {}: {error}",
                root.changes.memory_bytes,
                dir.display(),
            )),
        }
    }
    // The memory lies below the mount point of the overlay, so that it needs no other folder.
    let options = CString::new(format!("mode=0700,size={}", root.changes.memory_bytes))?;
    rustix::mount::mount("mainstay", &root.at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
    let memory = rustix::fs::open(&root.at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    overlay_root(&root.at, &root.at)?;
    Ok(Changes { path: format!("/proc/self/fd/{}", memory.as_raw_fd()).into(), _kept: Some(memory) })
}

fn overlay_root(at: &Path, dir: &Path) -> io::Result<()> {
    let upper = upper(Path::new("/"), dir)?;
    for name in PEOPLES {
        let machines = Path::new("/").join(name);
        // A link is followed inside the new root, where what it leads to is as visible as anything.
        if std::fs::symlink_metadata(&machines).is_ok_and(|found| found.is_dir()) {
            let empty = upper.join(name);
            make_dir(&empty)?;
            std::fs::set_permissions(&empty, std::fs::Permissions::from_mode(0o755))?;
            rustix::fs::setxattr(&empty, OPAQUE, b"y", rustix::fs::XattrFlags::empty())?;
        }
    }
    overlay_in(at, Path::new("/"), dir)
}

/// An overlay of the folder `lower` at `at` that keeps changes in `dir`.
fn overlay_in(at: &Path, lower: &Path, dir: &Path) -> io::Result<()> {
    let (upper, work) = (upper(lower, dir)?, dir.join("work"));
    make_dir(&work)?;
    let options = format!("lowerdir={},upperdir={},workdir={}", escape(lower)?, escape(&upper)?, escape(&work)?);
    let options = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount("mainstay", at, "overlay", flags, options.as_c_str())?)
}

/// The folder of an overlay's changes. The top folder is seen with its owner and permissions.
fn upper(lower: &Path, dir: &Path) -> io::Result<PathBuf> {
    let upper = dir.join("upper");
    make_dir(&upper)?;
    let top = std::fs::metadata(lower)?;
    std::os::unix::fs::chown(&upper, Some(top.uid()), Some(top.gid()))?;
    std::fs::set_permissions(&upper, top.permissions())?;
    Ok(upper)
}

fn make_dir(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// A path as an overlay option takes it: commas, colons and backslashes are its syntax.
fn escape(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is no UTF-8"))?;
    Ok(text.chars().flat_map(|c| matches!(c, ',' | ':' | '\\').then_some('\\').into_iter().chain([c])).collect())
}

/// Mount points of the machine's other disks: an overlay shows one file system only, and `/usr` or `/home` may be another.
fn other_mounts() -> io::Result<Vec<std::path::PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().filter_map(other_mount).collect())
}

fn other_mount(line: &str) -> Option<std::path::PathBuf> {
    let (head, tail) = line.split_once(" - ")?;
    let kind = tail.split(' ').next()?;
    let point = head.split(' ').nth(4)?;
    let own = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/run"].map(str::to_owned);
    let own = own.into_iter().chain(PEOPLES.iter().map(|name| format!("/{name}")));
    let is_own = own.into_iter().any(|dir| Path::new(point).starts_with(dir));
    (point != "/" && !is_own && DISKS.contains(&kind)).then(|| unescape(point).into())
}

/// Blanks and the like are written as `\040` in that file.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'\\').then(|| text.get(at + 1..at + 4)).flatten();
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

struct Builder {
    root: OwnedFd,
    owner: Owner,
}

impl Builder {
    const SYSTEM: Owner = Owner { uid: 0, gid: 0 };

    /// What every replica has of its own: processes, devices, temporary folders.
    fn system(&self, shm_bytes: u64) -> Result<(), Failure> {
        let none = || MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let fs = |kind: &str, target: &str, flags: MountFlags, options: &str| {
            self.fs(kind, Path::new(target), flags, options).at(Step::Root, || target.to_owned())
        };
        fs("proc", "/proc", none(), "")?;
        fs("sysfs", "/sys", none() | MountFlags::RDONLY, "")?;
        fs("tmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, "mode=0755,size=64k")?;
        fs("devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, "newinstance,ptmxmode=0666,mode=0620")?;
        fs("tmpfs", "/dev/shm", none(), &format!("mode=1777,size={shm_bytes}"))?;
        // Shares of the machine's memory: one replica that fills them leaves room for the others.
        fs("tmpfs", "/tmp", MountFlags::NOSUID | MountFlags::NODEV, "mode=1777,size=25%")?;
        // Programs of an image write below `/run` as their own user; here that user is the only one.
        let run = format!("mode=0755,size=10%,uid={},gid={}", self.owner.uid, self.owner.gid);
        fs("tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV, &run)?;
        self.devices().at(Step::Root, || "/dev".into())?;
        for path in MASKED {
            self.hide(Path::new(path)).at(Step::Root, || path.to_owned())?;
        }
        for path in READ_ONLY {
            self.freeze(Path::new(path)).at(Step::Root, || path.to_owned())?;
        }
        Ok(())
    }

    fn devices(&self) -> io::Result<()> {
        for name in DEVICES {
            // Bound, not made: making device nodes is forbidden in many containers.
            self.bind(&Path::new("/dev").join(name), &Path::new("/dev").join(name), false)?;
        }
        let dev = inside::dir(&self.root, Path::new("/dev"), Self::SYSTEM)?;
        for (name, to) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            std::os::unix::fs::symlink(to, dev.path().join(name))?;
        }
        Ok(())
    }

    /// Another disk of the machine at its place, with changes kept apart.
    fn disk(&self, path: &Path, changes: &Path) -> io::Result<Place> {
        let place = inside::dir(&self.root, path, Self::SYSTEM)?;
        make_dir(changes)?;
        overlay_in(&place.path(), path, changes)?;
        // Looked up again: the place from before lies below the new mount.
        self.existing(path)
    }

    fn mount(&self, mount: &Mount) -> io::Result<()> {
        match &mount.what {
            MountKind::Bind { source, read_only } => self.bind(source, &mount.target, *read_only),
            MountKind::Tmpfs { bytes, mode } => {
                let size = bytes.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
                let options = format!("mode={mode:o},uid={},gid={}{size}", self.owner.uid, self.owner.gid);
                self.fs("tmpfs", &mount.target, MountFlags::NOSUID | MountFlags::NODEV, &options)
            }
        }
    }

    fn fs(&self, kind: &str, target: &Path, flags: MountFlags, options: &str) -> io::Result<()> {
        let place = inside::dir(&self.root, target, self.owner)?;
        let options = CString::new(options)?;
        Ok(rustix::mount::mount("mainstay", place.path(), kind, flags, options.as_c_str())?)
    }

    fn bind(&self, source: &Path, target: &Path, read_only: bool) -> io::Result<()> {
        let kind = std::fs::metadata(source).map_err(|error| named(source, error))?.file_type();
        let is_dir = kind.is_dir();
        let place = match is_dir {
            true => inside::dir(&self.root, target, self.owner)?,
            false => inside::file(&self.root, target, self.owner)?,
        };
        if place.is_dir()? != is_dir {
            let (is, is_not) = if is_dir { ("a folder", "a file") } else { ("a file", "a folder") };
            let text = format!("{} is {is}, what it is mounted on is {is_not}", source.display());
            return Err(io::Error::other(text));
        }
        rustix::mount::mount_bind(source, place.path())?;
        drop(place);
        let is_device = kind.is_char_device() || kind.is_block_device();
        let device = if is_device { MountFlags::empty() } else { MountFlags::NODEV };
        let flags = MountFlags::NOSUID | device | if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        self.remount(target, flags)
    }

    /// Changes the flags of the mount at `target`, keeping those that only grow stricter.
    fn remount(&self, target: &Path, flags: MountFlags) -> io::Result<()> {
        let place = self.existing(target)?;
        Ok(rustix::mount::mount_remount(place.path(), MountFlags::BIND | flags, c"")?)
    }

    fn freeze(&self, path: &Path) -> io::Result<()> {
        let Some(place) = inside::find(&self.root, path)? else { return Ok(()) };
        rustix::mount::mount_bind(place.path(), place.path())?;
        drop(place);
        self.remount(path, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC)
    }

    fn hide(&self, path: &Path) -> io::Result<()> {
        let Some(place) = inside::find(&self.root, path)? else { return Ok(()) };
        if place.is_dir()? {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
            return Ok(rustix::mount::mount("mainstay", place.path(), "tmpfs", flags, c"mode=0555")?);
        }
        Ok(rustix::mount::mount_bind("/dev/null", place.path())?)
    }

    fn files(&self, files: &[File]) -> Result<(), Failure> {
        if files.is_empty() {
            return Ok(());
        }
        let stage = Path::new("/run/.mainstay-files");
        self.fs("tmpfs", stage, MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, "mode=0700")
            .at(Step::Root, || "memory for files".into())?;
        let place = self.existing(stage).at(Step::Root, || "memory for files".into())?;
        for (number, file) in files.iter().enumerate() {
            self.file(&place, number, file).at(Step::Root, || format!("file {}", file.target.display()))?;
        }
        // The files stay where they were bound; only the way to all of them at once goes.
        rustix::mount::unmount(place.path(), UnmountFlags::DETACH).at(Step::Root, || "memory for files".into())?;
        drop(place);
        let stage = inside::dir(&self.root, Path::new("/run"), self.owner).at(Step::Root, || "/run".into())?;
        std::fs::remove_dir(stage.path().join(".mainstay-files")).at(Step::Root, || "memory for files".into())
    }

    fn file(&self, stage: &Place, number: usize, file: &File) -> io::Result<()> {
        let path = stage.path().join(number.to_string());
        let bytes = file.content.bytes().ok_or_else(|| io::Error::other("its content is damaged"))?;
        std::fs::write(&path, bytes)?;
        std::os::unix::fs::chown(&path, Some(file.uid), Some(file.gid))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(file.mode & 0o777))?;
        self.bind(&path, &file.target, true)
    }

    fn existing(&self, path: &Path) -> io::Result<Place> {
        inside::find(&self.root, path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes `at` the root of this mount namespace and lets go of the old one.
fn enter(at: &Path) -> io::Result<()> {
    rustix::process::chdir(at)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_disks_are_told_from_the_machines_own_mounts() {
        let check = |point: &str, kind: &str, want: Option<&str>| {
            let line = format!("28 27 0:25 / {point} ro,nosuid shared:1 - {kind} source rw");
            assert_eq!(other_mount(&line).as_deref(), want.map(Path::new), "{point} {kind}");
        };
        check("/var", "ext4", Some("/var"));
        check("/home", "ext4", None);
        check("/with\\040blank", "xfs", Some("/with blank"));
        check("/", "ext4", None);
        check("/srv/memory", "tmpfs", None);
        check("/run/netns", "ext4", None);
        check("/runner", "ext4", Some("/runner"));
        check("/proc/sys/fs/binfmt_misc", "binfmt_misc", None);
    }

    #[test]
    fn overlay_options_are_escaped() {
        assert_eq!(escape(Path::new("/a,b:c\\d")).expect("is text"), "/a\\,b\\:c\\\\d");
    }
}
