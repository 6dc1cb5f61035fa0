//! What steps bring about is what is wanted: replicas, networks, volumes, the routing.
//!
//! Owns the comparison of contents; whose a subject is and when its turn comes is judged elsewhere.

use super::Violation;
use super::graph::{Graph, Node};
use crate::action::{edge, replica};
use crate::desired::Up;
use crate::observed::NetworkState;
use crate::{Action, Desired, Observed, routing};
use model::project::{Role, Template};
use model::stack::{Stack, Target};
use model::{NetworkName, ServiceName, SpecHash};
use replica::Start;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Judges what every step brings about.
pub(super) fn check(want: &Desired, have: &Observed, graph: &Graph<'_>, found: &mut Vec<Violation>) {
    match want {
        Desired::Up(up) => check_up(up, have, graph, found),
        Desired::Down(_) => check_down(graph, found),
    }
}

fn check_up(up: &Up, have: &Observed, graph: &Graph<'_>, found: &mut Vec<Violation>) {
    let stack = &up.stack;
    let mut members = None;
    let mut hash = None;
    for node in &graph.steps {
        let is_meant = match &node.step.action {
            Action::Replica(replica::Action::Start(start)) => {
                if let Some(what) = difference(up, have, start) {
                    found.push(Violation::StartedOtherwise { step: node.id, id: start.id.clone(), what });
                }
                true
            }
            Action::Replica(replica::Action::EnsureNetwork { name, state, made }) => {
                let members = members.get_or_insert_with(|| members_of(stack));
                is_network(stack, name, members.get(name).map_or(&[], Vec::as_slice), state)
                    && **made == stack.makes.network(name)
            }
            Action::Replica(replica::Action::RemoveNetwork { name }) => !stack.networks.contains_key(name),
            Action::Replica(replica::Action::EnsureVolume { name, made }) => {
                stack.volumes.contains(name) && **made == stack.makes.volume(name)
            }
            Action::Edge(edge::Change::Open) => {
                sockets(stack, node, found);
                true
            }
            Action::Edge(edge::Change::Settle { hash: given }) => {
                given == hash.get_or_insert_with(|| routing::routing_hash(stack))
            }
            _ => true,
        };
        judge(is_meant, node, found);
    }
}

/// No two services, or ports of one, are reached at the same socket.
fn sockets(stack: &Stack, node: &Node<'_>, found: &mut Vec<Violation>) {
    let mut holders: HashMap<(Option<IpAddr>, u16), (&ServiceName, u16)> = HashMap::new();
    for (service, target) in stack.services.iter().filter(|(_, target)| target.role == Role::Service) {
        let stable = target.addresses.values().filter(|_| !target.direct);
        let inside = stable.flat_map(|address| target.ports.iter().map(|port| (Some((*address).into()), *port, *port)));
        let outside = target.published.iter().filter_map(|port| Some((port.host, port.published?, port.target)));
        for (address, port, to) in inside.chain(outside) {
            let holder = holders.entry((address, port)).or_insert((service, to));
            if *holder != (service, to) {
                let (service, holder) = (service.clone(), holder.0.clone());
                found.push(Violation::PortInUse { step: node.id, port, service, holder });
            }
        }
    }
}

/// On the way down nothing is made, opened or given traffic, and no routing is left.
fn check_down(graph: &Graph<'_>, found: &mut Vec<Violation>) {
    for node in &graph.steps {
        let is_meant = match &node.step.action {
            Action::Replica(action) => !matches!(
                action,
                replica::Action::Start(_)
                    | replica::Action::EnsureNetwork { .. }
                    | replica::Action::EnsureVolume { .. }
            ),
            Action::Edge(edge::Change::Settle { hash }) => *hash == routing::hash_of_nothing(),
            Action::Edge(edge::Change::Open | edge::Change::Route { .. }) => false,
            _ => true,
        };
        judge(is_meant, node, found);
    }
}

fn judge(is_meant: bool, node: &Node<'_>, found: &mut Vec<Violation>) {
    if !is_meant {
        found.push(Violation::NotMeant { step: node.id, subject: subject(&node.step.action) });
    }
}

fn subject(action: &Action) -> String {
    match action {
        Action::Replica(replica::Action::Start(start)) => format!("replica `{}`", start.id),
        Action::Replica(replica::Action::EnsureNetwork { name, .. } | replica::Action::RemoveNetwork { name }) => {
            format!("network `{name}`")
        }
        Action::Replica(replica::Action::EnsureVolume { name, .. }) => format!("volume `{name}`"),
        Action::Edge(edge::Change::Route { id }) => format!("the route to `{id}`"),
        Action::Edge(edge::Change::Settle { .. }) => "the routing".to_owned(),
        _ => "the listeners".to_owned(),
    }
}

/// What a replica is started with that is neither the wanted stack's nor, for one that is there already, what it was
/// started with before.
fn difference(up: &Up, have: &Observed, start: &Start) -> Option<&'static str> {
    let stack = &up.stack;
    let Some(target) = stack.services.get(&start.id.service).filter(|target| target.has_replicas()) else {
        return Some("service");
    };
    let was = |hash: &SpecHash| have.placed.replicas.get(&start.id).is_some_and(|seen| seen.hash == *hash);
    let (template, release, bundle) = if start.hash == target.hash {
        (&target.template, stack.release, &stack.bundle)
    } else {
        match up.former.get(&start.hash).filter(|_| was(&start.hash)) {
            Some(former) => (&former.template, former.release, &former.bundle),
            None => return Some("hash"),
        }
    };
    if !is_same(template, &start.template) {
        Some("template")
    } else if start.release != release {
        Some("release")
    } else if start.bundle != *bundle {
        Some("bundle")
    } else if start.role != target.role {
        Some("role")
    } else if start.uid_base != stack.uid_base {
        Some("range of users")
    } else {
        None
    }
}

/// Templates are mostly shared, and large.
fn is_same(one: &Arc<Template>, other: &Arc<Template>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

type Member<'a> = (&'a ServiceName, &'a Target, Ipv4Addr);

/// Who has a stable address on each network.
fn members_of(stack: &Stack) -> BTreeMap<&NetworkName, Vec<Member<'_>>> {
    let mut members: BTreeMap<_, Vec<Member<'_>>> = BTreeMap::new();
    for (service, target) in &stack.services {
        for (network, address) in &target.addresses {
            members.entry(network).or_default().push((service, target, *address));
        }
    }
    members
}

/// Whether the network is as the stack has it: the edge stands where it is to answer, every service and alias has its
/// name, and no other name is there.
fn is_network(stack: &Stack, name: &NetworkName, members: &[Member<'_>], state: &NetworkState) -> bool {
    let stable: BTreeSet<Ipv4Addr> =
        members.iter().filter(|(_, target, _)| !target.direct).map(|(.., address)| *address).collect();
    let is_named = |(service, _, address): &Member<'_>| state.names.get(service.as_str()) == Some(address);
    let mut aliases: BTreeMap<&str, Vec<Ipv4Addr>> = BTreeMap::new();
    for (_, target, address) in members.iter().filter(|(_, target, _)| target.role == Role::Service) {
        let attachment = target.template.networks.get(name);
        for alias in attachment.iter().flat_map(|attachment| &attachment.aliases) {
            aliases.entry(alias).or_default().push(*address);
        }
    }
    members.iter().for_each(|(service, ..)| {
        aliases.remove(service.as_str());
    });
    let is_alias = |(alias, owners): (&&str, &Vec<Ipv4Addr>)| {
        state.names.get(*alias).is_some_and(|address| owners.contains(address))
    };
    stack.networks.get(name) == Some(&state.subnet)
        && state.stable == stable
        && members.iter().all(is_named)
        && aliases.iter().all(is_alias)
        && state.names.len() == members.len() + aliases.len()
}
