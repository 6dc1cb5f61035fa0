//! Finding out what a new connection speaks.
//!
//! Owns the waiting for a client's first bytes; `sniff` judges them. Start with [`serve`].
//!
//! ```text
//!            ┌─ bytes say HTTP ──────────────────────────────→ connection
//! accepted ──┼─ bytes say anything else ─────────────────────→ tcp (an upstream is chosen now)
//!            └─ silence ─→ an upstream is connected, and then:
//!                 server speaks first ───────────────────────→ tcp over that connection
//!                 client speaks: judged again; HTTP closes the upstream connection, the rest uses it
//!                 the upstream leaves rotation: another one is connected
//! ```

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Activity, connection, tcp};
use crate::control::Protocol;
use crate::http::ClientContext;
use crate::sniff::{Lean, Verdict, sniff};

/// First bytes are read in pieces of this size; most request heads fit.
const PIECE: usize = 4096;

/// Serves a new connection by whatever it speaks.
pub(crate) async fn serve(client: Rc<ClientContext>, mut stream: TcpStream) {
    // The table may have dropped the listener since the connection was queued.
    let Some(rule) = client.listener.rule() else { return };
    match rule.protocol {
        Protocol::Tcp => tcp::serve(&client, stream, Bytes::new(), None).await,
        Protocol::Http => {
            let mut ahead = BytesMut::new();
            let verdict = Activity::silent(&client, tell_http_version(&client, &mut stream, &mut ahead)).await;
            if let Some(verdict) = verdict.flatten() {
                connection::serve(client, verdict, ahead.freeze(), stream).await;
            }
        }
        Protocol::Auto => detect(client, stream).await,
    }
}

/// Tells HTTP/2 from HTTP/1; what is neither is HTTP/1's to refuse.
async fn tell_http_version(client: &ClientContext, stream: &mut TcpStream, ahead: &mut BytesMut) -> Option<Verdict> {
    let deadline = Instant::now() + client.worker.options.header_timeout;
    loop {
        let read = timeout_at(deadline, read_more(stream, ahead));
        match read.await {
            Ok(Ok(0)) | Ok(Err(_)) | Err(_) => return None,
            Ok(Ok(_)) => {}
        }
        match sniff(ahead) {
            // Hyper waits for the rest of an HTTP/1 head itself, with the timeout of its own.
            Verdict::Undecided(_) if ahead.starts_with(b"P") && ahead.len() < 24 => {}
            Verdict::Http2 => return Some(Verdict::Http2),
            _ => return Some(Verdict::Http1),
        }
    }
}

async fn detect(client: Rc<ClientContext>, mut stream: TcpStream) {
    let mut ahead = BytesMut::new();
    match judge(&client, &mut stream, &mut ahead, client.worker.options.sniff_silence).await {
        Judged::Gone => {}
        Judged::Silent => wait_for_either(client, stream).await,
        Judged::Verdict(verdict) => go_on(client, verdict, ahead.freeze(), stream, None).await,
    }
}

async fn go_on(
    client: Rc<ClientContext>,
    verdict: Verdict,
    ahead: Bytes,
    stream: TcpStream,
    upstream: Option<tcp::Connected>,
) {
    match verdict {
        Verdict::Http1 | Verdict::Http2 => {
            drop(upstream);
            connection::serve(client, verdict, ahead, stream).await;
        }
        Verdict::Tcp | Verdict::Undecided(_) => tcp::serve(&client, stream, ahead, upstream).await,
    }
}

enum Judged {
    Verdict(Verdict),
    /// Not a byte came.
    Silent,
    /// The client left.
    Gone,
}

/// Reads until the bytes say what they are, or the client pauses.
///
/// Strangers that have begun a line are waited for until it ends: carried as bytes, the rest of it might be a request
/// after all, with headers that nobody has looked at.
async fn judge(client: &ClientContext, stream: &mut TcpStream, ahead: &mut BytesMut, pause: Duration) -> Judged {
    let deadline = Instant::now() + client.worker.options.header_timeout;
    loop {
        let is_http = sniff(ahead) == Verdict::Undecided(Lean::Http);
        let must_end = !ahead.is_empty() && !is_http && !client.listener.is_trusted();
        let until = if must_end { deadline } else { Instant::now() + pause };
        let read = timeout_at(until, read_more(stream, ahead)).await;
        match (read, sniff(ahead)) {
            (Err(_), _) if ahead.is_empty() => return Judged::Silent,
            (Err(_), Verdict::Undecided(Lean::Http)) => return Judged::Verdict(Verdict::Http1),
            (Err(_), _) if must_end => return Judged::Gone,
            (Err(_), _) => return Judged::Verdict(Verdict::Tcp),
            (Ok(Err(_)), _) => return Judged::Gone,
            (Ok(Ok(0)), _) if ahead.is_empty() => return Judged::Gone,
            (Ok(Ok(0)), _) => return Judged::Verdict(Verdict::Tcp),
            (Ok(Ok(_)), Verdict::Undecided(_)) => {}
            (Ok(Ok(_)), verdict) => return Judged::Verdict(verdict),
        }
    }
}

async fn read_more(stream: &mut TcpStream, ahead: &mut BytesMut) -> io::Result<usize> {
    ahead.reserve(PIECE);
    stream.read_buf(ahead).await
}

/// The client is silent: perhaps the server has to speak first.
async fn wait_for_either(client: Rc<ClientContext>, mut stream: TcpStream) {
    let worker = client.worker.clone();
    let Some(place) = worker.silent_place() else {
        // Each silent client holds a connection of a server; so many are no honest ones.
        return wait_for_client(client, stream).await;
    };
    loop {
        let Some(upstream) = tcp::connect(&client).await else {
            // Nobody is there to speak first; the client may still turn out to speak HTTP and be told so.
            return wait_for_client(client, stream).await;
        };
        let left = upstream.left_token();
        let spoke = Activity::silent(&client, async {
            tokio::select! {
                spoke = stream.readable() => spoke.map(|()| Who::Client),
                spoke = upstream.stream().readable() => spoke.map(|()| Who::Server),
                () = left.cancelled() => Ok(Who::Nobody),
            }
        });
        let Some(spoke) = spoke.await else { return };
        match spoke {
            Err(_) => return,
            Ok(Who::Nobody) => {}
            Ok(Who::Server) => {
                drop(place);
                return tcp::serve(&client, stream, Bytes::new(), Some(upstream)).await;
            }
            Ok(Who::Client) => {
                drop(place);
                let mut ahead = BytesMut::new();
                let silence = client.worker.options.sniff_silence;
                return match judge(&client, &mut stream, &mut ahead, silence).await {
                    Judged::Gone | Judged::Silent => (),
                    Judged::Verdict(verdict) => {
                        go_on(client, verdict, ahead.freeze(), stream, Some(upstream)).await;
                    }
                };
            }
        }
    }
}

enum Who {
    Client,
    Server,
    Nobody,
}

async fn wait_for_client(client: Rc<ClientContext>, mut stream: TcpStream) {
    let mut ahead = BytesMut::new();
    let patience = client.worker.options.header_timeout;
    let judged = Activity::silent(&client, judge(&client, &mut stream, &mut ahead, patience)).await;
    if let Some(Judged::Verdict(verdict)) = judged {
        go_on(client, verdict, ahead.freeze(), stream, None).await;
    }
}
