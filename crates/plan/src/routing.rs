//! What the edge shall listen on and where it leads, in the words of the domain.
//!
//! Owns which listeners, hosts and pools follow from a stack, and the hash by which the edge remembers them. Never
//! talks to the edge: the daemon turns a [`RoutingTable`] into the edge's own form. Start with [`table`].

mod hash;
mod listeners;

pub use hash::{hash_of_nothing, routing_hash};

use crate::observed::{Health, Phase, Replica};
use model::policy::RouteTarget;
use model::project::{PortProtocol, Role, Runs};
use model::stack::{Stack, Target};
use model::{NetworkName, ReplicaId, ServiceName, SpecHash};
use std::cell::OnceCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Everything the edge serves for one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutingTable {
    /// What is listened on.
    pub listeners: BTreeMap<Socket, Listener>,
    /// Hosts and their paths on the machine's HTTP port, in the order declared.
    pub hosts: Vec<Host>,
    /// Groups of replicas that listen on the same port.
    pub pools: BTreeMap<PoolId, Vec<Upstream>>,
    /// Folders the edge serves itself.
    pub folders: BTreeMap<ServiceName, Folder>,
    /// Stable addresses that lead to replicas on every other port too.
    pub balances: BTreeMap<Ipv4Addr, Balance>,
}

/// What is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    /// The address; every address of the machine when none.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Socket {
    /// Whether both cannot be listened on for two purposes.
    fn overlaps(self, other: Self) -> bool {
        let anywhere = |socket: Self| socket.address.is_none_or(|address| address.is_unspecified());
        self.port == other.port && (self.address == other.address || anywhere(self) || anywhere(other))
    }
}

/// How connections to a socket are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken.
    pub protocol: PortProtocol,
    /// Where it leads.
    pub to: Destination,
    /// The network whose replicas reach it; none for a port of the machine, which the world may reach.
    pub inside: Option<NetworkName>,
}

/// Where a listener leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// The replicas of a service.
    Pool(PoolId),
    /// A folder, by the service that stands for it.
    Folder(ServiceName),
}

/// A service and the port its replicas listen on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId {
    /// The service.
    pub service: ServiceName,
    /// The port.
    pub port: u16,
}

/// One host and the paths below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// As declared: a name, `*.name` or `*`.
    pub host: String,
    /// The paths, in the order declared.
    pub paths: Vec<Path>,
}

/// One path prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Begins with `/`.
    pub prefix: String,
    /// Where it leads.
    pub to: PathDestination,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathDestination {
    /// Replicas or a folder.
    To(Destination),
    /// The stack's aggregated health.
    Health,
    /// The stack's aggregated readiness.
    Ready,
}

/// What becomes of connections to a stable address on ports that the edge does not listen on: the machine's packet
/// rules lead each to one of the replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Whose address it is.
    pub service: ServiceName,
    /// The network it lies on, where the replicas are reached as well.
    pub network: NetworkName,
    /// The ports that the edge listens on.
    pub known: BTreeSet<u16>,
    /// The replicas that get new work; connections are refused while there is none.
    pub replicas: BTreeSet<Ipv4Addr>,
}

/// A replica behind a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Which.
    pub id: ReplicaId,
    /// Where it is reached; the port is the pool's.
    pub address: Ipv4Addr,
    /// Whether it gets new work.
    pub state: UpstreamState,
}

/// Whether a replica gets new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UpstreamState {
    /// It does.
    Ready,
    /// It gets nothing new until it is ready.
    NotReady,
    /// It gets nothing new and is about to be stopped.
    Draining,
}

/// A folder that the edge serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder within the bundle.
    pub root: String,
    /// Unknown paths answer with `index.html`.
    pub spa: bool,
    /// Hash of the content: another one, another folder.
    pub hash: SpecHash,
}

/// What the table is made of, beside the stacks.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The replicas and their addresses.
    pub replicas: &'a BTreeMap<ReplicaId, Replica>,
    /// What the probes tell.
    pub health: &'a BTreeMap<ReplicaId, Health>,
    /// Who gets traffic when ready.
    pub routed: &'a BTreeSet<ReplicaId>,
    /// Who is about to be stopped.
    pub draining: &'a BTreeSet<ReplicaId>,
}

impl<'a> View<'a> {
    /// The replicas of a service that the edge knows of, and what it may do with each.
    fn of(self, service: &'a ServiceName) -> impl Iterator<Item = (&'a ReplicaId, &'a Replica, UpstreamState)> {
        let first = ReplicaId::new(service.clone(), model::Slot::FIRST);
        let replicas = self.replicas.range(first..).take_while(move |(id, _)| id.service == *service);
        replicas.filter_map(move |(id, replica)| {
            let is_ready =
                matches!(replica.phase, Phase::Running { .. }) && self.health.get(id) == Some(&Health::Ready);
            let state = match (self.draining.contains(id), self.routed.contains(id), is_ready) {
                (true, ..) => UpstreamState::Draining,
                (false, true, true) => UpstreamState::Ready,
                (false, true, false) => UpstreamState::NotReady,
                (false, false, _) => return None,
            };
            Some((id, replica, state))
        })
    }
}

/// The table in force: routes, folders and listeners of the stack that was `settled` last, and beside them what the
/// stack that was `opened` since listens on in addition. Until the first settling there is nothing but the latter.
pub fn table(settled: Option<&Stack>, opened: Option<&Stack>, view: View<'_>) -> RoutingTable {
    let mut table = settled.map(listeners::of).unwrap_or_default();
    if let Some(opened) = opened {
        let RoutingTable { listeners, pools, folders, balances, .. } = listeners::of(opened);
        for (socket, listener) in listeners {
            // A port that moves (from every address to one, say) does so with the settling, not before.
            let is_moved = |(there, kept): (&Socket, &Listener)| kept.inside.is_none() && there.overlaps(socket);
            if listener.inside.is_some() || !table.listeners.iter().any(is_moved) {
                table.listeners.entry(socket).or_insert(listener);
            }
        }
        table.pools.extend(pools);
        for (service, folder) in folders {
            table.folders.entry(service).or_insert(folder);
        }
        for (address, balance) in balances {
            match table.balances.entry(address) {
                Entry::Vacant(free) => drop(free.insert(balance)),
                Entry::Occupied(mut there) => there.get_mut().known.extend(balance.known),
            }
        }
    }
    fill(&mut table, view);
    table
}

fn fill(table: &mut RoutingTable, view: View<'_>) {
    for (pool, upstreams) in &mut table.pools {
        for (id, replica, state) in view.of(&pool.service) {
            // On several networks any address will do: the edge stands on the host's side of each.
            let Some(address) = replica.addresses.values().next() else { continue };
            upstreams.push(Upstream { id: id.clone(), address: *address, state });
        }
    }
    for balance in table.balances.values_mut() {
        let ready = view.of(&balance.service).filter(|(.., state)| *state == UpstreamState::Ready);
        balance.replicas =
            ready.filter_map(|(_, replica, _)| replica.addresses.get(&balance.network).copied()).collect();
    }
}

/// Which services anything reaches by more than the addresses of their replicas.
pub struct Reach<'a> {
    stack: &'a Stack,
    /// The services that routes lead to, once somebody has to know.
    routed_to: OnceCell<BTreeSet<&'a ServiceName>>,
}

impl<'a> Reach<'a> {
    /// That of a stack.
    pub fn of(stack: &'a Stack) -> Self {
        Self { stack, routed_to: OnceCell::new() }
    }

    fn is_routed_to(&self, service: &ServiceName) -> bool {
        let named = |target: &'a RouteTarget| match target {
            RouteTarget::Service { service, .. } => Some(service),
            RouteTarget::Health | RouteTarget::Ready => None,
        };
        let paths = || self.stack.routes.iter().flat_map(|route| &route.paths);
        self.routed_to.get_or_init(|| paths().filter_map(|path| named(&path.target)).collect()).contains(service)
    }

    /// Whether anything reaches the replicas of a service of the stack through the edge or the machine's packet rules.
    ///
    /// Those that nothing reaches (a worker without ports where these are needed, a database that is only called
    /// directly) need no routing and no draining.
    pub fn takes_traffic(&self, service: &ServiceName, target: &Target) -> bool {
        let has_replicas = !matches!(target.template.runs, Runs::Static { .. });
        let listens = !target.published.is_empty() || (!target.direct && !target.ports.is_empty());
        let listens = listens || self.stack.leads(target);
        target.role == Role::Service && has_replicas && (listens || self.is_routed_to(service))
    }
}
