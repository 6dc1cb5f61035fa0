//! The HTTP API over the unix socket.
//!
//! Owns turning requests into orders and answers into JSON; decides nothing. One file per group of operations;
//! [`router`] is checked against [`crate::api::routes::ROUTES`].

mod bundles;
mod events;
mod exec;
mod group;
mod logs;
mod metrics;
mod peer;
mod stacks;
mod system;

use crate::api::ApiError;
use crate::daemon::Daemon;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use std::sync::Arc;

pub use group::group;
pub use peer::{Peer, serve};

/// The state every handler sees.
pub type State = axum::extract::State<Arc<Daemon>>;

/// Every operation of the API.
pub fn router(daemon: Arc<Daemon>) -> Router {
    let stack = Router::new()
        .route("/", get(stacks::show))
        .route("/plan", post(stacks::plan))
        .route("/releases", post(stacks::release).get(stacks::releases))
        .route("/releases/{number}", get(stacks::release_of))
        .route("/down", post(stacks::down))
        .route("/restart", post(stacks::restart))
        .route("/scale", post(stacks::scale))
        .route("/runs/{run}", get(events::run))
        .route("/volumes", get(stacks::volumes))
        .route("/logs", get(logs::logs))
        .route("/health", get(stacks::health))
        .route("/ready", get(stacks::ready))
        .route("/exec", get(exec::exec))
        .route("/run", get(exec::run));
    Router::new()
        .route("/health", get(system::health))
        .route("/ready", get(system::health))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/version", get(system::version))
        .route("/v1/openapi.json", get(system::openapi))
        .route("/v1/shutdown", post(system::shutdown))
        .route("/v1/bundles/missing", post(bundles::missing))
        .route("/v1/blobs/{digest}", put(bundles::blob))
        .route("/v1/bundles", post(bundles::create))
        .route("/v1/events", get(events::events))
        .route("/v1/stacks", get(stacks::list))
        .nest("/v1/stacks/{project}/{environment}", stack)
        .fallback(system::unknown)
        .with_state(daemon)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self)).into_response()
    }
}
