//! Load at a constant rate, whatever the other side does, and an honest account of it.
//!
//! The loop is open: each request has its due time, latency counts from then, and a slow answer delays no other
//! request. So a pause of the other side shows up in the figures instead of hiding in them. Requests that never left
//! (a kept connection that the peer had closed before) are sent again; everything else that goes wrong is counted.
//! Never judges: [`Report`] has the figures, its reader decides. Start at [`Load::start`].

mod connection;
mod generator;
mod report;
pub mod socket;

pub use connection::Pool;
pub use generator::{Load, Running};
pub use report::{Outcome, Phase, Report};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;

/// Reads a word out of an answer, none if it has none.
pub type Label = fn(&[u8]) -> Option<String>;

/// The media type of what an application programming interface answers.
pub const JSON: &str = "application/json";
/// The media type of pages.
pub const HTML: &str = "text/html";

/// One request to send.
#[derive(Debug, Clone)]
pub struct Shot {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// A JSON body, empty for none.
    pub body: Bytes,
    /// The media type that an answer must have: a page in place of an answer is a failure, whatever its status.
    pub media: Option<&'static str>,
    /// Reads a label out of the answer that is counted per phase: which version answered, say. One without is a failure.
    pub label: Option<Label>,
}

impl Shot {
    /// `GET path`.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new(), media: None, label: None }
    }

    /// `method path` with a JSON text.
    pub fn with_json(method: Method, path: impl Into<String>, json: impl Into<Bytes>) -> Self {
        Self { method, path: path.into(), body: json.into(), media: None, label: None }
    }

    /// The same, answered with this media type.
    pub fn of(self, media: &'static str) -> Self {
        Self { media: Some(media), ..self }
    }

    /// Why an answer below 400 is none to this request; else its label, if it is to have one.
    pub fn judge(&self, answer: &Response<Bytes>) -> Result<Option<String>, String> {
        let media =
            answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("nothing");
        if let Some(wanted) = self.media
            && media.split(';').next().map(str::trim) != Some(wanted)
        {
            return Err(format!("{} of {media}, not of {wanted}", answer.status()));
        }
        let Some(read) = self.label else { return Ok(None) };
        read(answer.body()).map(Some).ok_or_else(|| format!("{} without what was asked for", answer.status()))
    }

    /// The request on the wire.
    pub fn request(&self, host: &str) -> http::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(&self.method).uri(&self.path).header(header::HOST, host);
        if !self.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(self.body.clone()))
    }

    /// Whether sending it twice does the same as sending it once.
    pub fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }
}
