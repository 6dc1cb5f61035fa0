//! The process engine: containers' manners without an image.
//!
//! Every replica is a shim (crate `shim`) that builds namespaces and a private root and outlives the daemon. This
//! crate owns what lies around it: networks, control groups, folders, and the way from a plan's action to a spec. It
//! decides nothing: addresses, slots and order come with the action. Start reading at [`ProcessEngine`].
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests touch the machine"))]

mod anonymous;
pub mod capability;
pub mod catalogue;
pub mod cgroup;
mod control;
mod engine;
mod error;
mod launch;
pub mod layout;
mod machine;
pub mod network;
mod phase;
mod programs;
mod seen;
pub mod spec;
mod stored;

pub use engine::{Names, ProcessEngine, Settings};
pub use error::Error;
