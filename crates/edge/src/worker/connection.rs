//! An HTTP connection of a client.
//!
//! Owns hyper's server half and how a connection ends when the worker stops: HTTP/2 by its own farewell, HTTP/1 after
//! the next response, which says so. A client that is quiet until the linger is over is closed.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use ::http::StatusCode;
use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::activity::Guest;
use crate::http::{self, ClientContext};
use crate::io::ClientStream;
use crate::sniff::Verdict;

/// How long a quiet keep-alive connection may still send a request after the worker stopped accepting. Closing at once
/// would break the request of a client that is just sending one.
const LINGER: Duration = Duration::from_secs(1);

/// HTTP/2 streams at once on one connection.
const MAX_STREAMS: u32 = 128;

/// Serves a connection that speaks HTTP; `ahead` was read of it already.
pub(crate) async fn serve(client: Rc<ClientContext>, verdict: Verdict, ahead: Bytes, stream: TcpStream) {
    let io = TokioIo::new(ClientStream::new(ahead, stream));
    let counters = &client.listener.counters;
    let ended = match verdict {
        Verdict::Http2 => {
            counters.http2.increase();
            serve_http2(&client, io).await
        }
        _ => {
            counters.http1.increase();
            serve_http1(&client, io).await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, peer = %client.peer, "a client connection ended");
        if let Some(status) = refusal(&client, &error) {
            crate::exchange::refused(&client, status);
        }
    }
}

/// The status of an answer that hyper gave, or would have given, to what never became a request.
fn refusal(client: &ClientContext, error: &hyper::Error) -> Option<StatusCode> {
    if error.is_parse_too_large() {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else if error.is_parse() {
        Some(StatusCode::BAD_REQUEST)
    } else {
        // After a request it is the end of a kept connection.
        (error.is_timeout() && client.activity.is_new()).then_some(StatusCode::REQUEST_TIMEOUT)
    }
}

async fn serve_http1(client: &Rc<ClientContext>, io: TokioIo<ClientStream>) -> hyper::Result<()> {
    let options = &client.worker.options;
    let service_client = client.clone();
    let service = service_fn(move |request| http::handle(service_client.clone(), request));
    // Not `pipeline_flush`: with it, what a client sends right behind its handshake keeps the 101 from being written.
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_header_size(options.max_head)
            .serve_connection(io, service)
            .with_upgrades()
    );
    let _guest = Guest::new(client);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = lingered(client) => {}
        () = client.activity.leave.notified() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

async fn serve_http2(client: &Rc<ClientContext>, io: TokioIo<ClientStream>) -> hyper::Result<()> {
    let options = &client.worker.options;
    let service_client = client.clone();
    let service = service_fn(move |request| http::handle(service_client.clone(), request));
    let mut connection = std::pin::pin!(
        http2::Builder::new(client.worker.tasks.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(options.max_head).unwrap_or(u32::MAX))
            .keep_alive_interval(options.header_timeout)
            .serve_connection(io, service)
    );
    let _guest = Guest::new(client);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = client.worker.stopping.cancelled() => {}
        () = client.activity.leave.notified() => {}
    }
    Pin::as_mut(&mut connection).graceful_shutdown();
    connection.await
}

async fn lingered(client: &ClientContext) {
    client.worker.stopping.cancelled().await;
    tokio::time::sleep(LINGER).await;
}
