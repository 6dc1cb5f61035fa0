//! The daemon's side of the edge: what it shall serve, and the process that serves it.
//!
//! Start with [`Hub`]: it keeps what every stack wants, turns it into one table ([`table`]), opens the sockets that
//! table needs and keeps copies of them, so that even a crashed edge only makes connections wait. [`process`]
//! finds the edge that runs or starts one and looks after it; [`clash`] tells who wants what another has.

mod balances;
pub mod clash;
mod detours;
pub mod hub;
mod log;
pub mod process;
pub mod table;

pub use balances::Drained;
pub use hub::{Hub, HubError};
