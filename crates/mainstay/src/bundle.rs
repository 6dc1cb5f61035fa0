//! Bundles: everything a release runs from, content-addressed, sent before anything is asked for.
//!
//! Owns the way from the project's folder to a bundle's id: [`build`] makes the artifacts, [`collect`] finds and hashes
//! the files, [`context`] those that images are built of, [`send`] uploads what the daemon does not have. Never decides what belongs in: the declaration does.

pub mod build;
pub mod collect;
pub mod context;
pub mod identity;
pub mod ignore;
pub mod images;
pub mod send;

use std::path::PathBuf;

/// A file of the project that goes into the bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Its path in the bundle.
    pub path: String,
    /// Where it lies.
    pub file: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Whether it may be run.
    pub executable: bool,
}

/// Something that cannot go into a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It is not there.
    #[error("`{path}` is not there")]
    Missing {
        /// Path in the project.
        path: String,
    },
    /// A folder without a single file.
    #[error("`{path}` is an empty folder")]
    Empty {
        /// Path in the project.
        path: String,
    },
    /// A link to a place outside the project.
    #[error("`{path}` leads to {}, outside the project", target.display())]
    Outside {
        /// Path in the project.
        path: String,
        /// Where it leads.
        target: PathBuf,
    },
    /// A link that leads back to a folder it lies in.
    #[error("`{path}` is a link to a folder that holds it")]
    Loop {
        /// Path in the project.
        path: String,
    },
    /// A socket, a pipe, a device.
    #[error("`{path}` is neither a file nor a folder")]
    Special {
        /// Path in the project.
        path: String,
    },
    /// A name that is no UTF-8.
    #[error("`{path}` is no UTF-8 text")]
    Name {
        /// Path in the project, its bad parts replaced.
        path: String,
    },
    /// It cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// Path in the project.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// One file too large.
    #[error("`{path}` has {size}, a file of a bundle has at most {limit}")]
    Large {
        /// Path in the project.
        path: String,
        /// Its size.
        size: String,
        /// The limit.
        limit: String,
    },
    /// A folder that an image is built of is too large.
    #[error("`{folder}`, which {services} is built of, has {what}, at most {limit} are sent; most of it is {}",
        largest.join(", "))]
    Context {
        /// The folder.
        folder: String,
        /// The services.
        services: String,
        /// What there is.
        what: String,
        /// The limit.
        limit: String,
        /// The largest folders in it.
        largest: Vec<String>,
    },
    /// Nothing is left of a folder that an image is built of.
    #[error("`{path}` has no file that an image could be built of")]
    Nothing {
        /// The folder.
        path: String,
    },
    /// A link of a folder that an image is built of leads out of it, or nowhere.
    #[error("`{path}` is a link to {}, which does not lie in `{folder}`", target.display())]
    Link {
        /// The link.
        path: String,
        /// Where it leads.
        target: PathBuf,
        /// The folder.
        folder: String,
    },
    /// A `.dockerignore` that cannot be read.
    #[error("`{path}`: {why}")]
    Ignore {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// All files together too large, or too many.
    #[error("the bundle has {what}, at most {limit} are taken")]
    TooMuch {
        /// What there is.
        what: String,
        /// The limit.
        limit: String,
    },
}

impl Problem {
    /// What to do about it.
    pub fn cure(&self) -> String {
        match self {
            Self::Missing { .. } => "build it, or correct its path in mainstay.yaml".into(),
            Self::Empty { path } => format!("build it, or put a file into `{path}`"),
            Self::Outside { .. } | Self::Loop { .. } => "put the files themselves where the link is".into(),
            Self::Special { .. } | Self::Name { .. } => {
                "name a folder that holds only what the service needs, or leave it out with `.dockerignore`".into()
            }
            Self::Unreadable { .. } => "make it readable for this user".into(),
            Self::Context { folder, .. } => {
                format!("name what the image does not need in `{folder}/.dockerignore`, a line for each folder")
            }
            Self::Nothing { .. } => "correct `.dockerignore`, or the path of the context".into(),
            Self::Link { .. } => "put the file itself there, or name the link in `.dockerignore`".into(),
            Self::Ignore { .. } => "correct the pattern".into(),
            Self::Large { .. } | Self::TooMuch { .. } => {
                "name only what the service needs, and put bulk content into a volume".into()
            }
        }
    }
}
