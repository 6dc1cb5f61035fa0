//! The journal: what was begun and what came of it.
//!
//! The trait of those who carry plans out lies above this crate; the two are joined by the daemon.
//!
//! ```text
//! begin_run ──► (begin_step ──► end_step)* ──► end_run
//! ```

use super::{Columns, Tx, nanos, signed};
use crate::error::StoreError;
use jiff::Timestamp;
use model::StackId;
use plan::run::{NewRun, OpenRun, RunEnd, RunId, StepOutcome};
use plan::{Generation, StepId};

/// A run as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which.
    pub id: RunId,
    /// The plan's digest.
    pub digest: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// When and how it ended.
    pub ended: Option<(Timestamp, RunEnd)>,
}

/// A step as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub id: StepId,
    /// When it began.
    pub begun_at: Timestamp,
    /// When and how it ended.
    pub ended: Option<(Timestamp, StepOutcome)>,
}

impl Tx<'_> {
    /// Writes down that a plan is about to be carried out. An accepted plan is a change: it counts the stack's
    /// generation up, so that a second plan with the same basis is refused.
    ///
    /// Errors: [`StoreError::Stale`], or [`StoreError::Busy`] while another run of the stack is open.
    pub fn begin_run(&self, run: &NewRun, at: Timestamp) -> Result<RunId, StoreError> {
        let row = self.stack_row(&run.stack)?;
        let open: Option<i64> = self.value("SELECT id FROM runs WHERE stack = ?1 AND ended_at IS NULL", [row])?;
        if let Some(open) = open {
            return Err(StoreError::Busy { stack: run.stack.clone(), run: RunId(open.unsigned_abs()) });
        }
        self.next_generation(&run.stack, run.basis)?;
        let sql = "INSERT INTO runs (stack, basis, digest, plan, begun_at) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id";
        let params = (row, signed(run.basis.0), &run.digest, &run.text, nanos(at));
        let id: i64 = self.value(sql, params)?.expect("an insert that succeeds returns its row");
        Ok(RunId(id.unsigned_abs()))
    }

    /// Writes down that a step is about to have its effect.
    pub fn begin_step(&self, run: RunId, step: StepId, at: Timestamp) -> Result<(), StoreError> {
        self.must_be_open(run)?;
        let sql = "INSERT INTO steps (run, step, begun_at) VALUES (?1, ?2, ?3) ON CONFLICT (run, step)
                   DO UPDATE SET begun_at = ?3, ended_at = NULL, outcome = NULL, error = NULL";
        self.execute(sql, (signed(run.0), step.0, nanos(at))).map(drop)
    }

    /// Writes down what came of a step.
    pub fn end_step(&self, run: RunId, step: StepId, end: &StepOutcome, at: Timestamp) -> Result<(), StoreError> {
        self.must_be_open(run)?;
        let (outcome, error) = match end {
            StepOutcome::Done => ("done", None),
            StepOutcome::Failed(why) => ("failed", Some(why)),
            StepOutcome::GivenUp => ("given up", None),
        };
        // A step may fail before its beginning was written, e.g. because it could not be.
        let sql = "INSERT INTO steps (run, step, begun_at, ended_at, outcome, error) VALUES (?1, ?2, ?3, ?3, ?4, ?5)
                   ON CONFLICT (run, step) DO UPDATE SET ended_at = ?3, outcome = ?4, error = ?5";
        self.execute(sql, (signed(run.0), step.0, nanos(at), outcome, error)).map(drop)
    }

    /// Writes down how a run ended.
    pub fn end_run(&self, run: RunId, end: RunEnd, at: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE runs SET ended_at = ?2, ending = ?3 WHERE id = ?1 AND ended_at IS NULL";
        match self.execute(sql, (signed(run.0), nanos(at), end.as_str()))? {
            0 => Err(StoreError::NoSuchRun(run)),
            _ => Ok(()),
        }
    }

    /// The run of the stack that was begun and not ended, if there is one.
    pub fn open_run(&self, stack: &StackId) -> Result<Option<OpenRun>, StoreError> {
        let row = self.stack_row(stack)?;
        let sql = "SELECT id, basis, digest, plan FROM runs WHERE stack = ?1 AND ended_at IS NULL";
        let open = self.find(sql, [row], |row| {
            let basis = Generation(row.number("basis")?);
            let run = NewRun { stack: stack.clone(), basis, digest: row.get("digest")?, text: row.get("plan")? };
            Ok((RunId(row.number("id")?), run))
        })?;
        let Some((id, run)) = open else { return Ok(None) };
        let (mut done, mut failed, mut begun) = (Vec::new(), Vec::new(), Vec::new());
        for step in self.steps(id)? {
            match step.ended {
                None => begun.push(step.id),
                Some((_, StepOutcome::Done)) => done.push(step.id),
                Some((_, StepOutcome::Failed(_) | StepOutcome::GivenUp)) => failed.push(step.id),
            }
        }
        Ok(Some(OpenRun { id, run, done, failed, begun }))
    }

    /// The newest `most` runs of a stack, the newest first.
    pub fn runs(&self, stack: &StackId, most: u32) -> Result<Vec<Run>, StoreError> {
        let row = self.stack_row(stack)?;
        self.query("SELECT * FROM runs WHERE stack = ?1 ORDER BY id DESC LIMIT ?2", (row, most), |row| {
            let ended = row.maybe_time("ended_at")?;
            let ended = ended.map(|at| Ok::<_, StoreError>((at, row.parse("ending")?))).transpose()?;
            Ok(Run { id: RunId(row.number("id")?), digest: row.get("digest")?, begun_at: row.time("begun_at")?, ended })
        })
    }

    /// The steps of a run that were begun, by number.
    pub fn steps(&self, run: RunId) -> Result<Vec<Step>, StoreError> {
        self.query("SELECT * FROM steps WHERE run = ?1 ORDER BY step", [signed(run.0)], read_step)
    }

    /// Forgets runs that ended before `before`, and of the others of each stack all but the newest `most`; tells how
    /// many. An open one stays.
    pub fn forget_runs(&self, before: Timestamp, most: u64) -> Result<usize, StoreError> {
        let old = self.execute("DELETE FROM runs WHERE ended_at < ?1", [nanos(before)])?;
        let sql = "DELETE FROM runs WHERE ended_at IS NOT NULL AND id <= (SELECT newer.id FROM runs AS newer
                   WHERE newer.stack = runs.stack ORDER BY newer.id DESC LIMIT 1 OFFSET ?1)";
        Ok(old + self.execute(sql, [signed(most)])?)
    }

    fn must_be_open(&self, run: RunId) -> Result<(), StoreError> {
        let sql = "SELECT 1 FROM runs WHERE id = ?1 AND ended_at IS NULL";
        self.value::<i64>(sql, [signed(run.0)])?.map(drop).ok_or(StoreError::NoSuchRun(run))
    }
}

fn read_step(row: &Columns<'_>) -> Result<Step, StoreError> {
    let ended = match row.maybe_time("ended_at")? {
        None => None,
        Some(at) => {
            let outcome: String = row.get("outcome")?;
            let end = match outcome.as_str() {
                "done" => StepOutcome::Done,
                "given up" => StepOutcome::GivenUp,
                _ => StepOutcome::Failed(row.get::<Option<String>>("error")?.unwrap_or_default()),
            };
            Some((at, end))
        }
    };
    Ok(Step { id: StepId(row.number("step")?), begun_at: row.time("begun_at")?, ended })
}
