//! The connection to the Engine: where it is, and which version of its interface both speak.
//!
//! Connects when it is first used and again after the Engine was away, as it may be another version by then.

use crate::about;
use crate::error::Error;
use crate::images::Wire;
use bollard::{ClientVersion, Docker};
use runtime::tasks::chain;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// How long an answer may take to begin. A removal on a slow disk takes tens of seconds.
const PATIENCE: u64 = 120;

/// Where the Engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(PathBuf);

impl Address {
    /// Its socket.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Address {
    /// `/var/run/docker.sock`.
    fn default() -> Self {
        Self("/var/run/docker.sock".into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

/// A text that is no address of an Engine we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address of a Docker Engine on this machine, write `unix:///path/to/docker.sock`; for another machine \
     prepare it with `mainstay host prepare`"
)]
pub struct AddressError(pub String);

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        path.starts_with('/').then(|| Self(path.into())).ok_or_else(|| AddressError(text.to_owned()))
    }
}

/// A connection that is made when it is needed.
#[derive(Clone)]
pub(crate) struct Connection {
    address: Address,
    known: Arc<Mutex<Option<Docker>>>,
}

impl Connection {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, known: Arc::default() }
    }

    /// The Engine, once it has said which version it speaks.
    pub(crate) async fn get(&self) -> Result<Docker, Error> {
        if let Some(docker) = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(docker);
        }
        let path = self.address.path().to_string_lossy();
        let fresh = Docker::connect_with_unix(&path, PATIENCE, bollard::API_DEFAULT_VERSION);
        let away = |source| Error::Away { address: self.address.to_string(), source };
        let docker = fresh.map_err(away)?.negotiate_version().await.map_err(away)?;
        self.refuse_rootless(&docker.client_version()).await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    /// One that runs without root would take orders, and nothing would reach what it starts.
    async fn refuse_rootless(&self, speaks: &ClientVersion) -> Result<(), Error> {
        let target = format!("/v{}.{}/info", speaks.major_version, speaks.minor_version);
        // bollard leaves out what Podman says beside what Docker does.
        let unreadable =
            |why: String| Error::Unreadable { subject: "what the Docker Engine says of itself".into(), why };
        let info = Wire::to(self.address.path()).get(&target).await.map_err(|error| unreadable(chain(&error)))?;
        match about::is_rootless(&info) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::Rootless { address: self.address.to_string() }),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    /// Asks again which version it speaks, the next time: it has been away.
    pub(crate) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Tells apart who does not answer, who refuses, and what broke in between.
    pub(crate) fn error(&self, error: bollard::errors::Error) -> Error {
        use bollard::errors::Error as E;
        match error {
            E::DockerResponseServerError { status_code, message } => Error::Refused { status: status_code, message },
            E::HyperLegacyError { ref err } if err.is_connect() => {
                self.forget();
                Error::Away { address: self.address.to_string(), source: error }
            }
            E::IOError { .. } | E::SocketNotFoundError(_) => {
                self.forget();
                Error::Away { address: self.address.to_string(), source: error }
            }
            error => Error::Broken(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sockets_of_this_machine() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(read("unix:///run/docker.sock"), Ok("unix:///run/docker.sock".into()));
        assert_eq!(read("/run/docker.sock"), Ok("unix:///run/docker.sock".into()));
        for refused in ["tcp://10.0.0.1:2375", "ssh://root@host", "docker.sock", ""] {
            assert_eq!(read(refused), Err(AddressError(refused.into())));
        }
    }
}
