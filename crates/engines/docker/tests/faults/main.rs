//! What goes wrong around the Docker engine: clear words with a cure, what is told stays true, and the next step goes on.
//!
//! Needs a Docker Engine at `MAINSTAY_DOCKER` (`./dev docker start`) with the images that tests use; without it fails.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    dead_code,
    missing_docs,
    reason = "tests; not every one uses all"
)]

mod bench;
mod engines;
mod ground;
mod inside;
mod lives;
mod output;
mod volumes;
#[path = "../world/mod.rs"]
mod world;
