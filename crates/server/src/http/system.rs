//! Operations on the daemon itself.

use super::State;
use super::stacks::document;
use crate::api::ApiError;
use crate::api::status::Version;
use crate::view;
use axum::Json;
use axum::extract::Query;
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

pub async fn version(state: State) -> Json<Version> {
    Json(state.version().await)
}

pub async fn openapi() -> Json<serde_json::Value> {
    Json(crate::openapi::document())
}

pub async fn health(state: State) -> Result<Response, ApiError> {
    let mut documents = Vec::new();
    for handle in state.stacks() {
        // A stack that was taken down is as it shall be.
        let status = handle.status().await?;
        if status.summary.wanted == "up" {
            documents.push((handle.id().to_string(), handle.health().await?));
        }
    }
    Ok(document(view::health::merge(documents, state.clock().now())))
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

pub async fn unknown(method: Method, uri: Uri) -> ApiError {
    ApiError::new(404, "MS0205", format!("the daemon has no operation `{method} {}`", uri.path()))
        .help("look at `/v1/openapi.json`, or upgrade the older one of command and daemon")
}
