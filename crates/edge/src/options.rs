//! What the edge is started with.
//!
//! Owns the settings and the reason for each default. None of them changes while the process lives.

use std::num::NonZeroUsize;
use std::os::fd::RawFd;
use std::time::Duration;

/// The settings of an edge process.
#[derive(Debug, Clone)]
pub struct Options {
    /// The inherited listening unix socket that the daemon talks to; owned by the edge from here on.
    pub control_fd: RawFd,
    /// The uid beside root that may connect to it: the daemon's.
    pub parent_uid: u32,
    /// Worker threads; one per core if not given.
    pub workers: Option<NonZeroUsize>,
    /// How long an upstream may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a request waits for an upstream to become ready before it is answered with 503.
    pub ready_wait: Duration,
    /// How many requests of a worker may wait so at once; more are answered with 503 at once.
    pub max_waiting: usize,
    /// How long a client may take to send a request's head, and how long an idle connection is kept.
    pub header_timeout: Duration,
    /// The longest request head in bytes.
    pub max_head: usize,
    /// Client connections per worker; more wait in the kernel's queue. Also bounded by the limit of open files.
    pub max_connections: usize,
    /// How long a client may be silent before an upstream is asked whether the server speaks first.
    pub sniff_silence: Duration,
    /// How many clients of a worker may be silent at once, each with a connection to a server that may speak first.
    pub max_silent: usize,
    /// How long a client may pause in the middle of a request's body.
    pub body_stall: Duration,
    /// How long an idle upstream connection is kept, unless the upstream says less.
    pub upstream_idle: Duration,
    /// Idle connections kept per upstream and worker.
    pub max_idle_per_upstream: usize,
    /// How long SIGTERM waits for what is in flight.
    pub shutdown_grace: Duration,
}

impl Options {
    /// The defaults, for a control socket and the daemon's uid.
    pub fn new(control_fd: RawFd, parent_uid: u32) -> Self {
        Self {
            control_fd,
            parent_uid,
            workers: None,
            // A replica is on this machine or the next one: what takes longer will not come.
            connect_timeout: Duration::from_secs(2),
            // A crashed sole replica is mostly back by then, and a client's patience is not over.
            ready_wait: Duration::from_secs(2),
            max_waiting: 1024,
            header_timeout: Duration::from_secs(30),
            max_head: 64 << 10,
            max_connections: 10_000,
            // Long enough for a client's first bytes from another continent's edge, short for a database's greeting.
            sniff_silence: Duration::from_millis(150),
            max_silent: 1024,
            body_stall: Duration::from_secs(60),
            // Below the 60 s after which many servers and load balancers close; checked again at each use anyway.
            upstream_idle: Duration::from_secs(50),
            max_idle_per_upstream: 256,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}
