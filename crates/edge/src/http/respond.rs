//! Answers that the edge gives itself.
//!
//! Owns the statuses and words of what went wrong, and ready-made answers. It never names upstream addresses or inner
//! reasons to the world: those stand in the log under the request's id.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::body::Body;
use crate::exchange::Exchange;
use crate::snapshot::Answer;

/// Why the edge answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No, several, or a broken host.
    BadHost,
    /// A target that is no path a file can have.
    BadPath,
    /// `CONNECT`, which only a forward proxy serves.
    Connect,
    /// A transfer coding other than chunked.
    Coding,
    /// A method that files do not take.
    Method,
    /// Nobody answers for this host and path.
    NoRoute,
    /// No such file.
    NoFile,
    /// A file could not be read.
    Unreadable,
    /// No upstream was ready in time.
    NoneReady,
    /// The upstream died or refused, and the request could not be sent again.
    Died,
    /// The upstream answered with something that is no HTTP.
    Garbled,
    /// The upstream did not take the connection in time.
    Timeout,
    /// The client broke its request body off or stopped sending it.
    ClientLeft,
}

impl Problem {
    fn status(self) -> StatusCode {
        match self {
            Problem::BadHost | Problem::BadPath => StatusCode::BAD_REQUEST,
            Problem::ClientLeft => StatusCode::REQUEST_TIMEOUT,
            Problem::Connect | Problem::Method => StatusCode::METHOD_NOT_ALLOWED,
            Problem::Coding => StatusCode::NOT_IMPLEMENTED,
            Problem::NoRoute | Problem::NoFile => StatusCode::NOT_FOUND,
            Problem::Unreadable => StatusCode::INTERNAL_SERVER_ERROR,
            Problem::NoneReady => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Died | Problem::Garbled => StatusCode::BAD_GATEWAY,
            Problem::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Problem::BadHost => "the request names no host, more than one, or one that is none",
            Problem::BadPath => "the path is malformed",
            Problem::Connect => "this is no forward proxy",
            Problem::Coding => "no transfer coding but chunked is taken",
            Problem::Method => "only GET and HEAD are served here",
            Problem::NoRoute => "nothing is routed here",
            Problem::NoFile => "not found",
            Problem::Unreadable => "the file could not be read",
            Problem::NoneReady => "the service is not ready; try again shortly",
            Problem::Died => "the service broke off",
            Problem::Garbled => "the service gave an answer that is no HTTP",
            Problem::Timeout => "the service did not answer in time",
            Problem::ClientLeft => "the request body ended early or stalled",
        }
    }

    /// Whether the edge or what is behind it failed, not the client.
    pub(crate) fn is_failure(self) -> bool {
        self.status().is_server_error() && self != Problem::Coding
    }
}

/// The form in which a client wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Json,
    Text,
}

impl Wish {
    /// Text for those who ask for text and not for JSON, else JSON.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepts = |what: &str| {
            headers
                .get_all(header::ACCEPT)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .any(|value| value.contains(what))
        };
        if accepts("text/") && !accepts("json") { Wish::Text } else { Wish::Json }
    }
}

/// The answer to a request that went wrong.
pub(crate) fn problem(problem: Problem, exchange: &Exchange, wish: Wish) -> Response<Body> {
    let id = exchange.request_id();
    let id_text = id.to_str().unwrap_or_default();
    let (content_type, body) = match wish {
        Wish::Json => {
            let body = serde_json::json!({ "error": problem.text(), "requestId": id_text });
            ("application/json", body.to_string() + "\n")
        }
        Wish::Text => ("text/plain; charset=utf-8", format!("{}\nrequest {id_text}\n", problem.text())),
    };
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = problem.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match problem {
        Problem::NoneReady => headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2")),
        Problem::Method => headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD")),
        _ => None,
    };
    response
}

/// A ready-made answer.
pub(crate) fn fixed(answer: &Answer) -> Response<Body> {
    let mut response = Response::new(Body::full(answer.body.clone()));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, answer.content_type.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(seconds) = &answer.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.clone());
    }
    response
}
