//! Which subnet each network gets.

use super::{AllocateError, Allocation};
use ipnet::Ipv4Net;
use model::NetworkName;
use model::project::Project;
use model::stack::Subnet;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Where subnets come from: a private range (RFC 1918) away from Docker's pools (172.17/12, 192.168/16) and from
/// the low tens that home and office networks like.
const POOL: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 128, 0, 0), 9);

/// The first candidate; the search goes round the pool from here.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 210, 0, 0);

/// The smallest subnet: small stacks that grow a little keep theirs.
const SMALLEST: u8 = 24;

/// How many addresses a network needs.
struct Need {
    /// For services, a power of two with room for as many again.
    stable: u64,
    /// For replicas: twice as many while they are replaced, and as much again to grow.
    replicas: u64,
}

impl Need {
    fn of(project: &Project, network: &NetworkName) -> Self {
        let on_it = || project.services.values().filter(|service| service.template.networks.contains_key(network));
        let services = on_it().count() as u64;
        let replicas: u64 = on_it().map(|service| u64::from(service.replicas)).sum();
        Self { stable: (services * 2 + 2).next_power_of_two().max(64), replicas: replicas * 4 + 16 }
    }

    fn total(&self) -> u64 {
        self.stable + self.replicas + 2
    }

    fn subnet(&self, net: Ipv4Net, internal: bool) -> Subnet {
        let first = u32::from(net.network());
        let stable = u32::try_from(self.stable).expect("a subnet was found that holds it");
        Subnet { net, gateway: (first + 1).into(), replicas_from: (first + stable).into(), internal }
    }

    /// Whether what was given out before still has room for what is there now.
    fn fits(&self, subnet: &Subnet) -> bool {
        let stable = u64::from(u32::from(subnet.replicas_from) - u32::from(subnet.net.network()));
        let size = 1u64 << (32 - subnet.net.prefix_len());
        self.stable / 2 < stable && size.saturating_sub(stable + 2) >= self.replicas / 2
    }
}

/// The subnet of each network.
pub(super) fn choose(
    project: &Project,
    before: &Allocation,
    in_use: &[Ipv4Net],
) -> Result<BTreeMap<NetworkName, Subnet>, AllocateError> {
    let mut chosen: BTreeMap<NetworkName, Subnet> = BTreeMap::new();
    // The kept ones first, so that a new network takes nothing from them.
    for (name, network) in &project.networks {
        if let Some(subnet) = before.networks.get(name)
            && network.subnet.is_none_or(|wanted| wanted == subnet.net)
            && Need::of(project, name).fits(subnet)
        {
            chosen.insert(name.clone(), Subnet { internal: network.internal, ..subnet.clone() });
        }
    }
    for (name, network) in &project.networks {
        if !chosen.contains_key(name) {
            let need = Need::of(project, name);
            let taken: Vec<_> = in_use.iter().copied().chain(chosen.values().map(|subnet| subnet.net)).collect();
            let net = match network.subnet {
                Some(wanted) => declared(name, wanted, &need, &taken)?,
                None => free(name, &need, &taken)?,
            };
            chosen.insert(name.clone(), need.subnet(net, network.internal));
        }
    }
    Ok(chosen)
}

fn declared(name: &NetworkName, wanted: Ipv4Net, need: &Need, taken: &[Ipv4Net]) -> Result<Ipv4Net, AllocateError> {
    let wanted = wanted.trunc();
    if let Some(other) = taken.iter().find(|net| overlap(net, &wanted)) {
        return Err(AllocateError::SubnetTaken { network: name.clone(), wanted, other: *other });
    }
    if (1u64 << (32 - wanted.prefix_len())) < need.total() {
        return Err(AllocateError::SubnetTooSmall { network: name.clone(), wanted, addresses: need.total() });
    }
    Ok(wanted)
}

fn free(name: &NetworkName, need: &Need, taken: &[Ipv4Net]) -> Result<Ipv4Net, AllocateError> {
    let pool = Ipv4Net::new(POOL.0, POOL.1).expect("9 is a legal prefix length");
    let none = || AllocateError::NoSubnet { network: name.clone(), addresses: need.total(), pool };
    let bits = need.total().next_power_of_two().trailing_zeros();
    let length = u8::try_from(32u32.checked_sub(bits).ok_or_else(none)?).map_err(|_| none())?.min(SMALLEST);
    if length < POOL.1 {
        return Err(none());
    }
    let size = 1u64 << (32 - length);
    let (from, to) = (u64::from(u32::from(pool.network())), u64::from(u32::from(pool.broadcast())) + 1);
    let count = (to - from) / size;
    let start = (u64::from(u32::from(FIRST)) - from) / size;
    let candidates = (0..count).map(|n| from + (start + n) % count * size);
    let nets = candidates.filter_map(|first| Ipv4Net::new(u32::try_from(first).ok()?.into(), length).ok());
    nets.into_iter().find(|net| !taken.iter().any(|other| overlap(net, other))).ok_or_else(none)
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}
