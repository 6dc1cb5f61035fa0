//! A plain HTTP client that retries nothing, so that tests see what callers see.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// An answer with its whole body.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's text.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A header's text, empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Why there is no answer.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A kept-alive connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    ended: tokio::task::JoinHandle<()>,
}

impl Connection {
    /// Connects to a port on loopback.
    pub async fn open(port: u16) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let ended = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, ended })
    }

    /// Sends one request, with a JSON body if there is one, and reads the answer to its end.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "shop.test");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let (head, body) = self.sender.send_request(request.body(Full::new(bytes.into()))?).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// Waits until the other side has closed the connection.
    pub async fn closed(self) {
        // Only an aborted task gives an error, and nobody aborts this one.
        let _joined = self.ended.await;
    }
}

/// One `GET` on a connection of its own.
pub async fn get(port: u16, path: &str) -> Result<Answer, Failure> {
    Connection::open(port).await?.send(Method::GET, path, None, &[]).await
}

/// One request with a JSON body on a connection of its own.
pub async fn send(port: u16, method: &str, path: &str, body: &Value) -> Result<Answer, Failure> {
    Connection::open(port).await?.send(method.parse()?, path, Some(body), &[]).await
}
