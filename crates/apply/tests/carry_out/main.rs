//! Plans carried out on engines and ports in memory: order, width, failures, stops, and a cut at every journal write.
//!
//! `rig` is the machine with its watch over floors and dependencies; start there.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod cuts;
mod objects;
mod order;
mod properties;
mod rig;
