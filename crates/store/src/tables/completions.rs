//! Jobs that have done their work: kept longer than the replicas that did it.

use super::{Columns, Tx, nanos, signed};
use crate::error::StoreError;
use jiff::Timestamp;
use model::{ServiceName, SpecHash, StackId};

/// A job whose replicas exited with 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The job.
    pub service: ServiceName,
    /// The hash of the template they were started with.
    pub hash: SpecHash,
    /// So many of them.
    pub replicas: u32,
    /// When that was seen.
    pub at: Timestamp,
}

/// So many templates of one job are remembered: more than releases are gone back to.
const PER_SERVICE: u32 = 20;

impl Tx<'_> {
    /// Writes down that a job has done its work.
    pub fn complete(&self, stack: &StackId, done: &Completion) -> Result<(), StoreError> {
        let row = self.stack_row(stack)?;
        let (service, hash) = (done.service.as_str(), done.hash.to_string());
        let sql = "INSERT INTO completions (stack, service, hash, replicas, at) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (stack, service, hash) DO UPDATE SET replicas = ?4, at = ?5";
        self.execute(sql, (row, service, hash, done.replicas, nanos(done.at)))?;
        let sql = "DELETE FROM completions WHERE stack = ?1 AND service = ?2 AND hash NOT IN
                   (SELECT hash FROM completions WHERE stack = ?1 AND service = ?2 ORDER BY at DESC LIMIT ?3)";
        self.execute(sql, (row, service, signed(PER_SERVICE.into()))).map(drop)
    }

    /// The jobs of a stack that have done their work; of one that is not known, none.
    pub fn completions(&self, stack: &StackId) -> Result<Vec<Completion>, StoreError> {
        let sql = "SELECT service, hash, replicas, at FROM completions JOIN stacks ON stacks.id = completions.stack
                   WHERE project = ?1 AND environment = ?2";
        self.query(sql, (stack.project.as_str(), stack.environment.as_str()), read)
    }

    /// Forgets what jobs of the stack have done: the next release runs them again.
    pub fn forget_completions(&self, stack: &StackId) -> Result<(), StoreError> {
        let row = self.stack_row(stack)?;
        self.execute("DELETE FROM completions WHERE stack = ?1", [row]).map(drop)
    }
}

fn read(row: &Columns<'_>) -> Result<Completion, StoreError> {
    Ok(Completion {
        service: row.parse("service")?,
        hash: row.parse("hash")?,
        replicas: row.number("replicas")?,
        at: row.time("at")?,
    })
}
