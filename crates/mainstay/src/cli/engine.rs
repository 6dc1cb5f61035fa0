//! The engine of a project whose files name none: Docker where it can be reached on this machine, else processes.
//!
//! Owns the look at Docker's socket. What the files say comes first, and what was typed before that: `declare` weighs it.

use model::policy::EngineKind;
use runtime::Environment;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where Docker listens unless it is told otherwise.
const USUAL: &str = "/var/run/docker.sock";

/// An engine whose queue of callers is full for longer is none that can be worked with.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where a Docker of this machine is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Docker {
    /// At a socket.
    Socket(PathBuf),
    /// Nowhere: `DOCKER_HOST` names one that is not of this machine.
    Elsewhere(String),
}

impl Docker {
    /// As the environment says.
    pub fn of(environment: &Environment) -> Self {
        match environment.get("DOCKER_HOST").filter(|host| !host.is_empty()) {
            None => Self::Socket(USUAL.into()),
            Some(host) => match host.strip_prefix("unix://") {
                Some(path) => Self::Socket(path.into()),
                None => Self::Elsewhere(host.to_owned()),
            },
        }
    }

    /// What the machine offers, and why in words.
    pub fn offered(&self) -> (EngineKind, String) {
        match self {
            Self::Socket(path) => match answers(path) {
                Ok(()) => (EngineKind::Docker, format!("default: Docker answers at {}", path.display())),
                Err(error) => {
                    let error = io::Error::from(error).to_string();
                    let reason = error.split(" (os error").next().unwrap_or_default().to_lowercase();
                    (EngineKind::Process, format!("default: no Docker at {}: {reason}", path.display()))
                }
            },
            Self::Elsewhere(host) => {
                (EngineKind::Process, format!("default: $DOCKER_HOST is `{host}`, which is not on this machine"))
            }
        }
    }
}

/// Whether something takes our call; nothing is said to it.
fn answers(path: &Path) -> rustix::io::Result<()> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn docker_is_looked_for_where_its_own_client_does() {
        let of = |host: Option<&str>| {
            Docker::of(&Environment::new(Path::new("/"), host.map(|host| ("DOCKER_HOST".to_owned(), host.to_owned()))))
        };
        assert_eq!(of(None), Docker::Socket(USUAL.into()));
        assert_eq!(of(Some("")), Docker::Socket(USUAL.into()));
        assert_eq!(of(Some("unix:///run/user/7/docker.sock")), Docker::Socket("/run/user/7/docker.sock".into()));
        assert_eq!(of(Some("ssh://a@b")), Docker::Elsewhere("ssh://a@b".into()));
    }

    #[test]
    fn a_socket_is_docker_once_it_takes_a_call() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("docker.sock");
        let offered = || {
            let (kind, why) = Docker::Socket(path.clone()).offered();
            (kind, why.replace(&path.display().to_string(), "SOCKET"))
        };
        let missing = "default: no Docker at SOCKET: no such file or directory";
        assert_eq!(offered(), (EngineKind::Process, missing.to_owned()));
        let listener = UnixListener::bind(&path).expect("bound");
        assert_eq!(offered(), (EngineKind::Docker, "default: Docker answers at SOCKET".to_owned()));
        drop(listener);
        let deaf = "default: no Docker at SOCKET: connection refused";
        assert_eq!(offered(), (EngineKind::Process, deaf.to_owned()));
        let elsewhere = Docker::Elsewhere("tcp://a:2375".into()).offered();
        assert_eq!(elsewhere.0, EngineKind::Process);
    }
}
