//! Nothing is built before what it stands on, or taken away under what stands on it.

use super::Violation;
use super::graph::{Graph, Node};
use crate::action::{edge, replica};
use crate::{Action, Desired, Observed, StepId};
use model::project::MountSource;
use model::{NetworkName, ReplicaId, VolumeName};
use replica::Start;
use std::collections::BTreeMap;

/// The steps others stand on.
#[derive(Default)]
struct Ground<'a> {
    networks: BTreeMap<&'a NetworkName, StepId>,
    volumes: BTreeMap<&'a VolumeName, StepId>,
    open: Option<&'a Node<'a>>,
    settle: Option<&'a Node<'a>>,
    routes: Vec<StepId>,
    drains: Vec<StepId>,
    removals: Vec<(&'a ReplicaId, StepId)>,
}

/// Judges networks, volumes, listeners and routes.
pub(super) fn check<'a>(want: &Desired, have: &Observed, graph: &'a Graph<'a>, found: &mut Vec<Violation>) {
    let ground = collect(graph);
    let mut needs = |node: &Node<'_>, before: StepId| found.push(Violation::NoGround { step: node.id, before });
    for node in &graph.steps {
        match &node.step.action {
            Action::Replica(replica::Action::Start(start)) => {
                for before in below(&ground, start) {
                    let through = ground
                        .open
                        .is_some_and(|open| node.step.after.contains(&open.id) && open.step.after.contains(&before));
                    if !node.step.after.contains(&before) && !through {
                        needs(node, before);
                    }
                }
            }
            Action::Edge(edge::Change::Settle { .. }) => {
                let down = matches!(want, Desired::Down(_));
                let before = if down { &ground.drains } else { &ground.routes };
                let open = ground.open.map(|open| open.id);
                before
                    .iter()
                    .copied()
                    .chain(open)
                    .filter(|id| !node.step.after.contains(id))
                    .for_each(|id| needs(node, id));
            }
            Action::Edge(edge::Change::Open) => {
                let lacking = ground.networks.values().filter(|id| !node.step.after.contains(id));
                lacking.for_each(|id| needs(node, *id));
            }
            Action::Replica(replica::Action::RemoveNetwork { name }) => {
                let removals: BTreeMap<_, _> = ground.removals.iter().copied().collect();
                let standing = have.placed.replicas.iter().filter(|(_, r)| r.addresses.contains_key(name));
                for (id, _) in standing {
                    match removals.get(id) {
                        Some(removal) if node.step.after.contains(removal) => {}
                        Some(removal) => needs(node, *removal),
                        None => needs(node, node.id),
                    }
                }
                let settle = ground.settle.map(|settle| settle.id);
                settle.filter(|id| !node.step.after.contains(id)).into_iter().for_each(|id| needs(node, id));
            }
            _ => {}
        }
    }
}

fn collect<'a>(graph: &'a Graph<'a>) -> Ground<'a> {
    let mut ground = Ground::default();
    for node in &graph.steps {
        match &node.step.action {
            Action::Replica(replica::Action::EnsureNetwork { name, .. }) => {
                ground.networks.insert(name, node.id);
            }
            Action::Replica(replica::Action::EnsureVolume { name, .. }) => {
                ground.volumes.insert(name, node.id);
            }
            Action::Replica(replica::Action::Remove { id }) => {
                ground.removals.push((id, node.id));
            }
            Action::Edge(edge::Change::Open) => ground.open = Some(node),
            Action::Edge(edge::Change::Settle { .. }) => ground.settle = Some(node),
            Action::Edge(edge::Change::Route { .. }) => ground.routes.push(node.id),
            Action::Edge(edge::Change::Drain { .. }) => ground.drains.push(node.id),
            _ => {}
        }
    }
    ground
}

/// What a start stands on: its networks, its volumes, the listeners.
fn below<'g>(ground: &'g Ground<'_>, start: &'g Start) -> impl Iterator<Item = StepId> {
    let networks = start.addresses.keys().filter_map(|name| ground.networks.get(name));
    let volumes = start.template.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(name) => ground.volumes.get(name),
        _ => None,
    });
    networks.chain(volumes).copied().chain(ground.open.map(|open| open.id))
}
