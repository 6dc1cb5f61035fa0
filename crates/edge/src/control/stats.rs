//! Counters as the daemon reads them.
//!
//! Owns the wire form and how the figures of several workers add up. Counting happens in `crate::counters`.
//! All counters grow from the edge's start; those of a service, upstream or listener that left the table (and has
//! nothing in flight) are gone with it. Start with [`Stats`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Upper bounds of the latency buckets in microseconds; one more bucket holds what is slower.
pub const LATENCY_BOUNDS_MICROS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// Everything the edge counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The table in use.
    pub table_version: u64,
    /// Milliseconds since the edge started.
    pub uptime_ms: u64,
    /// Number of worker threads.
    pub workers: u32,
    /// What belongs to no service.
    pub totals: Totals,
    /// Per project and service; a ready-made answer counts as `fixed`, no route as ``.
    pub services: Vec<ServiceStats>,
    /// Per upstream.
    pub upstreams: Vec<UpstreamStats>,
    /// Per listener.
    pub listeners: Vec<ListenerStats>,
}

/// Counters of the edge as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Client connections open now.
    pub connections_open: u64,
    /// Client connections accepted.
    pub connections_accepted: u64,
    /// Times `accept` failed, mostly for want of descriptors.
    pub accept_failures: u64,
    /// What was sent as HTTP and never became a request: malformed, too large or too slow.
    #[serde(default)]
    pub requests_refused: u64,
    /// WebSockets and other upgrades cut at the end of a drain's grace.
    pub websockets_cut: u64,
    /// Raw TCP connections cut at the end of a drain's grace.
    pub tcp_cut: u64,
    /// Access log lines that were dropped because the log could not keep up or take them.
    pub log_lines_dropped: u64,
    /// Tasks that panicked: bugs.
    pub task_panics: u64,
}

/// Counters of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// The project.
    pub project: String,
    /// The service.
    pub service: String,
    /// Requests answered, by the first digit of the status: index 0 is 1xx.
    pub responses: [u64; 5],
    /// Requests whose client left before the answer's head.
    pub abandoned: u64,
    /// Attempts beyond each request's first.
    pub retries: u64,
    /// Requests that the edge could not have answered, or whose answer broke off.
    pub failures: u64,
    /// Requests under way now.
    pub in_flight: u64,
    /// Upgraded connections opened.
    pub websockets: u64,
    /// Raw TCP connections opened.
    pub tcp: u64,
    /// Bytes from clients' bodies.
    pub bytes_in: u64,
    /// Bytes of bodies to clients.
    pub bytes_out: u64,
    /// Time from a request's head to the last byte of its answer.
    pub latency: Histogram,
}

/// Durations by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// One count per bound of [`LATENCY_BOUNDS_MICROS`], not cumulative, and one for the rest.
    pub buckets: Vec<u64>,
    /// The sum of all durations in microseconds.
    pub sum_micros: u64,
}

/// Counters of one upstream address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStats {
    /// The replica's id.
    pub id: String,
    /// Its address.
    pub address: SocketAddr,
    /// Requests sent to it, attempts included.
    pub requests: u64,
    /// Requests it died on.
    pub failures: u64,
    /// Connections it refused or did not take in time.
    pub connect_failures: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Upgraded connections in flight.
    pub websockets: u64,
    /// Raw TCP connections in flight.
    pub tcp: u64,
    /// Idle connections kept.
    pub idle: u64,
}

/// Counters of one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStats {
    /// The listener's id.
    pub id: String,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections that spoke HTTP/1.
    pub http1: u64,
    /// Connections that spoke HTTP/2.
    pub http2: u64,
    /// Connections carried as bytes.
    pub tcp: u64,
}

impl Histogram {
    /// The number of durations counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(crate) fn add(&mut self, other: &Histogram) {
        self.buckets.resize(LATENCY_BOUNDS_MICROS.len() + 1, 0);
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.sum_micros += other.sum_micros;
    }
}

impl Stats {
    /// Adds what another worker counted; rows of the same name become one.
    pub(crate) fn add(&mut self, other: Stats) {
        self.totals.add(&other.totals);
        merge(
            &mut self.services,
            other.services,
            |a, b| a.project == b.project && a.service == b.service,
            ServiceStats::add,
        );
        merge(&mut self.upstreams, other.upstreams, |a, b| a.id == b.id && a.address == b.address, UpstreamStats::add);
        merge(&mut self.listeners, other.listeners, |a, b| a.id == b.id, ListenerStats::add);
    }

    /// Puts the rows into the order of their names, so that equal states read equal.
    pub(crate) fn sort(&mut self) {
        self.services.sort_by(|a, b| (&a.project, &a.service).cmp(&(&b.project, &b.service)));
        self.upstreams.sort_by(|a, b| (&a.id, a.address).cmp(&(&b.id, b.address)));
        self.listeners.sort_by(|a, b| a.id.cmp(&b.id));
    }
}

/// Joins two lists whose rows are nearly always the same and in the same order, as all workers share one table.
fn merge<T>(into: &mut Vec<T>, from: Vec<T>, same: impl Fn(&T, &T) -> bool, add: impl Fn(&mut T, T)) {
    for (position, row) in from.into_iter().enumerate() {
        let found = match into.get(position) {
            Some(there) if same(there, &row) => Some(position),
            _ => into.iter().position(|there| same(there, &row)),
        };
        match found {
            Some(at) => add(&mut into[at], row),
            None => into.push(row),
        }
    }
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.connections_open += other.connections_open;
        self.connections_accepted += other.connections_accepted;
        self.accept_failures += other.accept_failures;
        self.requests_refused += other.requests_refused;
        self.websockets_cut += other.websockets_cut;
        self.tcp_cut += other.tcp_cut;
        self.log_lines_dropped += other.log_lines_dropped;
        self.task_panics += other.task_panics;
    }
}

impl ServiceStats {
    fn add(&mut self, other: ServiceStats) {
        for (mine, theirs) in self.responses.iter_mut().zip(other.responses) {
            *mine += theirs;
        }
        self.abandoned += other.abandoned;
        self.retries += other.retries;
        self.failures += other.failures;
        self.in_flight += other.in_flight;
        self.websockets += other.websockets;
        self.tcp += other.tcp;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.latency.add(&other.latency);
    }
}

impl UpstreamStats {
    fn add(&mut self, other: UpstreamStats) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.connect_failures += other.connect_failures;
        self.in_flight += other.in_flight;
        self.websockets += other.websockets;
        self.tcp += other.tcp;
        self.idle += other.idle;
    }
}

impl ListenerStats {
    fn add(&mut self, other: ListenerStats) {
        self.accepted += other.accepted;
        self.open += other.open;
        self.http1 += other.http1;
        self.http2 += other.http2;
        self.tcp += other.tcp;
    }
}
