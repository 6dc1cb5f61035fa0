//! The engine of a project whose files name none: Docker where it can be reached, else processes.
//!
//! Owns the look at this machine's socket of Docker, and what is made of another daemon's answer. What the files say comes first, and what was typed before that: `declare` weighs it.

use model::RemoteHost;
use model::policy::EngineKind;
use runtime::Environment;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use server::api::status::EngineView;
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
    /// Another machine's daemon was asked: the engine of what runs there, and why in words.
    Told(EngineKind, String),
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
            Self::Told(kind, why) => (*kind, why.clone()),
            Self::Elsewhere(host) => {
                (EngineKind::Process, format!("default: $DOCKER_HOST is `{host}`, which is not on this machine"))
            }
        }
    }
}

/// What another machine's daemon offers, of what it says of its engines.
pub fn offered_there(engines: &[EngineView], host: &RemoteHost) -> Docker {
    let docker = engines.iter().find(|engine| engine.kind == EngineKind::Docker.as_str());
    match docker {
        Some(docker) if docker.usable => Docker::Told(EngineKind::Docker, format!("default: Docker answers on {host}")),
        Some(docker) => {
            let why = docker.why.as_deref().unwrap_or("its daemon does not say why");
            Docker::Told(EngineKind::Process, format!("default: no Docker on {host}: {why}"))
        }
        None => Docker::Told(EngineKind::Process, format!("default: the daemon on {host} has no Docker engine")),
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
    fn another_machine_offers_what_its_daemon_can_use() {
        let host: RemoteHost = "ssh://deploy@staging.example".parse().expect("legal");
        let view = |kind: &str, why: Option<&str>| EngineView {
            kind: kind.into(),
            usable: why.is_none(),
            why: why.map(str::to_owned),
        };
        let of = |engines: &[EngineView]| offered_there(engines, &host).offered();
        let (kind, why) = of(&[view("process", None), view("docker", None)]);
        assert_eq!((kind, &*why), (EngineKind::Docker, "default: Docker answers on ssh://deploy@staging.example"));
        let (kind, why) = of(&[view("process", None), view("docker", Some("none answers"))]);
        let missing = "default: no Docker on ssh://deploy@staging.example: none answers";
        assert_eq!((kind, &*why), (EngineKind::Process, missing));
        assert_eq!(of(&[view("process", None)]).0, EngineKind::Process);
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
