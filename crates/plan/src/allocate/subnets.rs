//! Which subnet each network gets.

use super::{AllocateError, Allocation, Members};
use ipnet::Ipv4Net;
use model::project::{Project, Service};
use model::stack::Subnet;
use model::{NetworkName, ServiceName};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;

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
    fn of(members: &[(&ServiceName, &Service)]) -> Self {
        let replicas: u64 = members.iter().map(|(_, service)| u64::from(service.replicas)).sum();
        let stable = (members.len() as u64 * 2 + 2).next_power_of_two().max(64);
        Self { stable, replicas: replicas * 4 + 16 }
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
    members: &Members<'_>,
    before: &Allocation,
    in_use: &[Ipv4Net],
) -> Result<BTreeMap<NetworkName, Subnet>, AllocateError> {
    let mut chosen: BTreeMap<NetworkName, Subnet> = BTreeMap::new();
    let mut taken = Taken::default();
    in_use.iter().for_each(|net| taken.add(*net));
    let need = |name| Need::of(members.get(name).map_or(&[], Vec::as_slice));
    // The kept ones first, so that a new network takes nothing from them.
    for (name, network) in &project.networks {
        if let Some(subnet) = before.networks.get(name)
            && network.subnet.is_none_or(|wanted| wanted == subnet.net)
            && need(name).fits(subnet)
        {
            taken.add(subnet.net);
            chosen.insert(name.clone(), Subnet { internal: network.internal, ..subnet.clone() });
        }
    }
    for (name, network) in &project.networks {
        if !chosen.contains_key(name) {
            let need = need(name);
            let net = match network.subnet {
                Some(wanted) => {
                    let others = in_use.iter().copied().chain(chosen.values().map(|subnet| subnet.net));
                    declared(name, wanted, &need, others)?
                }
                None => free(name, &need, &taken)?,
            };
            taken.add(net);
            chosen.insert(name.clone(), need.subnet(net, network.internal));
        }
    }
    Ok(chosen)
}

fn declared(
    name: &NetworkName,
    wanted: Ipv4Net,
    need: &Need,
    mut others: impl Iterator<Item = Ipv4Net>,
) -> Result<Ipv4Net, AllocateError> {
    let wanted = wanted.trunc();
    if let Some(other) = others.find(|net| overlap(net, &wanted)) {
        return Err(AllocateError::SubnetTaken { network: name.clone(), wanted, other });
    }
    if (1u64 << (32 - wanted.prefix_len())) < need.total() {
        return Err(AllocateError::SubnetTooSmall { network: name.clone(), wanted, addresses: need.total() });
    }
    Ok(wanted)
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

fn free(name: &NetworkName, need: &Need, taken: &Taken) -> Result<Ipv4Net, AllocateError> {
    let pool = Ipv4Net::new(POOL.0, POOL.1).expect("9 is a legal prefix length");
    let none = || AllocateError::NoSubnet { network: name.clone(), addresses: need.total(), pool };
    let bits = need.total().next_power_of_two().trailing_zeros();
    let length = u8::try_from(32u32.checked_sub(bits).ok_or_else(none)?).map_err(|_| none())?.min(SMALLEST);
    if length < POOL.1 {
        return Err(none());
    }
    let size = 1u64 << (32 - length);
    let (from, to) = (u64::from(u32::from(pool.network())), u64::from(u32::from(pool.broadcast())) + 1);
    let first = u64::from(u32::from(FIRST)) / size * size;
    let found = taken.gap(first..to, size).or_else(|| taken.gap(from..first, size)).ok_or_else(none)?;
    Ipv4Net::new(u32::try_from(found).map_err(|_| none())?.into(), length).map_err(|_| none())
}

/// Which addresses are taken: ranges that neither overlap nor touch, each by its first one with the one after its last.
#[derive(Default)]
struct Taken(BTreeMap<u64, u64>);

impl Taken {
    fn add(&mut self, net: Ipv4Net) {
        let mut from = u64::from(u32::from(net.network()));
        let mut to = u64::from(u32::from(net.broadcast())) + 1;
        while let Some((first, end)) = self.0.range(..=to).next_back().map(|(first, end)| (*first, *end))
            && end >= from
        {
            self.0.remove(&first);
            (from, to) = (from.min(first), to.max(end));
        }
        self.0.insert(from, to);
    }

    /// The first free piece of `size` addresses that begins at a multiple of it.
    fn gap(&self, within: Range<u64>, size: u64) -> Option<u64> {
        let mut at = within.start;
        while at + size <= within.end {
            match self.0.range(..at + size).next_back() {
                Some((_, end)) if *end > at => at = end.next_multiple_of(size),
                _ => return Some(at),
            }
        }
        None
    }
}
