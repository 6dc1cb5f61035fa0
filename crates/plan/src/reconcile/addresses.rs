//! Gives free addresses and free slots to new replicas.
//!
//! Owns what is taken: by any replica observed, whatever its service, and by the plan itself. Lowest first.

use super::seen::Seen;
use model::project::Role;
use model::stack::{Subnet, Target};
use model::{NetworkName, Slot};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The free addresses of all networks.
pub(super) struct Addresses<'a> {
    networks: &'a BTreeMap<NetworkName, Subnet>,
    seen: &'a [Seen<'a>],
    services: &'a BTreeMap<model::ServiceName, Target>,
    /// Made when the first address is asked for: most plans ask for none.
    free: Option<BTreeMap<&'a NetworkName, Free>>,
}

struct Free {
    first: u32,
    last: u32,
    next: u32,
    /// One bit per address from `first` on.
    taken: Vec<u64>,
}

/// A network has no address left.
pub(super) struct Exhausted {
    pub(super) network: NetworkName,
    pub(super) subnet: String,
}

impl<'a> Addresses<'a> {
    pub(super) fn new(
        networks: &'a BTreeMap<NetworkName, Subnet>,
        services: &'a BTreeMap<model::ServiceName, Target>,
        seen: &'a [Seen<'a>],
    ) -> Self {
        Self { networks, seen, services, free: None }
    }

    /// One address per network of the service: its stable ones when it is direct, else the lowest free ones.
    pub(super) fn take(&mut self, target: &Target) -> Result<crate::Addresses, Exhausted> {
        if target.direct && target.role == Role::Service {
            return Ok(target.addresses.iter().map(|(network, address)| (network.clone(), *address)).collect());
        }
        let (networks, services, seen) = (self.networks, self.services, self.seen);
        let free = self.free.get_or_insert_with(|| occupied(networks, services, seen));
        // A network that the stack does not hold cannot be declared; a replica is then simply not on it.
        let given = |(name, address): (&NetworkName, Option<Ipv4Addr>)| match address {
            Some(address) => Ok((name.clone(), address)),
            None => Err(Exhausted { network: name.clone(), subnet: networks[name].net.to_string() }),
        };
        target
            .template
            .networks
            .keys()
            .filter_map(|name| Some((name, free.get_mut(name)?.lowest())))
            .map(given)
            .collect()
    }
}

fn occupied<'a>(
    networks: &'a BTreeMap<NetworkName, Subnet>,
    services: &BTreeMap<model::ServiceName, Target>,
    seen: &[Seen<'_>],
) -> BTreeMap<&'a NetworkName, Free> {
    let mut free: BTreeMap<_, _> = networks.iter().map(|(name, subnet)| (name, Free::of(subnet))).collect();
    let of_replicas = seen.iter().flat_map(|seen| &seen.replica.addresses);
    for (network, address) in of_replicas.chain(services.values().flat_map(|target| &target.addresses)) {
        if let Some(pool) = free.get_mut(network) {
            pool.take(*address);
        }
    }
    free
}

impl Free {
    fn of(subnet: &Subnet) -> Self {
        let mut all = subnet.replica_addresses();
        let first = all.next().map_or(1, u32::from);
        let last = u32::from(subnet.net.broadcast()).saturating_sub(1);
        let mut pool = Self { first, last, next: first, taken: Vec::new() };
        pool.take(subnet.gateway);
        pool
    }

    fn take(&mut self, address: Ipv4Addr) {
        let address = u32::from(address);
        if (self.first..=self.last).contains(&address) {
            let (word, bit) = ((address - self.first) as usize / 64, (address - self.first) % 64);
            if self.taken.len() <= word {
                self.taken.resize(word + 1, 0);
            }
            self.taken[word] |= 1 << bit;
        }
    }

    fn is_taken(&self, address: u32) -> bool {
        let (word, bit) = ((address - self.first) as usize / 64, (address - self.first) % 64);
        self.taken.get(word).is_some_and(|bits| bits & (1 << bit) != 0)
    }

    fn lowest(&mut self) -> Option<Ipv4Addr> {
        while self.next <= self.last {
            let address = self.next;
            self.next += 1;
            if !self.is_taken(address) {
                return Some(Ipv4Addr::from(address));
            }
        }
        None
    }
}

/// The free slots of one service: those that no replica observed and no mark of the edge uses.
pub(super) struct Slots {
    taken: Vec<Slot>,
    next: Slot,
    at: usize,
}

impl Slots {
    /// `taken` in any order.
    pub(super) fn new(mut taken: Vec<Slot>) -> Self {
        taken.sort_unstable();
        taken.dedup();
        Self { taken, next: Slot::FIRST, at: 0 }
    }

    /// The lowest free slot, which is then taken.
    pub(super) fn take(&mut self) -> Slot {
        while self.taken.get(self.at) == Some(&self.next) {
            self.at += 1;
            self.next = self.next.next();
        }
        let slot = self.next;
        self.next = slot.next();
        slot
    }
}
