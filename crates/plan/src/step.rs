//! A plan: a graph of steps with reasons.

mod after;
mod steps;

pub use after::After;
pub use steps::Steps;

use crate::action::Action;
use crate::reason::Reason;
use jiff::Timestamp;
use std::fmt;

/// What has to be done, in which order, and why; plain data that leaves no choice to whoever applies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The state of the stack the plan was made for; apply refuses it in any other.
    pub basis: Generation,
    /// The steps. A step begins when all in its `after` have succeeded.
    pub steps: Steps,
    /// When to plan again although nothing has happened: a back-off ends then.
    pub wake_at: Option<Timestamp>,
    /// Why nothing, or not everything, is done: what is waited for, what is unknown and blocks.
    pub notes: Vec<Note>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The steps that must have succeeded before.
    pub after: After,
    /// What is done.
    pub action: Action,
    /// Why.
    pub why: Reason,
}

/// The number of a step within its plan, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub u32);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the changes of one stack: every accepted plan and every change of what is wanted adds one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about: a replica, a service, a network.
    pub subject: String,
    /// The reason in words.
    pub text: String,
}
