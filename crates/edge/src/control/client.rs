//! The daemon's side of the control socket.
//!
//! Owns one connection with a task that writes and one that reads, so that a caller that gives up tears no frame and a
//! long drain holds up nobody else. It never reconnects: whoever holds it decides what a lost edge means.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::frame::{self, FrameError, Reader};
use super::{DrainReport, PROTOCOL, Pong, Refusal, Reply, ReplyEnvelope, Request, RequestEnvelope, Stats, Table};

/// Why the edge did not answer as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("could not connect to the edge at `{path}`")]
    Connect {
        /// The control socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A descriptor could not be copied for sending.
    #[error("could not copy the descriptor of `{subject}`")]
    Copy {
        /// What it stands for.
        subject: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The request could not be put into a frame.
    #[error("could not write the request")]
    Frame(#[source] FrameError),
    /// The connection ended before the answer came. Whether the edge did what it was asked is not known.
    #[error("the edge closed the control socket before it answered")]
    Closed,
    /// The edge would not.
    #[error("the edge refused: {0}")]
    Refused(Refusal),
    /// The edge answered something else than what was asked.
    #[error("the edge answered a `{request}` request with something else")]
    Unexpected {
        /// What was asked.
        request: &'static str,
    },
}

type Answer = (Result<Reply, Refusal>, Vec<OwnedFd>);
type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>;

/// A connection to the edge. Cheap to clone; clones share the connection, which closes with the last of them.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    requests: mpsc::Sender<(Vec<u8>, Vec<OwnedFd>)>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    reader: tokio::task::AbortHandle,
    ended: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the edge's control socket; needs a tokio runtime for as long as the client lives.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let socket =
            UnixStream::connect(path).await.map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        Ok(Self::over(socket))
    }

    /// Talks over a socket that is connected already.
    pub fn over(socket: UnixStream) -> Self {
        let socket = Arc::new(socket);
        let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
        let (requests, queue) = mpsc::channel(64);
        // A failing half ends the conversation: the reader tells all who wait by dropping their senders.
        tokio::spawn(write_requests(socket.clone(), queue));
        let ended = CancellationToken::new();
        let reader = tokio::spawn(read_replies(socket, waiting.clone(), ended.clone())).abort_handle();
        Self { inner: Arc::new(Inner { requests, waiting, next: AtomicU64::new(1), reader, ended }) }
    }

    /// Returns once the conversation has ended: the edge has gone, or closed it. Cancel safe.
    pub async fn closed(&self) {
        self.inner.ended.cancelled().await;
    }

    /// Whether the conversation has ended.
    pub fn is_closed(&self) -> bool {
        self.inner.ended.is_cancelled()
    }

    /// Passes listening sockets; the caller keeps its own copies.
    pub async fn add_listeners(&self, sockets: &[(String, BorrowedFd<'_>)]) -> Result<(), ClientError> {
        let ids = sockets.iter().map(|(id, _)| id.clone()).collect();
        let fds = sockets.iter().map(|(id, fd)| copy(id, *fd)).collect::<Result<_, _>>()?;
        self.ask_done("add_listeners", Request::AddListeners { ids }, fds).await
    }

    /// Passes a directory that a table may serve files from.
    pub async fn add_dir(&self, id: &str, dir: impl AsFd) -> Result<(), ClientError> {
        let fds = vec![copy(id, dir.as_fd())?];
        self.ask_done("add_dir", Request::AddDir { id: id.to_owned() }, fds).await
    }

    /// Passes the file that the access log goes to from now on.
    pub async fn set_access_log(&self, file: impl AsFd) -> Result<(), ClientError> {
        let fds = vec![copy("access log", file.as_fd())?];
        self.ask_done("set_access_log", Request::SetAccessLog, fds).await
    }

    /// Replaces the routing table; returns its version once every worker serves by it.
    pub async fn apply(&self, table: Table) -> Result<u64, ClientError> {
        match self.ask(Request::Apply(table), Vec::new()).await? {
            (Reply::Applied { version }, _) => Ok(version),
            _ => Err(ClientError::Unexpected { request: "apply" }),
        }
    }

    /// The table in use.
    pub async fn table(&self) -> Result<Table, ClientError> {
        match self.ask(Request::GetTable, Vec::new()).await? {
            (Reply::Table(table), _) => Ok(table),
            _ => Err(ClientError::Unexpected { request: "get_table" }),
        }
    }

    /// Copies of all listening sockets that the edge holds.
    pub async fn listeners(&self) -> Result<Vec<(String, OwnedFd)>, ClientError> {
        match self.ask(Request::GetListeners, Vec::new()).await? {
            (Reply::Listeners { ids }, fds) if ids.len() == fds.len() => Ok(ids.into_iter().zip(fds).collect()),
            _ => Err(ClientError::Unexpected { request: "get_listeners" }),
        }
    }

    /// Waits until nothing is in flight to these upstreams, at most `grace`; then cuts WebSockets and TCP.
    ///
    /// The table in use has to have taken them out of rotation before.
    pub async fn drain(&self, upstreams: Vec<String>, grace: Duration) -> Result<DrainReport, ClientError> {
        let request = Request::Drain { upstreams, grace_ms: millis(grace) };
        match self.ask(request, Vec::new()).await? {
            (Reply::Drained(report), _) => Ok(report),
            _ => Err(ClientError::Unexpected { request: "drain" }),
        }
    }

    /// The counters.
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        match self.ask(Request::Stats, Vec::new()).await? {
            (Reply::Stats(stats), _) => Ok(*stats),
            _ => Err(ClientError::Unexpected { request: "stats" }),
        }
    }

    /// Who answers.
    pub async fn ping(&self) -> Result<Pong, ClientError> {
        match self.ask(Request::Ping, Vec::new()).await? {
            (Reply::Pong(pong), _) => Ok(pong),
            _ => Err(ClientError::Unexpected { request: "ping" }),
        }
    }

    /// Tells the edge to end once nothing is in flight, at most after `grace`; returns at once.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), ClientError> {
        self.ask_done("shutdown", Request::Shutdown { grace_ms: millis(grace) }, Vec::new()).await
    }

    async fn ask_done(&self, name: &'static str, request: Request, fds: Vec<OwnedFd>) -> Result<(), ClientError> {
        match self.ask(request, fds).await? {
            (Reply::Done, _) => Ok(()),
            _ => Err(ClientError::Unexpected { request: name }),
        }
    }

    async fn ask(&self, request: Request, fds: Vec<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>), ClientError> {
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let frame =
            frame::encode(&RequestEnvelope { v: PROTOCOL, id, fds: fds.len(), request }).map_err(ClientError::Frame)?;
        let (answer, wait) = oneshot::channel();
        match self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.insert(id, answer),
            None => return Err(ClientError::Closed),
        };
        self.inner.requests.send((frame, fds)).await.map_err(|_| ClientError::Closed)?;
        let (result, fds) = wait.await.map_err(|_| ClientError::Closed)?;
        result.map(|reply| (reply, fds)).map_err(ClientError::Refused)
    }
}

fn copy(subject: &str, fd: BorrowedFd<'_>) -> Result<OwnedFd, ClientError> {
    fd.try_clone_to_owned().map_err(|source| ClientError::Copy { subject: subject.to_owned(), source })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn write_requests(socket: Arc<UnixStream>, mut queue: mpsc::Receiver<(Vec<u8>, Vec<OwnedFd>)>) {
    while let Some((bytes, fds)) = queue.recv().await {
        if let Err(error) = frame::write(&socket, &bytes, &fds).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "the conversation with the edge ended");
            // Without this the reader would wait for replies to requests that never left.
            let _ = rustix::net::shutdown(socket.as_fd(), rustix::net::Shutdown::Both);
            return;
        }
    }
}

async fn read_replies(socket: Arc<UnixStream>, waiting: Arc<Waiting>, ended: CancellationToken) {
    if let Err(error) = dispatch_replies(&socket, &waiting).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "the conversation with the edge ended");
    }
    // From here on nobody may wait: those who do learn that the connection is closed.
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    ended.cancel();
}

async fn dispatch_replies(socket: &UnixStream, waiting: &Waiting) -> Result<(), FrameError> {
    let mut reader = Reader::default();
    while let Some(bytes) = reader.next(socket).await? {
        let reply: ReplyEnvelope = frame::decode(&bytes)?;
        let fds = reader.take_fds(reply.fds).ok_or(FrameError::DescriptorsLost)?;
        let waiter = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .and_then(|waiting| waiting.remove(&reply.id));
        // A caller that gave up takes no answer; its descriptors close here.
        if let Some(waiter) = waiter {
            let _ = waiter.send((reply.result, fds));
        }
    }
    Ok(())
}
