//! Cut short at every write of the journal, in each of three ways: what is there afterwards always leads on.

use crate::order::shop;
use crate::rig::{Releases, Rig};
use async_trait::async_trait;
use mainstay_apply::journal::{Journal, JournalError, NewRun, OpenRun, RunEnd, RunId, StepOutcome};
use mainstay_apply::{ApplyError, MemoryJournal, Outcome};
use model::StackId;
use plan::{Desired, StepId};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// What happens at the write.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// The disk is full from then on; the daemon lives.
    Full,
    /// The daemon is killed before the write.
    Before,
    /// The daemon is killed when the write is durable and before anybody knows.
    After,
}

/// A journal that is cut at its `at`-th write.
struct Knife<'a> {
    journal: &'a MemoryJournal,
    cut: Cut,
    at: u64,
    writes: AtomicU64,
    killed: Notify,
}

#[derive(Debug, thiserror::Error)]
#[error("no space left on device")]
struct Full;

impl Knife<'_> {
    async fn write<T>(&self, write: impl Future<Output = Result<T, JournalError>> + Send) -> Result<T, JournalError> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        if self.cut == Cut::Full && number >= self.at {
            return Err(JournalError::Store { doing: "write".into(), source: Box::new(Full) });
        }
        if number != self.at {
            return write.await;
        }
        if self.cut == Cut::After {
            write.await?;
        }
        self.killed.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Journal for Knife<'_> {
    async fn begin_run(&self, run: &NewRun) -> Result<RunId, JournalError> {
        self.write(self.journal.begin_run(run)).await
    }
    async fn begin_step(&self, run: RunId, step: StepId) -> Result<(), JournalError> {
        self.write(self.journal.begin_step(run, step)).await
    }
    async fn end_step(&self, run: RunId, step: StepId, outcome: &StepOutcome) -> Result<(), JournalError> {
        self.write(self.journal.end_step(run, step, outcome)).await
    }
    async fn end_run(&self, run: RunId, end: RunEnd) -> Result<(), JournalError> {
        self.write(self.journal.end_run(run, end)).await
    }
    async fn open_run(&self, stack: &StackId) -> Result<Option<OpenRun>, JournalError> {
        self.journal.open_run(stack).await
    }
}

/// A rig on which the first release runs, and the wanted second one.
async fn before_the_second_release() -> (Rig, Desired) {
    let (rig, mut releases) = (Rig::with_width(3), Releases::new());
    rig.converge(&releases.next(&shop("v1"), rig.engine.now())).await;
    // Effects take turns, so that a kill meets some of them half done.
    rig.engine.set_slowness(3);
    rig.engine.advance(jiff::SignedDuration::from_secs(60));
    let want = releases.next(&shop("v2"), rig.engine.now());
    (rig, want)
}

/// Carries the second release out until the cut. What came of it, none when it was killed.
async fn until_cut(rig: &Rig, want: &Desired, cut: Cut, at: u64) -> Option<Result<Outcome, ApplyError>> {
    rig.close_interrupted().await;
    let (have, plan) = rig.plan(want).await;
    let knife = Knife { journal: &rig.journal, cut, at, writes: AtomicU64::new(0), killed: Notify::new() };
    tokio::select! {
        result = rig.apply_with(want, &have, &plan, &knife) => Some(result),
        () = knife.killed.notified() => None,
    }
}

async fn check(cut: Cut) {
    let (rig, want) = before_the_second_release().await;
    let before = rig.journal.n_writes();
    assert!(matches!(until_cut(&rig, &want, cut, u64::MAX).await, Some(Ok(Outcome::Done))), "uncut it is done");
    let n_writes = rig.journal.n_writes() - before;
    assert!(n_writes > 30, "a release is long enough to be cut: {n_writes}");
    for at in 1..=n_writes {
        let (rig, want) = before_the_second_release().await;
        let result = until_cut(&rig, &want, cut, at).await;
        let is_cut = match cut {
            Cut::Full => matches!(result, Some(Err(ApplyError::Journal(JournalError::Store { .. })))),
            Cut::Before | Cut::After => result.is_none(),
        };
        assert!(is_cut, "{cut:?} at write {at}: {result:?}");
        rig.converge(&want).await;
        rig.assert_as_wanted(&want).await;
    }
}

#[tokio::test]
async fn a_full_disk_at_any_write_is_recovered_from() {
    check(Cut::Full).await;
}

#[tokio::test]
async fn a_kill_before_any_write_is_recovered_from() {
    check(Cut::Before).await;
}

#[tokio::test]
async fn a_kill_after_any_write_is_recovered_from() {
    check(Cut::After).await;
}
