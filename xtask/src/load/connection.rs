//! Connections of the load generator: kept ones are used again, the last one first.
//!
//! Owns sending one request and reading the whole answer; knows nothing of rates or counts.

use super::Shot;
use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::TcpStream;

/// How a request ended without a complete answer.
#[derive(Debug)]
pub enum Broken {
    /// No byte of an answer came.
    Before(anyhow::Error),
    /// An answer had begun.
    Within(anyhow::Error),
}

/// The most connections that wait for their next request; as many as a browser farm would keep.
const MOST_IDLE: usize = 64;

/// Connections to one address.
pub struct Pool {
    to: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Pool {
    /// No connection yet.
    pub fn new(to: SocketAddr) -> Self {
        Self { to, idle: Mutex::new(Vec::new()) }
    }

    /// Sends `request`, on a connection of its own if `is_fresh`, and reads the whole answer.
    ///
    /// Errors: whatever kept the answer from being complete. A request that a kept connection could not even begin
    /// to send is not an error: it goes out on the next one.
    pub async fn send(&self, request: Request<Full<Bytes>>, is_fresh: bool) -> Result<Response<Bytes>, Broken> {
        let mut request = request;
        if !is_fresh {
            while let Some(mut kept) = self.take() {
                match kept.try_send_request(request).await {
                    Ok(answer) => return self.read(answer, kept).await,
                    Err(mut refused) => match refused.take_message() {
                        Some(unsent) => request = unsent,
                        None => return Err(before(refused.into_error(), "sent on a kept connection")),
                    },
                }
            }
        }
        let mut connection = self.connect().await.context("connect").map_err(Broken::Before)?;
        let answer =
            connection.send_request(request).await.map_err(|error| before(error, "sent on a new connection"))?;
        self.read(answer, connection).await
    }

    /// One request for whoever wants its answer and nothing else.
    pub async fn ask(&self, host: &str, shot: &Shot, patience: Duration) -> anyhow::Result<(StatusCode, Bytes)> {
        let sent = self.send(shot.request(host)?, false);
        let answer =
            tokio::time::timeout(patience, sent).await.with_context(|| format!("no answer within {patience:?}"))?;
        let answer = answer.map_err(|(Broken::Before(error) | Broken::Within(error))| error)?;
        Ok((answer.status(), answer.into_body()))
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // How a connection ends is told to whoever has a request on it; nobody else asks.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn read(
        &self,
        answer: http::Response<hyper::body::Incoming>,
        connection: SendRequest<Full<Bytes>>,
    ) -> Result<Response<Bytes>, Broken> {
        let (head, body) = answer.into_parts();
        let body = body.collect().await.with_context(|| format!("body of an answer {}", head.status));
        let body = body.map_err(Broken::Within)?.to_bytes();
        let says_close = head.headers.get(http::header::CONNECTION).is_some_and(|value| value == "close");
        if !says_close {
            self.keep(connection);
        }
        Ok(Response::from_parts(head, body))
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().expect("nothing panics while it holds the lock");
        std::iter::from_fn(|| idle.pop()).find(|connection| connection.is_ready())
    }

    fn keep(&self, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().expect("nothing panics while it holds the lock");
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
    }
}

fn before(error: hyper::Error, how: &'static str) -> Broken {
    Broken::Before(anyhow::Error::new(error).context(how))
}
