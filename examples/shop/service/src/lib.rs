//! What every service of the shop has: the frame of its program, settings from the environment, knobs for faults, JSON logs, metrics,
//! signals, a link to Redis, and a check of its own health.
//!
//! Knows nothing of products or orders, except for the job that travels from the API to the worker ([`queue`]).
//! Start reading at [`faults`]: it is what sets this application apart from a plain one.

pub mod environment;
pub mod faults;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod program;
pub mod queue;
pub mod redis_link;
pub mod self_check;
pub mod signals;
