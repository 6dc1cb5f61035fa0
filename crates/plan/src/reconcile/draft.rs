//! A plan under construction.
//!
//! Owns step numbers, notes and the earliest time to wake; knows nothing of what the steps mean.

use crate::step::Note;
use crate::{Action, Generation, Plan, Reason, Step, StepId};
use jiff::Timestamp;
use std::fmt::Display;

/// A plan under construction; steps only ever come after steps that are already in it.
#[derive(Default)]
pub(super) struct Draft {
    steps: Vec<(StepId, Step)>,
    notes: Vec<Note>,
    wake_at: Option<Timestamp>,
}

impl Draft {
    /// Room for so many steps at first; memory that is not written costs nothing.
    pub(super) fn with_room(n_steps: usize) -> Self {
        Self { steps: Vec::with_capacity(n_steps), ..Self::default() }
    }

    pub(super) fn push(&mut self, action: Action, why: Reason, after: &[StepId]) -> StepId {
        let id = StepId(self.steps.len() as u32 + 1);
        debug_assert!(after.iter().all(|before| *before < id), "steps come after steps that exist");
        self.steps.push((id, Step { after: after.iter().copied().collect(), action, why }));
        id
    }

    pub(super) fn note(&mut self, subject: impl Display, text: impl Into<String>) {
        self.notes.push(Note { subject: subject.to_string(), text: text.into() });
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) fn finish(self, basis: Generation) -> Plan {
        Plan { basis, steps: self.steps.into_iter().collect(), wake_at: self.wake_at, notes: self.notes }
    }
}
