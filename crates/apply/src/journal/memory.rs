//! A journal in memory: for tests, and for their crashes.
//!
//! Keeps what was written for as long as it lives; a test that "kills" a run drops the run and keeps the journal.

use super::{Journal, JournalError, NewRun, OpenRun, RunEnd, RunId, StepOutcome};
use async_trait::async_trait;
use model::StackId;
use plan::{Generation, StepId};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A journal in memory.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    generations: BTreeMap<StackId, Generation>,
    runs: Vec<Run>,
    writes: u64,
    fails_from: Option<u64>,
}

#[derive(Debug)]
struct Run {
    new: NewRun,
    steps: BTreeMap<StepId, Option<StepOutcome>>,
    end: Option<RunEnd>,
}

/// The journal was told to fail.
#[derive(Debug, thiserror::Error)]
#[error("the test's disk is full")]
struct DiskFull;

impl MemoryJournal {
    /// Says in which generation the stack is: plans made for another one are refused.
    pub fn set_generation(&self, stack: &StackId, generation: Generation) {
        self.lock().generations.insert(stack.clone(), generation);
    }

    /// Every write after the next `n` fails, until this is called again; `None` heals it.
    pub fn fail_after(&self, n: Option<u64>) {
        let mut state = self.lock();
        state.fails_from = n.map(|n| state.writes + n);
    }

    /// How many writes have succeeded.
    pub fn n_writes(&self) -> u64 {
        self.lock().writes
    }

    /// How the run ended; none while it is open or when there is no such run.
    pub fn end_of(&self, run: RunId) -> Option<RunEnd> {
        self.lock().runs.get(run.0 as usize)?.end
    }

    /// What came of a step; none when it was not begun or has not ended.
    pub fn outcome_of(&self, run: RunId, step: StepId) -> Option<StepOutcome> {
        self.lock().runs.get(run.0 as usize)?.steps.get(&step)?.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no writer panics while it holds the lock")
    }
}

impl State {
    fn write(&mut self, doing: &str) -> Result<(), JournalError> {
        if self.fails_from.is_some_and(|from| self.writes >= from) {
            return Err(JournalError::Store { doing: doing.to_owned(), source: Box::new(DiskFull) });
        }
        self.writes += 1;
        Ok(())
    }

    fn open(&mut self, id: RunId) -> Result<&mut Run, JournalError> {
        let run = self.runs.get_mut(id.0 as usize).filter(|run| run.end.is_none());
        run.ok_or(JournalError::NoSuchRun(id))
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn begin_run(&self, new: &NewRun) -> Result<RunId, JournalError> {
        let mut state = self.lock();
        let current = state.generations.get(&new.stack).copied().unwrap_or(new.basis);
        if current != new.basis {
            return Err(JournalError::Stale { basis: new.basis, current });
        }
        let open = state.runs.iter().position(|run| run.end.is_none() && run.new.stack == new.stack);
        if let Some(open) = open {
            return Err(JournalError::Busy { stack: new.stack.clone(), run: RunId(open as u64) });
        }
        state.write("begin a run")?;
        state.runs.push(Run { new: new.clone(), steps: BTreeMap::new(), end: None });
        Ok(RunId(state.runs.len() as u64 - 1))
    }

    async fn begin_step(&self, run: RunId, step: StepId) -> Result<(), JournalError> {
        let mut state = self.lock();
        state.open(run)?;
        state.write("begin a step")?;
        state.open(run)?.steps.insert(step, None);
        Ok(())
    }

    async fn end_step(&self, run: RunId, step: StepId, outcome: &StepOutcome) -> Result<(), JournalError> {
        let mut state = self.lock();
        state.open(run)?;
        state.write("end a step")?;
        state.open(run)?.steps.insert(step, Some(outcome.clone()));
        Ok(())
    }

    async fn end_run(&self, run: RunId, end: RunEnd) -> Result<(), JournalError> {
        let mut state = self.lock();
        state.open(run)?;
        state.write("end a run")?;
        state.open(run)?.end = Some(end);
        Ok(())
    }

    async fn open_run(&self, stack: &StackId) -> Result<Option<OpenRun>, JournalError> {
        let state = self.lock();
        let open = state.runs.iter().enumerate().find(|(_, run)| run.end.is_none() && run.new.stack == *stack);
        Ok(open.map(|(id, run)| {
            let with = |wanted: fn(&Option<StepOutcome>) -> bool| {
                run.steps.iter().filter(|(_, outcome)| wanted(outcome)).map(|(step, _)| *step).collect()
            };
            OpenRun {
                id: RunId(id as u64),
                run: run.new.clone(),
                done: with(|outcome| matches!(outcome, Some(StepOutcome::Done))),
                failed: with(|outcome| matches!(outcome, Some(StepOutcome::Failed(_) | StepOutcome::GivenUp))),
                begun: with(Option::is_none),
            }
        }))
    }
}
