//! The job that travels from the API to the worker, and the Redis keys it travels through.
//!
//! The API pushes a job to the left of [`QUEUE`]. A worker moves it from the right into a list of its own
//! ([`processing`]) and removes it there when it is done, so that a crash loses none: once a worker's sign of life
//! ([`alive`]) has expired, any other worker moves its jobs back. A job may therefore be done twice, never not at all.

use serde::{Deserialize, Serialize};

/// Jobs that wait.
pub const QUEUE: &str = "shop:orders:queue";
/// Jobs that can never be done, with their reason.
pub const DEAD: &str = "shop:orders:dead";
/// The names of all workers that may hold jobs.
pub const WORKERS: &str = "shop:workers";
/// What all workers have done together: a hash of counts.
pub const COUNTS: &str = "shop:worker:counts";

/// The list of jobs a worker holds.
#[must_use]
pub fn processing(worker: &str) -> String {
    format!("shop:orders:processing:{worker}")
}

/// A worker's sign of life: a key that expires.
#[must_use]
pub fn alive(worker: &str) -> String {
    format!("shop:worker:alive:{worker}")
}

/// An order to be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The order's id.
    pub order: i64,
    /// How often it was tried without success.
    #[serde(default)]
    pub attempts: u32,
}

impl Job {
    /// The job's text in Redis.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a job has only numbers")
    }
}
