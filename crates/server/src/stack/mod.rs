//! One stack: what is wanted of it, and the actor that makes it so.
//!
//! ```text
//! order ──► actor ──► record (durable) ──► converge: observe → reconcile → check → apply ─┐
//!             ▲                                       ▲                                   │
//!             └── crash, probe change, back-off over ─┴──────────── until the plan is empty
//! ```
//! A reconciler: it is woken by orders, by signals of engine and probes and by the plan's own `wake_at`, and has no
//! input but the record and what it observes. Killed at any point, the next daemon reads the record and goes on.
//! Start with [`actor`].

pub mod actor;
pub mod blobs;
pub mod converge;
pub mod course;
pub mod durable;
pub mod explain;
pub mod handle;
pub mod history;
pub mod images;
mod journal;
pub mod one_off;
mod orders;
pub mod ports;
pub mod record;
pub mod refuser;
mod repairs;
pub mod runs;
pub mod settle;
mod stored;
mod takeover;
pub mod world;

pub use handle::Handle;

/// The code of the error that a stack is not up.
pub const IS_DOWN: &str = "MS0216";

#[cfg(test)]
mod tests;
