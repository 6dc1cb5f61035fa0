//! Why the store refused.

use crate::seal::SealError;
use model::{ReleaseNumber, StackId};
use plan::Generation;
use plan::run::RunId;
use runtime::files::{FileError, LockError};
use std::path::PathBuf;
use std::sync::Arc;

/// The store refused, or could not read or write.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon works on this state folder.
    #[error("the state folder is in use")]
    InUse(#[source] LockError),
    /// The state folder cannot be used.
    #[error("the state folder cannot be used")]
    Folder(#[from] FileError),
    /// The key of the secrets cannot be used.
    #[error("the state folder's key cannot be used")]
    Key(#[source] SealError),
    /// The state file was cut short or overwritten.
    #[error("`{}` is damaged ({found})", path.display())]
    Damaged {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
        /// What to do, one imperative sentence.
        cure: String,
    },
    /// The state file was written by a later version.
    #[error("`{}` was written by a newer version of Mainstay (schema {found}, this one knows {known})", path.display())]
    TooNew {
        /// The state file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// No room for what should have been written; nothing of it was.
    #[error("could not {doing}: the disk of `{}` is full", path.display())]
    Full {
        /// What was tried.
        doing: &'static str,
        /// The state file.
        path: PathBuf,
    },
    /// The state file cannot be written; nothing was.
    #[error("could not {doing}: `{}` is read-only", path.display())]
    ReadOnly {
        /// What was tried.
        doing: &'static str,
        /// The state file.
        path: PathBuf,
    },
    /// SQLite refused.
    #[error("could not {doing}")]
    Sql {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A stored value that this version cannot read.
    #[error("stored {what} `{value}` cannot be read: {why}")]
    Stored {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
        /// Why not.
        why: String,
    },
    /// The stack is not known.
    #[error("there is no stack `{0}`")]
    NoSuchStack(StackId),
    /// The stack has no such release.
    #[error("`{stack}` has no release {number}")]
    NoSuchRelease {
        /// The stack.
        stack: StackId,
        /// The number.
        number: ReleaseNumber,
    },
    /// The stack changed since the plan was made.
    #[error("the plan was made for generation {}, the stack is in generation {}; plan again", basis.0, current.0)]
    Stale {
        /// What the plan was made for.
        basis: Generation,
        /// Where the stack is.
        current: Generation,
    },
    /// Another run of the stack is open.
    #[error("run {} of `{stack}` is still open", run.0)]
    Busy {
        /// The stack.
        stack: StackId,
        /// The open run.
        run: RunId,
    },
    /// There is no such open run.
    #[error("run {} is not open", .0.0)]
    NoSuchRun(RunId),
    /// Every block of user numbers is taken.
    #[error("every block of user numbers has its stack, none is left for `{0}`")]
    NoUids(StackId),
    /// The store was closed, because the daemon stops or because its thread failed.
    #[error("could not {doing}: the store is closed")]
    Closed {
        /// What was tried.
        doing: &'static str,
    },
}

impl StoreError {
    /// Puts what SQLite said into our words; `path` is the state file.
    pub(crate) fn sql(doing: &'static str, path: &std::path::Path, source: Arc<rusqlite::Error>) -> Self {
        use rusqlite::ErrorCode::{DiskFull, ReadOnly};
        if crate::open::is_damage(&source) {
            return match crate::open::damaged(path, source.to_string()) {
                Self::Damaged { path, found, cure } => {
                    Self::Damaged { path, found, cure: format!("stop the daemon, then {cure}") }
                }
                other => other,
            };
        }
        match source.sqlite_error_code() {
            Some(DiskFull) => Self::Full { doing, path: path.to_owned() },
            Some(ReadOnly) => Self::ReadOnly { doing, path: path.to_owned() },
            _ => Self::Sql { doing, source },
        }
    }

    /// What to do about it, one imperative sentence, when there is something to say.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::InUse(_) => {
                Some("stop the other daemon, or choose other folders with `--state` and `--run`".to_owned())
            }
            Self::Folder(error) => error.cure().map(str::to_owned),
            Self::Key(error) => Some(error.cure()),
            Self::Damaged { cure, .. } => Some(cure.clone()),
            Self::TooNew { .. } => Some("install the newer version again".to_owned()),
            Self::Full { .. } => Some("free some space on that disk".to_owned()),
            Self::ReadOnly { .. } => {
                Some("mount that file system writable, or choose another folder with `--state`".to_owned())
            }
            _ => None,
        }
    }
}
