//! The plan for a stack that shall be gone, in its order: traffic ends, dependents stop before what they depend on,
//! everything stopped is removed, the edge forgets the stack, then networks and those volumes that were named.

use super::draft::Draft;
use super::networks;
use super::order;
use super::seen::{self, Gone, Seen, Sight};
use crate::action::{edge, replica};
use crate::desired::Down;
use crate::observed::{Known, Phase};
use crate::{Action, Observed, Plan, Reason, StepId, routing};
use model::{ReplicaId, ServiceName};
use std::collections::BTreeMap;

/// Decides what has to be done so that nothing of the stack is left but the volumes that were not named.
pub(super) fn plan(want: &Down, have: &Observed) -> Plan {
    let seen = Sight::of(have).all;
    let mut draft = Draft::default();
    let leaving = leaving(have, &seen, &mut draft);
    let drained = drain(have, &leaving, &mut draft);
    let stopped = stop(want, &leaving, &drained, &mut draft);
    let removed = remove(&seen, &leaving, &drained, &stopped, &mut draft);
    let mut gone: Vec<StepId> = drained.values().copied().chain(removed.steps()).collect();
    gone.sort_unstable();
    let settled = forget(have, &gone, &mut draft);
    if matches!(have.edge, Known::Is(_)) {
        networks::remove(have, |_| false, &seen, &removed, settled.as_slice(), &Reason::Down, &mut draft);
    }
    for name in want.volumes.intersection(&have.placed.volumes) {
        if let Some(stays) = seen.iter().find(|seen| removed.step(seen).is_none()) {
            draft.note(format_args!("volume {name}"), format!("is left while `{}` is there", stays.id));
            continue;
        }
        let action = replica::Action::RemoveVolume { name: name.clone() };
        draft.push(Action::Replica(action), Reason::Down, &gone);
    }
    draft.finish(have.generation)
}

/// The replicas that can be taken away; the others are named.
fn leaving<'a>(have: &Observed, seen: &[Seen<'a>], draft: &mut Draft) -> Vec<Seen<'a>> {
    let mut leaving = Vec::with_capacity(seen.len());
    for seen in seen {
        let takes_traffic = seen.routed && !seen.is_one_off();
        match (&seen.replica.phase, &have.edge) {
            (Phase::Unknown(why), _) => draft.note(seen.id, format!("cannot be read and is left: {why}")),
            (_, Known::Unknown(why)) if takes_traffic => {
                draft.note(seen.id, format!("is left while the edge cannot be told to drain it: {why}"));
            }
            _ => leaving.push(*seen),
        }
    }
    leaving
}

fn drain<'a>(have: &'a Observed, leaving: &[Seen<'a>], draft: &mut Draft) -> BTreeMap<&'a ReplicaId, StepId> {
    let Known::Is(routing) = &have.edge else { return BTreeMap::new() };
    let grace = |id: &ReplicaId| have.placed.replicas.get(id).map(|r| r.stop_grace).unwrap_or_default();
    let is_left = |id: &&ReplicaId| {
        have.placed.replicas.contains_key(*id) && leaving.binary_search_by(|seen| seen.id.cmp(id)).is_err()
    };
    let marked = routing.routed.iter().filter(|id| !is_left(id));
    let drain = |id: &'a ReplicaId| {
        let change = edge::Change::Drain { id: id.clone(), grace: grace(id) };
        (id, draft.push(Action::Edge(change), Reason::Down, &[]))
    };
    marked.map(drain).collect()
}

/// Stops what runs, dependents before what they depend on; a service with no replicas passes on what it waits for.
fn stop<'a>(
    want: &Down,
    leaving: &[Seen<'a>],
    drained: &BTreeMap<&'a ReplicaId, StepId>,
    draft: &mut Draft,
) -> BTreeMap<&'a ReplicaId, StepId> {
    let mut names: Vec<&ServiceName> = want.depends_on.keys().chain(want.depends_on.values().flatten()).collect();
    names.extend(leaving.iter().map(|seen| &seen.id.service));
    names.sort_unstable();
    names.dedup();
    let dependencies = |index: usize| want.depends_on.get(names[index]).into_iter().flatten();
    let order = order::dependencies_first(&names, dependencies);
    let mut stopped = BTreeMap::new();
    let mut before: Vec<Vec<StepId>> = vec![Vec::new(); names.len()];
    for index in order.indices.into_iter().rev() {
        let mut waits_for = std::mem::take(&mut before[index]);
        // Several ways may lead to the same stop, and each would be passed on again at every crossing.
        waits_for.sort_unstable();
        waits_for.dedup();
        let mut stops = Vec::new();
        for seen in seen::of(leaving, names[index]).iter().filter(|seen| seen.runs()) {
            let mut after = waits_for.clone();
            after.extend(drained.get(seen.id));
            let (id, signal, grace) = (seen.id.clone(), seen.replica.stop_signal, seen.grace());
            let step = draft.push(Action::Replica(replica::Action::Stop { id, signal, grace }), Reason::Down, &after);
            stopped.insert(seen.id, step);
            stops.push(step);
        }
        let passed_on = if stops.is_empty() { waits_for } else { stops };
        for dependency in order.dependencies[index].iter().copied().flatten() {
            before[dependency].extend_from_slice(&passed_on);
        }
    }
    stopped
}

fn remove(
    seen: &[Seen<'_>],
    leaving: &[Seen<'_>],
    drained: &BTreeMap<&ReplicaId, StepId>,
    stopped: &BTreeMap<&ReplicaId, StepId>,
    draft: &mut Draft,
) -> Gone {
    let mut removed = Gone::none_of(seen);
    for seen in leaving {
        let after = stopped.get(seen.id).or_else(|| drained.get(seen.id));
        let action = replica::Action::Remove { id: seen.id.clone() };
        removed.record(seen, draft.push(Action::Replica(action), Reason::Down, after.copied().as_slice()));
    }
    removed
}

/// The edge closes what it listens on for the stack and forgets its routes.
fn forget(have: &Observed, after: &[StepId], draft: &mut Draft) -> Option<StepId> {
    let nothing = routing::hash_of_nothing();
    match &have.edge {
        Known::Unknown(why) => {
            draft.note("edge", format!("cannot be read, its listeners and the networks they stand on are left: {why}"));
            None
        }
        Known::Is(routing) if routing.settled == Some(nothing) => None,
        Known::Is(_) => {
            let change = Action::Edge(edge::Change::Settle { hash: nothing });
            Some(draft.push(change, Reason::Down, after))
        }
    }
}
