//! The releases of a stack.

use super::{Columns, Tx, nanos, signed};
use crate::error::StoreError;
use jiff::Timestamp;
use model::{BundleId, ReleaseNumber, StackId};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A release as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its number.
    pub number: ReleaseNumber,
    /// What was asked for.
    pub new: NewRelease,
    /// Where it is.
    pub state: ReleaseState,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How it ended, as text whose form is the writer's; holds no secrets.
    pub outcome: Option<String>,
    /// What it runs from stays, however many came after it.
    pub kept: bool,
}

/// A release about to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelease {
    /// What it runs from.
    pub bundle: BundleId,
    /// Who asked for it.
    pub actor: String,
    /// Why, in the author's words.
    pub message: Option<String>,
    /// A keyed hash of its declaration: equal hashes, equal declarations.
    pub config_hash: String,
    /// When.
    pub created_at: Timestamp,
    /// The image of each service, by the engine's own name for it; empty where images are only names.
    pub images: BTreeMap<String, String>,
    /// The release that this one runs again.
    pub again: Option<ReleaseNumber>,
}

/// Where a release is.
///
/// ```text
/// Planned ──► Running ──► Done | Failed
///    └──────────┴───────► Superseded (a later release came first)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReleaseState {
    /// Recorded, not begun.
    Planned,
    /// Being carried out.
    Running,
    /// All of it runs.
    Done,
    /// It was not carried out to its end.
    Failed,
    /// A later release took its place before it was done.
    Superseded,
}

impl ReleaseState {
    const ALL: [Self; 5] = [Self::Planned, Self::Running, Self::Done, Self::Failed, Self::Superseded];

    /// The name as stored and as people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }

    /// Whether nothing more will come of it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Superseded)
    }
}

impl fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ReleaseState {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or("no such state")
    }
}

impl Tx<'_> {
    /// Records a release under the next number.
    pub fn add_release(&self, stack: &StackId, new: &NewRelease) -> Result<ReleaseNumber, StoreError> {
        let row = self.stack_row(stack)?;
        let sql = "INSERT INTO releases (stack, number, bundle, actor, message, config_hash, created_at, images, again, state)
                   SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'planned' FROM releases
                   WHERE stack = ?1 RETURNING number";
        let NewRelease { bundle, actor, message, config_hash, created_at, images, again } = new;
        let images = serde_json::to_string(images).expect("a map of texts");
        let again = again.map(|number| signed(number.0));
        let params = (row, bundle.as_str(), actor, message, config_hash, nanos(*created_at), images, again);
        let number: i64 = self.value(sql, params)?.expect("an insert that succeeds returns its row");
        Ok(ReleaseNumber(number.unsigned_abs()))
    }

    /// One release.
    pub fn release(&self, stack: &StackId, number: ReleaseNumber) -> Result<Option<Release>, StoreError> {
        let row = self.stack_row(stack)?;
        self.find("SELECT * FROM releases WHERE stack = ?1 AND number = ?2", (row, signed(number.0)), read)
    }

    /// The newest `most` releases, the newest first.
    pub fn releases(&self, stack: &StackId, most: u32) -> Result<Vec<Release>, StoreError> {
        let row = self.stack_row(stack)?;
        self.query("SELECT * FROM releases WHERE stack = ?1 ORDER BY number DESC LIMIT ?2", (row, most), read)
    }

    /// The releases of which what they run from stays.
    pub fn kept_releases(&self, stack: &StackId) -> Result<Vec<Release>, StoreError> {
        let row = self.stack_row(stack)?;
        self.query("SELECT * FROM releases WHERE stack = ?1 AND kept ORDER BY number DESC", (row,), read)
    }

    /// Has what a release runs from stay, or not.
    pub fn keep_release(&self, stack: &StackId, number: ReleaseNumber, kept: bool) -> Result<(), StoreError> {
        let row = self.stack_row(stack)?;
        let sql = "UPDATE releases SET kept = ?3 WHERE stack = ?1 AND number = ?2";
        match self.execute(sql, (row, signed(number.0), kept))? {
            0 => Err(StoreError::NoSuchRelease { stack: stack.clone(), number }),
            _ => Ok(()),
        }
    }

    /// Moves a release on. A state that is final needs the time it ended.
    pub fn set_release_state(
        &self,
        stack: &StackId,
        number: ReleaseNumber,
        state: ReleaseState,
        at: Timestamp,
        outcome: Option<&str>,
    ) -> Result<(), StoreError> {
        let row = self.stack_row(stack)?;
        let finished = state.is_final().then(|| nanos(at));
        let sql = "UPDATE releases SET state = ?3, finished_at = ?4, outcome = ?5 WHERE stack = ?1 AND number = ?2";
        match self.execute(sql, (row, signed(number.0), state.as_str(), finished, outcome))? {
            0 => Err(StoreError::NoSuchRelease { stack: stack.clone(), number }),
            _ => Ok(()),
        }
    }
}

fn read(row: &Columns<'_>) -> Result<Release, StoreError> {
    Ok(Release {
        number: ReleaseNumber(row.number("number")?),
        new: NewRelease {
            bundle: row.parse("bundle")?,
            actor: row.get("actor")?,
            message: row.get("message")?,
            config_hash: row.get("config_hash")?,
            created_at: row.time("created_at")?,
            images: images(&row.get::<String>("images")?)?,
            again: row.get::<Option<i64>>("again")?.map(|number| ReleaseNumber(number.unsigned_abs())),
        },
        state: row.parse("state")?,
        finished_at: row.maybe_time("finished_at")?,
        outcome: row.get("outcome")?,
        kept: row.get("kept")?,
    })
}

fn images(text: &str) -> Result<BTreeMap<String, String>, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Stored {
        what: "images of a release",
        value: text.to_owned(),
        why: error.to_string(),
    })
}
