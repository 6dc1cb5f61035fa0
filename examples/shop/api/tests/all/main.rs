//! The API as its callers meet it: the built program, a real PostgreSQL, a real Redis.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod faults;
mod health;
mod metrics;
mod migrate;
mod orders;
mod products;
mod shutdown;
mod socket;
mod web;
