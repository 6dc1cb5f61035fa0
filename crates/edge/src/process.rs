//! The life of the edge process.
//!
//! Owns start, privileges, threads, signals and the end: give up privileges → start workers → answer the daemon →
//! (SIGTERM, or the daemon says so) → stop accepting → drain → flush → return. Start with [`serve`].

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Resource;
use rustix::thread::{CapabilitySet, CapabilitySets};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::control::frame::{self, FrameError, Reader};
use crate::control::{PROTOCOL, Refusal, Reply, ReplyEnvelope, RequestEnvelope};
use crate::desk::Desk;
use crate::options::Options;
use crate::worker::{self, Command};

/// Replies that may wait for a slow daemon, per connection.
const REPLIES: usize = 64;

/// How long the log's threads may take to write the last lines.
const LOG_GRACE: Duration = Duration::from_secs(1);

/// Why the edge could not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The inherited descriptor is no listening unix socket.
    #[error("descriptor {fd} is no listening unix socket to be controlled by")]
    ControlSocket {
        /// The descriptor.
        fd: RawFd,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Privileges could not be given up.
    #[error("could not give up {what}")]
    Privileges {
        /// Which.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A thread, runtime or signal handler could not be made.
    #[error("could not start {what}")]
    Start {
        /// What.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A worker ended, by a failure or a panic. The daemon starts the edge anew; it has copies of the sockets.
    #[error("a worker ended before it was told to")]
    WorkerLost,
}

/// Serves until told to end: the whole body of the edge process.
///
/// Takes over `options.control_fd`. Gives up new privileges and all capabilities for this thread and those it starts.
pub fn serve(options: Options) -> Result<(), ServeError> {
    let control = control_socket(options.control_fd)?;
    raise_open_files();
    give_up_privileges()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(|source| ServeError::Start { what: "the control runtime", source })?;
    runtime.block_on(live(Arc::new(options), control))
}

#[expect(unsafe_code, reason = "an inherited descriptor is a number until it is taken over")]
fn control_socket(fd: RawFd) -> Result<std::os::unix::net::UnixListener, ServeError> {
    if fd < 0 {
        return Err(ServeError::ControlSocket { fd, source: io::ErrorKind::InvalidInput.into() });
    }
    // SAFETY: the caller hands the descriptor over by naming it in the options, so nobody else owns or closes it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    let refused = |source: io::Error| ServeError::ControlSocket { fd, source };
    let is_listening = rustix::net::sockopt::socket_acceptconn(&owned).map_err(|error| {
        // What is no socket may be anybody's; it is left alone.
        refused(error.into())
    });
    let is_unix = rustix::net::sockopt::socket_domain(&owned) == Ok(rustix::net::AddressFamily::UNIX);
    if !is_listening? || !is_unix {
        return Err(refused(io::ErrorKind::InvalidInput.into()));
    }
    let listener = std::os::unix::net::UnixListener::from(owned);
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}

/// As many open files as may be had: two for each connection, and the kernel's usual soft limit is 1024.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
}

fn give_up_privileges() -> Result<(), ServeError> {
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| ServeError::Privileges { what: "new privileges", source: error.into() })?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)
        .map_err(|error| ServeError::Privileges { what: "capabilities", source: error.into() })
}

async fn live(options: Arc<Options>, control: std::os::unix::net::UnixListener) -> Result<(), ServeError> {
    let start = |what| move |source| ServeError::Start { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(start("the handler of SIGTERM"))?;
    // Handled to be ignored: the terminal of whoever started the edge is not its concern.
    let _hangup = signal(SignalKind::hangup()).map_err(start("the handler of SIGHUP"))?;
    let control = UnixListener::from_std(control).map_err(start("the control socket"))?;
    let mut workers = Workers::start(&options)?;
    let (shutdown, mut asked) = mpsc::channel(1);
    let desk = Arc::new(Desk::new(workers.commands.clone(), shutdown));
    let hang_up = CancellationToken::new();
    let answering = answer_daemons(control, desk.clone(), options.parent_uid, hang_up.clone());
    let answering = tokio::task::spawn_local(answering);
    let grace = tokio::select! {
        _ = terminate.recv() => {
            // Not the daemon's doing: it learns of it now, and starts another one while this one ends what it has.
            hang_up.cancel();
            options.shutdown_grace
        }
        Some(grace) = asked.recv() => grace,
        () = workers.lost() => return Err(ServeError::WorkerLost),
    };
    // Whoever comes next may have the control socket's name at once.
    answering.abort();
    desk.close();
    desk.stop_workers(grace).await;
    loop {
        tokio::select! {
            // The daemon's conversation goes on meanwhile: counters and drains are still answered, and a second
            // request hurries.
            _ = terminate.recv() => desk.stop_workers(Duration::ZERO).await,
            Some(grace) = asked.recv() => desk.stop_workers(grace).await,
            () = workers.ended() => break,
        }
    }
    let log_threads = desk.take_log_threads().await;
    finish_logs(log_threads).await;
    Ok(())
}

/// Waits for the last lines, but not for a file that blocks.
async fn finish_logs(threads: Vec<std::thread::JoinHandle<()>>) {
    let deadline = tokio::time::Instant::now() + LOG_GRACE;
    while !threads.iter().all(std::thread::JoinHandle::is_finished) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Workers {
    commands: Vec<mpsc::Sender<Command>>,
    /// Closed when all workers have ended; a word through it is a worker's last.
    last_words: mpsc::Receiver<()>,
    alive: usize,
}

impl Workers {
    fn start(options: &Arc<Options>) -> Result<Self, ServeError> {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let count = options.workers.unwrap_or_else(cores).get();
        let max_connections = max_connections(options, count);
        let (word, last_words) = mpsc::channel(count);
        let mut commands = Vec::with_capacity(count);
        for number in 0..count {
            let (sender, receiver) = mpsc::channel(64);
            let (options, word) = (options.clone(), LastWord(word.clone()));
            std::thread::Builder::new()
                .name(format!("edge-{number}"))
                .spawn(move || {
                    let _word = word;
                    if let Err(error) = worker::run(options, max_connections, receiver) {
                        tracing::error!(%error, "a worker failed");
                    }
                })
                .map_err(|source| ServeError::Start { what: "a worker thread", source })?;
            commands.push(sender);
        }
        Ok(Self { commands, last_words, alive: count })
    }

    /// Ends with the first worker.
    async fn lost(&mut self) {
        let _ = self.last_words.recv().await;
        self.alive -= 1;
    }

    /// Ends with the last worker.
    async fn ended(&mut self) {
        while self.alive > 0 {
            self.lost().await;
        }
    }
}

/// Sent when a worker's thread ends, by a panic as well.
struct LastWord(mpsc::Sender<()>);

impl Drop for LastWord {
    fn drop(&mut self) {
        // The channel has a place for each worker; it is full for nobody.
        let _ = self.0.try_send(());
    }
}

/// Connections per worker that the limit of open files allows, with two descriptors each and some for the rest.
fn max_connections(options: &Options, workers: usize) -> usize {
    const RESERVE: u64 = 512;
    let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let fits = limit.saturating_sub(RESERVE.min(limit / 4)) / 2 / workers as u64;
    options.max_connections.min(usize::try_from(fits).unwrap_or(usize::MAX)).max(1)
}

async fn answer_daemons(control: UnixListener, desk: Arc<Desk>, parent_uid: u32, hang_up: CancellationToken) {
    loop {
        match control.accept().await {
            Ok((socket, _)) => match socket.peer_cred() {
                Ok(peer) if peer.uid() == 0 || peer.uid() == parent_uid => {
                    tokio::task::spawn_local(
                        hang_up.clone().run_until_cancelled_owned(answer_daemon(socket, desk.clone())),
                    );
                }
                Ok(peer) => tracing::warn!(uid = peer.uid(), "a stranger at the control socket was turned away"),
                Err(error) => tracing::warn!(%error, "a nameless peer at the control socket was turned away"),
            },
            Err(error) => {
                tracing::warn!(%error, "could not accept at the control socket");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

type Answer = (ReplyEnvelope, Vec<OwnedFd>);

async fn answer_daemon(socket: UnixStream, desk: Arc<Desk>) {
    let socket = Arc::new(socket);
    let (replies, queue) = mpsc::channel(REPLIES);
    let writing = tokio::task::spawn_local(write_replies(socket.clone(), queue));
    let _closing = Closing(socket.clone());
    if let Err(error) = read_requests(&socket, &desk, &replies).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the conversation with the daemon broke off");
        writing.abort();
    }
}

/// Ends a conversation for whoever still holds its socket, so that the other side knows.
struct Closing(Arc<UnixStream>);

impl Drop for Closing {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Both);
    }
}

async fn read_requests(
    socket: &UnixStream,
    desk: &Arc<Desk>,
    replies: &mpsc::Sender<Answer>,
) -> Result<(), FrameError> {
    let mut reader = Reader::default();
    while let Some(bytes) = reader.next(socket).await? {
        let envelope: RequestEnvelope = match frame::decode(&bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                let Some(header) = salvage(&bytes) else { return Err(error) };
                drop(reader.take_fds(header.fds));
                let refusal = Refusal::NotUnderstood { supported: PROTOCOL, problem: error.to_string() };
                let _ = replies.send(reply(header.id, Err(refusal))).await;
                continue;
            }
        };
        let fds = reader.take_fds(envelope.fds).ok_or(FrameError::DescriptorsLost)?;
        let (desk, replies) = (desk.clone(), replies.clone());
        let answering = async move {
            let id = envelope.id;
            let outcome = desk.handle(envelope, fds).await;
            // A daemon that left takes no answer.
            let _ = replies.send(reply(id, outcome)).await;
        };
        // Requests that wait (drains) must not hold up the next; those that change something take turns at the desk.
        tokio::task::spawn_local(answering);
    }
    Ok(())
}

fn reply(id: u64, outcome: Result<(Reply, Vec<OwnedFd>), Refusal>) -> Answer {
    match outcome {
        Ok((reply, fds)) => (ReplyEnvelope { v: PROTOCOL, id, fds: fds.len(), result: Ok(reply) }, fds),
        Err(refusal) => (ReplyEnvelope { v: PROTOCOL, id, fds: 0, result: Err(refusal) }, Vec::new()),
    }
}

/// What can be read of a request that a newer daemon sends.
#[derive(serde::Deserialize)]
struct Header {
    id: u64,
    #[serde(default)]
    fds: usize,
}

fn salvage(bytes: &[u8]) -> Option<Header> {
    frame::decode(bytes).ok()
}

async fn write_replies(socket: Arc<UnixStream>, mut queue: mpsc::Receiver<Answer>) {
    while let Some((envelope, fds)) = queue.recv().await {
        let written = match frame::encode(&envelope) {
            Ok(bytes) => frame::write(&socket, &bytes, &fds).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not answer the daemon");
            return;
        }
    }
}
