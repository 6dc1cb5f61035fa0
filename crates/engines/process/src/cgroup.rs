//! Control groups of replicas, version 1 and 2: limits, usage, and what the machine does not enforce.
//!
//! Every replica gets groups, limits or not, for its usage is read from them. A controller that the machine lacks
//! is reported with the limit it would have held; nothing is dropped without a word.
#![expect(clippy::disallowed_methods, reason = "control files are neither made nor replaced")]

use model::project::Limits;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The scheduler's period in microseconds, the kernel's default.
const PERIOD: u64 = 100_000;
/// Processes of a replica whose service names no limit: more than a server needs, too few to take the machine down.
const DEFAULT_PIDS: u32 = 4096;
/// Shares of limits below this are refused by the kernel.
const LEAST_QUOTA: u64 = 1_000;

/// The control groups of this machine that replicas may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchy {
    /// Version 1: a folder for each controller.
    V1 {
        /// Controller and its mount point.
        controllers: Vec<(Controller, PathBuf)>,
    },
    /// Version 2: one folder.
    V2 {
        /// The mount point.
        mount: PathBuf,
        /// The controllers that can be used below it.
        controllers: Vec<Controller>,
    },
    /// None at all.
    None,
}

/// A controller that replicas are put under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Accounting of processor time, apart in version 1.
    CpuAcct,
    /// Memory.
    Memory,
    /// Processes.
    Pids,
}

impl Controller {
    const ALL: [Self; 4] = [Self::Cpu, Self::CpuAcct, Self::Memory, Self::Pids];

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuAcct => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|controller| controller.name() == text)
    }
}

/// Control groups could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} control group {path}")]
pub struct CgroupError {
    /// What was being done.
    pub doing: &'static str,
    /// The folder or file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError { doing, path, source }
}

/// The groups of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// Their folders, each with the file that counts processes killed for want of memory.
    pub dirs: Vec<(PathBuf, Option<&'static str>)>,
}

/// What a replica uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Processor time.
    pub cpu: Duration,
    /// Memory without the file cache that can be dropped.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u32,
}

/// Finds the control groups of this machine.
pub fn find() -> io::Result<Hierarchy> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?, &|path| fs::read_to_string(path).unwrap_or_default()))
}

/// `read` gives a file's text, empty when there is none.
fn parse(mountinfo: &str, read: &dyn Fn(&Path) -> String) -> Hierarchy {
    let mut first = Vec::new();
    let mut second = None;
    for line in mountinfo.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let Some(mount) = head.split(' ').nth(4).map(PathBuf::from) else { continue };
        let mut words = tail.split(' ');
        match words.next() {
            Some("cgroup") => {
                let options = words.nth(1).unwrap_or_default();
                first.extend(options.split(',').filter_map(Controller::parse).map(|c| (c, mount.clone())));
            }
            Some("cgroup2") => second = Some(mount),
            _ => {}
        }
    }
    if !first.is_empty() {
        return Hierarchy::V1 { controllers: first };
    }
    match second {
        Some(mount) => {
            let text = read(&mount.join("cgroup.controllers"));
            Hierarchy::V2 { controllers: text.split_whitespace().filter_map(Controller::parse).collect(), mount }
        }
        None => Hierarchy::None,
    }
}

impl Hierarchy {
    /// Which limits this machine would not hold, in words.
    pub fn not_enforced(&self, limits: &Limits) -> Vec<String> {
        let has = |controller| match self {
            Self::V1 { controllers } => controllers.iter().any(|(known, _)| *known == controller),
            Self::V2 { controllers, .. } => controllers.contains(&controller),
            Self::None => false,
        };
        let missing = |is_wanted: bool, controller: Controller, what: String| {
            (is_wanted && !has(controller))
                .then(|| format!("not enforced: {what}, this machine has no `{}` control group", controller.name()))
        };
        let cpus = missing(limits.cpus.is_some(), Controller::Cpu, "limit of processors".into());
        let memory = missing(limits.memory.is_some(), Controller::Memory, "limit of memory".into());
        let pids = missing(limits.pids.is_some(), Controller::Pids, "limit of processes".into());
        [cpus, memory, pids].into_iter().flatten().collect()
    }

    /// Makes the groups `path` (relative, below the mount points) and sets the limits.
    ///
    /// Errors: a limit that the service names and that one of the controllers cannot hold. What no controller exists
    /// for is told by [`Hierarchy::not_enforced`], before anything starts.
    pub fn ensure(&self, path: &Path, limits: &Limits) -> Result<Groups, CgroupError> {
        let mut groups = Groups::default();
        match self {
            Self::None => {}
            Self::V1 { controllers } => {
                for (controller, mount) in controllers {
                    let dir = mount.join(path);
                    fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
                    write_all(&dir, v1_limits(*controller, limits))?;
                    let oom = (*controller == Controller::Memory).then_some("memory.oom_control");
                    // Controllers may share a mount; a process joins each folder once.
                    if let Some(known) = groups.dirs.iter_mut().find(|(known, _)| *known == dir) {
                        known.1 = known.1.or(oom);
                    } else {
                        groups.dirs.push((dir, oom));
                    }
                }
            }
            Self::V2 { mount, controllers } => {
                delegate(mount, path, controllers, limits)?;
                let dir = mount.join(path);
                fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
                for controller in controllers {
                    write_all(&dir, v2_limits(*controller, limits))?;
                }
                let oom = controllers.contains(&Controller::Memory).then_some("memory.events");
                groups.dirs.push((dir, oom));
            }
        }
        Ok(groups)
    }

    /// Removes the groups. Those that do not exist are fine; the parents go when nothing is left in them.
    ///
    /// Errors: `EBUSY` as long as a process is in one.
    pub fn remove(&self, path: &Path) -> Result<(), CgroupError> {
        let mounts: Vec<&Path> = match self {
            Self::V1 { controllers } => controllers.iter().map(|(_, mount)| mount.as_path()).collect(),
            Self::V2 { mount, .. } => vec![mount],
            Self::None => Vec::new(),
        };
        for mount in mounts {
            let dir = mount.join(path);
            match fs::remove_dir(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &dir)(error)),
                _ => {}
            }
            for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                // Another replica's group keeps it, which is no failure.
                if fs::remove_dir(mount.join(parent)).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads the usage of the groups `path`.
    pub fn usage(&self, path: &Path) -> io::Result<Reading> {
        match self {
            Self::None => Err(io::Error::new(io::ErrorKind::Unsupported, "this machine has no control groups")),
            Self::V1 { controllers } => {
                let dir = |wanted| {
                    let found = controllers.iter().find(|(controller, _)| *controller == wanted);
                    let missing = || io::Error::new(io::ErrorKind::Unsupported, format!("no `{}`", wanted.name()));
                    Ok::<_, io::Error>(found.ok_or_else(missing)?.1.join(path))
                };
                let memory = dir(Controller::Memory)?;
                let cache = line(&fs::read_to_string(memory.join("memory.stat"))?, "total_inactive_file").unwrap_or(0);
                Ok(Reading {
                    cpu: Duration::from_nanos(number(&dir(Controller::CpuAcct)?.join("cpuacct.usage"))?),
                    memory: number(&memory.join("memory.usage_in_bytes"))?.saturating_sub(cache),
                    pids: u32::try_from(number(&dir(Controller::Pids)?.join("pids.current"))?).unwrap_or(u32::MAX),
                })
            }
            Self::V2 { mount, .. } => {
                let dir = mount.join(path);
                let cache = line(&fs::read_to_string(dir.join("memory.stat"))?, "inactive_file").unwrap_or(0);
                let cpu = line(&fs::read_to_string(dir.join("cpu.stat"))?, "usage_usec").unwrap_or(0);
                Ok(Reading {
                    cpu: Duration::from_micros(cpu),
                    memory: number(&dir.join("memory.current"))?.saturating_sub(cache),
                    pids: u32::try_from(number(&dir.join("pids.current"))?).unwrap_or(u32::MAX),
                })
            }
        }
    }
}

/// File, value, and what is done in words when it must not fail.
type Setting = (&'static str, String, &'static str);

const CPUS: &str = "set the limit of processors of";
const MEMORY: &str = "set the limit of memory of";
const PIDS: &str = "set the limit of processes of";

fn quota(limits: &Limits) -> Option<u64> {
    limits.cpus.map(|cpus| (u64::from(cpus.0) * PERIOD / 1000).max(LEAST_QUOTA))
}

fn v1_limits(controller: Controller, limits: &Limits) -> Vec<Setting> {
    match controller {
        Controller::Cpu => match quota(limits) {
            Some(quota) => {
                vec![("cpu.cfs_period_us", PERIOD.to_string(), CPUS), ("cpu.cfs_quota_us", quota.to_string(), CPUS)]
            }
            None => Vec::new(),
        },
        Controller::Memory => match limits.memory {
            Some(bytes) => vec![
                ("memory.limit_in_bytes", bytes.0.to_string(), MEMORY),
                // With swap of its own a replica would become slow instead of being ended.
                ("memory.memsw.limit_in_bytes", bytes.0.to_string(), ""),
            ],
            None => Vec::new(),
        },
        Controller::Pids => vec![pids(limits)],
        Controller::CpuAcct => Vec::new(),
    }
}

fn v2_limits(controller: Controller, limits: &Limits) -> Vec<Setting> {
    match controller {
        Controller::Cpu => quota(limits).map(|q| ("cpu.max", format!("{q} {PERIOD}"), CPUS)).into_iter().collect(),
        Controller::Memory => match limits.memory {
            Some(bytes) => {
                vec![("memory.max", bytes.0.to_string(), MEMORY), ("memory.swap.max", "0".to_owned(), "")]
            }
            None => Vec::new(),
        },
        Controller::Pids => vec![pids(limits)],
        Controller::CpuAcct => Vec::new(),
    }
}

/// A setting with a meaning must exist; one without is set where the kernel has it.
fn write_all(dir: &Path, settings: Vec<Setting>) -> Result<(), CgroupError> {
    for (name, value, meaning) in settings {
        let path = dir.join(name);
        match write(&path, &value) {
            Err(error) if !meaning.is_empty() => return Err(failed(meaning, &path)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the service names a limit that this controller holds.
fn holds(controller: Controller, limits: &Limits) -> bool {
    match controller {
        Controller::Cpu => limits.cpus.is_some(),
        Controller::Memory => limits.memory.is_some(),
        Controller::Pids => limits.pids.is_some(),
        Controller::CpuAcct => false,
    }
}

/// With its default, which is no failure where it cannot be set.
fn pids(limits: &Limits) -> Setting {
    match limits.pids {
        Some(n) => ("pids.max", n.to_string(), PIDS),
        None => ("pids.max", DEFAULT_PIDS.to_string(), ""),
    }
}

/// Has the controllers reach down to `path`'s parent, so that its last folder has them.
fn delegate(mount: &Path, path: &Path, controllers: &[Controller], limits: &Limits) -> Result<(), CgroupError> {
    let mut dir = mount.to_owned();
    let parts: Vec<_> = path.components().collect();
    for part in &parts {
        fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
        for controller in controllers {
            let file = dir.join("cgroup.subtree_control");
            match write(&file, &format!("+{}", controller.name())) {
                Err(error) if holds(*controller, limits) => {
                    return Err(failed("have a limit held below", &file)(error));
                }
                // Usage that cannot be read for want of it says so when it is read.
                _ => {}
            }
        }
        dir.push(part);
    }
    Ok(())
}

/// Control files exist or not; they are never made.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn number(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("{}: `{}` is no number", path.display(), text.trim())))
}

fn line(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::units::{Bytes, MilliCpus};

    fn limits() -> Limits {
        let pids = std::num::NonZeroU32::new(7);
        Limits { cpus: Some(MilliCpus(1500)), memory: Some(Bytes(64 << 20)), pids, ..Limits::default() }
    }

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("mainstay-cgroup-{}-{name}", std::process::id()));
            fs::create_dir_all(&dir).expect("makes a folder");
            Self(dir)
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("makes a folder");
            fs::write(path, text).expect("writes");
        }

        fn get(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).expect("reads")
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_hierarchy_is_read_from_the_mounts() {
        let v1 = "1 0 0:1 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n2 0 0:2 / /c/memory rw - cgroup cgroup rw,memory\n\
            3 0 0:3 / /c/unified rw - cgroup2 cgroup2 rw\n";
        let want = vec![
            (Controller::Cpu, "/c/cpu".into()),
            (Controller::CpuAcct, "/c/cpu".into()),
            (Controller::Memory, "/c/memory".into()),
        ];
        assert_eq!(parse(v1, &|_| String::new()), Hierarchy::V1 { controllers: want });
        let v2 = "3 0 0:3 / /c rw - cgroup2 cgroup2 rw\n";
        let controllers = vec![Controller::Cpu, Controller::Memory];
        let found = parse(v2, &|_| "cpuset cpu io memory\n".into());
        assert_eq!(found, Hierarchy::V2 { mount: "/c".into(), controllers });
        let Hierarchy::V2 { .. } = found else { panic!("version 2") };
        assert_eq!(found.not_enforced(&limits()).len(), 1, "there is no `pids`");
        assert_eq!(parse("", &|_| String::new()).not_enforced(&limits()).len(), 3);
    }

    #[test]
    fn version_2_limits_and_usage() {
        let tree = Tree::new("v2");
        for file in ["cpu.max", "memory.max", "memory.swap.max", "pids.max"] {
            tree.put(&format!("m/shop/api.1/{file}"), "max");
        }
        for dir in ["", "m/", "m/shop/"] {
            tree.put(&format!("{dir}cgroup.subtree_control"), "");
        }
        let controllers = vec![Controller::Cpu, Controller::Memory, Controller::Pids];
        let hierarchy = Hierarchy::V2 { mount: tree.0.clone(), controllers };
        let path = Path::new("m/shop/api.1");
        let groups = hierarchy.ensure(path, &limits()).expect("sets limits");
        assert_eq!(groups.dirs, [(tree.0.join(path), Some("memory.events"))]);
        assert_eq!(tree.get("m/shop/api.1/cpu.max"), "150000 100000");
        assert_eq!(&tree.get("m/shop/api.1/memory.max")[..8], "67108864");
        assert_eq!(&tree.get("m/shop/api.1/pids.max")[..1], "7");
        tree.put("m/shop/api.1/memory.current", "1000\n");
        tree.put("m/shop/api.1/memory.stat", "anon 5\ninactive_file 300\n");
        tree.put("m/shop/api.1/cpu.stat", "usage_usec 2000000\nuser_usec 1\n");
        tree.put("m/shop/api.1/pids.current", "3\n");
        let want = Reading { cpu: Duration::from_secs(2), memory: 700, pids: 3 };
        assert_eq!(hierarchy.usage(path).expect("reads"), want);
    }

    #[test]
    fn a_limit_that_nothing_holds_is_refused_and_a_default_is_not() {
        let tree = Tree::new("missing");
        fs::create_dir_all(tree.0.join("m/x")).expect("makes a folder");
        let hierarchy = Hierarchy::V1 { controllers: vec![(Controller::Pids, tree.0.clone())] };
        let error = hierarchy.ensure(Path::new("m/x"), &limits()).expect_err("there is no `pids.max`");
        assert!(error.to_string().starts_with("could not set the limit of processes of control group"), "{error}");
        hierarchy.ensure(Path::new("m/x"), &Limits::default()).expect("names no limit");
        tree.put("m/x/pids.max", "max");
        hierarchy.ensure(Path::new("m/x"), &Limits::default()).expect("names no limit");
        assert!(tree.get("m/x/pids.max").starts_with("4096"));
        let hierarchy = Hierarchy::V2 { mount: tree.0.clone(), controllers: vec![Controller::Memory] };
        let error = hierarchy.ensure(Path::new("m/x"), &limits()).expect_err("nothing can be delegated");
        assert!(error.to_string().starts_with("could not have a limit held below control group"), "{error}");
    }
}
