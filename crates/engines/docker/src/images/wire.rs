//! Requests to the Engine that bollard has no way for: long answers with a login, and connections that are upgraded.
//!
//! Owns one connection per request, polled by whoever waits for the answer: dropping the answer closes the connection,
//! and the Engine ends what it was doing. The login goes in the URL-safe alphabet that the Engine reads; bollard writes
//! the other one, which loses a password at its first `+` or `/`. Start with [`Wire`].

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::UnixStream;

/// What is sent along.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

/// Nothing is sent along.
pub fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The most that is read of an answer that says no.
const MOST_REFUSAL: usize = 64 * 1024;

/// The longest line of an answer: a build's output comes in pieces far shorter than this.
const MOST_LINE: usize = 16 * 1024 * 1024;

/// A request to the Engine failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nobody listens.
    #[error("the Docker Engine cannot be reached at {}", socket.display())]
    Connect {
        /// Where it should listen.
        socket: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the Docker Engine broke")]
    Broken(#[source] engine::BoxError),
    /// It says no.
    #[error("{message}")]
    Refused {
        /// The status of its answer.
        status: StatusCode,
        /// Its words.
        message: String,
    },
    /// Its answer makes no sense.
    #[error("the Docker Engine's answer cannot be read")]
    Answer(#[source] engine::BoxError),
}

fn broken(source: impl Into<engine::BoxError>) -> WireError {
    WireError::Broken(source.into())
}

/// The way to the Engine: its socket.
#[derive(Debug, Clone)]
pub struct Wire(Arc<Path>);

impl Wire {
    /// To the Engine that listens at this path.
    pub fn to(socket: &Path) -> Self {
        Self(socket.into())
    }

    /// Gets all of an answer.
    pub async fn get(&self, target: &str) -> Result<Vec<u8>, WireError> {
        self.ask(Method::GET, target, HeaderMap::new(), empty()).await?.text().await
    }

    /// Posts and reads the answer as it comes.
    pub async fn post(&self, target: &str, headers: HeaderMap, body: Body) -> Result<Answer, WireError> {
        self.ask(Method::POST, target, headers, body).await
    }

    async fn ask(&self, method: Method, target: &str, headers: HeaderMap, body: Body) -> Result<Answer, WireError> {
        let (response, connection) = self.send(method, target, headers, body).await?;
        let status = response.status();
        let answer = Answer { connection: Some(connection), body: response.into_body(), unread: VecDeque::new() };
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await?;
        Err(WireError::Refused { status, message: refusal(&text) })
    }

    /// Asks for a connection that speaks HTTP/2 from then on; none when the Engine has no such door.
    pub async fn upgrade(&self, target: &str, mut headers: HeaderMap) -> Result<Option<Upgraded>, WireError> {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("h2c"));
        let (response, mut connection) = self.send(Method::POST, target, headers, empty()).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(None);
        }
        let mut upgraded = pin!(hyper::upgrade::on(response));
        let upgraded = poll_fn(|cx| {
            let _ended = connection.poll(cx);
            upgraded.as_mut().poll(cx)
        });
        upgraded.await.map(Some).map_err(broken)
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<(Response<Incoming>, Connection), WireError> {
        let request = Request::builder().method(method).uri(target).header(HOST, "docker").body(body);
        let mut request = request.map_err(broken)?;
        request.headers_mut().extend(headers);
        let stream = UnixStream::connect(&*self.0).await;
        let stream = stream.map_err(|source| WireError::Connect { socket: self.0.to_path_buf(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut connection = Connection(Some(Box::pin(connection.with_upgrades())));
        let mut response = pin!(sender.send_request(request));
        let response = poll_fn(|cx| {
            let _ended = connection.poll(cx);
            response.as_mut().poll(cx)
        });
        Ok((response.await.map_err(broken)?, connection))
    }
}

/// The Engine's words: the `message` of its JSON, or all of it.
fn refusal(text: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    let parsed = serde_json::from_slice::<Refusal>(text).map(|refusal| refusal.message);
    parsed.unwrap_or_else(|_| String::from_utf8_lossy(text).trim().to_owned())
}

/// A connection that moves only while it is polled.
struct Connection(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

impl Connection {
    /// Its failure shows in the answer that it carries, so that it is not looked at here.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(connection) = &mut self.0
            && connection.as_mut().poll(cx).is_ready()
        {
            self.0 = None;
        }
        Poll::Pending
    }
}

/// An answer, read while it comes. Dropping it closes the connection.
pub struct Answer {
    connection: Option<Connection>,
    body: Incoming,
    unread: VecDeque<u8>,
}

impl Answer {
    /// The next JSON value of a stream of them; none at its end. Cancel-safe.
    pub async fn message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                if !line.trim_ascii().is_empty() {
                    return parsed(&line).map(Some);
                }
            } else if !self.fill().await? {
                let rest = Vec::from(std::mem::take(&mut self.unread));
                return if rest.trim_ascii().is_empty() { Ok(None) } else { parsed(&rest).map(Some) };
            }
        }
    }

    /// All of it, as far as is wanted of a refusal.
    async fn text(mut self) -> Result<Vec<u8>, WireError> {
        while self.unread.len() < MOST_REFUSAL && self.fill().await? {}
        Ok(self.unread.into())
    }

    /// Reads on; false at the end.
    async fn fill(&mut self) -> Result<bool, WireError> {
        if self.unread.len() > MOST_LINE {
            return Err(WireError::Answer(format!("a line of more than {MOST_LINE} bytes").into()));
        }
        let frame = poll_fn(|cx| {
            if let Some(connection) = &mut self.connection {
                let _ended = connection.poll(cx);
            }
            Pin::new(&mut self.body).poll_frame(cx)
        });
        let Some(frame) = frame.await else { return Ok(false) };
        if let Ok(mut data) = frame.map_err(broken)?.into_data() {
            while data.has_remaining() {
                let chunk = data.chunk();
                self.unread.extend(chunk);
                data.advance(chunk.len());
            }
        }
        Ok(true)
    }
}

fn parsed<T: DeserializeOwned>(text: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(text).map_err(|error| WireError::Answer(error.into()))
}

/// Adds a header.
pub fn header(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), WireError> {
    let value = HeaderValue::from_str(value).map_err(broken)?;
    headers.append(HeaderName::from_static(name), value);
    Ok(())
}

/// The header that says a tar archive comes along.
pub fn tar(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
}
