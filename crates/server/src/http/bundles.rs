//! Taking bundles in.

use super::State;
use super::extract::{Json, Path};
use crate::api::ApiError;
use crate::api::bundle::{BundleCreated, Digests, NewBundle};
use axum::body::Body;
use axum::http::StatusCode;
use model::BundleId;

/// Reads a bundle's id.
pub fn bundle_id(text: &str) -> Result<BundleId, ApiError> {
    text.parse().map_err(|error: model::id::IdError| ApiError::new(400, "MS0206", error.to_string()))
}

pub async fn missing(state: State, Json(asked): Json<Digests>) -> Result<Json<Digests>, ApiError> {
    Ok(Json(Digests { digests: state.missing_blobs(asked.digests).await? }))
}

pub async fn blob(state: State, Path(digest): Path<String>, body: Body) -> Result<StatusCode, ApiError> {
    state.put_blob(digest, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn create(
    state: State,
    Json(bundle): Json<NewBundle>,
) -> Result<(StatusCode, Json<BundleCreated>), ApiError> {
    let id = state.create_bundle(bundle).await?;
    Ok((StatusCode::CREATED, Json(BundleCreated { bundle: id.to_string() })))
}
