//! Steady calls of `GET /api/version`: a witness of whether calls between services survive a release.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::Worker;

/// More than these under way at once means that the API hangs; then calls wait for their turn.
const AT_ONCE: usize = 64;

#[derive(Deserialize)]
struct Answer {
    version: String,
}

/// Calls at the rate that was set until the worker stops, then waits for the calls under way.
pub async fn run(worker: Arc<Worker>) {
    let rate = worker.settings.calls_per_second;
    if rate <= 0.0 {
        return;
    }
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let under_way = TaskTracker::new();
    let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    // A late tick does not make all later ones late: the rate is kept.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = worker.stop.cancelled() => break,
        }
        let turn = turns.clone().acquire_owned().await.expect("nobody closes the semaphore");
        let worker = worker.clone();
        under_way.spawn(async move {
            call(&worker).await;
            drop(turn);
        });
    }
    under_way.close();
    under_way.wait().await;
}

async fn call(worker: &Worker) {
    // A failed call is counted and written down where calls are made.
    let answer = worker.calls.call(Method::GET, "/api/version", Bytes::new()).await;
    worker.counts.steady.inc();
    let Ok(body) = answer else { return };
    match serde_json::from_slice::<Answer>(&body) {
        Ok(answer) => worker.counts.answered_by.with_label_values(&[answer.version.as_str()]).inc(),
        Err(failure) => tracing::error!(error = %failure, "the API's version could not be read"),
    }
}
