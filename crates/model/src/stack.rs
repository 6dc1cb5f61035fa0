//! What shall run: a project with its addresses, hashes and release settled. Input of planning.

use crate::fingerprint::SpecHash;
use crate::id::{BundleId, ReleaseNumber, StackId};
use crate::name::{NetworkName, ServiceName, VolumeName};
use crate::policy::{Balancing, Route};
use crate::probe::Probes;
use crate::project::{Dependency, Made, PublishedPort, RestartPolicy, Role, Runs, Template, Update};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A project in one environment with everything settled that a plan needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Which.
    pub id: StackId,
    /// The release that wants it so.
    pub release: ReleaseNumber,
    /// What the release runs from.
    pub bundle: BundleId,
    /// User number of the stack's uid block: user `n` inside is `uid_base + n` outside.
    pub uid_base: u32,
    /// The services.
    pub services: BTreeMap<ServiceName, Target>,
    /// The networks.
    pub networks: BTreeMap<NetworkName, Subnet>,
    /// The named volumes.
    pub volumes: BTreeSet<VolumeName>,
    /// How networks and volumes are made that are not made as usual.
    pub makes: Makes,
    /// The routes.
    pub routes: Vec<Route>,
    /// Ports of a stable address that nobody is known to listen on lead to the replicas as well: not through the edge,
    /// but by packet rules of the machine.
    pub any_port: bool,
}

impl Stack {
    /// Whether packet rules lead calls to the stable addresses of a service of the stack, on some ports at least.
    pub fn leads(&self, target: &Target) -> bool {
        target.spreads_connections() || (self.any_port && target.is_balanced())
    }
}

/// How networks and volumes are made that are not made as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Makes {
    /// Networks.
    pub networks: BTreeMap<NetworkName, Made>,
    /// Volumes.
    pub volumes: BTreeMap<VolumeName, Made>,
}

impl Makes {
    /// How a network is made.
    pub fn network(&self, name: &NetworkName) -> Made {
        self.networks.get(name).cloned().unwrap_or_default()
    }

    /// How a volume is made.
    pub fn volume(&self, name: &VolumeName) -> Made {
        self.volumes.get(name).cloned().unwrap_or_default()
    }
}

/// One service as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What each replica is started with.
    pub template: Arc<Template>,
    /// Keyed hash of the template and of the bundle's files it uses: replicas with another hash are replaced.
    pub hash: SpecHash,
    /// Runs on or once.
    pub role: Role,
    /// How many replicas.
    pub replicas: u32,
    /// What must be there first.
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// Ports of the machine, each with its number settled (`published` is never none here).
    pub published: Vec<PublishedPort>,
    /// Ports the replicas listen on: where requests are spread, the edge listens on each at every stable address.
    pub ports: BTreeSet<u16>,
    /// What is asked of the replicas.
    pub probes: Probes,
    /// What happens when a replica exits.
    pub restart: RestartPolicy,
    /// How a release replaces replicas.
    pub update: Update,
    /// The replica itself has the stable address.
    pub direct: bool,
    /// What of the calls to its stable addresses is spread over its replicas.
    pub balance: Balancing,
    /// The stable address per network: what the service's name resolves to.
    pub addresses: BTreeMap<NetworkName, Ipv4Addr>,
}

impl Target {
    /// How many replicas there can be: a direct service has one address, so one replica.
    pub fn n_wanted(&self) -> usize {
        let most = if self.direct && self.role == Role::Service { 1 } else { u32::MAX };
        self.replicas.min(most) as usize
    }

    /// Whether its stable addresses lead to its replicas, rather than being theirs or leading nowhere.
    pub fn is_balanced(&self) -> bool {
        self.role == Role::Service && !self.direct && self.has_replicas() && !self.addresses.is_empty()
    }

    /// Whether it is the machine's packet rules that lead calls to its name, on every port.
    pub fn spreads_connections(&self) -> bool {
        self.balance == Balancing::Connections && self.is_balanced()
    }

    /// Whether it has replicas at all: a folder that the edge serves has none.
    pub fn has_replicas(&self) -> bool {
        !matches!(self.template.runs, Runs::Static { .. })
    }
}

/// A network as it shall be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// Its addresses.
    pub net: Ipv4Net,
    /// The host's address on it: gateway, and the place the edge is reached at.
    pub gateway: Ipv4Addr,
    /// Replica addresses begin here; below lie the stable addresses.
    pub replicas_from: Ipv4Addr,
    /// Nothing outside can be reached from it.
    pub internal: bool,
}

impl Subnet {
    /// The addresses replicas may have, in order.
    pub fn replica_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let last = u32::from(self.net.broadcast());
        (u32::from(self.replicas_from)..last).map(Ipv4Addr::from)
    }
}
