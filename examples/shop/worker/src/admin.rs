//! `GET /health`, `/ready`, `/live` and `/metrics` of the worker, for probes and scrapes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use service::metrics;

use crate::version::VERSION;
use crate::{SERVICE, Worker};

const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Listens and answers for as long as the process lives; returns only when it cannot listen.
pub async fn serve(worker: Arc<Worker>) -> std::io::Result<()> {
    let listener = worker.faults.listen(worker.settings.port).await.inspect_err(|failure| {
        tracing::error!(port = worker.settings.port, error = %failure, "could not listen");
    })?;
    tracing::info!(port = listener.local_addr()?.port(), version = VERSION, "listening");
    let routes = Router::new()
        .route("/live", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/health", get(health))
        .route("/ready", get(health))
        .route("/metrics", get(series))
        .with_state(worker);
    axum::serve(listener, routes).await
}

/// 503 when Redis does not answer: without its queue the worker can do nothing. The API may come and go.
async fn health(State(worker): State<Arc<Worker>>) -> (StatusCode, Json<Value>) {
    let ping = redis::cmd("PING");
    let error = match tokio::time::timeout(ANSWER_WITHIN, worker.redis.query::<()>(&ping)).await {
        Ok(answer) => answer.err().map(|failure| failure.to_string()),
        Err(_) => Some(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    };
    let queue =
        error.as_ref().map_or_else(|| json!({ "status": "up" }), |error| json!({ "status": "down", "error": error }));
    let is_well = error.is_none() && !worker.faults.is_unhealthy() && !worker.stop.is_cancelled();
    let body = json!({
        "status": if is_well { "ok" } else { "degraded" },
        "service": SERVICE,
        "version": VERSION,
        "dependencies": { "queue": queue },
        "uptimeSeconds": worker.identity.uptime().as_secs(),
        "timestamp": jiff::Timestamp::now().to_string(),
    });
    (if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

async fn series(State(worker): State<Arc<Worker>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], worker.counts.registry.text())
}
