//! The daemon: reconcile loops, the HTTP API, live streams.
//!
//! Owns one actor per stack ([`stack`]), the link to the edge ([`edge_link`]) and the API over a unix socket
//! ([`http`], whose wire form is [`api`]). It may be killed at any time: what is durable lies in the store, what
//! runs is observed again, and replicas and edge live on. Start with [`serve`], then [`stack::actor`].

pub mod api;
mod commands;
pub mod daemon;
mod edge_link;
mod engines;
mod exec;
mod housekeeping;
pub mod http;
mod logs;
pub mod openapi;
mod redact;
pub mod settings;
pub mod stack;
mod start;
#[cfg(test)]
mod testing;
mod view;

pub use settings::{SOCKET, Settings};
pub use start::{OpenEngines, ServeError, Wiring, serve};

use api::ApiError;
pub use runtime::tasks::chain;

/// The answer for something that failed on our side.
fn failed(error: &(dyn std::error::Error + 'static)) -> ApiError {
    ApiError::new(500, "MS0217", chain(error)).help("look at the daemon's log and at `mainstay events`")
}
