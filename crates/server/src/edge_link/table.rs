//! From all stacks to the one table the edge serves by.
//!
//! Pure: what is listened on and where it leads is said by [`plan::routing`]; this puts it into the edge's own form.
//! What sockets and folders the table needs is said beside it, and opened by [`super::hub`].

use edge::control::{
    Fixed, Host, Listener, ListenerTarget, PathRoute, Pool, Protocol, Readiness, Table, Target, Upstream,
};
use model::project::PortProtocol;
use model::stack::Stack;
use model::{BundleId, ReplicaId, SpecHash, StackId};
use plan::observed::{Health, Replica};
use plan::routing::{self, Destination, PathDestination, PoolId, RoutingTable, Socket, UpstreamState, View};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

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
    /// The answer of routes to `@health` and `@ready`.
    pub document: Option<Fixed>,
    /// What an earlier daemon had the edge serve, of a release that this one cannot read: it stays until another settles.
    pub kept: Option<Kept>,
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
    /// Sockets by listener id, and the stack that asks; none for the shared one of all routes.
    pub sockets: BTreeMap<String, (SocketAddr, Option<StackId>)>,
    /// Folders of bundles by the id the table names them with.
    pub dirs: BTreeMap<String, (BundleId, String)>,
}

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
}

/// The table for all stacks, where routes are served on `http`.
pub fn table(stacks: &BTreeMap<StackId, StackRouting>, http: SocketAddr) -> (Table, Needs) {
    let mut build = Build::default();
    for (id, routing) in stacks {
        build.stack(id, routing);
    }
    // Already while a release with routes is opened, so that a taken port is found before anything starts.
    let opens_routes = |routing: &StackRouting| routing.opened.as_ref().is_some_and(|stack| !stack.routes.is_empty());
    if !build.table.hosts.is_empty() || stacks.values().any(opens_routes) {
        build.listen(http, None, Protocol::Http, ListenerTarget::Routes, false);
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

#[derive(Default)]
struct Build {
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
        self.hosts(id, &table, &bundles, routing.document.as_ref());
        if !bundles.is_empty() {
            self.remember(id, routing);
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
                self.needs.sockets.insert(listener.id.clone(), (address, Some(id.clone())));
                self.table.listeners.push(listener.clone());
            }
        }
        if let Some(memo) = &kept.memo {
            self.table.memo.entry(id.to_string()).or_insert_with(|| memo.clone());
        }
    }

    fn listeners(&mut self, id: &StackId, table: &RoutingTable, stacks: &[&Stack]) {
        for (Socket { address, port }, listener) in &table.listeners {
            let Some(target) = self.target(id, &listener.to, table, stacks) else {
                continue;
            };
            let address = SocketAddr::new(address.unwrap_or_else(|| anywhere(&listener.to, stacks)), *port);
            let protocol = match listener.protocol {
                PortProtocol::Auto => Protocol::Auto,
                PortProtocol::Http => Protocol::Http,
                PortProtocol::Tcp => Protocol::Tcp,
            };
            self.listen(address, Some(id), protocol, ListenerTarget::Target(target), listener.inside.is_some());
        }
    }

    fn hosts(&mut self, id: &StackId, table: &RoutingTable, stacks: &[&Stack], document: Option<&Fixed>) {
        for host in &table.hosts {
            let mut paths = Vec::new();
            for path in &host.paths {
                let target = match &path.to {
                    PathDestination::To(to) => self.target(id, to, table, stacks),
                    PathDestination::Health | PathDestination::Ready => {
                        Some(Target::Fixed(document.cloned().unwrap_or_else(unknown)))
                    }
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
                self.needs.dirs.insert(dir.clone(), (bundle.clone(), folder.root.clone()));
                Some(Target::Static { dir, spa: folder.spa })
            }
        }
    }

    fn remember(&mut self, id: &StackId, routing: &StackRouting) {
        let memo = Memo {
            release: routing.settled.as_ref().map(|(stack, _)| stack.release.0),
            hash: routing.settled.as_ref().map(|(_, hash)| hash.to_string()),
            opened: routing.opened.as_ref().map(|stack| stack.release.0),
            routed: routing.routed.iter().map(ToString::to_string).collect(),
        };
        let memo = serde_json::to_string(&memo).expect("a memo has only texts");
        self.table.memo.insert(id.to_string(), memo);
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        stack: Option<&StackId>,
        protocol: Protocol,
        target: ListenerTarget,
        trust_forwarded: bool,
    ) {
        let id = address.to_string();
        // The first one has it; who comes second is told when its stack is opened.
        if self.needs.sockets.contains_key(&id) {
            return;
        }
        let project = stack.map(ToString::to_string).unwrap_or_default();
        self.needs.sockets.insert(id.clone(), (address, stack.cloned()));
        self.table.listeners.push(Listener { id, protocol, target, trust_forwarded, project });
    }
}

/// Where a port is published that names no address: a data store is not shown to the world.
fn anywhere(to: &Destination, stacks: &[&Stack]) -> IpAddr {
    let service = match to {
        Destination::Pool(pool) => &pool.service,
        Destination::Folder(service) => service,
    };
    let is_direct = stacks.iter().any(|stack| stack.services.get(service).is_some_and(|target| target.direct));
    IpAddr::V4(if is_direct { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED })
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

fn unknown() -> Fixed {
    let body = r#"{"status":"degraded","services":{}}"#.into();
    Fixed { status: 503, content_type: "application/json".into(), body, retry_after: Some(1) }
}
