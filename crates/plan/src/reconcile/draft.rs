//! A plan under construction.
//!
//! Owns step numbers, notes and the earliest time to wake; knows nothing of what the steps mean.

use crate::step::Note;
use crate::{Action, After, Generation, Plan, Reason, Step, StepId, Steps};
use jiff::Timestamp;
use std::fmt::Display;

/// A plan under construction; steps only ever come after steps that are already in it.
#[derive(Default)]
pub(super) struct Draft {
    steps: Steps,
    /// What the last step with more than one before it waited for: those of one service mostly wait for the same.
    gate: After,
    notes: Vec<Note>,
    wake_at: Option<Timestamp>,
}

impl Draft {
    /// Room for so many steps at first.
    pub(super) fn with_room(n_steps: usize) -> Self {
        Self { steps: Steps::with_capacity(n_steps), ..Self::default() }
    }

    pub(super) fn push(&mut self, action: Action, why: Reason, after: &[StepId]) -> StepId {
        debug_assert!(after.iter().all(|id| self.steps.contains_key(id)), "steps come after steps that exist");
        let after = self.gate(after);
        self.steps.push(Step { after, action, why })
    }

    fn gate(&mut self, after: &[StepId]) -> After {
        if after.len() < 2 {
            return After::from(after);
        }
        if *self.gate != *after {
            self.gate = After::from(after);
        }
        self.gate.clone()
    }

    pub(super) fn note(&mut self, subject: impl Display, text: impl Into<String>) {
        self.notes.push(Note { subject: subject.to_string(), text: text.into() });
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) fn finish(self, basis: Generation) -> Plan {
        Plan { basis, steps: self.steps, wake_at: self.wake_at, notes: self.notes }
    }
}
