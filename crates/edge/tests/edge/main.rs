//! The edge as the daemon and clients meet it: real sockets, real requests, one edge per test.
#![expect(clippy::disallowed_methods, reason = "tests of a process against real sockets")]

mod control;
mod draining;
mod files;
mod forwarding;
mod handover;
mod hostile;
mod retries;
mod rig;
mod sniffing;
mod streaming;
mod upgrades;
