//! Requests, replies and refusals.
//!
//! Owns what can be said over the control socket; how it gets there is `frame`. A newer daemon may meet an older edge
//! and the other way round: fields are only ever added, with a default, and [`PROTOCOL`] grows when that is not enough.

use serde::{Deserialize, Serialize};

use super::{Stats, Table};

/// The version of this protocol.
pub const PROTOCOL: u32 = 1;

/// A request with its number and the count of descriptors that travel beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestEnvelope {
    /// [`PROTOCOL`] of the sender.
    pub v: u32,
    /// Chosen by the sender, repeated in the reply.
    pub id: u64,
    /// Descriptors that belong to this frame.
    #[serde(default)]
    pub fds: usize,
    /// The request.
    pub request: Request,
}

/// A reply to the request of the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyEnvelope {
    /// [`PROTOCOL`] of the sender.
    pub v: u32,
    /// The request's number.
    pub id: u64,
    /// Descriptors that belong to this frame.
    #[serde(default)]
    pub fds: usize,
    /// What came of it.
    pub result: Result<Reply, Refusal>,
}

/// What the daemon may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Takes over listening sockets, one descriptor per id in the same order. Nothing is accepted before a table names
    /// them; an id that is already there is replaced at the next table.
    AddListeners {
        /// The ids.
        ids: Vec<String>,
    },
    /// Takes over a directory (one descriptor) that a table may name.
    AddDir {
        /// The id.
        id: String,
    },
    /// Writes the access log to another file (one descriptor) from now on.
    SetAccessLog,
    /// Replaces the routing table; answered when every worker uses it.
    Apply(Table),
    /// Asks for the table in use.
    GetTable,
    /// Asks for the listening sockets back (as copies).
    GetListeners,
    /// Waits until nothing is in flight to these upstreams; the table has to have taken them out of rotation before.
    Drain {
        /// The replicas' ids.
        upstreams: Vec<String>,
        /// How long to wait before WebSockets and raw TCP connections are cut.
        grace_ms: u64,
    },
    /// Asks for the counters.
    Stats,
    /// Asks who answers.
    Ping,
    /// Ends the process once nothing is in flight any more or the grace is over; answered at once.
    Shutdown {
        /// How long to wait.
        grace_ms: u64,
    },
}

/// What the edge answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done; there is nothing more to say.
    Done,
    /// Every worker serves by the table of this version.
    Applied {
        /// The table's version.
        version: u64,
    },
    /// The table in use.
    Table(Table),
    /// The listeners, whose sockets travel beside in the same order.
    Listeners {
        /// The ids.
        ids: Vec<String>,
    },
    /// What the drain came to.
    Drained(DrainReport),
    /// The counters.
    Stats(Box<Stats>),
    /// Who answers.
    Pong(Pong),
}

/// Who answers a ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The process.
    pub pid: u32,
    /// The version of its program.
    pub version: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// The version of the table in use; 0 before the first.
    pub table_version: u64,
}

/// What a drain came to, per upstream in the order asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReport {
    /// One row per upstream asked for.
    pub upstreams: Vec<UpstreamDrain>,
}

/// What the drain of one upstream came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamDrain {
    /// The replica's id.
    pub id: String,
    /// Requests that were in flight when the drain began.
    pub waited_for: u64,
    /// HTTP requests still in flight when the grace was over; 0 means that nothing is lost by stopping the replica.
    pub requests_left: u64,
    /// What was cut at the end of the grace.
    pub cut: Cut,
}

/// Connections that were cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// WebSockets and other upgrades.
    pub websockets: u64,
    /// Raw TCP connections.
    pub tcp: u64,
}

/// Why the edge did not do what it was asked. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The table names a socket that was not passed.
    #[error("the table names listener `{listener}`, whose socket was never passed")]
    UnknownListener {
        /// The id.
        listener: String,
    },
    /// The table names a directory that was not passed.
    #[error("the table names directory `{dir}`, which was never passed ({used_by})")]
    UnknownDir {
        /// The id.
        dir: String,
        /// The listener or route that names it.
        used_by: String,
    },
    /// The table names a pool that it does not hold.
    #[error("the table names pool `{pool}`, which it does not hold ({used_by})")]
    UnknownPool {
        /// The name.
        pool: String,
        /// The listener or route that names it.
        used_by: String,
    },
    /// Two listeners of the table have one id.
    #[error("listener `{listener}` stands twice in the table")]
    DuplicateListener {
        /// The id.
        listener: String,
    },
    /// One host has one prefix twice.
    #[error("`{host}{prefix}` is routed twice")]
    DuplicateRoute {
        /// The host.
        host: String,
        /// The prefix.
        prefix: String,
    },
    /// A value of the table is not one that can be served.
    #[error("{place}: `{value}` {problem}")]
    BadValue {
        /// Where it stands.
        place: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The table is older than the one in use.
    #[error("table {offered} is older than table {current}, which is in use")]
    StaleTable {
        /// The version offered.
        offered: u64,
        /// The version in use.
        current: u64,
    },
    /// A descriptor is missing, or is not what the request says.
    #[error("descriptor for `{subject}`: {problem}")]
    BadDescriptor {
        /// What it was for.
        subject: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A drain was asked for an upstream that still gets new work, so it might never end.
    #[error("upstream `{upstream}` still takes requests; apply a table that marks it as draining first")]
    StillInRotation {
        /// The replica's id.
        upstream: String,
    },
    /// The edge ends and takes no more changes.
    #[error("the edge is shutting down")]
    ShuttingDown,
    /// The request was not understood.
    #[error(
        "the edge speaks version {supported} of the control protocol and did not understand the request: {problem}"
    )]
    NotUnderstood {
        /// [`PROTOCOL`] of the edge.
        supported: u32,
        /// What was wrong.
        problem: String,
    },
}
