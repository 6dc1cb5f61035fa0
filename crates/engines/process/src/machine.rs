//! Everything of the engine that blocks: folders, namespaces, groups, in the order that a start or a removal takes.
//!
//! A start writes the labels first and a removal removes them last, so that whatever is half done stays visible and
//! the next start or removal clears it away. Every method may be repeated.
#![expect(
    clippy::disallowed_methods,
    reason = "mounted files and folders that belong to replicas: neither is replaced as a whole"
)]

use crate::anonymous;
use crate::catalogue::Program;
use crate::cgroup::{Groups, Hierarchy, Reading};
use crate::engine::Names;
use crate::error::{Error, file};
use crate::layout::Layout;
use crate::network::{NetworkError, Networks, names};
use crate::spec::{self, Inputs, SpecError};
use crate::stored::{Labels, NetworkFile};
use model::project::{MountSource, Template};
use model::{BundleId, NetworkName, ReplicaId, StackId, VolumeName};
use plan::action::replica::Start;
use plan::observed::{Known, NetworkState};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};
use shim::life;
use shim::spec::Spec;
use shim::status::{self, State, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How long the processes of a replica whose shim was killed may take to be gone.
const FADING: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The blocking half of the engine.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) layout: Layout,
    pub(crate) networks: Networks,
    pub(crate) hierarchy: Hierarchy,
    pub(crate) names: Names,
    pub(crate) hidden: Vec<PathBuf>,
    pub(crate) bundle: Arc<dyn Fn(&BundleId) -> PathBuf + Send + Sync>,
    /// Read while folders are made, written while empty ones are removed: no parent goes under a child being made.
    pub(crate) parents: Arc<RwLock<()>>,
    /// Held while a replica chooses its place in the service.
    pub(crate) places: Arc<Mutex<()>>,
}

/// What a start found or made.
pub(crate) enum Prepared {
    /// The very replica runs already.
    Runs,
    /// Everything a shim needs is there.
    Ready(Box<Spec>),
}

impl Machine {
    /// Makes everything around a replica, up to the spec for its shim.
    pub(crate) fn prepare(&self, stack: &StackId, start: &Start, program: &Program) -> Result<Prepared, Error> {
        let dir = self.layout.replica(stack, &start.id);
        if self.runs(stack, &start.id)? {
            let labels = Labels::read(&dir).map_err(file("read the labels in", &dir))?;
            let is_same = labels.and_then(|labels| labels.meaning().ok()).is_some_and(|known| {
                (known.hash, known.release, &known.addresses) == (start.hash, start.release, &start.addresses)
            });
            let status = status::read(&dir).map_err(file("read the status in", &dir))?;
            let is_starting = status.is_none_or(|status| matches!(status.state, State::Starting { .. }));
            return match (is_same, is_starting) {
                (false, _) => Err(Error::Busy),
                (true, true) => Err(Error::Starting),
                (true, false) => Ok(Prepared::Runs),
            };
        }
        // Before anything of what was there is cleared away.
        self.refuse_without_ground(stack, start)?;
        self.refuse_hidden(&start.template)?;
        let user = spec::user(start)?;
        // What cannot be read tells no place: then the lowest free one is right.
        let place = Labels::read(&dir).ok().flatten().and_then(|labels| labels.place);
        self.clear(stack, &start.id)?;
        let _making = self.making();
        let place = self.label(stack, start, program, user, place)?;
        let anonymous = spec::anonymous(&start.template, program).into_iter().enumerate();
        let folder = |known| anonymous::folder(&self.layout, stack, &start.id, place, known);
        let anonymous: Vec<PathBuf> = anonymous.map(folder).collect();
        self.folders(stack, start, &anonymous, user)?;
        let group = self.group(stack, &start.id);
        let network = self.networks.attach(stack, &start.id, &start.addresses)?;
        let groups = self.hierarchy.ensure(&group, &start.template.limits)?;
        self.write_names(stack, &start.id)?;
        self.write_resolv(&dir)?;
        let spec = self.spec(stack, start, program, network, &groups, &anonymous)?;
        Ok(Prepared::Ready(Box::new(spec)))
    }

    /// Errors: [`NetworkError::Missing`] and [`Error::NoVolume`].
    fn refuse_without_ground(&self, stack: &StackId, start: &Start) -> Result<(), Error> {
        for name in start.addresses.keys() {
            if NetworkFile::read(&self.layout.network(stack, name)).is_err() {
                return Err(NetworkError::Missing(name.clone()).into());
            }
        }
        match named_volumes(&start.template).into_iter().find(|name| !self.layout.volume(stack, name).is_dir()) {
            Some(missing) => Err(Error::NoVolume(missing.clone())),
            None => Ok(()),
        }
    }

    /// Makes the replica's folder with its labels, and returns its place in the service.
    fn label(
        &self,
        stack: &StackId,
        start: &Start,
        program: &Program,
        user: (u32, u32),
        before: Option<u32>,
    ) -> Result<u32, Error> {
        let dir = self.layout.replica(stack, &start.id);
        make(&dir)?;
        private(&dir)?;
        // Two that start at once must not choose the same place.
        let _one_at_a_time = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = engine::anonymous::place(before, &self.places_taken(stack, &start.id)?);
        let labels = Labels::new(start, spec::hostname(start), user, spec::stop_signal(start, program), place);
        labels.write(&dir).map_err(file("write the labels in", &dir))?;
        Ok(place)
    }

    /// The places of the service's other replicas.
    fn places_taken(&self, stack: &StackId, id: &ReplicaId) -> Result<BTreeSet<u32>, Error> {
        let mut taken = BTreeSet::new();
        for other in self.layout.replicas_of(stack).map_err(file("list the replicas of", &self.layout.run))? {
            if other.service != id.service || other == *id || engine::anonymous::is_one_off(&other) {
                continue;
            }
            let dir = self.layout.replica(stack, &other);
            // A guess could give one folder to two.
            let labels = Labels::read(&dir).map_err(file("read the labels in", &dir))?;
            taken.extend(labels.and_then(|labels| labels.place));
        }
        Ok(taken)
    }

    /// Refuses mounts that lead to the control plane by way of links: paths alone are compared in `spec`.
    pub(crate) fn refuse_hidden(&self, template: &Template) -> Result<(), SpecError> {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let hidden: Vec<PathBuf> = self.hidden.iter().map(|path| real(path)).collect();
        for mount in &template.mounts {
            if let MountSource::Host(path) = &mount.source
                && spec::reaches(&real(Path::new(path)), &hidden)
            {
                return Err(SpecError::Hidden(path.into()));
            }
        }
        Ok(())
    }

    fn making(&self) -> RwLockReadGuard<'_, ()> {
        self.parents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn removing(&self) -> RwLockWriteGuard<'_, ()> {
        self.parents.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tidy(&self, stack: &StackId) {
        let _removing = self.removing();
        self.layout.tidy(stack);
    }

    fn spec(
        &self,
        stack: &StackId,
        start: &Start,
        program: &Program,
        network: PathBuf,
        groups: &Groups,
        anonymous: &[PathBuf],
    ) -> Result<Spec, Error> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let group = fs::read_to_string("/etc/group").unwrap_or_default();
        let bundle = (self.bundle)(&start.bundle);
        let (layout, hidden) = (&self.layout, &self.hidden);
        let accounts = (passwd.as_str(), group.as_str());
        let bundle = bundle.as_path();
        Ok(spec::build(&Inputs {
            stack,
            start,
            program,
            layout,
            bundle,
            network,
            groups,
            hidden,
            accounts,
            anonymous,
        })?)
    }

    fn folders(&self, stack: &StackId, start: &Start, anonymous: &[PathBuf], user: (u32, u32)) -> Result<(), Error> {
        let dir = self.layout.replica(stack, &start.id);
        make(&dir.join("root"))?;
        let changes = self.layout.changes(stack, &start.id);
        make(&changes)?;
        private(&changes)?;
        make(self.layout.log(stack, &start.id).parent().unwrap_or(Path::new("/")))?;
        for volume in anonymous {
            make(volume)?;
            give(volume, user)?;
        }
        for name in named_volumes(&start.template) {
            give(&self.layout.volume(stack, name), user)?;
        }
        Ok(())
    }

    /// Where a replica's control groups are, below the mount points.
    pub(crate) fn group(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        Path::new(&self.names.cgroup).join(stack.to_string()).join(id.to_string())
    }

    pub(crate) fn is_held(&self, stack: &StackId, id: &ReplicaId) -> Result<bool, Error> {
        let dir = self.layout.replica(stack, id);
        life::is_held(&dir).map_err(file("ask for the lock in", &dir))
    }

    /// Whether the replica runs. One that has ended is waited for: its shim lets go of the lock a moment later.
    fn runs(&self, stack: &StackId, id: &ReplicaId) -> Result<bool, Error> {
        let dir = self.layout.replica(stack, id);
        if !self.is_held(stack, id)? {
            return Ok(false);
        }
        if !matches!(status::read(&dir), Ok(Some(status)) if status.state.is_final()) {
            return Ok(true);
        }
        life::wait_until_free(&dir).map_err(file("wait for the lock in", &dir))?;
        Ok(false)
    }

    /// Removes all that is left of a replica that does not run, apart from its logs.
    pub(crate) fn remove(&self, stack: &StackId, id: &ReplicaId) -> Result<(), Error> {
        if self.runs(stack, id)? {
            return Err(Error::Running);
        }
        self.clear(stack, id)?;
        remove_tree(&self.layout.passing(stack, id))?;
        self.tidy(stack);
        Ok(())
    }

    fn clear(&self, stack: &StackId, id: &ReplicaId) -> Result<(), Error> {
        let dir = self.layout.replica(stack, id);
        // A shim of a start that was given up may be about to take the lock: it must not lie in what is being removed.
        let _lock = match life::hold(&dir) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return Err(Error::Starting),
            // There is nothing to remove, or no room for anything but removing.
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::StorageFull].contains(&error.kind()) => None,
            Err(error) => return Err(file("take the lock in", &dir)(error)),
        };
        self.wait_for_the_last(&dir)?;
        self.networks.detach(stack, id)?;
        {
            let _removing = self.removing();
            self.hierarchy.remove(&self.group(stack, id))?;
        }
        remove_tree(&self.layout.changes(stack, id))?;
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file("list", &dir)(error)),
        };
        for entry in entries {
            let path = entry.map_err(file("list", &dir))?.path();
            if path.file_name().is_some_and(|name| name != "labels.json") {
                remove_tree(&path)?;
            }
        }
        remove_tree(&dir)
    }

    /// After a shim was killed the kernel ends its replica; nothing is removed under a process that still ends.
    fn wait_for_the_last(&self, dir: &Path) -> Result<(), Error> {
        let Ok(Some(Status { init: Some(init), boot_id, .. })) = status::read(dir) else { return Ok(()) };
        let kernel = |source| Error::Kernel { doing: "wait for the replica's last process", source };
        if life::boot_id().map_err(kernel)? != boot_id {
            return Ok(());
        }
        let Some(pid) = Pid::from_raw(init.pid) else { return Ok(()) };
        let Ok(fd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        if !init.exists() {
            return Ok(());
        }
        // It is the last one: the kernel lets the first process of a namespace end after all others.
        let _ = rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL);
        match rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&FADING)) {
            Ok(0) => Err(kernel(io::Error::new(io::ErrorKind::TimedOut, format!("process {} does not end", init.pid)))),
            Ok(_) => Ok(()),
            Err(error) => Err(kernel(error.into())),
        }
    }

    /// Makes the network be so, and tells its replicas the names on it.
    pub(crate) fn ensure_network(
        &self,
        stack: &StackId,
        name: &NetworkName,
        state: &NetworkState,
    ) -> Result<(), Error> {
        let _making = self.making();
        let there = NetworkFile::read(&self.layout.network(stack, name)).map(NetworkState::from);
        if there.is_ok_and(|there| there.subnet != state.subnet) {
            self.refuse_under_replicas("move", stack, name)?;
        }
        self.networks.ensure(stack, name, state)?;
        for id in self.layout.replicas_of(stack).map_err(file("list the replicas of", &self.layout.run))? {
            let dir = self.layout.replica(stack, &id);
            // One that is being made or removed has none; it gets its names when it is made.
            if dir.join("hosts").exists() {
                self.write_names(stack, &id)?;
            }
        }
        Ok(())
    }

    pub(crate) fn remove_network(&self, stack: &StackId, name: &NetworkName) -> Result<(), Error> {
        self.refuse_under_replicas("remove", stack, name)?;
        self.networks.remove(stack, name)?;
        self.tidy(stack);
        Ok(())
    }

    /// Errors: [`Error::Carries`] while a replica has an address there.
    fn refuse_under_replicas(&self, verb: &'static str, stack: &StackId, network: &NetworkName) -> Result<(), Error> {
        for replica in self.layout.replicas_of(stack).map_err(file("list the replicas of", &self.layout.run))? {
            // What cannot be read cannot be asked; it is told as unknown, and nothing is planned over it.
            let labels = Labels::read(&self.layout.replica(stack, &replica)).ok().flatten();
            let meaning = labels.and_then(|labels| labels.meaning().ok());
            if meaning.is_some_and(|meaning| meaning.addresses.contains_key(network)) {
                return Err(Error::Carries { verb, network: network.clone(), replica });
            }
        }
        Ok(())
    }

    pub(crate) fn ensure_volume(&self, stack: &StackId, name: &VolumeName) -> Result<(), Error> {
        let _making = self.making();
        make(&self.layout.volume(stack, name))
    }

    pub(crate) fn remove_volume(&self, stack: &StackId, name: &VolumeName) -> Result<(), Error> {
        remove_tree(&self.layout.volume(stack, name))?;
        self.tidy(stack);
        Ok(())
    }

    fn write_names(&self, stack: &StackId, id: &ReplicaId) -> Result<(), Error> {
        let dir = self.layout.replica(stack, id);
        let Some(labels) = Labels::read(&dir).map_err(file("read the labels in", &dir))? else { return Ok(()) };
        let meaning = labels.meaning().map_err(file("read the labels in", &dir))?;
        let mut known = Vec::new();
        for name in meaning.addresses.keys() {
            let dir = self.layout.network(stack, name);
            known.extend(NetworkFile::read(&dir).ok().map(|file| NetworkState::from(file).names));
        }
        let addresses: Vec<Ipv4Addr> = meaning.addresses.values().copied().collect();
        let text =
            engine::hosts::hosts(&labels.hostname, &addresses, &known.iter().collect::<Vec<_>>(), &labels.extra_hosts);
        in_place(&dir.join("hosts"), &text)
    }

    fn write_resolv(&self, dir: &Path) -> Result<(), Error> {
        in_place(&dir.join("resolv.conf"), &resolv().unwrap_or_default())
    }

    /// Tells every replica the machine's name servers, which may have changed since it was started.
    pub(crate) fn renew_resolv(&self, text: &str) -> Result<(), Error> {
        let failed = || file("list the replicas of", &self.layout.run);
        for stack in self.layout.stacks().map_err(failed())? {
            for id in self.layout.replicas_of(&stack).map_err(failed())? {
                let path = self.layout.replica(&stack, &id).join("resolv.conf");
                if fs::read_to_string(&path).is_ok_and(|known| known != text) {
                    in_place(&path, text)?;
                }
            }
        }
        Ok(())
    }

    /// Removes what belongs to replicas that are no more: after a boot the run folder is empty, their scratch is not.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        for stack in self.layout.scratched().map_err(file("list", &self.layout.scratch))? {
            for id in self.layout.scratched_of(&stack).map_err(file("list", &self.layout.scratch))? {
                if !self.layout.replica(&stack, &id).exists() {
                    remove_tree(&self.layout.changes(&stack, &id))?;
                    remove_tree(&self.layout.passing(&stack, &id))?;
                }
            }
            self.tidy(&stack);
        }
        Ok(())
    }

    /// The replicas whose shim lives.
    pub(crate) fn living(&self) -> io::Result<Vec<(StackId, ReplicaId)>> {
        let mut living = Vec::new();
        for stack in self.layout.stacks()? {
            for id in self.layout.replicas_of(&stack)? {
                if life::is_held(&self.layout.replica(&stack, &id))? {
                    living.push((stack.clone(), id));
                }
            }
        }
        Ok(living)
    }

    /// The stacks of which anything exists.
    pub(crate) fn stacks(&self) -> io::Result<Vec<StackId>> {
        let mut stacks = self.layout.stacks()?;
        let mut failed = None;
        stacks.retain(|stack| {
            let is_empty = (|| {
                io::Result::Ok(
                    self.layout.replicas_of(stack)?.is_empty()
                        && self.layout.networks_of(stack)?.is_empty()
                        && self.layout.volumes_of(stack)?.is_empty(),
                )
            })();
            is_empty.map_err(|error| failed = Some(error)).is_ok_and(|is_empty| !is_empty)
        });
        failed.map_or(Ok(stacks), Err)
    }

    /// The stacks that have networks; one that cannot be listed now is looked at another time.
    pub(crate) fn networked(&self) -> Vec<StackId> {
        let stacks = self.layout.stacks().unwrap_or_default();
        let has_networks = |stack: &StackId| self.layout.networks_of(stack).is_ok_and(|networks| !networks.is_empty());
        stacks.into_iter().filter(has_networks).collect()
    }

    /// What every replica of a stack uses that runs.
    pub(crate) fn usage(&self, stack: &StackId) -> Result<BTreeMap<ReplicaId, Known<Reading>>, Error> {
        let kernel = |source| Error::Kernel { doing: "list the replicas", source };
        let mut all = BTreeMap::new();
        for id in self.layout.replicas_of(stack).map_err(kernel)? {
            if self.is_held(stack, &id)? {
                let reading = self.hierarchy.usage(&self.group(stack, &id));
                let reading = reading.map_or_else(|error| Known::Unknown(error.to_string()), Known::Is);
                all.insert(id, reading);
            }
        }
        Ok(all)
    }

    /// The user and group of a replica, and its stack's first user.
    pub(crate) fn owner(&self, stack: &StackId, id: &ReplicaId) -> Result<(u32, u32), Error> {
        let dir = self.layout.replica(stack, id);
        let labels = Labels::read(&dir).map_err(file("read the labels in", &dir))?.ok_or(Error::NotRunning)?;
        Ok((labels.uid_base, labels.gid))
    }
}

/// The machine's name servers as a replica can reach them, none when there is no such server.
pub(crate) fn resolv() -> Option<String> {
    // Where a local stub is the machine's resolver, systemd keeps the real servers in a file of its own.
    let sources = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    sources.iter().find_map(|path| names::resolv(&fs::read_to_string(path).ok()?))
}

fn named_volumes(template: &Template) -> BTreeSet<&VolumeName> {
    let named = template.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(name) => Some(name),
        _ => None,
    });
    named.collect()
}

fn make(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(file("make", dir))
}

fn private(dir: &Path) -> Result<(), Error> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(file("protect", dir))
}

/// A volume that nobody has used yet becomes its first user's.
fn give(volume: &Path, (uid, gid): (u32, u32)) -> Result<(), Error> {
    let failed = || file("give to the service", volume);
    let is_fresh =
        fs::metadata(volume).map_err(failed())?.uid() == 0 && fs::read_dir(volume).map_err(failed())?.next().is_none();
    if is_fresh {
        std::os::unix::fs::chown(volume, Some(uid), Some(gid)).map_err(failed())?;
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Rewrites a file without giving it a new inode: it is mounted into a replica, which would keep the old one.
///
/// One write, then the new length: a reader in between sees the new text, at worst with a rest of the old one.
fn in_place(path: &Path, text: &str) -> Result<(), Error> {
    let write = || {
        let mut out = fs::File::options().write(true).create(true).truncate(false).open(path)?;
        out.set_permissions(fs::Permissions::from_mode(0o644))?;
        out.write_all(text.as_bytes())?;
        out.set_len(text.len() as u64)
    };
    write().map_err(file("write", path))
}
