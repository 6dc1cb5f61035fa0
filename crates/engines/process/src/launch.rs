//! Starting a shim: the executable carried inside this one, and the spec that travels by file descriptor.
#![expect(clippy::disallowed_methods, reason = "an executable and files in memory")]

use crate::error::{Error, file};
use model::fingerprint::short_hash;
use runtime::Clock;
use runtime::processes::{Exit, Spawn, Stdio};
use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags};
use shim::spec::Spec;
use shim::status::{self, State};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SHIM: &[u8] = include_bytes!(env!("MAINSTAY_SHIM"));
const PREFIX: &str = "mainstay-shim-";
/// A shim answers within milliseconds; a machine that swaps may take longer.
const LIMIT: Duration = Duration::from_secs(60);
/// What a shim says when it cannot begin is a line.
const MOST_WORDS: u64 = 4096;

/// The shim's executable.
#[derive(Debug)]
pub(crate) enum Executable {
    /// A file whose name tells its content: an older daemon's shims run on from theirs.
    File(PathBuf),
    /// Memory, where the folder's disk runs no programs. Each page of it counts as written, so a file is better.
    Memory(OwnedFd),
}

impl Executable {
    /// Puts it into `dir`, in place of those of older daemons: what runs of them keeps its file until it ends.
    pub(crate) fn install(dir: &Path) -> Result<Self, Error> {
        let name = format!("{PREFIX}{}", short_hash(SHIM));
        let executable = Self::put(dir, &name)?;
        for entry in std::fs::read_dir(dir).map_err(file("list", dir))?.flatten() {
            if entry.file_name().to_str().is_some_and(|other| other.starts_with(PREFIX) && other != name) {
                // One that stays takes room and does no harm.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(executable)
    }

    fn put(dir: &Path, name: &str) -> Result<Self, Error> {
        let flags = rustix::fs::statvfs(dir).map_err(|error| file("inspect", dir)(error.into()))?.f_flag;
        if flags.contains(StatVfsMountFlags::NOEXEC) {
            let memory = sealed(c"mainstay-shim", SHIM);
            return memory.map(|file| Self::Memory(file.into())).map_err(file("keep the shim in memory beside", dir));
        }
        let path = dir.join(name);
        // A file cut short by a full disk has the right name and the wrong content.
        if std::fs::read(&path).is_ok_and(|found| found == SHIM) {
            return Ok(Self::File(path));
        }
        let temp = dir.join(format!(".tmp-shim-{}", std::process::id()));
        let write = || {
            let mut out = File::options().write(true).create(true).truncate(true).mode(0o700).open(&temp)?;
            out.write_all(SHIM)?;
            out.set_permissions(std::fs::Permissions::from_mode(0o700))?;
            out.sync_all()?;
            drop(out);
            std::fs::rename(&temp, &path)
        };
        write().map_err(file("write the shim", &path))?;
        Ok(Self::File(path))
    }

    /// Starts a shim and waits until its workload runs or prepares its data.
    pub(crate) async fn launch(&self, clock: &dyn Clock, spec: &Spec) -> Result<(), Error> {
        let failed = |source| Error::Kernel { doing: "hand the spec over", source };
        let json = serde_json::to_vec(spec).map_err(|error| failed(error.into()))?;
        let memory = sealed(c"mainstay-spec", &json).map_err(failed)?;
        let mut spawn = match self {
            Self::File(path) => Spawn::new(path),
            Self::Memory(executable) => {
                let mut spawn = Spawn::new("/proc/self/fd/3");
                spawn.fds.push((executable.try_clone().map_err(failed)?, 3));
                spawn
            }
        };
        spawn = spawn.args([&spec.name]);
        spawn.environment = Some(BTreeMap::new());
        spawn.stdio[0] = Stdio::Fd(memory.into());
        spawn.new_session = true;
        let output = spawn.output(clock, LIMIT, MOST_WORDS).await?;
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.exit {
            Exit::Code(0) => Ok(()),
            Exit::Code(1) => Err(why(&spec.dir)),
            Exit::Code(3) => Err(Error::Starting),
            Exit::Code(_) => Err(Error::Shim(words)),
            Exit::Signal(signal) => Err(Error::Shim(format!("it was ended by signal {signal}"))),
        }
    }
}

fn why(dir: &Path) -> Error {
    match status::read(dir) {
        Ok(Some(status)) => match status.state {
            State::Failed { step, message } => Error::Failed { step, message },
            state => Error::Shim(format!("it ended while `{state:?}`")),
        },
        Ok(None) => Error::Shim("it left no word, the run folder may be full".into()),
        Err(error) => Error::File { doing: "read", path: dir.join("status"), source: error },
    }
}

fn sealed(name: &std::ffi::CStr, bytes: &[u8]) -> io::Result<File> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut memory = File::from(fd);
    memory.write_all(bytes)?;
    memory.rewind()?;
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(memory)
}
