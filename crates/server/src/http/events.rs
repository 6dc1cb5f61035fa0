//! Live streams: the event log and the course of a run, as server-sent events.

use super::State;
use super::extract::{Path, Query};
use super::stacks::stack_id;
use crate::api::ApiError;
use crate::stack::runs::RunLog;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;

/// What happens during a run, from its beginning to its end.
pub async fn run(
    state: State,
    Path((project, environment, run)): Path<(String, String, u64)>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let stack = stack_id(&project, &environment)?;
    let missing = || {
        ApiError::new(404, "MS0204", format!("run {run} of `{stack}` is not known to this daemon"))
            .help("look at `mainstay releases list` for how it ended")
    };
    let log = state.stack(&stack)?.run(run).ok_or_else(missing)?;
    let first = last_id(&headers)?.map_or(0, |id| usize::try_from(id).unwrap_or(usize::MAX).saturating_add(1));
    let events = stream::unfold((log, first), next);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

async fn next((log, number): (Arc<RunLog>, usize)) -> Option<(Result<Event, Infallible>, (Arc<RunLog>, usize))> {
    let event = log.event(number).await?;
    let data = serde_json::to_string(&event).expect("run events are plain data");
    Some((Ok(Event::default().event("run").id(number.to_string()).data(data)), (log, number + 1)))
}

/// Where a client goes on that has lost its stream, as browsers say it.
fn last_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || ApiError::new(400, "MS0237", format!("the request cannot be read: `Last-Event-ID` is {value:?}"));
    id.map(Some).ok_or_else(|| wrong().help("send the `id` of the last event that was read"))
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
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let stack = which.stack;
    let after = last_id(&headers)?.or(which.after);
    let stream = state.events(after, which.last, which.follow, stack).await?;
    let stream = stream.map(|event| {
        let data = serde_json::to_string(&event).expect("events are plain data");
        Ok(Event::default().id(event.id.to_string()).data(data))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_id_is_a_number_or_an_error() {
        let check = |value: Option<&'static str>, want: Result<Option<u64>, u16>| {
            let headers = value.map(|value| ("last-event-id".parse().expect("legal"), value.parse().expect("legal")));
            let found = last_id(&headers.into_iter().collect());
            assert_eq!(found.map_err(|error| error.status), want);
        };
        check(None, Ok(None));
        check(Some("41"), Ok(Some(41)));
        check(Some("x"), Err(400));
    }
}
