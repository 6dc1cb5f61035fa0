//! The routing table as the daemon writes it.
//!
//! Owns the wire form only. What a worker looks requests up in is compiled from it by `crate::snapshot`, which also
//! refuses a table that names what the edge does not have. Start with [`Table`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Everything the edge needs to know to serve traffic; a new one replaces the old one as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Grows with every change; the edge refuses a table older than the one it serves.
    pub version: u64,
    /// What is listened on. A passed socket that no listener names is closed once the table is in use.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Hosts and their paths, for listeners whose target is [`ListenerTarget::Routes`].
    #[serde(default)]
    pub hosts: Vec<Host>,
    /// Groups of interchangeable upstreams by name.
    #[serde(default)]
    pub pools: BTreeMap<String, Pool>,
    /// What the daemon wants to find again when it comes back; the edge never reads it.
    #[serde(default)]
    pub memo: BTreeMap<String, String>,
}

/// One passed socket and what answers on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Names a passed socket, by habit its address: `10.210.0.2:3000`.
    pub id: String,
    /// Which protocols are spoken on it.
    #[serde(default)]
    pub protocol: Protocol,
    /// Who answers.
    pub target: ListenerTarget,
    /// Whether peers may say on whose behalf they ask: `X-Forwarded-*` is appended to instead of replaced.
    ///
    /// True for addresses that only our own services reach, false for everything the world reaches.
    #[serde(default)]
    pub trust_forwarded: bool,
    /// The project that owns the listener, for log and counters; empty for a shared one.
    #[serde(default)]
    pub project: String,
}

/// Which protocols a listener speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Sniffed per connection: HTTP/1 and HTTP/2 with prior knowledge are served as HTTP, the rest as TCP.
    #[default]
    Auto,
    /// HTTP/1 or HTTP/2 with prior knowledge, nothing else.
    Http,
    /// Bytes, never looked at.
    Tcp,
}

/// Who answers on a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerTarget {
    /// The table of hosts and paths; such a listener always speaks HTTP.
    Routes,
    /// One target for everything.
    Target(Target),
}

/// A host and the paths below it. Several entries may name one host, as long as no path is named twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// `shop.example`, `*.shop.example` (any depth), or `*`; the exact one wins, then the longest wildcard, then `*`.
    pub host: String,
    /// The project that owns the routes.
    pub project: String,
    /// Paths; the longest prefix that ends on a segment border wins.
    pub paths: Vec<PathRoute>,
}

/// What answers below one path prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRoute {
    /// `/`, `/api`: matches itself and everything below it, segment by segment.
    pub prefix: String,
    /// Who answers.
    pub target: Target,
    /// Whether the target sees the path without the prefix (it is then told in `X-Forwarded-Prefix`).
    #[serde(default)]
    pub strip_prefix: bool,
}

/// Who answers a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The pool of this name.
    Pool(String),
    /// Files below a passed directory.
    Static {
        /// The id the directory was passed under.
        dir: String,
        /// Whether unknown paths of a page view are answered with `index.html`.
        #[serde(default)]
        spa: bool,
        /// The service, for log and counters.
        #[serde(default)]
        service: String,
    },
    /// The same document for everybody.
    Fixed(Fixed),
}

/// A ready-made answer, such as the aggregated health document or a maintenance page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixed {
    /// The status code, 200 to 599.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: String,
    /// Seconds for `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

/// Interchangeable upstreams of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The service, for log and counters.
    pub service: String,
    /// Its replicas.
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
}

/// One replica's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The replica's id. One replica may stand in several pools with different ports; a drain covers all of them.
    pub id: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it gets new work.
    pub state: Readiness,
}

/// Whether an upstream gets new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Gets new requests and connections.
    Ready,
    /// Gets nothing new; what is in flight goes on.
    NotReady,
    /// Gets nothing new and is about to be stopped: its idle connections are closed at once.
    Draining,
}
