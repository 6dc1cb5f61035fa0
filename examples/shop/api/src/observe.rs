//! Wraps every request: an id, a log line, the counts; and spoils some of them where a fault is set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::{HistogramVec, IntCounterVec, IntGauge};
use serde_json::json;
use service::identity;
use service::metrics::Registry;

use crate::app::App;
use crate::error::Cause;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_ID: usize = 128;

/// The series about requests.
pub struct Requests {
    total: IntCounterVec,
    seconds: HistogramVec,
    pub in_flight: IntGauge,
}

impl Requests {
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            total: registry.counter_vec("http_requests_total", "Requests answered.", &["method", "route", "status"]),
            seconds: registry.durations_vec("http_request_duration_seconds", "Time to answer.", &["method", "route"]),
            in_flight: registry.gauge("http_requests_in_flight", "Requests under way."),
        }
    }
}

/// Counted down also when the caller has gone and the request is dropped half-way.
struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Gives the request an id, carries it out, counts it and writes its log line.
pub async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |route| route.as_str().to_owned());
    let ip = client(&request);
    app.metrics.requests.in_flight.inc();
    let in_flight = InFlight(app.metrics.requests.in_flight.clone());
    let mut response = next.run(request).await;
    drop(in_flight);
    response.headers_mut().insert(REQUEST_ID, id.clone());
    if app.draining.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // Callers move to another replica on their own before the port closes.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let took = begun.elapsed();
    let requests = &app.metrics.requests;
    requests.total.with_label_values(&[method_label(method.as_str()), &route, response.status().as_str()]).inc();
    requests.seconds.with_label_values(&[method_label(method.as_str()), &route]).observe(took.as_secs_f64());
    let line = Line { id: id.to_str().unwrap_or_default(), method: method.as_str(), path: &path, ip: &ip, took };
    line.write(&route, &response);
    response
}

/// A method is the caller's text: unknown ones share a label, or a stranger could grow our memory.
fn method_label(method: &str) -> &str {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" => method,
        _ => "other",
    }
}

/// Delays or fails the request where a fault is set. Only on the API's own routes: probes have a knob of theirs.
pub async fn spoil(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    app.faults.slow_down().await;
    if app.faults.fails_now() {
        let body = json!({ "error": { "code": "fault", "message": "failed on purpose" } });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
    }
    next.run(request).await
}

/// The caller's id if it is one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_id =
        |id: &&HeaderValue| (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    let new = || HeaderValue::from_str(&identity::random_name()).expect("hex digits are a header value");
    headers.get(REQUEST_ID).filter(is_id).cloned().unwrap_or_else(new)
}

/// Whom the proxy in front says it speaks for, else the peer itself. For the log only: a caller can forge it.
fn client(request: &Request) -> String {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let peer = || request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
    let forwarded = header("x-forwarded-for").and_then(|list| list.split(',').next()).or_else(|| header("x-real-ip"));
    forwarded.map(|ip| ip.trim().to_owned()).or_else(peer).unwrap_or_default()
}

struct Line<'a> {
    id: &'a str,
    method: &'a str,
    path: &'a str,
    ip: &'a str,
    took: std::time::Duration,
}

macro_rules! line {
    ($level:ident, $line:expr, $status:expr $(, $field:ident = $value:expr)?) => {
        tracing::$level!(
            requestId = $line.id, method = $line.method, path = $line.path, status = $status,
            durationMs = milliseconds($line.took), ip = $line.ip, $($field = $value,)? "request"
        )
    };
}

impl Line<'_> {
    /// Server errors with their cause; probes and scrapes, several a second, only at the level `debug`.
    fn write(&self, route: &str, response: &Response) {
        let status = response.status().as_u16();
        let is_probe = matches!(route, "/live" | "/ready" | "/health" | "/metrics");
        match response.extensions().get::<Cause>() {
            Some(Cause(cause)) => line!(error, self, status, error = cause.as_str()),
            None if is_probe => line!(debug, self, status),
            None if status >= 500 => line!(error, self, status),
            None => line!(info, self, status),
        }
    }
}

fn milliseconds(took: std::time::Duration) -> f64 {
    (took.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
