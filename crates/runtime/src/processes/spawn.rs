//! Starting a process.

use super::{Exit, ProcessError, ProcessId};
use crate::clock::{Clock, Elapsed, timeout};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Where a standard stream leads.
#[derive(Debug, Default)]
pub enum Stdio {
    /// Nowhere: `/dev/null`.
    #[default]
    Null,
    /// Where ours leads.
    Inherit,
    /// Into this descriptor.
    Fd(OwnedFd),
}

impl From<Stdio> for std::process::Stdio {
    fn from(stdio: Stdio) -> Self {
        match stdio {
            Stdio::Null => Self::null(),
            Stdio::Inherit => Self::inherit(),
            Stdio::Fd(fd) => fd.into(),
        }
    }
}

/// A process to start.
#[derive(Debug)]
pub struct Spawn {
    /// The program: a path, or a name looked up in our `PATH`.
    pub program: PathBuf,
    /// What it is called in the list of processes; its program's path when none.
    pub name: Option<OsString>,
    /// Its arguments, without the program's name. Never put a secret here: everybody can read them.
    pub args: Vec<OsString>,
    /// All its variables; ours when none.
    pub environment: Option<BTreeMap<String, String>>,
    /// Its working directory; ours when none.
    pub working_dir: Option<PathBuf>,
    /// User and group, with no further groups; ours when none.
    pub user: Option<(u32, u32)>,
    /// Standard input, output, error.
    pub stdio: [Stdio; 3],
    /// Further descriptors and the numbers (3 to 63) they have in the child. All others are closed there.
    pub fds: Vec<(OwnedFd, RawFd)>,
    /// In a session of its own: Ctrl-C at our terminal does not reach it.
    pub new_session: bool,
}

/// Descriptors are first moved above the highest number they may end at, so that none overwrites another.
const HIGHEST_FD: RawFd = 63;

impl Spawn {
    /// A program without arguments, with our environment, user and folder, and its streams nowhere.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            name: None,
            args: Vec::new(),
            environment: None,
            working_dir: None,
            user: None,
            stdio: [Stdio::Null, Stdio::Null, Stdio::Null],
            fds: Vec::new(),
            new_session: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Child, ProcessError> {
        let name = format!("`{}`", self.program.display());
        let failed = |source: io::Error| ProcessError::new("start", name.as_str(), source);
        let inner = tokio::process::Command::from(self.command().map_err(failed)?).spawn().map_err(failed)?;
        // Not reaped before `wait`, so the number is still its own; a child that has already ended has no identity.
        let id = inner.id().and_then(ProcessId::of);
        Ok(Child { name, id, inner })
    }

    /// Runs it to its end and keeps what it writes, at most `most` bytes of each stream.
    ///
    /// Errors: it cannot be started, or takes longer than `limit`; then it is killed.
    pub async fn output(mut self, clock: &dyn Clock, limit: Duration, most: u64) -> Result<Output, ProcessError> {
        let name = format!("`{}`", self.program.display());
        let failed = |source: io::Error| ProcessError::new("run", name.as_str(), source);
        let (out, out_write) = Capture::new().map_err(failed)?;
        let (err, err_write) = Capture::new().map_err(failed)?;
        self.stdio[1] = Stdio::Fd(out_write);
        self.stdio[2] = Stdio::Fd(err_write);
        let mut child = self.start()?;
        let all = async {
            let (stdout, stderr, exit) = tokio::join!(out.read(most), err.read(most), child.wait());
            Ok::<_, ProcessError>(Output {
                exit: exit?,
                stdout: stdout.map_err(failed)?,
                stderr: stderr.map_err(failed)?,
            })
        };
        match timeout(clock, limit, all).await {
            Ok(output) => output,
            Err(Elapsed(limit)) => {
                child.kill().await?;
                Err(failed(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("took longer than {limit:?} and was killed"),
                )))
            }
        }
    }

    fn command(self) -> io::Result<std::process::Command> {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args);
        if let Some(name) = &self.name {
            command.arg0(name);
        }
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment);
        }
        if let Some(dir) = &self.working_dir {
            command.current_dir(dir);
        }
        if let Some((uid, gid)) = self.user {
            // Setting the user also empties the list of further groups.
            command.uid(uid).gid(gid);
        }
        let [stdin, stdout, stderr] = self.stdio;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        prepare(&mut command, self.fds, self.new_session)?;
        Ok(command)
    }
}

/// Arranges what happens in the child between fork and exec.
#[expect(unsafe_code, reason = "only code in the forked child can number its descriptors and leave our session")]
fn prepare(command: &mut std::process::Command, fds: Vec<(OwnedFd, RawFd)>, new_session: bool) -> io::Result<()> {
    let mut moved = Vec::with_capacity(fds.len());
    for (fd, number) in fds {
        if !(3..=HIGHEST_FD).contains(&number) {
            let text = format!("a child's descriptor has a number from 3 to {HIGHEST_FD}, not {number}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // Where it ends is occupied until the start: else the pipe by which the child reports a failed exec could
        // get that very number and be overwritten.
        let occupied = rustix::io::fcntl_dupfd_cloexec(&fd, number)?;
        moved.push((rustix::io::fcntl_dupfd_cloexec(&fd, HIGHEST_FD + 1)?, number, occupied));
    }
    let in_child = move || {
        // What we inherited ourselves without close-on-exec is not passed on. Best effort: kernels before 5.11
        // refuse it, and all that this program opens is close-on-exec anyway.
        // SAFETY: a plain system call on descriptors of this child, which is about to exec.
        unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
        for (fd, number, _) in &moved {
            // SAFETY: `number` is not owned by anything in this child, which is about to exec; ManuallyDrop keeps
            // it open. dup2 is async-signal-safe and its result is without close-on-exec.
            let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(*number) });
            rustix::io::dup2(fd, &mut target)?;
        }
        if new_session {
            rustix::process::setsid()?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls that are async-signal-safe and neither allocates nor locks.
    unsafe { command.pre_exec(in_child) };
    Ok(())
}

/// A started process. Dropping it lets it run on.
#[derive(Debug)]
pub struct Child {
    name: String,
    id: Option<ProcessId>,
    inner: tokio::process::Child,
}

impl Child {
    /// Its identity, to be kept and used by a later daemon; none when it had ended before it could be read.
    pub fn id(&self) -> Option<ProcessId> {
        self.id
    }

    /// Waits until it ends. Cancel-safe.
    pub async fn wait(&mut self) -> Result<Exit, ProcessError> {
        let status = self.inner.wait().await;
        status.map(Exit::of).map_err(|source| ProcessError::new("wait for", self.name.as_str(), source))
    }

    /// Ends it by force and waits until it has ended.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        self.inner.kill().await.map_err(|source| ProcessError::new("kill", self.name.as_str(), source))
    }
}

/// What a process wrote and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// The begin of its standard output.
    pub stdout: Vec<u8>,
    /// The begin of its standard error.
    pub stderr: Vec<u8>,
}

/// The reading end of a pipe that somebody else writes into.
#[derive(Debug)]
pub struct Capture(tokio::net::unix::pipe::Receiver);

impl Capture {
    /// A pipe: our end, and the end that is handed to the writer and must not be kept.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok((Self(tokio::net::unix::pipe::Receiver::from_owned_fd(read)?), write))
    }

    /// Reads until the last writer has closed, so that none is ever blocked, and keeps the first `most` bytes.
    pub async fn read(mut self, most: u64) -> io::Result<Vec<u8>> {
        let mut kept = Vec::new();
        (&mut self.0).take(most).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut self.0, &mut tokio::io::sink()).await?;
        Ok(kept)
    }
}
