//! The loop of a shim's life: children, pipes, clients and time, in one thread.
//!
//! Owns the order of things: root, workload, end of the workload, end of everything else in the replica, final
//! status. The state it is in is the one in its [`Record`]; there is no second one.

use crate::child::{Child, Output, output, spawn};
use crate::failure::{At, Failure, Report};
use crate::log::{Log, Stream};
use crate::oom::{self, Looks};
use crate::record::Record;
use crate::server::{self, Connection};
use crate::workload::{self, Program};
use crate::{clock, init, sys};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use rustix::thread::UnshareFlags;
use shim::control::{Answer, Exec, Request};
use shim::life::Process;
use shim::spec::Spec;
use shim::status::{Exit, State, Status, Step};
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

/// What the waiting launcher reads when the workload runs or prepares its data.
pub(crate) const UP: u8 = b'+';

/// How often a status or log line that the disk refused is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long clients may take to read the final answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs the replica to its end.
pub(crate) fn run(spec: Spec, lock: File, promise: OwnedFd) {
    let record = match Record::new(&spec) {
        Ok(record) => record,
        // The launcher sees the promise broken and no status: it says so.
        Err(_) => return,
    };
    let mut promise = Some(promise);
    match Supervisor::new(spec, record, &mut promise) {
        Ok(mut supervisor) => {
            supervisor.lock = Some(lock);
            supervisor.live();
        }
        Err(refused) => {
            let (mut record, failure) = *refused;
            record.change(|status| fail(status, failure));
            drop(lock);
            drop(promise);
        }
    }
}

fn fail(status: &mut Status, failure: Failure) {
    status.state = State::Failed { step: failure.step, message: failure.message };
    status.finished_at = Some(clock::now());
}

struct Running {
    child: Child,
    connection: u64,
}

struct Supervisor {
    /// Let go once the final status is on disk, before anybody is told of it.
    lock: Option<File>,
    spec: Spec,
    record: Record,
    log: Log,
    signals: OwnedFd,
    listener: UnixListener,
    promise: Option<OwnedFd>,
    init: Child,
    init_fd: OwnedFd,
    init_is_gone: bool,
    workload: Option<Child>,
    outputs: Vec<Output>,
    writers: Option<(OwnedFd, OwnedFd)>,
    execs: Vec<Running>,
    connections: Vec<Connection>,
    next_connection: u64,
    kill_at: Option<Instant>,
    was_stopped: bool,
    oom: Looks,
    end: Option<Exit>,
}

impl Supervisor {
    fn new(spec: Spec, record: Record, promise: &mut Option<OwnedFd>) -> Result<Self, Box<(Record, Failure)>> {
        let opened = (|| {
            let signals = sys::signal_fd(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
                .at(Step::Folder, || "signals".into())?;
            let listener = server::listen(&spec.dir).at(Step::Folder, || "control socket".into())?;
            let (out, out_writer) = output(Stream::Stdout, &spec)?;
            let (err, err_writer) = output(Stream::Stderr, &spec)?;
            sys::unshare(UnshareFlags::NEWPID).at(Step::Namespaces, || "processes".into())?;
            let init = spawn(|report| init::run(&spec, report))?;
            let init_fd = rustix::process::pidfd_open(init.pid, PidfdFlags::empty())
                .at(Step::Namespaces, || "its first process".into())?;
            Ok((signals, listener, init, init_fd, vec![out, err], (out_writer, err_writer)))
        })();
        let (signals, listener, init, init_fd, outputs, writers) = match opened {
            Ok(opened) => opened,
            Err(failure) => return Err(Box::new((record, failure))),
        };
        let log = Log::new(spec.log.clone());
        let oom = Looks::new(Instant::now(), oom::kills(&spec.cgroups));
        let mut supervisor = Self {
            lock: None,
            spec,
            record,
            log,
            signals,
            listener,
            promise: promise.take(),
            init,
            init_fd,
            init_is_gone: false,
            workload: None,
            outputs,
            writers: Some(writers),
            execs: Vec::new(),
            connections: Vec::new(),
            next_connection: 0,
            kill_at: None,
            was_stopped: false,
            oom,
            end: None,
        };
        let process = Process::find(supervisor.init.pid.as_raw_nonzero().get());
        supervisor.change(|status| {
            status.init = process;
            status.state = State::Starting { step: Step::Root };
        });
        // Contents of files are in the root's own memory by now or soon; the rest of the spec is needed for `exec`.
        supervisor.spec.root.files = Vec::new();
        sys::trim_memory();
        Ok(supervisor)
    }

    fn live(&mut self) {
        while !self.is_finished() {
            self.step();
        }
        self.farewell();
    }

    fn is_finished(&self) -> bool {
        self.record.status().state.is_final()
    }

    /// Waits for something to happen and deals with it.
    fn step(&mut self) {
        let timeout = self.timeout();
        let ready = self.poll(timeout);
        self.oom.look(Instant::now(), || oom::kills(&self.spec.cgroups));
        for key in ready {
            self.handle(key);
        }
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_all();
        }
        self.record.retry();
        self.log.confess();
        self.connections.retain(|connection| !connection.is_over());
        self.end_orphaned_execs();
        self.conclude();
    }

    fn timeout(&self) -> Option<Duration> {
        let kill = self.kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        let retry = (self.log.is_behind() || self.record.is_behind()).then_some(RETRY);
        kill.into_iter().chain(retry).min()
    }

    fn poll(&self, timeout: Option<Duration>) -> Vec<Key> {
        let mut keys = vec![Key::Signals, Key::Listener];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        let mut add = |key, fd, flags| {
            keys.push(key);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        for child in [&self.init].into_iter().chain(&self.workload).chain(self.execs.iter().map(|exec| &exec.child)) {
            if let Some((fd, _)) = &child.report {
                add(Key::Report(child.pid), fd.as_fd(), PollFlags::IN);
            }
        }
        for (number, output) in self.outputs.iter().enumerate() {
            if let Some(pipe) = &output.pipe {
                add(Key::Output(number), pipe.as_fd(), PollFlags::IN);
            }
        }
        for connection in &self.connections {
            let out = if connection.has_output() { PollFlags::OUT } else { PollFlags::empty() };
            add(Key::Connection(connection.id), connection.as_fd(), PollFlags::IN | out);
        }
        let timeout = timeout.map(timespec);
        if rustix::event::poll(&mut fds, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let is_ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        keys.into_iter().zip(is_ready).filter_map(|(key, ready)| ready.then_some(key)).collect()
    }

    fn handle(&mut self, key: Key) {
        match key {
            Key::Signals => self.on_signals(),
            Key::Listener => self.accept(),
            Key::Output(number) => self.read_output(number),
            Key::Report(pid) => {
                self.read_report(pid);
            }
            Key::Connection(id) => self.serve(id),
        }
    }

    fn on_signals(&mut self) {
        for signal in sys::read_signals(&self.signals) {
            // The machine is going down, or somebody means the shim for the replica.
            if matches!(signal, libc::SIGTERM | libc::SIGINT) {
                let stop = self.spec.stop;
                self.stop(stop.signal, stop.grace_ms);
            }
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.on_end(pid, status);
        }
    }

    fn on_end(&mut self, pid: Pid, status: WaitStatus) {
        let (code, signal) = (status.exit_status(), status.terminating_signal());
        if pid == self.init.pid {
            self.drain_report(pid);
            self.init_is_gone = true;
        } else if self.workload.as_ref().is_some_and(|child| child.pid == pid) {
            self.drain_report(pid);
            let out_of_memory = oom::kills(&self.spec.cgroups) > self.oom.before(Instant::now());
            if out_of_memory && !self.was_stopped {
                self.log.say("the kernel has killed a process of this replica: over its memory limit");
            }
            self.end = Some(Exit { code, signal, out_of_memory, stopped: self.was_stopped });
            self.kill_all();
        } else if let Some(at) = self.execs.iter().position(|exec| exec.child.pid == pid) {
            self.drain_report(pid);
            let exec = self.execs.swap_remove(at);
            let answer = match exec.child.failure {
                Some(Failure { message, not_found, .. }) => Answer::NotStarted { not_found, message },
                None => Answer::Ended { code, signal },
            };
            if let Some(connection) = self.connection(exec.connection) {
                connection.send(&answer);
            }
        }
    }

    fn child(&mut self, pid: Pid) -> Option<&mut Child> {
        let execs = self.execs.iter_mut().map(|exec| &mut exec.child);
        [&mut self.init].into_iter().chain(&mut self.workload).chain(execs).find(|child| child.pid == pid)
    }

    fn drain_report(&mut self, pid: Pid) {
        while self.child(pid).is_some_and(|child| child.report.is_some()) && self.read_report(pid) {}
    }

    /// Returns whether there was something to read.
    fn read_report(&mut self, pid: Pid) -> bool {
        let mut bytes = [0; 4096];
        let Some(child) = self.child(pid) else { return false };
        let Some((fd, reports)) = &mut child.report else { return false };
        let arrived = match rustix::io::read(&*fd, &mut bytes) {
            Ok(n) if n > 0 => reports.push(&bytes[..n]),
            Err(Errno::AGAIN | Errno::INTR) => return false,
            _ => {
                child.report = None;
                self.on_taken_over(pid);
                return true;
            }
        };
        arrived.into_iter().for_each(|report| self.on_report(pid, report));
        true
    }

    fn on_report(&mut self, pid: Pid, report: Report) {
        match report {
            Report::RootReady => self.start_workload(),
            Report::Note(note) => {
                self.log.say(&note);
                self.change(|status| status.notes.push(note));
            }
            Report::Step(step) => {
                if self.is_workload(pid) {
                    self.change(|status| status.state = State::Starting { step });
                    // Making a database takes seconds; the daemon is told to watch instead of wait.
                    self.keep_promise();
                }
            }
            Report::Exec => self.child(pid).into_iter().for_each(|child| child.has_exec = true),
            Report::Failed(failure) => {
                let Some(child) = self.child(pid) else { return };
                child.failure = Some(failure);
                if !self.execs.iter().any(|exec| exec.child.pid == pid) {
                    self.kill_all();
                }
            }
        }
    }

    /// The reporting end is closed: the program has taken over, or there is none.
    fn on_taken_over(&mut self, pid: Pid) {
        let Some(child) = &self.workload else { return };
        if child.pid != pid || !child.has_exec || child.failure.is_some() {
            return;
        }
        let is_stopping = self.was_stopped;
        self.change(|status| {
            status.started_at = Some(clock::now());
            status.state = if is_stopping { State::Stopping } else { State::Running };
        });
        self.keep_promise();
    }

    fn is_workload(&self, pid: Pid) -> bool {
        self.workload.as_ref().is_some_and(|child| child.pid == pid)
    }

    fn keep_promise(&mut self) {
        if let Some(promise) = self.promise.take() {
            // A launcher that was killed meanwhile needs no answer.
            let _ = File::from(promise).write_all(&[UP]);
        }
    }

    fn start_workload(&mut self) {
        let Some((stdout, stderr)) = self.writers.take() else { return };
        let work = &self.spec.workload;
        let program = Program {
            argv: &work.argv,
            env: work.env.clone(),
            cwd: &work.cwd,
            user: (self.spec.identity.uid, self.spec.identity.gid),
            prepare: work.prepare.as_ref(),
            stdin: None,
            stdout,
            stderr,
            tty: false,
        };
        match spawn(|report| workload::run(program, &self.spec, &self.init_fd, report)) {
            Ok(child) => {
                let process = Process::find(child.pid.as_raw_nonzero().get());
                self.workload = Some(child);
                self.change(|status| {
                    status.workload = process;
                    status.state = State::Starting { step: Step::Exec };
                });
            }
            Err(failure) => {
                self.init.failure = Some(failure);
                self.kill_all();
            }
        }
    }

    fn read_output(&mut self, number: usize) {
        // A line must not be older than the start of who wrote it: a program that writes has taken over before.
        if let Some(pid) = self.workload.as_ref().map(|child| child.pid) {
            self.drain_report(pid);
        }
        let mut bytes = [0; 16 * 1024];
        let output = &mut self.outputs[number];
        let Some(pipe) = &output.pipe else { return };
        match rustix::io::read(pipe, &mut bytes) {
            Ok(n) if n > 0 => output.lines.push(&bytes[..n], &mut self.log),
            Err(Errno::AGAIN | Errno::INTR) => {}
            _ => {
                output.pipe = None;
                output.lines.finish(&mut self.log);
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.next_connection += 1;
            if let Ok(connection) = Connection::new(self.next_connection, stream) {
                self.connections.push(connection);
            }
        }
    }

    fn connection(&mut self, id: u64) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    fn serve(&mut self, id: u64) {
        let Some(connection) = self.connection(id) else { return };
        connection.flush();
        for (request, fds) in connection.receive() {
            if let Some(answer) = self.answer(id, request, fds)
                && let Some(connection) = self.connection(id)
            {
                connection.send(&answer);
            }
        }
    }

    fn answer(&mut self, id: u64, request: Request, fds: Vec<OwnedFd>) -> Option<Answer> {
        match request {
            Request::Status => {}
            Request::Watch => self.connection(id)?.is_watching = true,
            Request::Signal { signal } => return Some(self.signal(signal)),
            Request::Stop { signal, grace_ms } => {
                self.connection(id)?.is_watching = true;
                self.stop(signal, grace_ms);
            }
            Request::Exec(exec) => {
                return self.exec(id, exec, fds).err().map(|message| Answer::Refused { message });
            }
        }
        Some(Answer::Status(Box::new(self.record.status().clone())))
    }

    fn signal(&mut self, signal: i32) -> Answer {
        let refused = |message: String| Answer::Refused { message };
        let Some(name) = Signal::from_named_raw(signal) else {
            return refused(format!("{signal} is no signal"));
        };
        match &self.workload {
            Some(child) if self.end.is_none() => match rustix::process::kill_process(child.pid, name) {
                Ok(()) => Answer::Done,
                Err(error) => refused(format!("signal {signal}: {error}")),
            },
            _ => refused("it does not run".into()),
        }
    }

    /// Asks the workload to stop; a later, shorter grace period shortens an earlier one.
    fn stop(&mut self, signal: i32, grace_ms: u64) {
        let at = Instant::now() + Duration::from_millis(grace_ms);
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
        let is_first = !std::mem::replace(&mut self.was_stopped, true);
        if matches!(self.record.status().state, State::Running) {
            self.change(|status| status.state = State::Stopping);
        }
        // Before its program has taken over the workload is still the shim's own code: a signal would tell it nothing.
        let has_program = self.record.status().started_at.is_some();
        if !has_program {
            self.kill_at = Some(Instant::now());
        } else if is_first && grace_ms > 0 {
            let _ = self.signal(signal);
        }
    }

    /// Kills the first process of the namespace, and with it, by the kernel's hand, every other.
    fn kill_all(&mut self) {
        self.kill_at = None;
        if !self.init_is_gone {
            let _ = rustix::process::pidfd_send_signal(&self.init_fd, Signal::KILL);
        }
    }

    fn exec(&mut self, connection: u64, exec: Exec, mut fds: Vec<OwnedFd>) -> Result<(), String> {
        let [stdin, stdout, stderr] = match (fds.pop(), fds.pop(), fds.pop(), fds.is_empty()) {
            (Some(stderr), Some(stdout), Some(stdin), true) => [stdin, stdout, stderr],
            _ => return Err("an exec comes with three file descriptors".into()),
        };
        if exec.argv.is_empty() {
            return Err("an exec names a program".into());
        }
        let user = exec.user.unwrap_or((self.spec.identity.uid, self.spec.identity.gid));
        if user.0 == 0 || user.1 == 0 {
            return Err("nothing in a replica runs as the machine's root".into());
        }
        if self.end.is_some() || self.record.status().started_at.is_none() {
            return Err("it does not run".into());
        }
        let mut env = self.spec.workload.env.clone();
        for (name, value) in exec.env {
            env.retain(|(known, _)| *known != name);
            env.push((name, value));
        }
        let cwd = exec.cwd.as_deref().unwrap_or(&self.spec.workload.cwd);
        let (stdin, tty) = (Some(stdin), exec.tty);
        let program = Program { argv: &exec.argv, env, cwd, user, prepare: None, stdin, stdout, stderr, tty };
        let child = spawn(|report| workload::run(program, &self.spec, &self.init_fd, report))
            .map_err(|failure| failure.message)?;
        self.execs.push(Running { child, connection });
        Ok(())
    }

    /// Ends what was run for clients that are gone: nobody would hear its answer, a timed-out probe for example.
    fn end_orphaned_execs(&mut self) {
        for exec in &self.execs {
            if !self.connections.iter().any(|connection| connection.id == exec.connection) {
                // Its own session, so its own group; before the session begins there is only the child itself.
                let _ = rustix::process::kill_process_group(exec.child.pid, Signal::KILL);
                let _ = rustix::process::kill_process(exec.child.pid, Signal::KILL);
            }
        }
    }

    /// Writes the final status once nothing of the replica is left.
    fn conclude(&mut self) {
        let workload_is_over = self.workload.is_none() || self.end.is_some();
        if !self.init_is_gone || !workload_is_over || self.is_finished() {
            return;
        }
        for number in 0..self.outputs.len() {
            self.drain_output(number);
        }
        let failure =
            self.init.failure.take().or_else(|| self.workload.as_mut().and_then(|child| child.failure.take()));
        let has_run = self.record.status().started_at.is_some();
        let step = match &self.record.status().state {
            State::Starting { step } => *step,
            _ => Step::Exec,
        };
        let end = self.end;
        let was_stopped = self.was_stopped;
        self.change(|status| match (failure, end) {
            (Some(failure), _) => fail(status, failure),
            (None, Some(exit)) if has_run || exit.stopped => {
                status.state = State::Exited(exit);
                status.finished_at = Some(clock::now());
            }
            (None, _) if was_stopped => fail(status, Failure::new(step, "it was stopped before it ran")),
            (None, _) => fail(status, Failure::new(step, "it was killed before it ran")),
        });
    }

    fn drain_output(&mut self, number: usize) {
        // Everything that could write is gone, so each pipe soon answers with its end.
        // A descriptor passed out of the replica could keep one open: what is there is taken, nothing is waited for.
        let mut bytes = [0; 16 * 1024];
        while let Some(pipe) = &self.outputs[number].pipe {
            match rustix::io::read(pipe, &mut bytes) {
                Ok(n) if n > 0 => self.outputs[number].lines.push(&bytes[..n], &mut self.log),
                Err(Errno::INTR) => {}
                _ => self.outputs[number].pipe = None,
            }
        }
        self.outputs[number].lines.finish(&mut self.log);
    }

    /// Changes the status and tells everyone who watches.
    fn change(&mut self, change: impl FnOnce(&mut Status)) {
        self.record.change(change);
        let answer = Answer::Status(Box::new(self.record.status().clone()));
        let is_final = self.is_finished();
        if is_final && !self.record.is_behind() {
            self.lock = None;
        }
        for connection in self.connections.iter_mut().filter(|connection| connection.is_watching) {
            connection.send(&answer);
            if is_final {
                connection.finish();
            }
        }
    }

    /// Stays until the status is on disk and clients have had time to read.
    fn farewell(&mut self) {
        drop(self.promise.take());
        while !self.record.retry() {
            std::thread::sleep(RETRY);
        }
        let until = Instant::now() + FAREWELL;
        loop {
            self.connections.retain(|connection| !connection.is_over() && connection.has_output());
            let left = until.saturating_duration_since(Instant::now());
            if self.connections.is_empty() || left.is_zero() {
                return;
            }
            let fd = |connection| PollFd::from_borrowed_fd(Connection::as_fd(connection), PollFlags::OUT);
            let mut fds: Vec<PollFd<'_>> = self.connections.iter().map(fd).collect();
            let _ = rustix::event::poll(&mut fds, Some(&timespec(left)));
            self.connections.iter_mut().for_each(Connection::flush);
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

/// What a poll can wake for.
#[derive(Debug, Clone, Copy)]
enum Key {
    Signals,
    Listener,
    Output(usize),
    Report(Pid),
    Connection(u64),
}
