//! Connections to upstreams, opened and given back.
//!
//! Owns the client half of hyper: the handshake, the task that drives a connection, and its way into the idle stack or
//! into a tunnel. Whom to connect to is `forward`'s choice.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::io::{UpstreamSocket, UpstreamStream};
use crate::tasks::Task;
use crate::upstream::{Lease, Upstream};
use crate::worker::Worker;

/// How long a connection whose response is over may take to become quiet (its request body may still be under way).
const QUIET_WITHIN: Duration = Duration::from_secs(5);

/// A connection that carries a response.
#[derive(Debug)]
pub(crate) struct Carrier {
    pub lease: Lease,
    pub worker: Rc<Worker>,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    Refused,
    TimedOut,
}

/// Opens a TCP connection, within the time that is allowed for it.
pub(crate) async fn open(worker: &Worker, upstream: &Upstream) -> Result<TcpStream, Unreachable> {
    let connecting = tokio::time::timeout(worker.options.connect_timeout, TcpStream::connect(upstream.address));
    let connected = match connecting.await {
        Ok(Ok(stream)) => {
            let set = stream.set_nodelay(true).and_then(|()| crate::io::watch_peer(&stream));
            set.map(|()| stream).map_err(|error| refused(upstream, &error))
        }
        Ok(Err(error)) => Err(refused(upstream, &error)),
        Err(_) => Err(Unreachable::TimedOut),
    };
    match connected {
        Ok(_) => upstream.trust(),
        Err(_) => upstream.suspect(),
    }
    connected
}

fn refused(upstream: &Upstream, error: &io::Error) -> Unreachable {
    tracing::debug!(upstream = %upstream.id, address = %upstream.address, %error, "could not connect");
    if error.kind() == io::ErrorKind::TimedOut { Unreachable::TimedOut } else { Unreachable::Refused }
}

/// Opens a connection that speaks HTTP/1.1.
pub(crate) async fn open_http(worker: &Rc<Worker>, upstream: &Rc<Upstream>) -> Result<Lease, Unreachable> {
    let socket = UpstreamSocket::new(open(worker, upstream).await?);
    let io = TokioIo::new(UpstreamStream(socket.clone()));
    let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(|_| Unreachable::Refused)?;
    let received = socket.received();
    let lease = Lease { sender, socket: Rc::downgrade(&socket), received, kept_for: None, upstream: upstream.clone() };
    drop(socket);
    // Its end, good or bad, is told to whoever waits for a response on it.
    worker.tasks.spawn(Task::Upstream, drive(connection));
    Ok(lease)
}

async fn drive(mut connection: http1::Connection<TokioIo<UpstreamStream>, super::body::Outgoing>) {
    if let Err(error) = poll_fn(|cx| connection.poll_without_shutdown(cx)).await {
        tracing::trace!(%error, "an upstream connection ended");
        return;
    }
    let parts = connection.into_parts();
    parts.io.into_inner().0.hand_over(parts.read_buf);
}

impl Carrier {
    /// Gives the connection back for the next request as soon as it is quiet.
    pub(crate) fn give_back(self) {
        let most = self.worker.options.max_idle_per_upstream;
        if self.lease.sender.is_ready() {
            return self.lease.give_back(most);
        }
        if self.lease.sender.is_closed() {
            return;
        }
        let Carrier { mut lease, worker } = self;
        // A connection that does not become quiet is dropped, which closes it.
        worker.tasks.spawn(Task::GiveBack, async move {
            if let Ok(Ok(())) = tokio::time::timeout(QUIET_WITHIN, lease.sender.ready()).await {
                lease.give_back(most);
            }
        });
    }
}
