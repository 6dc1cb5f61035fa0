//! `/health` for people and `/ready` for whoever sends traffic. Both ask the dependencies when they are asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde_json::{Value, json};
use service::log;

use crate::SERVICE;
use crate::app::App;
use crate::error::ApiError;
use crate::version::VERSION;

/// A dependency that takes longer is as good as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What the last check found, so that only changes are written to the log.
#[derive(Default)]
pub struct Seen {
    database: Mutex<Option<bool>>,
    cache: Mutex<Option<bool>>,
}

/// One dependency as it answered just now.
struct Answer {
    took: Duration,
    error: Option<String>,
}

impl Answer {
    fn is_up(&self) -> bool {
        self.error.is_none()
    }

    fn to_json(&self) -> Value {
        let latency = (self.took.as_secs_f64() * 1e6).round() / 1e3;
        match &self.error {
            None => json!({ "status": "up", "latencyMs": latency }),
            Some(error) => json!({ "status": "down", "latencyMs": latency, "error": error }),
        }
    }
}

/// `GET /health`: every dependency's state; 503 when one is down.
pub async fn health(State(app): State<Arc<App>>) -> impl IntoResponse {
    let (database, cache) = check(&app).await;
    let is_well = database.is_up() && cache.is_up() && !app.faults.is_unhealthy();
    let body = json!({
        "status": if is_well { "ok" } else { "degraded" },
        "service": SERVICE,
        "version": VERSION,
        "dependencies": { "database": database.to_json(), "cache": cache.to_json() },
        "uptimeSeconds": app.identity.uptime().as_secs(),
        "timestamp": Timestamp::now().to_string(),
    });
    (if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// `GET /ready`: 200 when requests may come. Not before database and cache have answered, not after SIGTERM.
pub async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let reason = if app.draining.is_cancelled() {
        Some("draining")
    } else if app.faults.is_unhealthy() {
        Some("unhealthy on purpose")
    } else {
        match check(&app).await {
            (database, _) if !database.is_up() => Some("the database does not answer"),
            (_, cache) if !cache.is_up() => Some("the cache does not answer"),
            _ => None,
        }
    };
    match reason {
        None => (StatusCode::OK, Json(json!({ "ready": true }))),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": reason }))),
    }
}

async fn check(app: &App) -> (Answer, Answer) {
    let (database, cache) = tokio::join!(answer(ask_database(app)), answer(ask_cache(app)));
    note("database", &app.health.database, &database);
    note("cache", &app.health.cache, &cache);
    (database, cache)
}

async fn answer(question: impl Future<Output = Result<(), String>>) -> Answer {
    let begun = Instant::now();
    let outcome = tokio::time::timeout(ANSWER_WITHIN, question).await;
    let error = outcome.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))).err();
    Answer { took: begun.elapsed(), error }
}

async fn ask_database(app: &App) -> Result<(), String> {
    let ask = async { Ok::<_, ApiError>(app.pool.get().await?.simple_query("SELECT 1").await?) };
    ask.await.map(drop).map_err(|failure| log::chain(&failure))
}

async fn ask_cache(app: &App) -> Result<(), String> {
    app.redis.query::<()>(&redis::cmd("PING")).await.map_err(|failure| failure.to_string())
}

fn note(dependency: &str, seen: &Mutex<Option<bool>>, answer: &Answer) {
    let before = seen.lock().unwrap_or_else(PoisonError::into_inner).replace(answer.is_up());
    match &answer.error {
        None if before != Some(true) => tracing::info!(dependency, "answers"),
        Some(error) if before != Some(false) => tracing::warn!(dependency, error, "does not answer"),
        _ => {}
    }
}
