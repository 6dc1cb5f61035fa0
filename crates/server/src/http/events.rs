//! Live streams: the event log and the course of a run, as server-sent events.

use super::State;
use super::stacks::stack_id;
use crate::api::ApiError;
use crate::stack::runs::RunLog;
use axum::extract::{Path, Query};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;

/// What happens during a run, from its beginning to its end.
pub async fn run(
    state: State,
    Path((project, environment, run)): Path<(String, String, u64)>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let stack = stack_id(&project, &environment)?;
    let missing = || {
        ApiError::new(404, "MS0204", format!("run {run} of `{stack}` is not known to this daemon"))
            .help("look at `mainstay releases list` for how it ended")
    };
    let log = state.stack(&stack)?.run(run).ok_or_else(missing)?;
    let events = stream::unfold((log, 0usize), next);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

async fn next((log, number): (Arc<RunLog>, usize)) -> Option<(Result<Event, Infallible>, (Arc<RunLog>, usize))> {
    let event = log.event(number).await?;
    let data = serde_json::to_string(&event).expect("run events are plain data");
    Some((Ok(Event::default().event("run").id(number.to_string()).data(data)), (log, number + 1)))
}

/// Which events.
#[derive(Debug, Deserialize)]
pub struct Which {
    after: Option<u64>,
    stack: Option<String>,
    #[serde(default = "yes")]
    follow: bool,
    last: Option<usize>,
}

fn yes() -> bool {
    true
}

/// The event log: what is recorded, then live.
pub async fn events(
    state: State,
    Query(which): Query<Which>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let stack = which.stack;
    let stream = state.events(which.after, which.last, which.follow, stack).await?;
    let stream = stream.map(|event| {
        let data = serde_json::to_string(&event).expect("events are plain data");
        Ok(Event::default().id(event.id.to_string()).data(data))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}
