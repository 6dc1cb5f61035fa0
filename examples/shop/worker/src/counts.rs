//! What the worker has done: series of this process, and sums in Redis that outlive it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec};
use redis::Pipeline;
use service::metrics::Registry;
use service::queue::COUNTS;

use crate::version::VERSION;
use crate::{SERVICE, Worker};

const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// The worker's series.
pub struct Counts {
    pub registry: Registry,
    calls: IntCounter,
    calls_failed: IntCounter,
    call_seconds: Histogram,
    /// Calls answered, by the version that answered.
    pub answered_by: IntCounterVec,
    /// Connections that were refused and tried again.
    pub refused: IntCounter,
    /// Steady calls that ended, well or not.
    pub steady: IntCounter,
    pub jobs_done: IntCounter,
    /// Attempts that failed; the job went back to the queue, or to the dead ones.
    pub jobs_failed: IntCounter,
    /// Jobs taken over from a worker that is gone.
    pub jobs_recovered: IntCounter,
    /// What of the counters is already in Redis.
    flushed: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counts {
    pub fn new() -> Self {
        let mut registry = Registry::new(SERVICE, VERSION);
        let mut counter = |name: &str, help: &str| registry.counter(name, help);
        Self {
            calls: counter("shop_worker_calls_total", "Calls to the API that ended, well or not."),
            calls_failed: counter("shop_worker_calls_failed_total", "Calls to the API that brought no success."),
            refused: counter("shop_worker_connects_refused_total", "Connections refused and tried again."),
            steady: counter("shop_worker_calls_steady_total", "Steady calls that ended, well or not."),
            jobs_done: counter("shop_worker_jobs_done_total", "Orders carried out."),
            jobs_failed: counter("shop_worker_jobs_failed_total", "Attempts at an order that failed."),
            jobs_recovered: counter("shop_worker_jobs_recovered_total", "Jobs taken over from a worker that is gone."),
            call_seconds: registry.durations("shop_worker_call_duration_seconds", "Time until a call's answer."),
            answered_by: registry.counter_vec(
                "shop_worker_calls_answered_total",
                "Steady calls answered.",
                &["version"],
            ),
            flushed: Mutex::default(),
            registry,
        }
    }

    pub fn call(&self, took: Duration, is_ok: bool) {
        self.calls.inc();
        self.call_seconds.observe(took.as_secs_f64());
        if !is_ok {
            self.calls_failed.inc();
        }
    }

    fn sums(&self) -> [(&'static str, u64); 7] {
        [
            ("calls", self.calls.get()),
            ("calls_failed", self.calls_failed.get()),
            ("refused", self.refused.get()),
            ("steady", self.steady.get()),
            ("jobs_done", self.jobs_done.get()),
            ("jobs_failed", self.jobs_failed.get()),
            ("jobs_recovered", self.jobs_recovered.get()),
        ]
    }
}

/// Adds to the sums in Redis once a second, until the worker stops.
pub async fn flush(worker: Arc<Worker>) {
    let mut tick = tokio::time::interval(FLUSH_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => flush_once(&worker).await,
            () = worker.stop.cancelled() => return,
        }
    }
}

/// Adds what is new. What Redis does not take is added the next time.
pub async fn flush_once(worker: &Worker) {
    let sums = worker.counts.sums();
    let mut commands = Pipeline::new();
    commands.atomic();
    {
        let flushed = worker.counts.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, sum) in sums {
            let new = sum - flushed.get(name).copied().unwrap_or(0);
            if new > 0 {
                commands.hincr(COUNTS, name, new).ignore();
            }
        }
    }
    if commands.is_empty() {
        return;
    }
    match worker.redis.run::<()>(&commands).await {
        Ok(()) => *worker.counts.flushed.lock().unwrap_or_else(PoisonError::into_inner) = sums.into(),
        Err(failure) => tracing::debug!(error = %failure, "the sums wait for Redis"),
    }
}
