//! Counters in Prometheus' text form.
//!
//! Names are the ecosystem's where it has them; source: Prometheus' exposition format 0.0.4.

use super::State;
use axum::http::header;
use axum::response::IntoResponse;

pub async fn metrics(state: State) -> impl IntoResponse {
    let text = crate::view::metrics::text(&state.version().await, state.edge_stats().await.as_ref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
