//! Gives out what a stack keeps as long as it lives: subnets, stable addresses, ports of the machine.
//!
//! Owns the choice, and that it is kept: what was given out before stays as long as what it is for exists. Never asks
//! the machine; which subnets are in use is an argument. Start with [`allocate`], then [`settle_stack`].

mod settle;
mod stored;
mod subnets;
#[cfg(test)]
mod tests;

pub use settle::{NotInBundle, Terms, settle_stack};
pub use stored::AllocationTextError;

use ipnet::Ipv4Net;
use model::project::{Project, Service};
use model::stack::Subnet;
use model::{NetworkName, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Ports for `ports:` without a number of the machine begin here: below the kernel's own ephemeral range (32768 on
/// Linux), above what servers are usually given.
const FIRST_PORT: u16 = 20_000;

/// What was given out to one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// The subnet of each network.
    pub networks: BTreeMap<NetworkName, Subnet>,
    /// The stable address of each service on each of its networks.
    pub addresses: BTreeMap<ServiceName, BTreeMap<NetworkName, Ipv4Addr>>,
    /// The machine's port for each port of a service that named none.
    pub ports: BTreeMap<ServiceName, BTreeMap<u16, u16>>,
}

impl Allocation {
    /// Whether the port was given out here.
    pub fn has_port(&self, port: u16) -> bool {
        self.ports.values().any(|ports| ports.values().any(|given| *given == port))
    }

    /// Whether the subnet was given out here.
    pub fn has(&self, net: &Ipv4Net) -> bool {
        self.networks.values().any(|subnet| subnet.net == *net || subnet.net.contains(net))
    }
}

/// There is nothing left to give out, or what is wanted is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// No free range is large enough.
    #[error("no subnet with {addresses} addresses is free in {pool} for network `{network}`")]
    NoSubnet {
        /// The network.
        network: NetworkName,
        /// How many addresses it needs.
        addresses: u64,
        /// Where subnets come from.
        pool: Ipv4Net,
    },
    /// The subnet the declaration names cannot be had.
    #[error(
        "network `{network}` wants {wanted}, which overlaps {other}, in use on this machine; name another subnet or none"
    )]
    SubnetTaken {
        /// The network.
        network: NetworkName,
        /// What is wanted.
        wanted: Ipv4Net,
        /// What is in the way.
        other: Ipv4Net,
    },
    /// The subnet the declaration names is too small.
    #[error(
        "network `{network}` wants {wanted}, but its services and replicas need {addresses} addresses; name a larger subnet or none"
    )]
    SubnetTooSmall {
        /// The network.
        network: NetworkName,
        /// What is wanted.
        wanted: Ipv4Net,
        /// How many addresses it needs.
        addresses: u64,
    },
    /// Every port of the range is given out.
    #[error("no port is left for `{service}` between {FIRST_PORT} and 32767; name the ports of the machine yourself")]
    NoPort {
        /// The service.
        service: ServiceName,
    },
}

/// What others have: the machine itself and its other stacks, never the stack's own.
#[derive(Debug, Clone, Default)]
pub struct InUse {
    /// Their subnets.
    pub subnets: Vec<Ipv4Net>,
    /// Their ports.
    pub ports: BTreeSet<u16>,
}

/// Gives out what `project` needs. What `before` gave out stays, except ports that somebody has a better right to:
/// those that the project declares now, and those of others.
pub fn allocate(project: &Project, before: &Allocation, in_use: &InUse) -> Result<Allocation, AllocateError> {
    let members = members(project);
    let networks = subnets::choose(project, &members, before, &in_use.subnets)?;
    let mut addresses: BTreeMap<ServiceName, BTreeMap<NetworkName, Ipv4Addr>> = BTreeMap::new();
    for (network, subnet) in &networks {
        let members = members.get(network).map_or(&[][..], Vec::as_slice);
        for (service, address) in stable_addresses(members, before, network, subnet) {
            addresses.entry(service).or_default().insert(network.clone(), address);
        }
    }
    Ok(Allocation { networks, addresses, ports: ports(project, before, &in_use.ports)? })
}

/// The services on each network, in order of names.
type Members<'a> = BTreeMap<&'a NetworkName, Vec<(&'a ServiceName, &'a Service)>>;

fn members(project: &Project) -> Members<'_> {
    let mut members = Members::new();
    for (name, service) in &project.services {
        for network in service.template.networks.keys() {
            members.entry(network).or_default().push((name, service));
        }
    }
    members
}

/// The stable addresses on one network: the kept ones first, then the lowest free ones in order of names.
fn stable_addresses(
    members: &[(&ServiceName, &Service)],
    before: &Allocation,
    network: &NetworkName,
    subnet: &Subnet,
) -> Vec<(ServiceName, Ipv4Addr)> {
    let range = u32::from(subnet.gateway) + 1..u32::from(subnet.replicas_from);
    let kept = |service: &ServiceName| {
        let address = *before.addresses.get(service)?.get(network)?;
        range.contains(&u32::from(address)).then_some(address)
    };
    let on_it = || members.iter().map(|(name, _)| *name);
    let taken: BTreeSet<Ipv4Addr> = on_it().filter_map(kept).collect();
    let mut free = range.clone().map(Ipv4Addr::from).filter(|address| !taken.contains(address));
    let one = |service: &ServiceName| {
        let address = kept(service).or_else(|| free.next()).expect("subnets are chosen with room for every service");
        (service.clone(), address)
    };
    on_it().map(one).collect()
}

/// The kept ports first, then the lowest that neither the project nor anybody else has or had.
fn ports(
    project: &Project,
    before: &Allocation,
    in_use: &BTreeSet<u16>,
) -> Result<BTreeMap<ServiceName, BTreeMap<u16, u16>>, AllocateError> {
    let all = || project.services.values().flat_map(|service| &service.published);
    let declared: BTreeSet<u16> = all().filter_map(|port| port.published).collect();
    let had: BTreeSet<u16> = before.ports.values().flat_map(BTreeMap::values).copied().collect();
    let is_others = |port: &u16| declared.contains(port) || in_use.contains(port);
    let mut free = (FIRST_PORT..32_768).filter(|port| !is_others(port) && !had.contains(port));
    let mut ports: BTreeMap<ServiceName, BTreeMap<u16, u16>> = BTreeMap::new();
    for (name, service) in &project.services {
        for published in service.published.iter().filter(|port| port.published.is_none()) {
            let given = ports.entry(name.clone()).or_default();
            if given.contains_key(&published.target) {
                continue;
            }
            let kept = before.ports.get(name).and_then(|ports| ports.get(&published.target)).copied();
            let port = kept.filter(|port| !is_others(port)).or_else(|| free.next());
            given.insert(published.target, port.ok_or_else(|| AllocateError::NoPort { service: name.clone() })?);
        }
    }
    Ok(ports)
}
