//! What is written down of a plan's carrying-out, so that it can be taken up again after a cut.
//!
//! Owns the record's form; `apply` says when which part is written, `store` keeps it.

use crate::{Generation, StepId};
use model::StackId;
use std::str::FromStr;

/// The number of a run: one carrying-out of one plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// A run about to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Of which stack.
    pub stack: StackId,
    /// The state of the stack the plan was made for.
    pub basis: Generation,
    /// The plan's digest.
    pub digest: String,
    /// The plan's canonical text; holds no secrets.
    pub text: String,
}

/// A run that was begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// Which.
    pub id: RunId,
    /// What it set out to do.
    pub run: NewRun,
    /// Steps that ended well.
    pub done: Vec<StepId>,
    /// Steps that ended badly or were given up while they waited.
    pub failed: Vec<StepId>,
    /// Steps that were begun and not ended: each may or may not have had its effect.
    pub begun: Vec<StepId>,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// It is done.
    Done,
    /// It failed: why, in words, with its causes.
    Failed(String),
    /// It only waited, and the waiting was given up because a stop was asked for.
    GivenUp,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// Every step is done.
    Complete,
    /// A stop was asked for between two steps.
    Stopped,
    /// A step failed.
    Failed,
    /// It was cut short, and closed before the next one began.
    Interrupted,
}

impl RunEnd {
    const ALL: [Self; 4] = [Self::Complete, Self::Stopped, Self::Failed, Self::Interrupted];

    /// Its name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

impl FromStr for RunEnd {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|end| end.as_str() == text).ok_or("no such ending")
    }
}
