//! Which listeners, hosts, pools and folders follow from a stack.

use super::{Balance, Destination, Folder, Host, Listener, Path, PathDestination, PoolId, RoutingTable, Socket};
use model::ServiceName;
use model::policy::RouteTarget;
use model::project::{PortProtocol, Role, Runs};
use model::stack::{Stack, Target};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The table of a stack, its pools still empty.
pub(super) fn of(stack: &Stack) -> RoutingTable {
    let mut table = RoutingTable::default();
    for (service, target) in stack.services.iter().filter(|(_, target)| target.role == Role::Service) {
        if let Runs::Static { root, spa } = &target.template.runs {
            let folder = Folder { root: root.clone(), spa: *spa, hash: target.hash };
            table.folders.insert(service.clone(), folder);
        }
        listen_inside(&mut table, service, target);
        if stack.leads(target) {
            lead(&mut table, service, target);
        }
        listen_outside(&mut table, service, target);
    }
    for route in &stack.routes {
        let path = |path: &model::policy::RoutePath| {
            let to = match &path.target {
                RouteTarget::Health => PathDestination::Health,
                RouteTarget::Ready => PathDestination::Ready,
                RouteTarget::Service { service, port } => {
                    PathDestination::To(destination(&mut table, service, stack.services.get(service), *port))
                }
            };
            Path { prefix: path.prefix.clone(), to }
        };
        let paths = route.paths.iter().map(path).collect();
        table.hosts.push(Host { host: route.host.clone(), paths });
    }
    table
}

/// Every stable address that the edge holds, on every port the replicas listen on.
fn listen_inside(table: &mut RoutingTable, service: &ServiceName, target: &Target) {
    if target.direct || target.spreads_connections() {
        return;
    }
    for (network, address) in &target.addresses {
        for port in &target.ports {
            let told = target.published.iter().find(|p| p.target == *port && p.protocol != PortProtocol::Auto);
            let protocol = told.map_or(PortProtocol::Auto, |published| published.protocol);
            let socket = Socket { address: Some(IpAddr::V4(*address)), port: *port };
            let to = destination(table, service, Some(target), *port);
            table.listeners.insert(socket, Listener { protocol, to, inside: Some(network.clone()) });
        }
    }
}

/// Every stable address, on every other port.
fn lead(table: &mut RoutingTable, service: &ServiceName, target: &Target) {
    for (network, address) in &target.addresses {
        let known = if target.spreads_connections() { BTreeSet::new() } else { target.ports.clone() };
        let (service, network) = (service.clone(), network.clone());
        table.balances.insert(*address, Balance { service, network, known, replicas: BTreeSet::new() });
    }
}

fn listen_outside(table: &mut RoutingTable, service: &ServiceName, target: &Target) {
    for published in &target.published {
        // Settled stacks have a number for each; one without cannot be listened on.
        let Some(port) = published.published else { continue };
        let to = destination(table, service, Some(target), published.target);
        let listener = Listener { protocol: published.protocol, to, inside: None };
        table.listeners.insert(Socket { address: published.host, port }, listener);
    }
}

fn destination(table: &mut RoutingTable, service: &ServiceName, target: Option<&Target>, port: u16) -> Destination {
    if target.is_some_and(|target| !target.has_replicas()) {
        return Destination::Folder(service.clone());
    }
    let pool = PoolId { service: service.clone(), port };
    table.pools.entry(pool.clone()).or_default();
    Destination::Pool(pool)
}
