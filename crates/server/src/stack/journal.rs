//! The journal of `apply` in the store.

use apply::journal::{Journal, JournalError, NewRun, OpenRun, RunEnd, RunId, StepOutcome};
use async_trait::async_trait;
use model::StackId;
use plan::StepId;
use runtime::Clock;
use std::sync::Arc;
use store::{Store, StoreError};

/// The journal in the store; times are the clock's.
pub struct StoreJournal {
    /// Where it is written.
    pub store: Store,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

fn failed(doing: &str) -> impl FnOnce(StoreError) -> JournalError {
    let doing = doing.to_owned();
    move |error| match error {
        StoreError::Stale { basis, current, .. } => JournalError::Stale { basis, current },
        StoreError::Busy { stack, run } => JournalError::Busy { stack, run },
        StoreError::NoSuchRun(run) => JournalError::NoSuchRun(run),
        other => JournalError::Store { doing, source: Box::new(other) },
    }
}

#[async_trait]
impl Journal for StoreJournal {
    async fn begin_run(&self, run: &NewRun) -> Result<RunId, JournalError> {
        let (run, now) = (run.clone(), self.clock.now());
        let begun = self.store.run("begin a run", move |tx| tx.begin_run(&run, now));
        begun.await.map_err(failed("begin a run"))
    }

    async fn begin_step(&self, run: RunId, step: StepId) -> Result<(), JournalError> {
        let now = self.clock.now();
        let begun = self.store.run("begin a step", move |tx| tx.begin_step(run, step, now));
        begun.await.map_err(failed("write down that a step begins"))
    }

    async fn end_step(&self, run: RunId, step: StepId, outcome: &StepOutcome) -> Result<(), JournalError> {
        let (outcome, now) = (outcome.clone(), self.clock.now());
        let ended = self.store.run("end a step", move |tx| tx.end_step(run, step, &outcome, now));
        ended.await.map_err(failed("write down how a step ended"))
    }

    async fn end_run(&self, run: RunId, end: RunEnd) -> Result<(), JournalError> {
        let now = self.clock.now();
        let ended = self.store.run("end a run", move |tx| tx.end_run(run, end, now));
        ended.await.map_err(failed("write down how a run ended"))
    }

    async fn open_run(&self, stack: &StackId) -> Result<Option<OpenRun>, JournalError> {
        let stack = stack.clone();
        let open = self.store.run("read the journal", move |tx| tx.open_run(&stack));
        open.await.map_err(failed("read the open run"))
    }
}
