//! The wire form of the HTTP API: what commands, the console and scripts exchange with the daemon.
//!
//! Owns serde types only; conversions from the domain live beside their handlers. Every type is versioned by
//! the path prefix `/v1`: fields are added, never renamed. [`routes::ROUTES`] lists every operation; the OpenAPI
//! document and the router are both checked against it.

pub mod bundle;
pub mod error;
pub mod event;
pub mod exec;
pub mod images;
pub mod plan;
pub mod release;
pub mod routes;
pub mod status;

pub use error::ApiError;
