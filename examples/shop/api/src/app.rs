//! The routes of the API and what their handlers share.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use deadpool_postgres::Pool;
use prometheus::IntCounter;
use serde_json::{Value, json};
use service::faults::Faults;
use service::identity::Identity;
use service::metrics::{self, Registry};
use service::redis_link::Link;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::ApiError;
use crate::version::VERSION;
use crate::{SERVICE, health, observe, orders, products, socket};

/// An order is a hundred bytes; nobody has a reason to send more than this.
const BODY_LIMIT: usize = 16 * 1024;

/// What all handlers share.
pub struct App {
    pub pool: Pool,
    pub redis: Link,
    pub cache_for: Duration,
    pub identity: Identity,
    pub faults: Faults,
    pub metrics: Metrics,
    pub health: health::Seen,
    /// Cancelled when the process was asked to end: it serves on, but is not ready any more.
    pub draining: CancellationToken,
    /// Cancelled when the drain is over: WebSockets say goodbye.
    pub closing: CancellationToken,
    pub sockets: TaskTracker,
}

/// The API's own series.
pub struct Metrics {
    pub registry: Registry,
    pub requests: observe::Requests,
    pub orders: IntCounter,
    pub cache_hits: IntCounter,
    pub cache_misses: IntCounter,
    pub pool: prometheus::IntGaugeVec,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::new(SERVICE, VERSION);
        Self {
            requests: observe::Requests::new(&mut registry),
            orders: registry.counter("orders_total", "Orders placed through this process."),
            cache_hits: registry.counter("cache_hits_total", "Products answered from the cache."),
            cache_misses: registry.counter("cache_misses_total", "Products read from the database."),
            pool: registry.gauge_vec("db_pool_connections", "Database connections of this process.", &["state"]),
            registry,
        }
    }
}

/// All routes, wrapped by what observes and (on purpose) spoils them.
pub fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/api/products", get(products::list))
        .route("/api/products/{id}", get(products::one))
        .route("/api/orders", post(orders::place).get(orders::list))
        .route("/api/orders/{id}", get(orders::one))
        .route("/api/orders/{id}/state", put(orders::change_state))
        .route("/api/version", get(version))
        .route("/socket", get(socket::upgrade))
        .layer(middleware::from_fn_with_state(app.clone(), observe::spoil));
    Router::new()
        .merge(api)
        .route("/live", get(live))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(series))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

async fn version(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "version": VERSION,
        "replica": app.identity.replica,
        "pid": app.identity.pid,
        "instance": app.identity.instance,
        "startedAt": app.identity.started_at.to_string(),
    }))
}

/// Says that the process serves, and nothing about what it depends on: a restart would not cure that.
async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn series(State(app): State<Arc<App>>) -> impl IntoResponse {
    let status = app.pool.status();
    let set = |state, n: usize| app.metrics.pool.with_label_values(&[state]).set(i64::try_from(n).unwrap_or(i64::MAX));
    set("idle", status.available);
    set("busy", status.size.saturating_sub(status.available));
    set("max", status.max_size);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], app.metrics.registry.text())
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::NotFound(format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> impl IntoResponse {
    let message = format!("{method} is not possible at {}", uri.path());
    let body = json!({ "error": { "code": "method_not_allowed", "message": message } });
    (axum::http::StatusCode::METHOD_NOT_ALLOWED, Json(body))
}
