//! From all stacks to the one table the edge serves by.
//!
//! Pure: what is listened on and where it leads is said by [`plan::routing`]; this puts it into the edge's own form.
//! What sockets and folders the table needs is said beside it, and opened by [`super::hub`].

use super::clash::overlap;
use edge::control::{
    Fixed, Host, Listener, ListenerTarget, PathRoute, Pool, Protocol, Readiness, Table, Target, Upstream,
};
use model::project::PortProtocol;
use model::stack::Stack;
use model::{BundleId, ReplicaId, SpecHash, StackId};
use network::balances::{Balance, Balances};
use plan::observed::{Health, Replica};
use plan::routing::{self, Destination, PathDestination, PoolId, RoutingTable, Socket, UpstreamState, View};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// What the edge needs to know of one stack.
#[derive(Debug, Clone, Default)]
pub struct StackRouting {
    /// The stack whose routes are in force, with its routing hash.
    pub settled: Option<(Arc<Stack>, SpecHash)>,
    /// The stack that is being released: its listeners are open beside those of the settled one.
    pub opened: Option<Arc<Stack>>,
    /// Replicas that get traffic when they are ready.
    pub routed: BTreeSet<ReplicaId>,
    /// Replicas that get nothing new and finish what they have.
    pub draining: BTreeSet<ReplicaId>,
    /// The replicas as last seen.
    pub replicas: BTreeMap<ReplicaId, Replica>,
    /// What the probes said last.
    pub health: BTreeMap<ReplicaId, Health>,
    /// The answers of routes to `@health` and to `@ready`.
    pub documents: Option<(Fixed, Fixed)>,
    /// Ports that containers hold which are taken over: where the edge listens instead, by what clients connect to.
    pub detours: BTreeMap<SocketAddr, Detour>,
    /// What an earlier daemon had the edge serve, of a release that this one cannot read: it stays until another settles.
    pub kept: Option<Kept>,
}

impl StackRouting {
    /// The stacks that are served or about to be.
    pub fn stacks(&self) -> impl Iterator<Item = &Arc<Stack>> {
        self.settled.iter().map(|(stack, _)| stack).chain(&self.opened)
    }
}

/// Another port in place of one that somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detour {
    /// Which.
    pub port: u16,
    /// Nobody holds it any more, since then: both are listened on, as clients may be on their way.
    pub over: Option<Instant>,
}

/// Where routes are served, and what the machine speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ground {
    /// Where routes are served.
    pub http: SocketAddr,
    /// What is published on every IPv4 address is published on every IPv6 address as well.
    pub ipv6: bool,
}

impl Ground {
    /// Every socket that routes are served on.
    pub fn http(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let everywhere = self.ipv6 && self.http.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let ipv6 = everywhere.then(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.http.port())));
        [self.http].into_iter().chain(ipv6)
    }
}

/// The part of a table that serves one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    listeners: Vec<Listener>,
    hosts: Vec<Host>,
    pools: BTreeMap<String, Pool>,
    memo: Option<String>,
}

impl Kept {
    /// What this table has of the stack.
    pub fn of(table: &Table, stack: &StackId) -> Self {
        let (id, prefix) = (stack.to_string(), format!("{stack}/"));
        let pools = table.pools.iter().filter(|(name, _)| name.starts_with(&prefix));
        Self {
            listeners: table.listeners.iter().filter(|listener| listener.project == id).cloned().collect(),
            hosts: table.hosts.iter().filter(|host| host.project == id).cloned().collect(),
            pools: pools.map(|(name, pool)| (name.clone(), pool.clone())).collect(),
            memo: table.memo.get(&id).cloned(),
        }
    }

    /// Leaves out the folders, which only the edge that was given them has.
    pub fn forget_folders(&mut self) {
        let is_folder = |target: &Target| matches!(target, Target::Static { .. });
        self.listeners.retain(|l| !matches!(&l.target, ListenerTarget::Target(target) if is_folder(target)));
        self.hosts.iter_mut().for_each(|host| host.paths.retain(|path| !is_folder(&path.target)));
    }
}

/// What a table needs beside itself.
#[derive(Debug, Default)]
pub struct Needs {
    /// Sockets by listener id.
    pub sockets: BTreeMap<String, SocketAddr>,
    /// Folders of bundles by the id the table names them with.
    pub dirs: BTreeMap<String, Folder>,
    /// Where stable addresses lead on ports that the edge does not listen on.
    pub balances: Balances,
}

/// A folder of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The bundle.
    pub bundle: BundleId,
    /// The path in it.
    pub root: String,
    /// Who asks for it.
    pub stack: StackId,
}

/// Stable addresses, each with the ports the edge listens on there and the replicas that all others lead to.
type Leads = BTreeMap<Ipv4Addr, (BTreeSet<u16>, BTreeSet<Ipv4Addr>)>;

/// What the edge remembers of a stack for a daemon that comes after this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    /// The release whose routes are in force.
    pub release: Option<u64>,
    /// Its routing hash.
    pub hash: Option<String>,
    /// The release whose listeners are open beside it.
    #[serde(default)]
    pub opened: Option<u64>,
    /// Replicas that get traffic.
    pub routed: Vec<String>,
    /// Ports that are listened on in place of others.
    #[serde(default)]
    pub detours: BTreeMap<SocketAddr, u16>,
    /// Where stable addresses lead on other ports.
    #[serde(default)]
    pub balances: Leads,
}

/// The table for all stacks.
pub fn table(stacks: &BTreeMap<StackId, StackRouting>, ground: &Ground) -> (Table, Needs) {
    let detours = stacks.values().flat_map(|routing| &routing.detours).map(|(wanted, detour)| (*wanted, *detour));
    let (table, needs) = Default::default();
    let mut build = Build { ground: *ground, detours: detours.collect(), table, needs };
    let has_routes = |stack: &Arc<Stack>| !stack.routes.is_empty();
    // Routes in force keep their port until the next release has settled, and so does a port that a service publishes.
    if stacks.values().filter_map(|routing| routing.settled.as_ref()).any(|(stack, _)| has_routes(stack)) {
        build.listen_for_routes();
    }
    for (id, routing) in stacks {
        build.stack(id, routing);
    }
    // Already while a release with routes is opened, so that a taken port is found before anything starts.
    if stacks.values().filter_map(|routing| routing.opened.as_ref()).any(has_routes) {
        build.listen_for_routes();
    }
    (build.table, build.needs)
}

/// The id an upstream has at the edge: replicas of different stacks may have the same name.
pub fn upstream_id(stack: &StackId, replica: &ReplicaId) -> String {
    format!("{stack}/{replica}")
}

/// The replicas of a stack that a table holds for ready.
pub fn ready_in(table: &Table, stack: &StackId) -> BTreeSet<ReplicaId> {
    let upstreams = table.pools.values().flat_map(|pool| &pool.upstreams);
    let ready = upstreams.filter(|upstream| upstream.state == Readiness::Ready);
    let prefix = format!("{stack}/");
    ready.filter_map(|upstream| upstream.id.strip_prefix(&prefix)?.parse().ok()).collect()
}

struct Build {
    ground: Ground,
    detours: BTreeMap<SocketAddr, Detour>,
    table: Table,
    needs: Needs,
}

impl Build {
    fn stack(&mut self, id: &StackId, routing: &StackRouting) {
        let settled = routing.settled.as_ref().map(|(stack, _)| &**stack);
        let opened = routing.opened.as_deref();
        let view = View {
            replicas: &routing.replicas,
            health: &routing.health,
            routed: &routing.routed,
            draining: &routing.draining,
        };
        let table = routing::table(settled, opened, view);
        for (pool, upstreams) in &table.pools {
            let upstreams = upstreams.iter().map(|up| Upstream {
                id: upstream_id(id, &up.id),
                address: SocketAddr::new(up.address.into(), pool.port),
                state: readiness(up.state),
            });
            let pool_of = Pool { service: pool.service.to_string(), upstreams: upstreams.collect() };
            self.table.pools.insert(pool_name(id, pool), pool_of);
        }
        // Folders of the settled release stay until the next one has settled.
        let bundles = [settled, opened].into_iter().flatten().collect::<Vec<_>>();
        self.listeners(id, &table, &bundles);
        self.hosts(id, &table, &bundles, routing.documents.as_ref());
        let balance = |balance: &routing::Balance| (balance.known.clone(), balance.replicas.clone());
        let balances: Leads = table.balances.iter().map(|(address, of)| (*address, balance(of))).collect();
        self.balance(&balances);
        if !bundles.is_empty() {
            self.remember(id, routing, balances);
        }
        if let (None, Some(kept)) = (settled, &routing.kept) {
            self.keep(id, kept);
        }
    }

    fn keep(&mut self, id: &StackId, kept: &Kept) {
        for (name, pool) in &kept.pools {
            self.table.pools.entry(name.clone()).or_insert_with(|| pool.clone());
        }
        self.table.hosts.extend(kept.hosts.iter().cloned());
        for listener in &kept.listeners {
            if let (Ok(address), false) = (listener.id.parse(), self.needs.sockets.contains_key(&listener.id)) {
                self.needs.sockets.insert(listener.id.clone(), address);
                self.table.listeners.push(listener.clone());
            }
        }
        if let Some(memo) = &kept.memo {
            let told: Memo = serde_json::from_str(memo).unwrap_or_default();
            self.balance(&told.balances);
            self.table.memo.entry(id.to_string()).or_insert_with(|| memo.clone());
        }
    }

    fn listeners(&mut self, id: &StackId, table: &RoutingTable, stacks: &[&Stack]) {
        for (Socket { address, port }, listener) in &table.listeners {
            let Some(target) = self.target(id, &listener.to, table, stacks) else {
                continue;
            };
            let addresses = match address {
                Some(address) => vec![*address],
                None => addresses(is_direct(&listener.to, stacks), &self.ground),
            };
            let protocol = match listener.protocol {
                PortProtocol::Auto => Protocol::Auto,
                PortProtocol::Http => Protocol::Http,
                PortProtocol::Tcp => Protocol::Tcp,
            };
            for address in addresses {
                let address = SocketAddr::new(address, *port);
                let is_inside = listener.inside.is_some();
                if !is_inside && self.ground.http().any(|http| overlap(http, address)) && self.has_routes_listener() {
                    continue;
                }
                self.listen(address, Some(id), protocol, ListenerTarget::Target(target.clone()), is_inside);
            }
        }
    }

    fn hosts(&mut self, id: &StackId, table: &RoutingTable, stacks: &[&Stack], documents: Option<&(Fixed, Fixed)>) {
        for host in &table.hosts {
            let mut paths = Vec::new();
            for path in &host.paths {
                let target = match &path.to {
                    PathDestination::To(to) => self.target(id, to, table, stacks),
                    PathDestination::Health => Some(fixed(documents.map(|(health, _)| health))),
                    PathDestination::Ready => Some(fixed(documents.map(|(_, ready)| ready))),
                };
                paths.extend(target.map(|target| PathRoute {
                    prefix: path.prefix.clone(),
                    target,
                    strip_prefix: false,
                }));
            }
            self.table.hosts.push(Host { host: host.host.clone(), project: id.to_string(), paths });
        }
    }

    fn target(&mut self, id: &StackId, to: &Destination, table: &RoutingTable, stacks: &[&Stack]) -> Option<Target> {
        match to {
            Destination::Pool(pool) => Some(Target::Pool(pool_name(id, pool))),
            Destination::Folder(service) => {
                let folder = table.folders.get(service)?;
                let owns =
                    |stack: &&&Stack| stack.services.get(service).is_some_and(|target| target.hash == folder.hash);
                let bundle = &stacks.iter().find(owns)?.bundle;
                let dir = format!("{}/{}", bundle.short(), folder.root);
                let needed = Folder { bundle: bundle.clone(), root: folder.root.clone(), stack: id.clone() };
                self.needs.dirs.insert(dir.clone(), needed);
                Some(Target::Static { dir, spa: folder.spa, service: service.to_string() })
            }
        }
    }

    fn balance(&mut self, balances: &Leads) {
        for (address, (known, replicas)) in balances {
            let (known, replicas) = (known.clone(), replicas.clone());
            self.needs.balances.entry(*address).or_insert(Balance { known, replicas });
        }
    }

    fn remember(&mut self, id: &StackId, routing: &StackRouting, balances: Leads) {
        let memo = Memo {
            release: routing.settled.as_ref().map(|(stack, _)| stack.release.0),
            hash: routing.settled.as_ref().map(|(_, hash)| hash.to_string()),
            opened: routing.opened.as_ref().map(|stack| stack.release.0),
            routed: routing.routed.iter().map(ToString::to_string).collect(),
            detours: routing.detours.iter().map(|(wanted, detour)| (*wanted, detour.port)).collect(),
            balances,
        };
        let memo = serde_json::to_string(&memo).expect("a memo has only texts");
        self.table.memo.insert(id.to_string(), memo);
    }

    fn has_routes_listener(&self) -> bool {
        self.table.listeners.iter().any(|listener| listener.target == ListenerTarget::Routes)
    }

    fn listen_for_routes(&mut self) {
        for http in self.ground.http() {
            self.listen(http, None, Protocol::Http, ListenerTarget::Routes, false);
        }
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        stack: Option<&StackId>,
        protocol: Protocol,
        target: ListenerTarget,
        trust_forwarded: bool,
    ) {
        if let Some(detour) = self.detours.get(&address).copied() {
            let aside = SocketAddr::new(address.ip(), detour.port);
            self.listen_at(aside, stack, protocol, target.clone(), trust_forwarded);
            if detour.over.is_none() {
                return;
            }
        }
        self.listen_at(address, stack, protocol, target, trust_forwarded);
    }

    fn listen_at(
        &mut self,
        address: SocketAddr,
        stack: Option<&StackId>,
        protocol: Protocol,
        target: ListenerTarget,
        trust_forwarded: bool,
    ) {
        let id = address.to_string();
        // The first one has it; [`super::clash`] refuses a second owner. Within one stack the port of what is settled
        // changes its meaning when the next release has settled.
        if self.needs.sockets.contains_key(&id) {
            return;
        }
        let project = stack.map(ToString::to_string).unwrap_or_default();
        self.needs.sockets.insert(id.clone(), address);
        self.table.listeners.push(Listener { id, protocol, target, trust_forwarded, project });
    }
}

/// Where a port is published that names no address: a data store is not shown to the world.
pub fn addresses(is_direct: bool, ground: &Ground) -> Vec<IpAddr> {
    let (ipv4, ipv6) = if is_direct {
        (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    } else {
        (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
    };
    let ipv6 = ground.ipv6.then_some(IpAddr::V6(ipv6));
    [IpAddr::V4(ipv4)].into_iter().chain(ipv6).collect()
}

fn is_direct(to: &Destination, stacks: &[&Stack]) -> bool {
    let service = match to {
        Destination::Pool(pool) => &pool.service,
        Destination::Folder(service) => service,
    };
    stacks.iter().any(|stack| stack.services.get(service).is_some_and(|target| target.direct))
}

fn pool_name(stack: &StackId, pool: &PoolId) -> String {
    format!("{stack}/{}:{}", pool.service, pool.port)
}

fn readiness(state: UpstreamState) -> Readiness {
    match state {
        UpstreamState::Ready => Readiness::Ready,
        UpstreamState::NotReady => Readiness::NotReady,
        UpstreamState::Draining => Readiness::Draining,
    }
}

fn fixed(document: Option<&Fixed>) -> Target {
    Target::Fixed(document.cloned().unwrap_or_else(unknown))
}

fn unknown() -> Fixed {
    let body = r#"{"status":"degraded","services":{}}"#.into();
    Fixed { status: 503, content_type: "application/json".into(), body, retry_after: Some(1) }
}
