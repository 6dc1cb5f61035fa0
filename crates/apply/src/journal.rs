//! What was begun and what came of it, durable.
//!
//! Owns the trait, its errors and an implementation in memory; the one in SQLite lives in `store`. Never decides what
//! to do about a run that was cut short: [`Journal::close_interrupted`] ends it and reports the steps that had begun, and
//! the next plan starts from what is there.
//! Start with [`Journal`].

use async_trait::async_trait;
use engine::BoxError;
use model::StackId;
use plan::{Generation, StepId};

mod memory;

pub use memory::MemoryJournal;
pub use plan::run::{NewRun, OpenRun, RunEnd, RunId, StepOutcome};

/// Where runs and steps are written down.
///
/// ```text
/// begin_run ──► (begin_step ──► end_step)* ──► end_run
/// ```
/// Each call returns once what it says would survive a power cut. A run without `end_run` was cut short; so was a
/// step without `end_step`: its effect may or may not have happened.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes down that a plan is about to be carried out.
    ///
    /// Errors: [`JournalError::Stale`] when the stack is no longer in generation `run.basis`, decided in the same
    /// transaction as the write; [`JournalError::Busy`] while another run of the stack is open.
    async fn begin_run(&self, run: &NewRun) -> Result<RunId, JournalError>;

    /// Writes down that a step is about to have its effect.
    async fn begin_step(&self, run: RunId, step: StepId) -> Result<(), JournalError>;

    /// Writes down what came of a step.
    async fn end_step(&self, run: RunId, step: StepId, outcome: &StepOutcome) -> Result<(), JournalError>;

    /// Writes down how a run ended.
    async fn end_run(&self, run: RunId, end: RunEnd) -> Result<(), JournalError>;

    /// The run of the stack that was begun and not ended, if there is one.
    async fn open_run(&self, stack: &StackId) -> Result<Option<OpenRun>, JournalError>;

    /// Closes the run that was left open, by a daemon that died or by a disk that was full when its end should have
    /// been written; tells which. Whoever alone carries out plans of a stack calls it before it begins: until then
    /// every further run is refused as busy.
    async fn close_interrupted(&self, stack: &StackId) -> Result<Option<OpenRun>, JournalError> {
        let open = self.open_run(stack).await?;
        if let Some(open) = &open {
            self.end_run(open.id, RunEnd::Interrupted).await?;
        }
        Ok(open)
    }
}

/// The journal refused or could not write.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The stack changed since the plan was made.
    #[error("the plan was made for generation {}, the stack is in generation {}; plan again", basis.0, current.0)]
    Stale {
        /// What the plan was made for.
        basis: Generation,
        /// Where the stack is.
        current: Generation,
    },
    /// Another plan of the stack is being carried out.
    #[error("run {} of `{stack}` is still open", run.0)]
    Busy {
        /// Of which stack.
        stack: StackId,
        /// Which run.
        run: RunId,
    },
    /// There is no such open run.
    #[error("run {} is not open", .0.0)]
    NoSuchRun(RunId),
    /// What should have been durable could not be written or read.
    #[error("the journal could not {doing}")]
    Store {
        /// What it was doing, with its subject.
        doing: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}
