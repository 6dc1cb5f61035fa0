//! Operations on the daemon itself.

use super::State;
use super::extract::{Json, Query};
use super::stacks::document;
use crate::api::ApiError;
use crate::api::status::{EngineView, HealthDocument, Version};
use crate::stack::{Handle, IS_DOWN};
use crate::view;
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

pub async fn version(state: State) -> Json<Version> {
    Json(state.version().await)
}

pub async fn engines(state: State) -> Json<Vec<EngineView>> {
    Json(state.engines().await)
}

pub async fn openapi() -> Json<serde_json::Value> {
    Json(crate::openapi::document())
}

pub async fn health(state: State) -> Result<Response, ApiError> {
    let documents = of_all(&state, async |handle| handle.health().await).await?;
    Ok(document(view::health::merge(documents, ["ok", "degraded"], state.clock().now())))
}

pub async fn ready(state: State) -> Result<Response, ApiError> {
    let documents = of_all(&state, async |handle| handle.ready().await).await?;
    Ok(document(view::health::merge(documents, ["ready", "unready"], state.clock().now())))
}

async fn of_all(
    state: &State,
    ask: impl AsyncFn(&Handle) -> Result<HealthDocument, ApiError>,
) -> Result<Vec<(String, HealthDocument)>, ApiError> {
    let mut documents = Vec::new();
    for handle in state.stacks() {
        match ask(&handle).await {
            Ok(document) => documents.push((handle.id().to_string(), document)),
            // A stack that was taken down is as it shall be.
            Err(error) if error.code == IS_DOWN => {}
            Err(error) => return Err(error),
        }
    }
    Ok(documents)
}

/// How far a shutdown goes.
#[derive(Debug, Deserialize)]
pub struct Shutdown {
    #[serde(default)]
    edge: bool,
}

pub async fn shutdown(state: State, Query(how): Query<Shutdown>) -> Result<StatusCode, ApiError> {
    state.shutdown(how.edge).await?;
    Ok(StatusCode::ACCEPTED)
}

pub async fn not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError { status: 405, ..unknown(method, uri).await }
}

pub async fn unknown(method: Method, uri: Uri) -> ApiError {
    ApiError::new(404, "MS0205", format!("the daemon has no operation `{method} {}`", uri.path()))
        .help("look at `/v1/openapi.json`, or upgrade the older one of command and daemon")
}
