//! Carries plans out along their graph: journal, bounded parallelism, retries.
//!
//! Owns the order in which steps begin, their deadlines and retries, and that a step's beginning is durable before its
//! effect. Never decides what to do: that is `plan`; never undoes: that is the caller's choice; never goes on with a run
//! that was cut short: the caller plans again.
//! Start with [`apply`], then [`Ports`] and [`Journal`].

mod execute;
pub mod journal;
mod perform;
pub mod ports;

pub use execute::{ApplyError, MadeFrom, Observer, Outcome, Task, apply};
pub use journal::{Journal, JournalError, MemoryJournal};
pub use perform::StepError;
pub use ports::{Edge, EdgeError, JobLost, Jobs, NotReady, Placing, Ports, Readiness};
