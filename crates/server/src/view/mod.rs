//! From the domain to the wire: plans, status, health.
//!
//! Owns pure conversions only; what is shown is decided here, what is true elsewhere.

pub mod health;
pub mod metrics;
pub mod plan;
pub mod status;
