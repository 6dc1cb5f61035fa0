//! The whole program on the real machine, black box: daemon, process engine, edge and replicas, as root.
//!
//! Needs root on Linux, nftables, perl, curl, redis, ssh, sshd and a Docker Engine at `MAINSTAY_DOCKER`; without them the tests
//! fail. Every test has a daemon of its own with its own folders, ports and names in the kernel, so that they may run at the
//! same time; each ends what it started, by process number, also when it fails.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests touch the machine")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod awesome;
#[path = "../../../declare/tests/support/folder.rs"]
mod corpus;
mod cuts;
mod deaths;
mod docker;
mod engines;
mod failures;
mod hosts;
mod hut;
mod input;
mod keys;
mod leftovers;
mod life;
mod load;
mod names;
mod orders;
mod processes;
mod readme;
mod remote;
mod sessions;
mod sshd;
mod state;
mod streams;
mod takeover;
mod yard;
