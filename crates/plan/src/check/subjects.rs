//! What steps touch is ours, was read, was named, and is used by nobody else.

use super::Violation;
use super::graph::{Graph, Node, subject};
use super::sight::{Sight, Sights, Slots};
use crate::action::{edge, replica};
use crate::observed::{Known, Phase};
use crate::{Action, After, Desired, Observed, StepId};
use model::stack::Stack;
use model::{NetworkName, ReplicaId, ServiceName};
use replica::Start;
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Judges the subject of every step.
pub(super) fn check(
    want: &Desired,
    have: &Observed,
    (graph, sights): (&Graph<'_>, &Sights<'_>),
    found: &mut Vec<Violation>,
) {
    let mut addresses = Addresses::of(have, graph);
    let mut near: Option<(&ServiceName, &Slots<'_>)> = None;
    for node in &graph.steps {
        let sight = subject(&node.step.action).and_then(|id| {
            // Steps of one service mostly follow each other: few look-ups are needed.
            let slots = match near {
                Some((service, slots)) if *service == id.service => slots,
                _ => sights.of(&id.service),
            };
            near = Some((&id.service, slots));
            slots.get(&id.slot).copied()
        });
        let sight = sight.unwrap_or_default();
        match &node.step.action {
            Action::Replica(replica::Action::Start(start)) => {
                readable(&sight, node, &start.id, found);
                addresses.give(node, start, found);
                if let Desired::Up(up) = want {
                    inside(&up.stack, &sight, node, start, found);
                }
            }
            Action::Replica(replica::Action::Stop { id, .. } | replica::Action::Remove { id }) => {
                ours(sight.replica.is_some(), node, || format!("replica `{id}`"), found);
                readable(&sight, node, id, found);
            }
            Action::Edge(edge::Change::Drain { id, .. }) => {
                ours(sight.has_mark, node, || format!("the route to `{id}`"), found);
                readable(&sight, node, id, found);
            }
            Action::Replica(replica::Action::EnsureNetwork { name, .. }) => network(have, node, name, found),
            Action::Replica(replica::Action::RemoveNetwork { name }) => {
                let is_seen = have.placed.networks.contains_key(name);
                ours(is_seen, node, || format!("network `{name}`"), found);
                network(have, node, name, found);
            }
            Action::Replica(replica::Action::RemoveVolume { name }) => {
                ours(have.placed.volumes.contains(name), node, || format!("volume `{name}`"), found);
                if !matches!(want, Desired::Down(down) if down.volumes.contains(name)) {
                    found.push(Violation::VolumeNotNamed { step: node.id, volume: name.clone() });
                }
            }
            _ => {}
        }
    }
}

fn ours(is_ours: bool, node: &Node<'_>, subject: impl Fn() -> String, found: &mut Vec<Violation>) {
    if !is_ours {
        found.push(Violation::NotOurs { step: node.id, subject: subject() });
    }
}

fn readable(sight: &Sight<'_>, node: &Node<'_>, id: &ReplicaId, found: &mut Vec<Violation>) {
    if sight.replica.is_some_and(|replica| matches!(replica.phase, Phase::Unknown(_))) {
        found.push(Violation::Unreadable { step: node.id, subject: format!("replica `{id}`") });
    }
}

fn network(have: &Observed, node: &Node<'_>, name: &NetworkName, found: &mut Vec<Violation>) {
    if matches!(have.placed.networks.get(name), Some(Known::Unknown(_))) {
        found.push(Violation::Unreadable { step: node.id, subject: format!("network `{name}`") });
    }
}

/// Replicas stand among the addresses of replicas; a direct one on its service's own, which it keeps as the code it was
/// as long as it is given to nobody else.
fn inside(stack: &Stack, sight: &Sight<'_>, node: &Node<'_>, start: &Start, found: &mut Vec<Violation>) {
    for (network, address) in &start.addresses {
        let Some(subnet) = stack.networks.get(network) else { continue };
        let is_usable =
            subnet.net.contains(address) && *address != subnet.gateway && *address != subnet.net.broadcast();
        let target = stack.services.get(&start.id.service);
        let is_own_stable = target.is_some_and(|t| t.direct && t.addresses.get(network) == Some(address));
        let is_kept = || sight.replica.is_some_and(|replica| replica.addresses.get(network) == Some(address));
        let is_given = || stack.services.values().any(|t| t.addresses.get(network) == Some(address));
        let is_below = *address < subnet.replicas_from;
        if !is_usable || (is_below && !is_own_stable && (!is_kept() || is_given())) {
            let (id, network, address) = (start.id.clone(), network.clone(), *address);
            found.push(Violation::AddressOutside { step: node.id, id, network, address });
        }
    }
}

/// Who has which address.
struct Addresses<'a> {
    holders: HashMap<(&'a NetworkName, Ipv4Addr), Holder<'a>>,
    /// The steps that remove a replica.
    removals: HashMap<&'a ReplicaId, StepId>,
    /// The steps that change a network; that starts come after them is judged elsewhere.
    networks: HashMap<&'a NetworkName, &'a After>,
}

enum Holder<'a> {
    Observed(&'a ReplicaId),
    Planned(&'a ReplicaId),
}

impl<'a> Addresses<'a> {
    fn of(have: &'a Observed, graph: &Graph<'a>) -> Self {
        let removal = |node: &Node<'a>| match &node.step.action {
            Action::Replica(replica::Action::Remove { id }) => Some((id, node.id)),
            _ => None,
        };
        let mut holders = HashMap::new();
        // Nobody asks for addresses in a plan that starts nothing.
        let starts = |node: &Node<'a>| matches!(node.step.action, Action::Replica(replica::Action::Start(_)));
        if graph.steps.iter().any(starts) {
            for (id, replica) in &have.placed.replicas {
                let held = replica.addresses.iter().map(|(network, address)| (network, *address));
                holders.extend(held.map(|key| (key, Holder::Observed(id))));
            }
        }
        let network = |node: &Node<'a>| match &node.step.action {
            Action::Replica(replica::Action::EnsureNetwork { name, .. }) => Some((name, &node.step.after)),
            _ => None,
        };
        let removals = graph.steps.iter().filter_map(removal).collect();
        Self { holders, removals, networks: graph.steps.iter().filter_map(network).collect() }
    }

    fn give(&mut self, node: &Node<'a>, start: &'a Start, found: &mut Vec<Violation>) {
        for (network, address) in &start.addresses {
            let before = self.holders.insert((network, *address), Holder::Planned(&start.id));
            let holder = match before {
                Some(Holder::Planned(other)) => other,
                Some(Holder::Observed(other)) if *other != start.id && !self.is_gone(other, network, node) => other,
                _ => continue,
            };
            found.push(Violation::AddressInUse {
                step: node.id,
                id: start.id.clone(),
                network: network.clone(),
                address: *address,
                holder: holder.to_string(),
            });
        }
    }

    /// Whether the replica is removed right before the step, or before its network is changed.
    fn is_gone(&self, id: &ReplicaId, network: &NetworkName, node: &Node<'_>) -> bool {
        let Some(removal) = self.removals.get(id) else { return false };
        node.step.after.contains(removal) || self.networks.get(network).is_some_and(|after| after.contains(removal))
    }
}
