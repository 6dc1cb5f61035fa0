//! Decides what has to change so that what is there becomes what is wanted.
//!
//! Owns the order of things: what starts before what stops, who waits for whom, what is left alone and why. Never
//! performs anything. The way of a plan for a stack that shall run is [`up`]; for one that shall be gone, [`down`].
//!
//! ```text
//! seen ──► buckets ──► rollout (services), job (jobs) ──► draft ──► Plan
//!               restart ┘   gates ┘  addresses ┘
//! ```

#![expect(clippy::vec_box, reason = "a start is boxed in its step; lists hand those boxes on")]

mod addresses;
mod buckets;
mod depart;
mod down;
mod draft;
mod gates;
mod job;
mod networks;
mod order;
mod restart;
mod rollout;
mod seen;
mod service;
mod up;

pub use restart::back_off;

use crate::{Desired, Observed, Plan};
use jiff::Timestamp;

/// Slots from this one on hold one-off runs (`mainstay run`): jobs that no stack asks for. They are left alone while
/// the stack runs and removed with it.
pub const FIRST_ONE_OFF_SLOT: u32 = 1000;

/// Decides what has to change so that `have` becomes `want`.
///
/// Pure: equal inputs give equal plans. `now` only tells whether a crashed replica has waited out its back-off; if
/// not, `wake_at` says when to ask again. Step numbers grow along the graph: a step comes after lower numbers only.
pub fn reconcile(want: &Desired, have: &Observed, now: Timestamp) -> Plan {
    match want {
        Desired::Up(want) => up::plan(want, have, now),
        Desired::Down(want) => down::plan(want, have),
    }
}
