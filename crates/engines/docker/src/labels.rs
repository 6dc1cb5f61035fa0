//! The labels that tell whose a container, network or volume is, and what a replica was started with.
//!
//! Never a variable's or a secret's value. `com.docker.compose.*` beside ours is for other tools.

use crate::names::{self, Names};
use model::project::Role;
use model::stack::Subnet;
use model::{BundleId, NetworkName, ReleaseNumber, ReplicaId, SpecHash, StackId, VolumeName};
use plan::Addresses;
use plan::action::replica::Start;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The form of what stands in [`REPLICA`]; only the newest is written.
const VERSION: u32 = 1;
/// On everything of ours: which daemon it belongs to.
pub(crate) const OWNER: &str = "app.mainstay.owner";
/// On everything of ours: the stack.
pub(crate) const STACK: &str = "app.mainstay.stack";
/// On a container: the replica.
pub(crate) const ID: &str = "app.mainstay.replica";
/// On a container: what it was started with, as JSON.
pub(crate) const REPLICA: &str = "app.mainstay.started-with";
/// On a network: its name within the stack.
pub(crate) const NETWORK: &str = "app.mainstay.network";
/// On a network: its link. Podman, which makes the link when a container needs it, does not tell what it was asked for.
pub(crate) const BRIDGE: &str = "app.mainstay.bridge";
/// On a network: where the addresses of replicas begin.
const REPLICAS_FROM: &str = "app.mainstay.replicas-from";
/// On a volume: its name within the stack.
pub(crate) const VOLUME: &str = "app.mainstay.volume";

/// What a replica was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartedWith {
    v: u32,
    job: bool,
    hash: String,
    release: u64,
    bundle: String,
    addresses: BTreeMap<String, Ipv4Addr>,
    failures: u32,
    stop_signal: i32,
    stop_grace_ms: u64,
    /// Host name inside.
    pub hostname: String,
    /// Extra lines of its hosts file.
    pub extra_hosts: BTreeMap<String, IpAddr>,
    /// Its place in the service, by which it finds its volumes without a name.
    pub place: u32,
}

/// The same in the plan's types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub role: Role,
    pub hash: SpecHash,
    pub release: ReleaseNumber,
    pub bundle: BundleId,
    pub addresses: Addresses,
    pub failures: u32,
    pub stop_signal: i32,
    pub stop_grace: Duration,
}

impl Meaning {
    /// What is assumed of a replica whose labels cannot be read: it is nothing that is wanted.
    pub fn unknown() -> Self {
        Self {
            role: Role::Service,
            hash: SpecHash::from_digest([0; 16]),
            release: ReleaseNumber(0),
            bundle: "0".repeat(64).parse().expect("64 digits"),
            addresses: Addresses::default(),
            failures: 0,
            stop_signal: 15,
            stop_grace: Duration::from_secs(10),
        }
    }
}

impl StartedWith {
    /// Of a replica about to be started.
    pub fn new(start: &Start, hostname: String, stop_signal: i32, place: u32) -> Self {
        Self {
            v: VERSION,
            job: start.role == Role::Job,
            hash: start.hash.to_string(),
            release: start.release.0,
            bundle: start.bundle.to_string(),
            addresses: start.addresses.iter().map(|(name, ip)| (name.to_string(), *ip)).collect(),
            failures: start.failures,
            stop_signal,
            stop_grace_ms: u64::try_from(start.template.stop_grace.as_millis()).unwrap_or(u64::MAX),
            hostname,
            extra_hosts: start.template.extra_hosts.clone(),
            place,
        }
    }

    /// Of a replica that is nothing that is wanted.
    pub fn be_unknown(&mut self) {
        let unknown = Meaning::unknown();
        (self.hash, self.release) = (unknown.hash.to_string(), unknown.release.0);
    }

    /// Reads a container's labels; why not, in words.
    pub fn read(labels: &HashMap<String, String>) -> Result<Self, String> {
        let text = labels.get(REPLICA).ok_or_else(|| format!("its label `{REPLICA}` is missing"))?;
        let read: Self = serde_json::from_str(text).map_err(|error| format!("its label `{REPLICA}`: {error}"))?;
        match read.v {
            VERSION => Ok(read),
            other => Err(format!("its label `{REPLICA}` has version {other}, this build reads {VERSION}")),
        }
    }

    /// In the plan's types; why not, in words.
    pub fn meaning(&self) -> Result<Meaning, String> {
        let illegal = |error: &dyn std::fmt::Display| format!("its label `{REPLICA}`: {error}");
        let parse = |(name, ip): (&String, &Ipv4Addr)| {
            name.parse::<NetworkName>().map(|name| (name, *ip)).map_err(|error| illegal(&error))
        };
        let addresses = self.addresses.iter().map(parse).collect::<Result<Addresses, String>>()?;
        Ok(Meaning {
            role: if self.job { Role::Job } else { Role::Service },
            hash: self.hash.parse().map_err(|error: model::id::IdError| illegal(&error))?,
            release: ReleaseNumber(self.release),
            bundle: self.bundle.parse().map_err(|error: model::id::IdError| illegal(&error))?,
            addresses,
            failures: self.failures,
            stop_signal: self.stop_signal,
            stop_grace: Duration::from_millis(self.stop_grace_ms),
        })
    }

    /// Its address per network.
    pub fn addresses(&self) -> &BTreeMap<String, Ipv4Addr> {
        &self.addresses
    }
}

/// Those of a container.
pub(crate) fn of_container(
    names: &Names,
    stack: &StackId,
    id: &ReplicaId,
    with: &StartedWith,
    own: &BTreeMap<String, String>,
) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = own.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.extend(of_stack(names, stack));
    labels.extend([
        (ID.to_owned(), id.to_string()),
        (REPLICA.to_owned(), serde_json::to_string(with).expect("labels are plain data")),
        ("com.docker.compose.service".to_owned(), id.service.to_string()),
        ("com.docker.compose.container-number".to_owned(), id.slot.number().to_string()),
        ("com.docker.compose.oneoff".to_owned(), if with.job { "True" } else { "False" }.to_owned()),
    ]);
    labels
}

/// Those of a network.
pub(crate) fn of_network(
    names: &Names,
    stack: &StackId,
    name: &NetworkName,
    subnet: &Subnet,
    bridge: &str,
) -> HashMap<String, String> {
    let mut labels = of_stack(names, stack);
    labels.extend([
        (NETWORK.to_owned(), name.to_string()),
        (BRIDGE.to_owned(), bridge.to_owned()),
        (REPLICAS_FROM.to_owned(), subnet.replicas_from.to_string()),
        ("com.docker.compose.network".to_owned(), name.to_string()),
    ]);
    labels
}

/// Where the addresses of replicas begin on a network with these labels.
pub(crate) fn replicas_from(labels: &HashMap<String, String>) -> Result<Ipv4Addr, String> {
    let text = labels.get(REPLICAS_FROM).ok_or_else(|| format!("its label `{REPLICAS_FROM}` is missing"))?;
    text.parse().map_err(|error| format!("its label `{REPLICAS_FROM}`: {error}"))
}

/// Those of a volume.
pub(crate) fn of_volume(names: &Names, stack: &StackId, name: &VolumeName) -> HashMap<String, String> {
    let mut labels = of_stack(names, stack);
    labels.extend([(VOLUME.to_owned(), name.to_string()), ("com.docker.compose.volume".to_owned(), name.to_string())]);
    labels
}

fn of_stack(names: &Names, stack: &StackId) -> HashMap<String, String> {
    [
        (OWNER.to_owned(), names.owner.clone()),
        (STACK.to_owned(), stack.to_string()),
        ("com.docker.compose.project".to_owned(), names::project(stack)),
    ]
    .into()
}

/// Whether something meets all of a filter. Podman lists volumes that meet any part of one, and what is listed as a
/// stack's goes with it.
pub(crate) fn meet(labels: Option<&HashMap<String, String>>, filters: &HashMap<String, Vec<String>>) -> bool {
    let has = |name: &str, value: &str| labels.and_then(|labels| labels.get(name)).is_some_and(|found| found == value);
    let mut wanted = filters.get("label").into_iter().flatten();
    wanted.all(|label| label.split_once('=').is_some_and(|(name, value)| has(name, value)))
}

/// The filter that finds what is ours: of one stack, or of all.
pub(crate) fn filter(names: &Names, stack: Option<&StackId>) -> HashMap<String, Vec<String>> {
    let mut wanted = vec![format!("{OWNER}={}", names.owner)];
    wanted.extend(stack.map(|stack| format!("{STACK}={stack}")));
    [("label".to_owned(), wanted)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_meets_a_part_of_a_filter_is_somebody_elses() {
        let stack = |text: &str| text.parse::<StackId>().expect("legal");
        let (ours, theirs) = (stack("shop@production"), stack("blog@production"));
        let names = Names::default();
        let labels = of_volume(&names, &theirs, &"data".parse().expect("legal"));
        assert!(meet(Some(&labels), &filter(&names, None)));
        assert!(meet(Some(&labels), &filter(&names, Some(&theirs))));
        assert!(!meet(Some(&labels), &filter(&names, Some(&ours))));
        assert!(!meet(None, &filter(&names, None)));
        assert!(meet(None, &HashMap::from([("name".to_owned(), vec!["x".to_owned()])])));
    }
}
