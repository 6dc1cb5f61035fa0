//! What the daemon must not forget: stacks, releases, events, the journal in SQLite; bundles as files.
//!
//! Owns the state folder: `lock`, `state.db` and its copy, `secrets/key`, `bundles/`. Never decides anything and
//! never looks at a clock: times are parameters. One thread writes; whoever waits for a write waits until it
//! would survive a power cut. Start with [`Store::open`] and [`Tx`], then [`Bundles`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests touch the machine"))]

mod actor;
pub mod bundles;
mod error;
mod follow;
mod open;
mod seal;
mod tables;

pub use actor::Store;
pub use bundles::Bundles;
pub use error::StoreError;
pub use follow::Follow;
pub use open::{Copied, Opened};
pub use seal::{Keys, SealError};
pub use tables::Tx;
pub use tables::completions::Completion;
pub use tables::events::{Event, EventId, EventQuery, NewEvent};
pub use tables::journal::{Run, Step};
pub use tables::releases::{NewRelease, Release, ReleaseState};
pub use tables::stacks::{Desire, StackChange, StackState, UidBlocks};
