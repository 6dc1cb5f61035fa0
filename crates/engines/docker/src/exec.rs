//! Commands inside a replica.
//!
//! The Engine has no way to end one: whoever gives up waiting has its processes found on the machine and ended there,
//! by the session that the Engine gives every command and by their parents.

use crate::engine::Inner;
use crate::error::Error;
use crate::names;
use crate::start::is_running;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{ExecConfig, ExecInspectResponse};
use engine::{Exec, ExecExit};
use futures_util::StreamExt as _;
use model::{ReplicaId, StackId};
use runtime::{BoxError, OnError};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::pipe;

/// A command whose output has ended has ended itself a moment later, or goes on without output.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How often a terminal's size is looked at: nobody tells of it.
const SIZE_PAUSE: Duration = Duration::from_millis(250);
/// How long a command that was given up before it began is waited for.
const BEGINS: Duration = Duration::from_secs(5);
/// What the Engine's runtime says in place of a program that it cannot start.
const NOT_STARTED: &str = "OCI runtime exec failed";

impl Inner {
    /// Runs a command inside a running replica.
    pub(crate) async fn exec(self: &Arc<Self>, stack: &StackId, id: &ReplicaId, exec: Exec) -> Result<ExecExit, Error> {
        let docker = self.docker().await?;
        let found = self.container(stack, id).await?.filter(is_running).ok_or(Error::NotRunning)?;
        if found.state.is_some_and(|state| state.paused.unwrap_or_default()) {
            return Err(Error::Paused(names::container(stack, id)));
        }
        let container = found.id.unwrap_or_default();
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(exec.tty),
            env: Some(exec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            cmd: Some(exec.argv.clone()),
            user: exec.user.map(|user| user.to_string()),
            working_dir: exec.working_dir.clone(),
            ..ExecConfig::default()
        };
        let created = docker.create_exec(&container, config).await.map_err(|error| match self.refused(error) {
            Error::Refused { status: 404 | 409, .. } => Error::NotRunning,
            error => error,
        })?;
        let mut guard = Guard { inner: Arc::clone(self), docker, container, exec: created.id, is_over: false };
        let timeout = exec.timeout;
        let run = self.attend(&guard.docker, &guard.exec, exec);
        let ended = match timeout {
            Some(limit) => match runtime::clock::timeout(&*self.clock, limit, run).await {
                Ok(ended) => ended?,
                Err(_) => return Ok(ExecExit::TimedOut),
            },
            None => run.await?,
        };
        guard.is_over = true;
        Ok(ended)
    }

    /// Carries input and output until the command has ended.
    async fn attend(&self, docker: &Docker, id: &str, exec: Exec) -> Result<ExecExit, Error> {
        let options = StartExecOptions { detach: false, tty: exec.tty, output_capacity: None };
        let started = docker.start_exec(id, Some(options)).await.map_err(|error| self.refused(error))?;
        let StartExecResults::Attached { mut output, input } = started else {
            return Err(Error::NotStarted("the Engine did not attach to it".into()));
        };
        let [stdin, stdout, stderr] = exec.stdio;
        let terminal = exec.tty.then(|| stdin.try_clone()).transpose().map_err(|e| Error::Broken(e.into()))?;
        let feed = feed(stdin, input);
        let sizes = self.follow_size(docker, id, terminal);
        let drain = async {
            let mut is_refused = false;
            let (mut out, mut err) = (writer(stdout), writer(stderr));
            while let Some(piece) = output.next().await {
                let piece = piece.map_err(|error| self.refused(error))?;
                let (to, bytes) = match piece {
                    LogOutput::StdErr { message } => (&mut err, message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                        (&mut out, message)
                    }
                };
                // In place of a program that is not there the runtime speaks, on its output.
                if bytes.starts_with(NOT_STARTED.as_bytes()) {
                    is_refused = true;
                    continue;
                }
                // Whoever reads it may have gone; the command goes on without.
                let _ = to.write_all(&bytes).await;
            }
            let _ = out.flush().await;
            let _ = err.flush().await;
            Ok::<_, Error>(is_refused)
        };
        tokio::pin!(feed, sizes, drain);
        let mut is_fed = false;
        let is_refused = loop {
            tokio::select! {
                drained = &mut drain => break drained?,
                () = &mut sizes => {}
                () = &mut feed, if !is_fed => is_fed = true,
            }
        };
        let code = self.exit_code(docker, id).await?;
        Ok(if is_refused && matches!(code, 126 | 127) { ExecExit::NotFound } else { ExecExit::Code(code) })
    }

    /// The code of a command whose output has ended.
    async fn exit_code(&self, docker: &Docker, id: &str) -> Result<i32, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            let seen = self.inspect_exec(docker, id).await?;
            if let (Some(code), false) = (seen.exit_code, seen.running.unwrap_or_default()) {
                return Ok(i32::try_from(code).unwrap_or(i32::MAX));
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn inspect_exec(&self, docker: &Docker, id: &str) -> Result<ExecInspectResponse, Error> {
        docker.inspect_exec(id).await.map_err(|error| self.refused(error))
    }

    /// Tells the Engine of each new size of the terminal; never returns.
    async fn follow_size(&self, docker: &Docker, id: &str, terminal: Option<OwnedFd>) {
        let Some(terminal) = terminal else { return std::future::pending().await };
        let mut known = None;
        loop {
            let size = rustix::termios::tcgetwinsize(&terminal).ok().map(|size| (size.ws_row, size.ws_col));
            if let Some((height, width)) = size.filter(|size| size.0 > 0 && known != Some(*size)) {
                known = Some((height, width));
                let options = ResizeExecOptions { height, width };
                // One that has just ended has no size.
                let _ = docker.resize_exec(id, options).await;
            }
            self.clock.sleep(SIZE_PAUSE).await;
        }
    }

    /// Ends a command that nobody waits for any more.
    async fn end(&self, docker: &Docker, container: &str, id: &str) -> Result<(), BoxError> {
        let begun = self.clock.monotonic();
        let pid = loop {
            let seen = self.inspect_exec(docker, id).await?;
            match (seen.running.unwrap_or_default(), seen.pid.filter(|pid| *pid > 0)) {
                (true, Some(pid)) => break u32::try_from(pid)?,
                // The Engine says so of one that has not begun as well as of one that has ended.
                _ if self.clock.monotonic().duration_since(begun) > BEGINS || seen.exit_code.is_some() => {
                    return Ok(());
                }
                _ => self.clock.sleep(FIRST_PAUSE).await,
            }
        };
        let container = container.to_owned();
        self.tasks.blocking("end a command", move || end_tree(&container, pid)).await??;
        Ok(())
    }
}

/// Ends the command unless it is over.
struct Guard {
    inner: Arc<Inner>,
    docker: Docker,
    container: String,
    exec: String,
    is_over: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (inner, docker) = (Arc::clone(&self.inner), self.docker.clone());
        let (container, exec) = (std::mem::take(&mut self.container), std::mem::take(&mut self.exec));
        self.inner
            .tasks
            .spawn("end a command", OnError::Log, move |_| async move { inner.end(&docker, &container, &exec).await });
    }
}

/// A process of the machine, as far as families go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: u32,
    session: u32,
}

/// Ends a command's process, everything of its session and everything it started, within the container alone.
fn end_tree(container: &str, pid: u32) -> io::Result<()> {
    // Again, until a look finds nothing: what is being started meanwhile has a parent that is ended.
    loop {
        let mut all = BTreeMap::new();
        for path in runtime::files::list("/proc".as_ref()).map_err(io::Error::other)? {
            let Some(number) = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else { continue };
            let read = |name: &str| runtime::files::read_text(&path.join(name)).unwrap_or_default();
            if read("cgroup").contains(container) {
                all.extend(process(&read("stat")).map(|process| (number, process)));
            }
        }
        let family = family(&all, pid);
        if family.is_empty() {
            return Ok(());
        }
        for number in family {
            let pid = i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw);
            // One that has ended meanwhile is what is wanted.
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
        std::thread::yield_now();
    }
}

/// The command and what belongs to it.
fn family(all: &BTreeMap<u32, Process>, pid: u32) -> BTreeSet<u32> {
    let mut family: BTreeSet<u32> =
        all.iter().filter(|(number, process)| **number == pid || process.session == pid).map(|(n, _)| *n).collect();
    loop {
        let children = all.iter().filter(|(_, process)| family.contains(&process.parent)).map(|(number, _)| *number);
        let more: Vec<u32> = children.filter(|number| !family.contains(number)).collect();
        if more.is_empty() {
            return family;
        }
        family.extend(more);
    }
}

/// From `/proc/<n>/stat`; none of one that has ended and only waits to be noticed.
fn process(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let (parent, _group, session) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?.parse().ok()?);
    (!matches!(state, "Z" | "X")).then_some(Process { parent, session })
}

/// Carries input until it ends, and says so to the command.
async fn feed(stdin: OwnedFd, mut input: std::pin::Pin<Box<dyn AsyncWrite + Send>>) {
    let mut piece = vec![0; 16 * 1024];
    let mut from = reader(stdin);
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        if input.write_all(&piece[..count]).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
}

/// A pipe or a terminal is waited for; anything else answers at once.
fn reader(fd: OwnedFd) -> Box<dyn AsyncRead + Send + Unpin> {
    match (terminal(&fd), fd.try_clone().map(pipe::Receiver::from_owned_fd)) {
        (Some(terminal), _) => Box::new(terminal),
        (None, Ok(Ok(pipe))) => Box::new(pipe),
        _ => Box::new(tokio::fs::File::from_std(fd.into())),
    }
}

fn writer(fd: OwnedFd) -> Box<dyn AsyncWrite + Send + Unpin> {
    match (terminal(&fd), fd.try_clone().map(pipe::Sender::from_owned_fd)) {
        (Some(terminal), _) => Box::new(terminal),
        (None, Ok(Ok(pipe))) => Box::new(pipe),
        _ => Box::new(tokio::fs::File::from_std(fd.into())),
    }
}

/// The descriptor as a terminal that passes everything on as it is: the container has one of its own, which echoes.
fn terminal(fd: &OwnedFd) -> Option<runtime::terminal::Stream> {
    let mut mode = rustix::termios::tcgetattr(fd).ok()?;
    mode.make_raw();
    rustix::termios::tcsetattr(fd, rustix::termios::OptionalActions::Now, &mode).ok()?;
    runtime::terminal::Stream::new(fd.try_clone().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_session_and_its_descendants() {
        let stats = [
            (10, "10 (sh) S 1 10 10 0"),
            (11, "11 (a ) b) S 10 10 10 0"),
            (12, "12 (left its session) R 11 12 12 0"),
            (13, "13 (orphan of it) S 1 10 10 0"),
            (14, "14 (ended) Z 10 10 10 0"),
            (20, "20 (another) S 1 20 20 0"),
        ];
        let all = stats.into_iter().filter_map(|(number, stat)| Some((number, process(stat)?))).collect();
        assert_eq!(family(&all, 10), [10, 11, 12, 13].into());
        assert_eq!(family(&all, 99), [].into());
    }
}
