//! How the daemon and the edge talk: wire types, frames, and the daemon's client.
//!
//! Owns the form of everything that crosses the control socket. It never decides anything and never serves traffic;
//! the edge's side of the conversation is `crate::desk`. Start with [`Table`], then [`Client`].
//!
//! A connection carries newline-delimited JSON frames both ways. Every request has an id that its reply repeats, so
//! several requests may be under way at once, on one connection or on many. File descriptors travel beside the frame
//! that announces them (`fds` in the envelope), at most [`frame::FDS_PER_MESSAGE`] per kernel message.

mod client;
pub mod frame;
mod message;
mod stats;
mod table;

pub use client::{Client, ClientError};
pub use message::{
    Cut, DrainReport, PROTOCOL, Pong, Refusal, Reply, ReplyEnvelope, Request, RequestEnvelope, UpstreamDrain,
};
pub use stats::{Histogram, LATENCY_BOUNDS_MICROS, ListenerStats, ServiceStats, Stats, Totals, UpstreamStats};
pub use table::{Fixed, Host, Listener, ListenerTarget, PathRoute, Pool, Protocol, Readiness, Table, Target, Upstream};
