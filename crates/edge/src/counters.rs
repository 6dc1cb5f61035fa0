//! Counting, one set per worker.
//!
//! Owns the cells that requests write and their reading into [`control::Stats`]. A worker's cells are touched by its
//! own thread only, so counting is an addition; figures of several workers are added up when the daemon asks.

use std::cell::Cell;
use std::time::Duration;

use crate::control::{Histogram, LATENCY_BOUNDS_MICROS, ListenerStats, ServiceStats};
use crate::snapshot::ServiceLabel;

/// A counter, or a gauge where it is also taken from.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.set(self.0.get().wrapping_add(more));
    }

    pub(crate) fn increase(&self) {
        self.add(1);
    }

    pub(crate) fn decrease(&self) {
        debug_assert!(self.0.get() > 0, "a gauge is decreased once per increase");
        self.0.set(self.0.get().saturating_sub(1));
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Counters of what belongs to no service.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub connections_open: Count,
    pub connections_accepted: Count,
    pub accept_failures: Count,
    pub requests_refused: Count,
    pub websockets_cut: Count,
    pub tcp_cut: Count,
}

/// Counters of one service.
#[derive(Debug)]
pub(crate) struct ServiceCounters {
    pub label: ServiceLabel,
    pub responses: [Count; 5],
    pub abandoned: Count,
    pub retries: Count,
    pub failures: Count,
    pub in_flight: Count,
    pub websockets: Count,
    pub tcp: Count,
    pub bytes_in: Count,
    pub bytes_out: Count,
    latency: [Count; LATENCY_BOUNDS_MICROS.len() + 1],
    latency_sum: Count,
}

impl ServiceCounters {
    pub(crate) fn new(label: ServiceLabel) -> Self {
        Self {
            label,
            responses: Default::default(),
            abandoned: Count::default(),
            retries: Count::default(),
            failures: Count::default(),
            in_flight: Count::default(),
            websockets: Count::default(),
            tcp: Count::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            latency: Default::default(),
            latency_sum: Count::default(),
        }
    }

    /// Counts how long an answer took.
    pub(crate) fn took(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MICROS.iter().position(|bound| micros <= *bound);
        self.latency[bucket.unwrap_or(LATENCY_BOUNDS_MICROS.len())].increase();
        self.latency_sum.add(micros);
    }

    pub(crate) fn read(&self) -> ServiceStats {
        ServiceStats {
            project: self.label.project.to_string(),
            service: self.label.service.to_string(),
            responses: std::array::from_fn(|class| self.responses[class].get()),
            abandoned: self.abandoned.get(),
            retries: self.retries.get(),
            failures: self.failures.get(),
            in_flight: self.in_flight.get(),
            websockets: self.websockets.get(),
            tcp: self.tcp.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            latency: Histogram {
                buckets: self.latency.iter().map(Count::get).collect(),
                sum_micros: self.latency_sum.get(),
            },
        }
    }
}

/// Counters of one listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounters {
    pub accepted: Count,
    pub open: Count,
    pub http1: Count,
    pub http2: Count,
    pub tcp: Count,
}

impl ListenerCounters {
    pub(crate) fn read(&self, id: &str) -> ListenerStats {
        ListenerStats {
            id: id.to_owned(),
            accepted: self.accepted.get(),
            open: self.open.get(),
            http1: self.http1.get(),
            http2: self.http2.get(),
            tcp: self.tcp.get(),
        }
    }
}
