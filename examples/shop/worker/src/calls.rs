//! Calls to the API over kept-alive connections that hide nothing.
//!
//! Only a refused connection is tried again, since then nothing was sent. Everything else that goes wrong (a reset, a
//! time limit, a status of 500) is counted as a failed call: that is how a release that drops requests shows itself.
//! A library's client would retry some of these by itself, so connections are kept here, on hyper's low level.

use std::io::ErrorKind;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use service::{identity, log};
use tokio::net::TcpStream;

use crate::counts::Counts;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const RETRY_REFUSED_FOR: Duration = Duration::from_secs(10);
const RETRY_REFUSED_EVERY: Duration = Duration::from_millis(50);
const LARGEST_ANSWER: usize = 1024 * 1024;
/// More idle connections than this are closed: a burst is over.
const KEPT: usize = 32;

/// Where the API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

impl Default for Target {
    fn default() -> Self {
        Self { host: "api".to_owned(), port: 3000 }
    }
}

impl FromStr for Target {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let uri: http::Uri = text.parse().map_err(|_| NotATarget)?;
        let is_plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
        match uri.host() {
            Some(host) if is_plain => Ok(Self { host: host.to_owned(), port: uri.port_u16().unwrap_or(80) }),
            _ => Err(NotATarget),
        }
    }
}

/// The text is not `http://host:port`.
#[derive(Debug, thiserror::Error)]
#[error("not http://host:port")]
pub struct NotATarget;

/// A call that brought no answer of success.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("could not connect")]
    Connect(#[source] std::io::Error),
    #[error("the connection broke before the answer was complete")]
    Broke(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    TooLate,
    #[error("answered {0}")]
    Status(StatusCode),
}

type Connection = SendRequest<Full<Bytes>>;

/// The calls of one worker, and the connections it keeps for them.
pub struct Calls {
    target: Target,
    idle: Mutex<Vec<Connection>>,
    counts: Arc<Counts>,
}

impl Calls {
    pub fn new(target: Target, counts: Arc<Counts>) -> Self {
        Self { target, idle: Mutex::new(Vec::new()), counts }
    }

    /// Makes one call, counts it, and writes down why it failed.
    pub async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, CallError> {
        let begun = Instant::now();
        let id = identity::random_name();
        let answer = self.attempt(method.clone(), path, body, &id).await;
        let took = begun.elapsed();
        self.counts.call(took, answer.is_ok());
        if let Err(failure) = &answer {
            let (error, ms) = (log::chain(failure), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            tracing::error!(requestId = id, method = method.as_str(), path, durationMs = ms, error, "a call failed");
        }
        answer
    }

    async fn attempt(&self, method: Method, path: &str, body: Bytes, id: &str) -> Result<Bytes, CallError> {
        // Waiting for a refused connection has its own limit: it must not look like a slow answer.
        let connection = match self.kept() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let exchange = self.exchange(connection, method, path, body, id);
        tokio::time::timeout(ANSWER_WITHIN, exchange).await.unwrap_or(Err(CallError::TooLate))
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The one used last is the least likely to be closed just now; those the other side has closed are dropped.
        while let Some(connection) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let stream = self.reach().await.map_err(CallError::Connect)?;
        stream.set_nodelay(true).map_err(CallError::Connect)?;
        let broke = |cause: hyper::Error| CallError::Broke(cause.into());
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        tokio::spawn(async move {
            if let Err(failure) = connection.await {
                tracing::debug!(error = log::chain(&failure), "a connection to the API ended");
            }
        });
        Ok(sender)
    }

    /// Opens a connection; tries again while it is refused, for nothing has been sent then.
    async fn reach(&self) -> std::io::Result<TcpStream> {
        let begun = Instant::now();
        loop {
            let attempt = TcpStream::connect((self.target.host.as_str(), self.target.port));
            match tokio::time::timeout(ANSWER_WITHIN, attempt).await {
                Ok(Err(failure))
                    if failure.kind() == ErrorKind::ConnectionRefused && begun.elapsed() < RETRY_REFUSED_FOR =>
                {
                    self.counts.refused.inc();
                    tokio::time::sleep(RETRY_REFUSED_EVERY).await;
                }
                Ok(outcome) => return outcome,
                Err(_) => return Err(ErrorKind::TimedOut.into()),
            }
        }
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        method: Method,
        path: &str,
        body: Bytes,
        id: &str,
    ) -> Result<Bytes, CallError> {
        let broke = |cause: hyper::Error| CallError::Broke(cause.into());
        let request = self.request(method, path, body, id).map_err(|cause| CallError::Broke(cause.into()))?;
        let (head, answer) = connection.send_request(request).await.map_err(broke)?.into_parts();
        let answer = Limited::new(answer, LARGEST_ANSWER).collect().await.map_err(CallError::Broke)?.to_bytes();
        self.keep(connection);
        if head.status.is_success() { Ok(answer) } else { Err(CallError::Status(head.status)) }
    }

    fn request(&self, method: Method, path: &str, body: Bytes, id: &str) -> http::Result<Request<Full<Bytes>>> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{}:{}", self.target.host, self.target.port))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-request-id", id)
            .body(Full::new(body))
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_closed() && idle.len() < KEPT {
            idle.push(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_targets() {
        let target = |host: &str, port| Some(Target { host: host.to_owned(), port });
        for (text, want) in [
            ("http://api:3000", target("api", 3000)),
            ("http://api", target("api", 80)),
            ("http://api:3000/", target("api", 3000)),
            ("https://api:3000", None),
            ("http://api:3000/v1", None),
            ("api:3000", None),
        ] {
            assert_eq!(text.parse::<Target>().ok(), want, "{text}");
        }
    }
}
