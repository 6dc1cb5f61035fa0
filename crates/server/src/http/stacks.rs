//! Operations on stacks.

use super::extract::{Json, Path, Query};
use super::{Peer, State};
use crate::api::ApiError;
use crate::api::plan::{PlanRequest, PlanView};
use crate::api::release::{
    Accepted, DownRequest, KeepRequest, ReleaseChanges, ReleaseRequest, ReleaseView, RestartRequest, ScaleRequest,
};
use crate::api::status::{HealthDocument, StackStatus, StackSummary};
use crate::stack::Handle;
use crate::view;
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{ReleaseNumber, StackId};

type Id = Path<(String, String)>;
type Answer<T> = Result<Json<T>, ApiError>;
type Order = Result<(StatusCode, Json<Accepted>), ApiError>;

/// Reads the stack's id from the path.
pub fn stack_id(project: &str, environment: &str) -> Result<StackId, ApiError> {
    let wrong = |error: model::name::NameError| ApiError::new(400, "MS0202", error.to_string());
    Ok(StackId { project: project.parse().map_err(wrong)?, environment: environment.parse().map_err(wrong)? })
}

fn handle(state: &State, (project, environment): &(String, String)) -> Result<Handle, ApiError> {
    state.stack(&stack_id(project, environment)?)
}

pub async fn list(state: State) -> Answer<Vec<StackSummary>> {
    let mut summaries = Vec::new();
    for handle in state.stacks() {
        summaries.push(handle.status().await?.summary);
    }
    Ok(Json(summaries))
}

pub async fn show(state: State, Path(id): Id) -> Answer<StackStatus> {
    Ok(Json(handle(&state, &id)?.status().await?))
}

pub async fn plan(state: State, Path(id): Id, Json(request): Json<PlanRequest>) -> Answer<PlanView> {
    Ok(Json(state.plan(&stack_id(&id.0, &id.1)?, request).await?))
}

pub async fn release(
    state: State,
    Path(id): Id,
    Extension(peer): Extension<Peer>,
    Json(request): Json<ReleaseRequest>,
) -> Order {
    Ok((StatusCode::ACCEPTED, Json(state.release(&stack_id(&id.0, &id.1)?, request, peer.name).await?)))
}

pub async fn down(
    state: State,
    Path(id): Id,
    Extension(peer): Extension<Peer>,
    Json(request): Json<DownRequest>,
) -> Order {
    Ok((StatusCode::ACCEPTED, Json(handle(&state, &id)?.down(request, peer.name).await?)))
}

pub async fn restart(
    state: State,
    Path(id): Id,
    Extension(peer): Extension<Peer>,
    Json(request): Json<RestartRequest>,
) -> Order {
    Ok((StatusCode::ACCEPTED, Json(handle(&state, &id)?.restart(request, peer.name).await?)))
}

pub async fn scale(
    state: State,
    Path(id): Id,
    Extension(peer): Extension<Peer>,
    Json(request): Json<ScaleRequest>,
) -> Order {
    Ok((StatusCode::ACCEPTED, Json(handle(&state, &id)?.scale(request, peer.name).await?)))
}

pub async fn releases(state: State, Path(id): Id) -> Answer<Vec<ReleaseView>> {
    Ok(Json(state.releases(handle(&state, &id)?.id()).await?))
}

pub async fn release_of(
    state: State,
    Path((project, environment, number)): Path<(String, String, u64)>,
) -> Answer<ReleaseView> {
    let handle = handle(&state, &(project, environment))?;
    Ok(Json(state.release_of(handle.id(), ReleaseNumber(number)).await?))
}

/// Which release another is compared with.
#[derive(Debug, serde::Deserialize)]
pub struct Since {
    since: Option<u64>,
}

pub async fn changes(
    state: State,
    Path((project, environment, number)): Path<(String, String, u64)>,
    Query(Since { since }): Query<Since>,
) -> Answer<ReleaseChanges> {
    let handle = handle(&state, &(project, environment))?;
    let since = since.map(ReleaseNumber);
    Ok(Json(state.changes(handle.id(), since, ReleaseNumber(number)).await?))
}

pub async fn keep(
    state: State,
    Path((project, environment, number)): Path<(String, String, u64)>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<KeepRequest>,
) -> Answer<ReleaseView> {
    let handle = handle(&state, &(project, environment))?;
    Ok(Json(state.keep(handle.id(), ReleaseNumber(number), request.kept, &peer.name).await?))
}

pub async fn volumes(state: State, Path(id): Id) -> Answer<Vec<String>> {
    Ok(Json(state.volumes(handle(&state, &id)?.id()).await?))
}

pub async fn health(state: State, Path(id): Id) -> Result<Response, ApiError> {
    Ok(document(handle(&state, &id)?.health().await?))
}

pub async fn ready(state: State, Path(id): Id) -> Result<Response, ApiError> {
    Ok(document(handle(&state, &id)?.ready().await?))
}

/// The document with its status: 503 when it says that something is wrong.
pub fn document(document: HealthDocument) -> Response {
    let status = if view::health::is_well(&document) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(document)).into_response()
}
