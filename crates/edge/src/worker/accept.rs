//! Taking connections from a listening socket.
//!
//! Owns the pace: one connection at a time, so that workers share the queue evenly. While the worker is full one more is
//! taken and waits, for which the client that has been idle longest makes room; the kernel's queue holds the rest. What
//! the connection speaks is `detect`'s question.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Activity, ListenerState, Worker, detect};
use crate::http::{ClientContext, address_value};
use crate::tasks::Task;

/// How long accepting rests when the process has no descriptor left: something has to end first.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// How often a full worker looks for a client that could make room.
const CROWDED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `closed`, and then whoever is in the queue; the socket's copy is closed with it.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    state: Rc<ListenerState>,
    socket: TcpListener,
    closed: CancellationToken,
) {
    // Taken from the queue, so that it is known that somebody waits, and not served yet.
    let waiting = Cell::new(None);
    let accepting = async {
        loop {
            match socket.accept().await {
                Ok(accepted) => {
                    waiting.set(Some(accepted));
                    worker.have_room().await;
                    serve_next(&worker, &state, &waiting);
                    // Another worker that was woken as well gets its turn.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    worker.totals.accept_failures.increase();
                    if !is_of_one_connection(&error) {
                        tracing::warn!(listener = %state.id, %error, "could not accept");
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = closed.cancelled() => {}
        () = accepting => {}
    }
    serve_next(&worker, &state, &waiting);
    // Whoever is in the queue already is connected, as far as it knows.
    while let Some(Ok((stream, peer))) = socket.accept().now_or_never() {
        begin(&worker, &state, stream, peer);
    }
}

fn serve_next(worker: &Rc<Worker>, state: &Rc<ListenerState>, waiting: &Cell<Option<(TcpStream, SocketAddr)>>) {
    if let Some((stream, peer)) = waiting.take() {
        begin(worker, state, stream, peer);
    }
}

/// A connection that was gone before it was taken says nothing of the next.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn begin(worker: &Rc<Worker>, state: &Rc<ListenerState>, stream: TcpStream, peer: SocketAddr) {
    let open = Open::new(worker.clone(), state.clone());
    let (Ok(()), Ok(local)) = (stream.set_nodelay(true), stream.local_addr()) else {
        // It is gone already.
        return;
    };
    let client = Rc::new(ClientContext {
        worker: worker.clone(),
        listener: state.clone(),
        peer: peer.ip().to_canonical(),
        peer_value: address_value(peer.ip()),
        local,
        since: Instant::now(),
        activity: Activity::default(),
    });
    let killed = worker.killed.clone();
    worker.tasks.spawn(Task::Connection, async move {
        tokio::select! {
            biased;
            () = detect::serve(client, stream) => {}
            () = killed.cancelled() => {}
        }
        drop(open);
    });
}

/// Counts a connection for as long as it is open.
pub(crate) struct Open {
    worker: Rc<Worker>,
    state: Rc<ListenerState>,
}

impl Open {
    fn new(worker: Rc<Worker>, state: Rc<ListenerState>) -> Self {
        worker.totals.connections_accepted.increase();
        state.counters.accepted.increase();
        Self::count(worker, state)
    }

    /// For a connection that outlives the task that accepted it.
    pub(crate) fn still(client: &ClientContext) -> Self {
        Self::count(client.worker.clone(), client.listener.clone())
    }

    fn count(worker: Rc<Worker>, state: Rc<ListenerState>) -> Self {
        worker.totals.connections_open.increase();
        state.counters.open.increase();
        Self { worker, state }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.state.counters.open.decrease();
        let open = &self.worker.totals.connections_open;
        open.decrease();
        if open.get() < self.worker.max_connections {
            self.worker.room.notify_waiters();
        }
    }
}

impl Worker {
    async fn have_room(&self) {
        loop {
            let room = self.room.notified();
            if self.totals.connections_open.get() < self.max_connections {
                return;
            }
            self.guests.make_room();
            // Somebody may become idle meanwhile, which nobody tells.
            let _ = tokio::time::timeout(CROWDED_PAUSE, room).await;
        }
    }
}
