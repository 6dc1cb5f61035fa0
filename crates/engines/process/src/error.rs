//! What the process engine could not do, in its own words; the engine boundary wraps it in `EngineError`.

use crate::catalogue::Refusal;
use crate::cgroup::CgroupError;
use crate::network::NetworkError;
use crate::spec::SpecError;
use engine::Retry;
use model::{NetworkName, ReplicaId, VolumeName};
use shim::status::Step;
use std::io;
use std::path::{Path, PathBuf};

/// What the process engine could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Without root there are no namespaces that it could make.
    #[error("the process engine needs root: start the daemon with sudo, or use the docker engine")]
    NotRoot,
    /// The kernel lacks calls that a sandbox is made with.
    #[error("the process engine needs Linux 5.9 or newer, this is {0}: update the kernel, or use the docker engine")]
    OldKernel(String),
    /// A folder or file of its own.
    #[error("could not {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A network is to go from under a replica.
    #[error("could not {verb} network `{network}`: `{replica}` stands on it and has to be removed first")]
    Carries {
        /// What was to be done.
        verb: &'static str,
        /// The network.
        network: NetworkName,
        /// The replica.
        replica: ReplicaId,
    },
    /// The kernel would not tell.
    #[error("could not {doing}")]
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The machine's packet rules.
    #[error(transparent)]
    Rules(#[from] network::Error),
    /// Control groups.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The template asks for something that cannot be said to a shim.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The image cannot be run here.
    #[error("{refusal}; {}", .refusal.cure())]
    Image {
        /// Why.
        #[from]
        refusal: Refusal,
    },
    /// There is nothing to run.
    #[error(
        "it has a `build` only: write under `processes:` of mainstay.yaml how it runs without a container, or use the docker engine"
    )]
    BuildOnly,
    /// A folder that the edge serves has no replicas.
    #[error("its folder is served by the edge, it has no replicas")]
    Static,
    /// A replica shall mount what is not there.
    #[error("volume `{0}` does not exist, its step must come first")]
    NoVolume(VolumeName),
    /// The slot is taken by another replica that runs.
    #[error("another replica runs in its slot, it must be stopped first")]
    Busy,
    /// Its shim is still at work on a start that nobody waits for any more.
    #[error("it is still being started")]
    Starting,
    /// What shall be removed runs.
    #[error("it still runs, it must be stopped first")]
    Running,
    /// What shall be asked does not run.
    #[error("it does not run")]
    NotRunning,
    /// The workload could not be started.
    #[error("could not {step}: {message}")]
    Failed {
        /// What the shim was doing.
        step: Step,
        /// What went wrong.
        message: String,
    },
    /// The shim itself could not begin.
    #[error("its shim could not begin: {0}")]
    Shim(String),
    /// The shim answered no.
    #[error("its shim refused: {0}")]
    Refused(String),
    /// The shim could not be talked to.
    #[error("could not talk to its shim")]
    Control(#[source] io::Error),
    /// A process of ours could not be run.
    #[error(transparent)]
    Process(#[from] runtime::processes::ProcessError),
    /// A task of ours failed.
    #[error(transparent)]
    Task(#[from] runtime::tasks::Failure),
}

impl Error {
    /// Whether trying again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::NotRoot
            | Self::OldKernel(_)
            | Self::Rules(network::Error::NoNft)
            | Self::Spec(_)
            | Self::Image { .. }
            | Self::BuildOnly
            | Self::Network(NetworkError::Missing(_))
            | Self::Carries { .. }
            | Self::NoVolume(_)
            | Self::Busy
            | Self::Running
            | Self::Static => Retry::Never,
            // The same program fails in the same way; a full disk or a missing folder may be mended meanwhile.
            Self::Failed { step: Step::Exec | Step::Identity | Step::Limits | Step::Spec, .. } => Retry::Never,
            _ => Retry::Later,
        }
    }
}

/// Names the file and what was being done with it.
pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { doing, path, source }
}
