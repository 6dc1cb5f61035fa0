//! The doors to the machine: time, randomness, tasks, files, processes, signals, sockets, environment.
//!
//! Owns every call that reads or changes something outside the program; the core decides, the shell comes here
//! to act. Never decides anything about stacks or replicas. What tests must drive is passed as a value
//! ([`Clock`], [`Rng`], [`Environment`], [`Tasks`]); what has no use for a fake is a module of functions
//! ([`files`], [`processes`], [`sockets`]), tested against the real thing in a folder of its own.
//! Files block: call them from [`Tasks::blocking`] or from a thread of your own.
//! Start with [`Tasks`], then [`files`].

#![expect(clippy::disallowed_methods, reason = "this crate is the door that the list in clippy.toml points to")]

pub mod clock;
pub mod environment;
pub mod files;
pub mod processes;
pub mod rng;
pub mod signals;
pub mod sockets;
pub mod tasks;
pub mod terminal;

pub use clock::{Clock, SystemClock};
pub use environment::Environment;
pub use rng::Rng;
pub use signals::Signals;
pub use tasks::{OnError, Tasks};
pub use tokio_util::sync::CancellationToken;

/// The cause of an error, of whatever type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
