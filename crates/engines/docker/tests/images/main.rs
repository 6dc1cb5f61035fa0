//! Images on a real Docker Engine, from a real registry: found, fetched, built.
//!
//! Needs an Engine (`MAINSTAY_DOCKER=unix:///…/docker.sock`), `docker-registry` and a static busybox at `/bin/busybox`
//! (what `./dev setup` installs); without them the tests fail. Every test has its own names, and removes its images.
#![expect(clippy::disallowed_methods, reason = "tests touch the machine")]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod builds;
mod failures;
mod pulls;
mod registry;
mod world;
