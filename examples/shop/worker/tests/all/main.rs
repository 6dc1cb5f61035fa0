//! The worker as the shop runs it: real Redis and PostgreSQL, the built API, the built worker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod faults;
mod orders;
mod recovery;

use stage::{Process, get, series};

/// The value of one of the worker's series now.
async fn count(worker: &Process, name: &str) -> f64 {
    let metrics = get(worker.port(), "/metrics").await.unwrap().text;
    series(&metrics, name).unwrap_or_default()
}
