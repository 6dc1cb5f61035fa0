//! Identities: of a stack, a replica, a release, a bundle.

use crate::name::{EnvironmentName, NameError, ProjectName, ServiceName};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

/// One project in one environment: the unit that is planned, released and taken down.
///
/// Written `project@environment`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId {
    /// The project.
    pub project: ProjectName,
    /// The environment it runs in.
    pub environment: EnvironmentName,
}

impl fmt::Display for StackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.project, self.environment)
    }
}

/// A text that is no id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind}, write {form}")]
pub struct IdError {
    /// What was expected.
    pub kind: &'static str,
    /// What was found.
    pub text: String,
    /// The form in words.
    pub form: &'static str,
}

impl IdError {
    fn new(kind: &'static str, text: &str, form: &'static str) -> Self {
        Self { kind, text: text.to_owned(), form }
    }
}

impl FromStr for StackId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::new("stack", text, "`project@environment`");
        let (project, environment) = text.split_once('@').ok_or_else(wrong)?;
        let parsed = |_: NameError| wrong();
        Ok(Self { project: project.parse().map_err(parsed)?, environment: environment.parse().map_err(parsed)? })
    }
}

/// The number of a replica within its service, from 1.
///
/// A slot is free again once its replica is removed; a release starts new replicas in free slots
/// before it stops the old ones, so the numbers of one service alternate between releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(NonZeroU32);

impl Slot {
    /// The first slot.
    pub const FIRST: Slot = Slot(NonZeroU32::MIN);

    /// The slot with this number, none for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number, from 1.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// The slot after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One replica of a service within its stack, written `service.slot`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId {
    /// The service it belongs to.
    pub service: ServiceName,
    /// Its number within the service.
    pub slot: Slot,
}

impl ReplicaId {
    /// The replica of `service` in `slot`.
    pub fn new(service: ServiceName, slot: Slot) -> Self {
        Self { service, slot }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.slot)
    }
}

impl FromStr for ReplicaId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::new("replica", text, "`service.number`");
        let (service, slot) = text.rsplit_once('.').ok_or_else(wrong)?;
        let slot = slot.parse().ok().and_then(Slot::new).ok_or_else(wrong)?;
        Ok(Self { service: service.parse().map_err(|_| wrong())?, slot })
    }
}

/// The number of a release within its stack, from 1, in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseNumber(pub u64);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The digest of a bundle's manifest: 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId(Arc<str>);

impl BundleId {
    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for BundleId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let legal = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        legal.then(|| Self(text.into())).ok_or_else(|| IdError::new("bundle id", text, "64 lower-case hex digits"))
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_what_they_write() {
        let replica: ReplicaId = "api.v2.13".parse().expect("a dot may be part of the service");
        assert_eq!((replica.service.as_str(), replica.slot.number()), ("api.v2", 13));
        assert_eq!(replica.to_string(), "api.v2.13");
        let stack: StackId = "shop@production".parse().expect("legal");
        assert_eq!(stack.to_string(), "shop@production");
        for wrong in ["api", "api.0", "api.-1", ".1", "api.x"] {
            assert!(wrong.parse::<ReplicaId>().is_err(), "{wrong}");
        }
    }
}
