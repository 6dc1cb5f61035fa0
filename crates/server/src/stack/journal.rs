//! The journal of `apply` in the store.

use apply::journal::{Journal, JournalError, NewRun, OpenRun, RunEnd, RunId, StepOutcome};
use async_trait::async_trait;
use model::StackId;
use plan::StepId;
use runtime::Clock;
use std::sync::Arc;
use store::{StepEnd, Store, StoreError};

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
        StoreError::Busy { stack, run } => JournalError::Busy { stack, run: RunId(run) },
        StoreError::NoSuchRun(run) => JournalError::NoSuchRun(RunId(run)),
        other => JournalError::Store { doing, source: Box::new(other) },
    }
}

#[async_trait]
impl Journal for StoreJournal {
    async fn begin_run(&self, run: &NewRun) -> Result<RunId, JournalError> {
        let now = self.clock.now();
        let NewRun { stack, basis, digest, text } = run.clone();
        let run = store::NewRun { stack, basis, digest, text };
        let begun = self.store.run("begin a run", move |tx| tx.begin_run(&run, now)).await;
        begun.map(|id| RunId(id.0)).map_err(failed("begin a run"))
    }

    async fn begin_step(&self, run: RunId, step: StepId) -> Result<(), JournalError> {
        let now = self.clock.now();
        let begun = self.store.run("begin a step", move |tx| tx.begin_step(store::RunId(run.0), step, now));
        begun.await.map_err(failed("write down that a step begins"))
    }

    async fn end_step(&self, run: RunId, step: StepId, outcome: &StepOutcome) -> Result<(), JournalError> {
        let now = self.clock.now();
        let end = match outcome {
            StepOutcome::Done => StepEnd::Done,
            StepOutcome::Failed(why) => StepEnd::Failed(why.clone()),
            StepOutcome::GivenUp => StepEnd::GivenUp,
        };
        let ended = self.store.run("end a step", move |tx| tx.end_step(store::RunId(run.0), step, &end, now));
        ended.await.map_err(failed("write down how a step ended"))
    }

    async fn end_run(&self, run: RunId, end: RunEnd) -> Result<(), JournalError> {
        let now = self.clock.now();
        let end = match end {
            RunEnd::Complete => store::RunEnd::Complete,
            RunEnd::Stopped => store::RunEnd::Stopped,
            RunEnd::Failed => store::RunEnd::Failed,
            RunEnd::Interrupted => store::RunEnd::Interrupted,
        };
        let ended = self.store.run("end a run", move |tx| tx.end_run(store::RunId(run.0), end, now));
        ended.await.map_err(failed("write down how a run ended"))
    }

    async fn open_run(&self, stack: &StackId) -> Result<Option<OpenRun>, JournalError> {
        let stack = stack.clone();
        let open = self.store.run("read the journal", move |tx| tx.open_run(&stack)).await;
        let open = open.map_err(failed("read the open run"))?;
        Ok(open.map(|open| OpenRun {
            id: RunId(open.id.0),
            run: NewRun { stack: open.run.stack, basis: open.run.basis, digest: open.run.digest, text: open.run.text },
            done: open.done,
            failed: open.failed,
            begun: open.begun,
        }))
    }
}
