//! Log lines of replicas as newline-delimited JSON.

use super::State;
use super::stacks::stack_id;
use crate::api::ApiError;
use crate::logs;
use axum::body::Body;
use axum::extract::{Path, RawQuery};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use std::convert::Infallible;

/// The merged log.
pub async fn logs(
    state: State,
    Path((project, environment)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let stack = state.stack(&stack_id(&project, &environment)?)?.id().clone();
    let request = request(query.as_deref().unwrap_or(""))?;
    let lines = logs::stream(state.log_source(stack), request, state.tasks(), state.world().clock.clone()).await?;
    let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn request(query: &str) -> Result<logs::Request, ApiError> {
    let mut request = logs::Request { targets: Vec::new(), tail: Some(100), follow: false };
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "target" => request.targets.push(value.to_owned()),
            "tail" if value == "all" => request.tail = None,
            "tail" => {
                let wrong =
                    |_| ApiError::new(400, "MS0207", format!("`tail` is `{value}`, it takes a number or `all`"));
                request.tail = Some(value.parse().map_err(wrong)?);
            }
            "follow" => request.follow = value == "true",
            _ => {}
        }
    }
    Ok(request)
}
