//! What the Docker engine could not do, in its own words; the engine boundary wraps it in `EngineError`.

use crate::docker::AddressError;
use engine::Retry;
use model::{NetworkName, ReplicaId, VolumeName};
use runtime::files::FileError;
use std::io;
use std::path::PathBuf;

/// What the Docker engine could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the Engine cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody answers.
    #[error(
        "the Docker Engine does not answer at {address}: start it (`systemctl start docker`), or use the process engine"
    )]
    Away {
        /// Where it was asked.
        address: String,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// The Engine runs without root.
    #[error(
        "the Docker Engine at {address} is rootless: its networks lie where neither probes nor the edge reach a container"
    )]
    Rootless {
        /// Where it was asked.
        address: String,
    },
    /// The Engine refused.
    #[error("the Docker Engine refused: {message}")]
    Refused {
        /// HTTP's status.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// The conversation with the Engine broke.
    #[error("the conversation with the Docker Engine broke: if it has ended, start it (`systemctl start docker`)")]
    Broken(#[source] bollard::errors::Error),
    /// The Engine is too old.
    #[error(
        "the Docker Engine speaks API {found}, and `{key}` needs {needed} or newer: update Docker, or remove that key"
    )]
    TooOld {
        /// What it speaks.
        found: String,
        /// What is needed.
        needed: String,
        /// By which key of the service.
        key: &'static str,
    },
    /// Something of ours cannot be read back.
    #[error("{subject} cannot be read: {why}")]
    Unreadable {
        /// What.
        subject: String,
        /// Why, in words.
        why: String,
    },
    /// A file of ours.
    #[error(transparent)]
    File(#[from] FileError),
    /// The machine's links and addresses.
    #[error("network `{network}`: could not {doing}")]
    Kernel {
        /// The network.
        network: NetworkName,
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The machine's packet rules.
    #[error(transparent)]
    Rules(#[from] network::Error),
    /// A name that we need is somebody else's.
    #[error("{kind} `{name}` exists and is not this project's: remove or rename it (`docker {kind} rm {name}`)")]
    Taken {
        /// `container`, `network`, `volume`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// What a replica shall stand on is not there.
    #[error("network `{0}` does not exist, its step must come first")]
    NoNetwork(NetworkName),
    /// A volume is not there.
    #[error("volume `{0}` does not exist, its step must come first")]
    NoVolume(VolumeName),
    /// A network that is not the project's is not there.
    #[error("the external {kind} `{name}` does not exist: make it with `docker {kind} create {name}`")]
    NoExternal {
        /// `network` or `volume`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A network is to go from under a replica.
    #[error("could not {verb} network `{network}`: {by} stands on it and has to be removed first")]
    Carries {
        /// What was to be done.
        verb: &'static str,
        /// The network.
        network: NetworkName,
        /// Who stands on it, with backticks.
        by: String,
    },
    /// A volume that was taken over is used by somebody else.
    #[error(
        "volume `{volume}` is in use by container `{by}`, which was not taken over: do so with `mainstay up --adopt`, or stop it"
    )]
    Shared {
        /// The volume.
        volume: VolumeName,
        /// Who has it.
        by: String,
    },
    /// The network has other addresses than those wanted.
    #[error("network `{0}` exists with other addresses")]
    OtherSubnet(NetworkName),
    /// The release does not say which image.
    #[error("its image was not prepared: run `mainstay up` again")]
    NotPinned,
    /// The image that the release was pinned to has gone.
    #[error("image {0} is not on this machine any more: run `mainstay up` again, which fetches or builds it")]
    NoImage(String),
    /// A template that has no container.
    #[error("it runs as a process of the machine: name an `image` or a `build` for it, or use the process engine")]
    NoContainer,
    /// A folder that the edge serves has no replicas.
    #[error("its folder is served by the edge, it has no replicas")]
    Static,
    /// A path that no replica may see.
    #[error("`{}` belongs to the machine's control plane or holds it, and is mounted into no replica", .0.display())]
    Hidden(PathBuf),
    /// A path that climbs, or is none.
    #[error("`{0}` is no path within the bundle")]
    Path(String),
    /// The slot is taken by another replica that runs.
    #[error("another replica runs in the slot of `{0}`, it must be stopped first")]
    Busy(ReplicaId),
    /// Another client of the Engine starts or removes the same.
    #[error("somebody else works on the container of `{0}` at the same time")]
    Overtaken(ReplicaId),
    /// What shall be removed runs.
    #[error("`{0}` still runs, it must be stopped first")]
    Running(ReplicaId),
    /// What shall be asked does not run.
    #[error("it does not run")]
    NotRunning,
    /// Somebody has paused it.
    #[error("it is paused: let it go on with `docker unpause {0}`")]
    Paused(String),
    /// It did not end.
    #[error("it did not end within {0:?} of being killed")]
    Deaf(std::time::Duration),
    /// The container could not be started.
    #[error("its container could not be started: {0}")]
    NotStarted(String),
    /// A task of ours failed.
    #[error(transparent)]
    Task(#[from] runtime::tasks::Failure),
}

impl Error {
    /// Whether trying again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Away { .. }
            | Self::Broken(_)
            | Self::File(_)
            | Self::Kernel { .. }
            | Self::Unreadable { .. }
            | Self::Deaf(_)
            | Self::Overtaken(_)
            | Self::Task(_) => Retry::Later,
            // A conflict is something else at work on the same thing; 5xx may pass.
            Self::Refused { status: 409 | 500.., .. } => Retry::Later,
            Self::NotStarted(message) if message.contains("no space left") => Retry::Later,
            Self::Rules(error) if !error.is_final() => Retry::Later,
            _ => Retry::Never,
        }
    }

    /// Whether the Engine says that there is no such thing.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the Engine says that it is so already.
    pub(crate) fn is_no_change(&self) -> bool {
        matches!(self, Self::Refused { status: 304, .. })
    }

    /// Whether the name is taken, or something else is at work on the same thing.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Refused { status: 409, .. } => true,
            // What Podman says of a container that has ended before it could be killed, and of a name that is taken.
            Self::Refused { status: 500, message } => {
                ["container state improper", "that name is already in use"].iter().any(|words| message.contains(words))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn what_is_a_conflict_on_docker_is_one_on_podman() {
        let refused = |status, message: &str| Error::Refused { status, message: message.into() };
        assert!(refused(409, "Container 1637c78f is not running").is_conflict());
        let podman = "can only kill running containers. 020cc58d is in state exited: container state improper";
        assert!(refused(500, podman).is_conflict());
        assert!(
            refused(500, "the container name \"a\" is already in use by 1637c78f: that name is already in use")
                .is_conflict()
        );
        assert!(!refused(500, "no space left on device").is_conflict());
        assert!(!refused(404, "no such container").is_conflict());
    }
}
