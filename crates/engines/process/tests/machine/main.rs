//! The process engine against the real machine: namespaces, control groups, links, PostgreSQL and Redis.
//!
//! Needs root on Linux, nftables, iptables, PostgreSQL 15 and Redis (what `./dev setup` installs); without them the tests
//! fail. Every test has its own names and folders, removes them even when it fails, and asserts that nothing is left.
#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests touch the machine")]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod catalogue;
mod daemon;
mod life;
mod limits;
mod networks;
mod sandbox;
mod world;
