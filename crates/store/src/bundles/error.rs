//! Why a bundle was refused.

use super::path::PathError;
use crate::seal::SealError;
use model::{BundleId, ContentDigest};
use runtime::files::FileError;
use std::path::PathBuf;

/// A bundle was refused, or could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A path that no bundle may have.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Two files with one path, or a file where another needs a folder.
    #[error("`{0}` is in the bundle twice")]
    Twice(String),
    /// More files than a bundle may have.
    #[error("the bundle has {count} files, at most {most} are allowed")]
    TooMany {
        /// How many it has.
        count: usize,
        /// How many it may have.
        most: usize,
    },
    /// The content of a file was not sent.
    #[error("the content {digest} of `{path}` is missing: send it first")]
    NoSuchBlob {
        /// The file.
        path: String,
        /// Its digest.
        digest: ContentDigest,
    },
    /// The content has another size than the manifest says.
    #[error("`{path}` has {is} bytes, the manifest says {said}")]
    WrongSize {
        /// The file.
        path: String,
        /// What the manifest says.
        said: u64,
        /// What it is.
        is: u64,
    },
    /// What was sent is not what was announced.
    #[error("content announced as {said} has digest {is}")]
    WrongDigest {
        /// What was announced.
        said: ContentDigest,
        /// What came.
        is: ContentDigest,
    },
    /// More was sent than may be.
    #[error("content {digest} has more than {most} bytes")]
    TooLarge {
        /// The announced digest.
        digest: ContentDigest,
        /// The limit.
        most: u64,
    },
    /// The sender broke off.
    #[error("content {digest} was not sent to its end")]
    BrokenOff {
        /// The announced digest.
        digest: ContentDigest,
        /// Why.
        #[source]
        source: runtime::BoxError,
    },
    /// There is no such bundle.
    #[error("there is no bundle {}", .0.short())]
    NoSuchBundle(BundleId),
    /// A stored file is not what it was.
    #[error("`{}` is damaged: it is not what its name says", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The declaration cannot be unsealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A file of the state folder cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A bug or a stop kept the work from being done.
    #[error("the work on bundles was cut short")]
    CutShort(#[from] runtime::tasks::Failure),
}

impl BundleError {
    /// Whether the sender did something wrong, and not we.
    pub fn is_senders_fault(&self) -> bool {
        match self {
            Self::Path(_) | Self::Twice(_) | Self::TooMany { .. } | Self::NoSuchBlob { .. } => true,
            Self::WrongSize { .. } | Self::WrongDigest { .. } | Self::TooLarge { .. } | Self::BrokenOff { .. } => true,
            Self::NoSuchBundle(_) => true,
            Self::Damaged { .. } | Self::Seal(_) | Self::File(_) | Self::CutShort(_) => false,
        }
    }

    /// What to do about it, one imperative sentence, when there is something to say.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::File(error) => error.cure().map(str::to_owned),
            Self::Seal(error) => Some(error.cure()),
            Self::Damaged { path } => Some(format!("put the backup of `{}` back, or release again", path.display())),
            _ => None,
        }
    }
}
