//! `exec` and `run`: upgraded connections that carry a command's input and output.

use super::State;
use super::extract::Path;
use super::stacks::stack_id;
use crate::api::ApiError;
use crate::api::exec::PROTOCOL;
use crate::exec::{Session, What};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use runtime::OnError;

type Id = Path<(String, String)>;

/// Runs a command inside a replica.
pub async fn exec(state: State, id: Id, request: Request) -> Result<Response, ApiError> {
    upgrade(state, id, request, What::InReplica)
}

/// Runs a one-off replica of a service.
pub async fn run(state: State, id: Id, request: Request) -> Result<Response, ApiError> {
    upgrade(state, id, request, What::OneOff)
}

fn upgrade(state: State, Path(id): Id, mut request: Request, what: What) -> Result<Response, ApiError> {
    if !asks(request.headers()) {
        let message = format!("this operation needs `Connection: upgrade` and `Upgrade: {PROTOCOL}`");
        return Err(ApiError::new(426, "MS0209", message));
    }
    let handle = state.stack(&stack_id(&id.0, &id.1)?)?;
    let upgrade = request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or_else(|| ApiError::new(400, "MS0209", "this connection cannot be upgraded"))?;
    let session = Session::new(state.0.clone(), handle, what);
    state.tasks().spawn("exec", OnError::Log, move |stop| async move {
        let stream = upgrade.await?;
        session.serve(TokioIo::new(stream), stop).await
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn asks(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()))
}
