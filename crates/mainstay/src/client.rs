//! The daemon as seen from the command line: HTTP over its unix socket, which may be another machine's.
//!
//! Owns connections, requests and what their answers mean; a connection is kept for the next request. Never starts
//! the daemon ([`crate::daemon`]) and never prints. Start with [`Client`].

pub mod frames;
pub mod greeting;
pub mod ssh;
pub mod stream;

use bytes::Bytes;
use greeting::Greeting;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::{RemoteHost, StackId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use server::api::ApiError;
use ssh::{Ask, Ssh};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The longest answer that is read at once: a plan of 10,000 services has about 20 MB.
const MAX_ANSWER: usize = 256 << 20;

/// A daemon that accepts connections and says nothing for so long is stuck. Plans of huge stacks take a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon could not be asked, or refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error("no daemon answers at {}", socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket belongs to others.
    #[error("the daemon's socket {} must not be opened by this user", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection ended in the middle.
    #[error("the connection to the daemon broke at `{request}`")]
    Broken {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that is none of ours.
    #[error("the daemon's answer to `{request}` cannot be read")]
    Answer {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon says no.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The machine it runs on cannot be used.
    #[error(transparent)]
    Host(#[from] Box<ssh::Error>),
}

impl Error {
    /// What to do.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoDaemon { .. } => Some("start one with `mainstay up` in a project, or with `mainstay serve`".into()),
            Self::Denied { .. } => Some("join the group `mainstay`, or run the command as root".into()),
            Self::Broken { .. } => Some("see `mainstay status` for what was done, then try again".into()),
            Self::Answer { .. } => Some("compare the versions of command and daemon with `mainstay version`".into()),
            Self::Refused(refused) => refused.help.clone(),
            Self::Host(error) => error.help(),
        }
    }

    /// Its stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::NoDaemon { .. } => "MS0091",
            Self::Denied { .. } => "MS0092",
            Self::Broken { .. } => "MS0093",
            Self::Answer { .. } => "MS0094",
            Self::Refused(refused) => &refused.code,
            Self::Host(error) => error.code(),
        }
    }

    /// Whether the daemon is gone or going, so that the same request may succeed once it is back.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::NoDaemon { .. } | Self::Broken { .. } => true,
            Self::Refused(refused) => refused.status == 503,
            Self::Host(error) => error.is_absence(),
            Self::Denied { .. } | Self::Answer { .. } => false,
        }
    }

    /// Whether the way to it is fine, and it only does not run.
    pub fn finds_no_daemon(&self) -> bool {
        match self {
            Self::NoDaemon { .. } => true,
            Self::Host(error) => error.finds_no_daemon(),
            _ => false,
        }
    }
}

/// Where a daemon is.
#[derive(Debug, Clone)]
pub enum Place {
    /// On this machine, at this socket.
    Local(PathBuf),
    /// On another one.
    Remote(Ssh),
}

/// A connection to one daemon.
#[derive(Debug)]
pub struct Client {
    place: Place,
    idle: Mutex<Option<SendRequest<Body>>>,
}

impl Client {
    /// A client of the daemon at this socket; connects when it is first used.
    pub fn new(socket: PathBuf) -> Self {
        Self::at(Place::Local(socket))
    }

    /// A client of the daemon at this place; connects when it is first used.
    pub fn at(place: Place) -> Self {
        Self { place, idle: Mutex::new(None) }
    }

    /// The other machine the daemon is on; none when it is on ours.
    pub fn host(&self) -> Option<&RemoteHost> {
        match &self.place {
            Place::Local(_) => None,
            Place::Remote(ssh) => Some(ssh.host()),
        }
    }

    /// Connects to the daemon of the other machine, after it did there what is asked, and keeps the connection.
    pub async fn greet(&self, ssh: &Ssh, ask: Ask) -> Result<Greeting, Error> {
        let (greeting, tunnel) = ssh.open(ask).await.map_err(Box::new)?;
        *self.idle.lock().await = Some(handshake(tunnel).await?);
        Ok(greeting)
    }

    /// Where the daemon is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// `GET path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let (_, answer) = self.ask(Method::GET, path, empty(), &[]).await?;
        answer
    }

    /// `GET path` where 503 carries a document as well: whether all is well, and the document.
    pub async fn get_health<T: DeserializeOwned>(&self, path: &str) -> Result<(bool, T), Error> {
        let (status, answer) = self.ask(Method::GET, path, empty(), &[StatusCode::SERVICE_UNAVAILABLE]).await?;
        Ok((status.is_success(), answer?))
    }

    /// `POST path` with a JSON body.
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Error> {
        let text = serde_json::to_vec(body).expect("wire types are plain JSON");
        let (_, answer) = self.ask(Method::POST, path, full(text), &[]).await?;
        answer
    }

    /// `PUT path` with a body of `length` bytes; the answer has no content.
    pub async fn put(&self, path: &str, body: Body, length: u64) -> Result<(), Error> {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(path)
            .header(header::HOST, "mainstay")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, length);
        let request = request.body(body).expect("paths are built of legal parts");
        let answer = self.send(request).await?;
        let name = format!("PUT {path}");
        match answer.status() {
            status if status.is_success() => read(&name, answer).await.map(drop),
            _ => Err(refusal(&name, answer).await),
        }
    }

    /// `POST path` without a body; the answer's content is of no interest.
    pub async fn tell(&self, path: &str) -> Result<(), Error> {
        let request = builder(Method::POST, path).body(empty()).expect("paths are built of legal parts");
        let answer = self.send(request).await?;
        let name = format!("POST {path}");
        match answer.status() {
            status if status.is_success() => read(&name, answer).await.map(drop),
            _ => Err(refusal(&name, answer).await),
        }
    }

    /// `GET path` as a stream that may stay silent for long.
    pub async fn open(&self, path: &str) -> Result<Incoming, Error> {
        let request = builder(Method::GET, path).body(empty()).expect("paths are built of legal parts");
        // Of its own: a stream may be left in the middle, and then the connection is of no further use.
        let mut connection = self.connect().await?;
        let name = format!("GET {path}");
        let answer = connection.send_request(request).await.map_err(|error| broken(&name, error))?;
        match answer.status() {
            status if status.is_success() => Ok(answer.into_body()),
            _ => Err(refusal(&name, answer).await),
        }
    }

    /// `POST path` with a JSON body, answered by a stream.
    pub async fn open_with<B: Serialize>(&self, path: &str, body: &B) -> Result<Incoming, Error> {
        let text = serde_json::to_vec(body).expect("wire types are plain JSON");
        let request = builder(Method::POST, path).header(header::CONTENT_TYPE, "application/json").body(full(text));
        let mut connection = self.connect().await?;
        let name = format!("POST {path}");
        let request = request.expect("paths are built of legal parts");
        let answer = connection.send_request(request).await.map_err(|error| broken(&name, error))?;
        match answer.status() {
            status if status.is_success() => Ok(answer.into_body()),
            _ => Err(refusal(&name, answer).await),
        }
    }

    /// `GET path`, upgraded to another protocol.
    pub async fn upgrade(&self, path: &str, protocol: &str) -> Result<TokioIo<hyper::upgrade::Upgraded>, Error> {
        let request = builder(Method::GET, path)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, protocol)
            .body(empty())
            .expect("paths are built of legal parts");
        let mut connection = self.connect().await?;
        let name = format!("GET {path}");
        let answer = connection.send_request(request).await.map_err(|error| broken(&name, error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(&name, answer).await);
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|error| broken(&name, error))?;
        Ok(TokioIo::new(upgraded))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
        also: &[StatusCode],
    ) -> Result<(StatusCode, Result<T, Error>), Error> {
        let name = format!("{method} {path}");
        let request = builder(method, path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .expect("paths are built of legal parts");
        let answer = self.send(request).await?;
        let status = answer.status();
        if !status.is_success() && !also.contains(&status) {
            return Err(refusal(&name, answer).await);
        }
        let text = read(&name, answer).await?;
        let answer = serde_json::from_slice(&text).map_err(|error| {
            let refused = serde_json::from_slice::<ApiError>(&text).ok();
            refused.map_or_else(|| Error::Answer { request: name, source: error.into() }, Error::Refused)
        });
        Ok((status, answer))
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let name = format!("{} {}", request.method(), request.uri());
        let mut idle = self.idle.lock().await;
        let kept = idle.take().filter(|connection| !connection.is_closed());
        let mut request = Some(request);
        if let Some(mut connection) = kept {
            let sent = tokio::time::timeout(PATIENCE, connection.try_send_request(request.take().expect("set above")));
            match sent.await.map_err(|late| broken(&name, late))? {
                Ok(answer) => {
                    *idle = Some(connection);
                    return Ok(answer);
                }
                // The daemon had closed the kept connection: it has not seen the request, so it may be sent again.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = Some(unsent),
                    None => return Err(broken(&name, error.into_error())),
                },
            }
        }
        let mut connection = self.connect().await?;
        let sent = connection.send_request(request.expect("given back when unsent"));
        let answer = tokio::time::timeout(PATIENCE, sent).await.map_err(|late| broken(&name, late))?;
        let answer = answer.map_err(|error| broken(&name, error))?;
        *idle = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Body>, Error> {
        let path = match &self.place {
            Place::Local(path) => path,
            Place::Remote(ssh) => {
                let (_, tunnel) = ssh.open(Ask::Connect).await.map_err(Box::new)?;
                return handshake(tunnel).await;
            }
        };
        let socket = || path.clone();
        let stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => Error::Denied { socket: socket(), source },
            _ => Error::NoDaemon { socket: socket(), source },
        })?;
        handshake(stream).await
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<SendRequest<Body>, Error> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| broken("connect", error))?;
    // Its end shows at the request under way, which fails with the reason.
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

/// The path of something of a stack.
pub fn of_stack(stack: &StackId, rest: &str) -> String {
    format!("/v1/stacks/{}/{}{rest}", stack.project, stack.environment)
}

/// A query's value with everything but letters, digits and `-._~` escaped.
pub fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// No body.
pub fn empty() -> Body {
    full(Vec::new())
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

fn builder(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "mainstay")
}

fn broken(request: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Broken { request: request.to_owned(), source: source.into() }
}

async fn read(request: &str, answer: Response<Incoming>) -> Result<Bytes, Error> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect();
    let body = tokio::time::timeout(PATIENCE, body).await.map_err(|late| broken(request, late))?;
    Ok(body.map_err(|error| broken(request, error))?.to_bytes())
}

async fn refusal(request: &str, answer: Response<Incoming>) -> Error {
    let status = answer.status();
    let text = match read(request, answer).await {
        Ok(text) => text,
        Err(error) => return error,
    };
    match serde_json::from_slice::<ApiError>(&text) {
        Ok(refused) => Error::Refused(refused),
        Err(error) => Error::Answer { request: format!("{request} ({status})"), source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_query_cannot_leave_it() {
        assert_eq!(escaped("api.2"), "api.2");
        assert_eq!(escaped("shop@prod&x=ü"), "shop%40prod%26x%3D%C3%BC");
    }
}
