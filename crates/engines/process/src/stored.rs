//! What the engine keeps beside a replica and a network: labels and wishes, never a variable's or a secret's value.
//!
//! Stored forms have a version; only the newest is written.
#![expect(clippy::disallowed_methods, reason = "run folder: whole but never durable, unlike runtime::files")]

use model::project::Role;
use model::stack::Subnet;
use model::{BundleId, ReleaseNumber, SpecHash};
use plan::Addresses;
use plan::action::replica::Start;
use plan::observed::NetworkState;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

const VERSION: u32 = 1;

/// `labels.json` of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    version: u32,
    is_job: bool,
    hash: String,
    release: u64,
    bundle: String,
    addresses: BTreeMap<String, Ipv4Addr>,
    failures: u32,
    stop_signal: i32,
    stop_grace_ms: u64,
    /// Host name inside.
    pub hostname: String,
    /// Extra lines of `/etc/hosts`.
    pub extra_hosts: BTreeMap<String, IpAddr>,
    /// The service's group, as the machine counts.
    pub gid: u32,
    /// The stack's first user number.
    pub uid_base: u32,
    /// Its place in the service, by which it finds its volumes without a name.
    #[serde(default)]
    pub place: Option<u32>,
}

/// What [`Labels`] say, in the plan's types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// Runs on or once.
    pub role: Role,
    /// The template's hash.
    pub hash: SpecHash,
    /// The release that started it.
    pub release: ReleaseNumber,
    /// The bundle it runs from.
    pub bundle: BundleId,
    /// Its address per network.
    pub addresses: Addresses,
    /// Exits in a row before it was started.
    pub failures: u32,
    /// The signal that asks it to stop.
    pub stop_signal: i32,
    /// How long it has after that signal.
    pub stop_grace: Duration,
}

impl Labels {
    /// Those of a replica about to be started.
    pub fn new(start: &Start, hostname: String, (_, gid): (u32, u32), stop_signal: i32, place: u32) -> Self {
        Self {
            version: VERSION,
            is_job: start.role == Role::Job,
            hash: start.hash.to_string(),
            release: start.release.0,
            bundle: start.bundle.to_string(),
            addresses: start.addresses.iter().map(|(name, ip)| (name.to_string(), *ip)).collect(),
            failures: start.failures,
            stop_signal,
            stop_grace_ms: u64::try_from(start.template.stop_grace.as_millis()).unwrap_or(u64::MAX),
            hostname,
            extra_hosts: start.template.extra_hosts.clone(),
            gid,
            uid_base: start.uid_base,
            place: Some(place),
        }
    }

    /// Reads them in the plan's types.
    ///
    /// Errors: a value that no such label has.
    pub fn meaning(&self) -> io::Result<Meaning> {
        let address = |(name, ip): (&String, &Ipv4Addr)| Ok((name.parse().map_err(io::Error::other)?, *ip));
        Ok(Meaning {
            role: if self.is_job { Role::Job } else { Role::Service },
            hash: self.hash.parse().map_err(io::Error::other)?,
            release: ReleaseNumber(self.release),
            bundle: self.bundle.parse().map_err(io::Error::other)?,
            addresses: self.addresses.iter().map(address).collect::<io::Result<_>>()?,
            failures: self.failures,
            stop_signal: self.stop_signal,
            stop_grace: Duration::from_millis(self.stop_grace_ms),
        })
    }

    /// Writes `labels.json`.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        replace(dir, "labels.json", self)
    }

    /// Reads `labels.json`, none when there is no such file.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        match read::<Self>(dir, "labels.json") {
            Ok(labels) => known(labels.version).map(|()| Some(labels)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// `network.json` of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFile {
    version: u32,
    net: String,
    gateway: Ipv4Addr,
    replicas_from: Ipv4Addr,
    internal: bool,
    stable: BTreeSet<Ipv4Addr>,
    names: BTreeMap<String, Ipv4Addr>,
}

impl From<&NetworkState> for NetworkFile {
    fn from(state: &NetworkState) -> Self {
        Self {
            version: VERSION,
            net: state.subnet.net.to_string(),
            gateway: state.subnet.gateway,
            replicas_from: state.subnet.replicas_from,
            internal: state.subnet.internal,
            stable: state.stable.clone(),
            names: state.names.clone(),
        }
    }
}

impl From<NetworkFile> for NetworkState {
    fn from(file: NetworkFile) -> Self {
        let net = file.net.parse().expect("checked when it was read");
        let (gateway, replicas_from, internal) = (file.gateway, file.replicas_from, file.internal);
        let subnet = Subnet { net, gateway, replicas_from, internal };
        Self { subnet, stable: file.stable, names: file.names }
    }
}

impl NetworkFile {
    /// Writes `network.json`.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        replace(dir, "network.json", self)
    }

    /// Reads `network.json`.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let file: Self = read(dir, "network.json")?;
        known(file.version)?;
        file.net.parse::<ipnet::Ipv4Net>().map_err(io::Error::other)?;
        Ok(file)
    }
}

fn known(version: u32) -> io::Result<()> {
    let text = || format!("it has version {version}, this build reads {VERSION}");
    if version == VERSION { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, text())) }
}

/// The run folder does not outlive the machine's boot, so whole is enough and durable is not needed.
fn replace<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    let temp = dir.join(format!(".{name}"));
    std::fs::write(&temp, serde_json::to_vec(value)?)?;
    std::fs::rename(&temp, dir.join(name))
}

fn read<T: for<'a> Deserialize<'a>>(dir: &Path, name: &str) -> io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(dir.join(name))?)?)
}
