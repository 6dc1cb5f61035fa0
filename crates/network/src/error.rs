//! What could not be done about the machine's packet rules.

use std::io;
use std::path::PathBuf;

/// What could not be done about the machine's packet rules.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A network with a way out, on a machine that has no means for one.
    #[error("a network that is not internal needs `nft`: install nftables, or write `internal: true` for the network")]
    NoNft,
    /// Connections cannot be led past a port that somebody holds.
    #[error(
        "leading connections past a port that a container holds needs `nft`: install nftables, or stop the container"
    )]
    NoDetour,
    /// `nft` or `iptables` refused its rules.
    #[error("the machine's packet filter refused: {0}")]
    Refused(String),
    /// The kernel would not tell.
    #[error("could not {doing}")]
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A kernel setting.
    #[error("could not {doing} {}", path.display())]
    Setting {
        /// What was being done.
        doing: &'static str,
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program could not be run.
    #[error(transparent)]
    Process(#[from] runtime::processes::ProcessError),
    /// A task of ours failed.
    #[error(transparent)]
    Task(#[from] runtime::tasks::Failure),
}

impl Error {
    /// Whether it stays so until somebody changes the machine.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NoNft | Self::NoDetour)
    }
}
