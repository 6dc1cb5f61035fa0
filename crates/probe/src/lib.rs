//! Probes: what is asked of replicas, and what the answers mean.
//!
//! Owns the checks (http, tcp, command), the state machine that judges their answers with the meaning of
//! Compose's `healthcheck`, and the loops that ask. Never starts, stops or routes a replica: it tells.
//! Start with [`Probes`] (the loops), then [`judge`] (the decisions, pure).

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests touch the machine"))]

pub mod check;
pub mod judge;
pub mod probes;

pub use check::{CommandEnd, CommandRunner, shown};
pub use judge::{Judge, Verdict};
pub use probes::{Answer, Change, NotReady, Observation, Probes, Watch};
