//! From the plan's words to the shim's: argv, variables, mounts, users, limits. Pure; nothing here touches the machine.

use crate::capability::{self, CapabilityError};
use crate::catalogue::{PATH, Program};
use crate::cgroup::Groups;
use crate::layout::Layout;
use model::StackId;
use model::project::{Artifact, MountSource, Runs, Template};
use plan::action::replica::Start;
use shim::spec::{
    Capabilities, Cgroup, Changes, Content, File, Identity, Log, Mount, MountKind, Rlimit, Root, Spec, Stop, VERSION,
    Workload,
};
use std::path::{Component, Path, PathBuf};

/// User and group of a replica whose service names none: what images commonly use.
pub const DEFAULT_USER: u32 = 999;
/// Users of one stack: as many as an image may name.
pub const UID_BLOCK: u32 = 65_536;
/// Docker's own default.
const SHM_BYTES: u64 = 64 << 20;
/// Changes to a private root that cannot lie on a disk.
const MEMORY_CHANGES: u64 = 256 << 20;
/// Soft and hard limits where a service names none; otherwise whoever started the daemon would decide. Processes are
/// counted by their control group.
const RLIMITS: [(&str, (u64, u64)); 5] = [
    ("core", (0, u64::MAX)),
    ("memlock", (8 << 20, 8 << 20)),
    ("nofile", (65_536, 524_288)),
    ("nproc", (u64::MAX, u64::MAX)),
    ("stack", (8 << 20, u64::MAX)),
];
/// A log file is put aside at this size; three are kept.
const LOG_BYTES: u64 = 10 << 20;
const LOG_FILES: u32 = 3;

/// A template asks for something that no spec can say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A user outside the stack's block.
    #[error("user {0} is too large, a replica's users and groups are below {UID_BLOCK}")]
    User(u32),
    /// A capability.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Capabilities(Vec<CapabilityError>),
    /// A path that is not absolute or climbs.
    #[error("`{0}` is no absolute path without `..`")]
    Path(String),
    /// A volume of a container engine.
    #[error("`{0}` is a volume of Docker's, which the process engine does not have")]
    External(String),
    /// A bind mount of what no replica may see.
    #[error("`{0}` belongs to the machine's control plane or holds it, and is mounted into no replica")]
    Hidden(PathBuf),
}

/// What a spec is made of, beside the start itself.
pub struct Inputs<'a> {
    /// The stack.
    pub stack: &'a StackId,
    /// What the plan says.
    pub start: &'a Start,
    /// What runs.
    pub program: &'a Program,
    /// The folders.
    pub layout: &'a Layout,
    /// The unpacked bundle.
    pub bundle: &'a Path,
    /// The prepared network namespace.
    pub network: PathBuf,
    /// The prepared control groups.
    pub groups: &'a Groups,
    /// Paths that no replica may see.
    pub hidden: &'a [PathBuf],
    /// The machine's `/etc/passwd` and `/etc/group`.
    pub accounts: (&'a str, &'a str),
    /// The folders of the volumes without a name, in the order of [`anonymous`].
    pub anonymous: &'a [PathBuf],
}

/// User and group of a replica, as the machine counts.
pub fn user(start: &Start) -> Result<(u32, u32), SpecError> {
    let (uid, gid) = start.template.user.as_ref().map_or((DEFAULT_USER, DEFAULT_USER), |user| (user.uid, user.gid));
    Ok((outside(start.uid_base, uid)?, outside(start.uid_base, gid)?))
}

/// A user number inside a replica, as the machine counts.
pub fn outside(base: u32, inside: u32) -> Result<u32, SpecError> {
    if inside < UID_BLOCK { Ok(base + inside) } else { Err(SpecError::User(inside)) }
}

/// The host name inside a replica.
pub fn hostname(start: &Start) -> String {
    start.template.hostname.clone().unwrap_or_else(|| start.id.to_string().replace(['.', '_'], "-"))
}

/// The signal that asks it to stop: the service's, else the image's.
pub fn stop_signal(start: &Start, program: &Program) -> i32 {
    start.template.stop_signal.or(program.stop_signal).unwrap_or(libc::SIGTERM)
}

/// The folders that become volumes without a name, in the order of their numbers.
pub fn anonymous<'a>(template: &'a Template, program: &'a Program) -> Vec<&'a str> {
    let named = template.mounts.iter().filter(|mount| mount.source == MountSource::Anonymous);
    let is_covered = |path: &str| template.mounts.iter().any(|mount| mount.target == path);
    let own = program.volumes.iter().filter(|path| !is_covered(path));
    named.map(|mount| mount.target.as_str()).chain(own.map(String::as_str)).collect()
}

/// Everything a shim is told.
pub fn build(inputs: &Inputs<'_>) -> Result<Spec, SpecError> {
    let Inputs { stack, start, program, layout, .. } = *inputs;
    let template = &start.template;
    let (uid, gid) = user(start)?;
    let dir = layout.replica(stack, &start.id);
    let cwd = template.working_dir.clone().or_else(|| program.cwd.clone()).unwrap_or_else(|| "/".into());
    let identity = Identity { uid, gid, groups: Vec::new(), hostname: hostname(start), umask: 0o022 };
    Ok(Spec {
        version: VERSION,
        name: format!("{stack}/{}", start.id),
        workload: Workload {
            argv: program.argv.clone(),
            env: environment(template, program, &identity.hostname),
            cwd: absolute(&cwd)?.display().to_string(),
            prepare: program.prepare.clone(),
        },
        network: Some(inputs.network.clone()),
        root: root(inputs, &dir, &identity)?,
        cgroups: inputs.groups.dirs.iter().map(cgroup).collect(),
        rlimits: rlimits(template),
        capabilities: capabilities(template)?,
        // The daemon's own may be lower, and would be inherited.
        oom_score_adj: Some(0),
        log: Log { file: layout.log(stack, &start.id), max_bytes: LOG_BYTES, files: LOG_FILES },
        stop: Stop {
            signal: stop_signal(start, program),
            grace_ms: u64::try_from(template.stop_grace.as_millis()).unwrap_or(u64::MAX),
        },
        identity,
        dir,
    })
}

/// The template's capabilities as the kernel's sets.
pub fn capabilities(template: &Template) -> Result<Capabilities, SpecError> {
    capability::sets(&template.cap_add, &template.cap_drop).map_err(SpecError::Capabilities)
}

fn cgroup((dir, oom): &(PathBuf, Option<&'static str>)) -> Cgroup {
    Cgroup { dir: dir.clone(), oom_file: oom.map(str::to_owned) }
}

/// The service's limits, then the defaults of those it does not name.
fn rlimits(template: &Template) -> Vec<Rlimit> {
    let ulimits = &template.limits.ulimits;
    let rlimit = |resource: &str, (soft, hard), is_wanted| Rlimit { resource: resource.into(), soft, hard, is_wanted };
    let wanted = ulimits.iter().map(|(name, limits)| rlimit(name, *limits, true));
    let defaults = RLIMITS.iter().filter(|(name, _)| !ulimits.contains_key(*name));
    wanted.chain(defaults.map(|(name, limits)| rlimit(name, *limits, false))).collect()
}

/// The machine's defaults, then the image's, then the user's: a later one replaces an earlier one.
fn environment(template: &Template, program: &Program, hostname: &str) -> Vec<(String, String)> {
    let own = [("PATH", PATH), ("HOME", "/tmp"), ("HOSTNAME", hostname)];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let users = template.environment.iter().map(|(name, value)| (name.clone(), value.reveal_text().into_owned()));
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in own.chain(program.env.iter().cloned()).chain(users) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

fn root(inputs: &Inputs<'_>, dir: &Path, identity: &Identity) -> Result<Root, SpecError> {
    let Inputs { stack, start, program, layout, .. } = *inputs;
    let template = &start.template;
    let mut mounts = Vec::new();
    for path in &program.memory {
        mounts.push(Mount { target: absolute(path)?, what: MountKind::Tmpfs { bytes: None, mode: 0o775 } });
    }
    for (target, source) in anonymous(template, program).into_iter().zip(inputs.anonymous) {
        let what = MountKind::Bind { source: source.clone(), read_only: false };
        mounts.push(Mount { target: absolute(target)?, what });
    }
    for mount in &template.mounts {
        mounts.extend(mounted(inputs, mount)?);
    }
    if let Runs::Process { artifacts, .. } = &template.runs {
        for Artifact { source, target } in artifacts {
            let source = inputs.bundle.join(within(source)?);
            mounts.push(Mount { target: absolute(target)?, what: MountKind::Bind { source, read_only: true } });
        }
    }
    for name in ["hosts", "resolv.conf"] {
        let target = Path::new("/etc").join(name);
        mounts.push(Mount { target, what: MountKind::Bind { source: dir.join(name), read_only: true } });
    }
    // What lies deeper is mounted later, or it would be covered.
    mounts.sort_by_key(|mount| mount.target.components().count());
    Ok(Root {
        at: dir.join("root"),
        changes: Changes { dir: Some(layout.changes(stack, &start.id)), memory_bytes: MEMORY_CHANGES },
        read_only: template.read_only,
        hidden: inputs.hidden.to_vec(),
        mounts,
        files: files(inputs, identity)?,
        shm_bytes: template.limits.shm.map_or(SHM_BYTES, |bytes| bytes.0),
    })
}

fn mounted(inputs: &Inputs<'_>, mount: &model::project::Mount) -> Result<Option<Mount>, SpecError> {
    let read_only = mount.read_only;
    let what = match &mount.source {
        MountSource::Anonymous => return Ok(None),
        MountSource::External(name) => return Err(SpecError::External(name.clone())),
        MountSource::Volume(name) => MountKind::Bind { source: inputs.layout.volume(inputs.stack, name), read_only },
        MountSource::Host(path) => {
            let source = absolute(path)?;
            if reaches(&source, inputs.hidden) {
                return Err(SpecError::Hidden(source));
            }
            MountKind::Bind { source, read_only }
        }
        MountSource::Bundle(path) => MountKind::Bind { source: inputs.bundle.join(within(path)?), read_only: true },
        MountSource::Tmpfs { size } => MountKind::Tmpfs { bytes: size.map(|size| size.0), mode: 0o1777 },
    };
    Ok(Some(Mount { target: absolute(&mount.target)?, what }))
}

/// Whether a mount of `source` would show something hidden: what lies in it, or what it lies in.
pub fn reaches(source: &Path, hidden: &[PathBuf]) -> bool {
    hidden.iter().any(|hidden| source.starts_with(hidden) || hidden.starts_with(source))
}

fn files(inputs: &Inputs<'_>, identity: &Identity) -> Result<Vec<File>, SpecError> {
    let system = |target: &str, text: String| File {
        target: target.into(),
        content: Content::Text(text),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let user = inputs.program.user;
    let (uid, gid) = (identity.uid, identity.gid);
    let (passwd, group) = inputs.accounts;
    let mut files = vec![
        system("/etc/hostname", format!("{}\n", identity.hostname)),
        system("/etc/passwd", account(passwd, user, uid, &format!("{user}:x:{uid}:{gid}::/tmp:/bin/sh"))),
        system("/etc/group", account(group, user, gid, &format!("{user}:x:{gid}:"))),
    ];
    for file in &inputs.start.template.files {
        let owner = |inside: Option<u32>, own: u32| inside.map_or(Ok(own), |id| outside(inputs.start.uid_base, id));
        files.push(File {
            target: absolute(&file.target)?,
            content: Content::from(file.content.reveal()),
            mode: file.mode,
            uid: owner(file.uid, uid)?,
            gid: owner(file.gid, gid)?,
        });
    }
    Ok(files)
}

/// The machine's accounts with one more; others of its name or number give way.
fn account(machine: &str, name: &str, id: u32, line: &str) -> String {
    let is_other = |known: &&str| {
        let mut fields = known.split(':');
        fields.next() != Some(name) && fields.nth(1) != Some(id.to_string().as_str())
    };
    machine.lines().filter(is_other).chain([line]).map(|line| format!("{line}\n")).collect()
}

fn absolute(text: &str) -> Result<PathBuf, SpecError> {
    let path = PathBuf::from(text);
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if path.is_absolute() && !climbs { Ok(path) } else { Err(SpecError::Path(text.to_owned())) }
}

/// A path within the bundle: a hostile one must not lead out of it.
fn within(text: &str) -> Result<PathBuf, SpecError> {
    let path: PathBuf = Path::new(text).components().filter(|part| *part != Component::CurDir).collect();
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_inside { Ok(path) } else { Err(SpecError::Path(text.to_owned())) }
}

#[cfg(test)]
mod tests;
