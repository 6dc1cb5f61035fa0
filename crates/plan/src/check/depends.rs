//! Dependencies are as far as declared before their dependents start, and stop after them.
//!
//! A replica in a new slot waits for all replicas of its dependency that come in the same plan; one that is started
//! again only if the dependency is not as far at all.

use super::Violation;
use super::graph::{Graph, Local, subject};
use super::sight::Sights;
use crate::action::{edge, replica};
use crate::desired::{Down, Up};
use crate::observed::{Exit, Phase};
use crate::{Action, FIRST_ONE_OFF_SLOT, Observed};
use model::project::{Condition, Order, Role};
use model::stack::Target;
use model::{ReplicaId, ServiceName};
use std::collections::BTreeMap;

/// Judges the starts of one service.
pub(super) fn check(
    want: &Up,
    have: &Observed,
    (graph, sights): (&Graph<'_>, &Sights<'_>),
    service: &Local<'_, '_>,
    found: &mut Vec<Violation>,
) {
    let Some(target) = want.stack.services.get(service.service) else { return };
    for (name, dependency) in &target.depends_on {
        let Some(other) = want.stack.services.get(name) else { continue };
        if !other.has_replicas() || other.replicas == 0 {
            continue;
        }
        let condition = match (dependency.condition, other.role) {
            // A job has no readiness beyond having done its work.
            (Condition::Healthy, Role::Job) => Condition::Completed,
            (condition, _) => condition,
        };
        let mut needed = needed((graph, sights), name, condition);
        let known = have.n_completed(name, other.hash, want.restart.get(name).copied()) as usize;
        let n_done = n_done(have, name, other).max(known);
        let n_runs = n_done + needed.changes.len();
        if condition == Condition::Completed && n_runs < other.replicas as usize {
            // Not all of its runs are waited for: what is waited for does not help.
            needed = Needed::default();
        }
        let is_reached = match condition {
            Condition::Completed => n_done >= other.replicas as usize,
            Condition::Started if known > 0 => true,
            _ => is_reached(have, graph, name, other, condition),
        };
        judge((graph, sights), service, &needed, is_reached, |step, id| {
            let (id, dependency) = (id.clone(), name.clone());
            found.push(Violation::DependencyNotReached { step, id, dependency });
        });
    }
}

/// The steps that bring a dependency to where it must be.
#[derive(Default)]
struct Needed {
    /// For replicas in new slots: all of them.
    changes: Vec<usize>,
    /// For replicas that exist: any of them.
    repairs: Vec<usize>,
}

fn needed((graph, sights): (&Graph<'_>, &Sights<'_>), name: &ServiceName, condition: Condition) -> Needed {
    let mut starts = BTreeMap::new();
    let mut ready = BTreeMap::new();
    let mut completions = Vec::new();
    for index in graph.of_service(name) {
        let action = &graph.steps[*index].step.action;
        let Some(id) = subject(action) else { continue };
        match action {
            Action::Replica(replica::Action::Start(_)) => {
                starts.insert(id.slot, *index);
            }
            Action::Probe(_) => {
                ready.entry(id.slot).or_insert(*index);
            }
            Action::Edge(edge::Change::Route { .. }) => {
                ready.insert(id.slot, *index);
            }
            Action::Job(_) => completions.push(*index),
            _ => {}
        }
    }
    let by_slot = match condition {
        Condition::Completed => return Needed { changes: completions, repairs: Vec::new() },
        Condition::Started => starts,
        Condition::Healthy => ready,
    };
    let mut needed = Needed::default();
    for (slot, index) in by_slot {
        let is_new = !sights.exists(name, slot);
        if is_new { needed.changes.push(index) } else { needed.repairs.push(index) }
    }
    needed
}

/// Whether the dependency is there already, and stays: replicas that are stopped in the plan count only where others
/// come first, which is what the floor guarantees.
fn is_reached(have: &Observed, graph: &Graph<'_>, name: &ServiceName, target: &Target, condition: Condition) -> bool {
    let first = ReplicaId::new(name.clone(), model::Slot::FIRST);
    let is_one_off = |id: &ReplicaId, role| role == Role::Job && id.slot.number() >= FIRST_ONE_OFF_SLOT;
    let mine = have.placed.replicas.range(first..).take_while(|(id, _)| id.service == *name);
    let mut mine = mine.filter(|(id, replica)| !is_one_off(id, replica.role));
    let has_floor = !target.direct && target.update.order == Order::StartFirst;
    let stays = |id: &ReplicaId| has_floor || !is_stopped(graph, id);
    match condition {
        Condition::Started => {
            mine.any(|(id, r)| matches!(r.phase, Phase::Running { .. } | Phase::Exited { .. }) && stays(id))
        }
        Condition::Healthy => mine.any(|(id, _)| have.is_ready(id) && stays(id)),
        Condition::Completed => false,
    }
}

/// How many runs of the wanted job have succeeded.
fn n_done(have: &Observed, name: &ServiceName, target: &Target) -> usize {
    let first = ReplicaId::new(name.clone(), model::Slot::FIRST);
    let mine = have.placed.replicas.range(first..).take_while(|(id, _)| id.service == *name);
    let mine = mine.filter(|(id, _)| id.slot.number() < FIRST_ONE_OFF_SLOT);
    let is_done = |phase: &Phase| matches!(phase, Phase::Exited { how: Exit::Code(0), .. });
    mine.filter(|(_, r)| r.hash == target.hash && is_done(&r.phase)).count()
}

fn is_stopped(graph: &Graph<'_>, id: &ReplicaId) -> bool {
    graph.of_service(&id.service).iter().any(|index| match &graph.steps[*index].step.action {
        Action::Replica(replica::Action::Stop { id: other, .. } | replica::Action::Remove { id: other }) => id == other,
        _ => false,
    })
}

/// Judges every start of `service` against one dependency.
fn judge(
    (graph, sights): (&Graph<'_>, &Sights<'_>),
    service: &Local<'_, '_>,
    needed: &Needed,
    is_reached: bool,
    mut fails: impl FnMut(crate::StepId, &ReplicaId),
) {
    if needed.changes.is_empty() && is_reached {
        return;
    }
    let wanted: Vec<usize> = needed.changes.iter().chain(&needed.repairs).copied().collect();
    let covered = covered(graph, service, &wanted);
    for (position, node) in service.steps() {
        let Action::Replica(replica::Action::Start(start)) = &node.step.action else { continue };
        let covers = |range: std::ops::Range<usize>| range.filter(|bit| covered.has(position, *bit)).count();
        let n_changes = needed.changes.len();
        let all_changes = covers(0..n_changes) == n_changes;
        let any = covers(0..wanted.len()) > 0;
        let exists = sights.exists(service.service, start.id.slot);
        let is_fine = match (exists, n_changes) {
            (true, 0) | (false, 0) => is_reached || any,
            (true, _) => is_reached || all_changes,
            (false, _) => all_changes,
        };
        if !is_fine {
            fails(node.id, &start.id);
        }
    }
}

/// A set of numbers below a fixed bound for each step of a service, in one piece.
struct Covered {
    words: usize,
    bits: Vec<u64>,
}

impl Covered {
    fn has(&self, position: usize, bit: usize) -> bool {
        self.bits[position * self.words + bit / 64] & (1 << (bit % 64)) != 0
    }
}

/// For each step of the service, which of `wanted` always come before it: directly, or by way of its own steps.
fn covered(graph: &Graph<'_>, service: &Local<'_, '_>, wanted: &[usize]) -> Covered {
    let mut sorted: Vec<(usize, usize)> = wanted.iter().enumerate().map(|(bit, index)| (*index, bit)).collect();
    sorted.sort_unstable();
    let words = wanted.len().div_ceil(64);
    let mut bits = vec![0u64; words * service.indices.len()];
    for (position, node) in service.steps() {
        let (done, mine) = bits.split_at_mut(position * words);
        for before in &node.step.after {
            let index = graph.index(*before);
            if let Ok(found) = sorted.binary_search_by_key(&index, |(index, _)| *index) {
                let bit = sorted[found].1;
                mine[bit / 64] |= 1 << (bit % 64);
            }
            if let Ok(own) = service.indices.binary_search(&index) {
                let theirs = &done[own * words..(own + 1) * words];
                mine[..words].iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine |= theirs);
            }
        }
    }
    Covered { words, bits }
}

/// Judges that on the way down dependents stop first.
pub(super) fn check_down(want: &Down, graph: &Graph<'_>, found: &mut Vec<Violation>) {
    let stops = |name: &ServiceName| {
        let stop =
            |index: &&usize| matches!(graph.steps[**index].step.action, Action::Replica(replica::Action::Stop { .. }));
        graph.of_service(name).iter().filter(stop).copied().collect::<Vec<_>>()
    };
    for (dependent, dependencies) in &want.depends_on {
        let first = stops(dependent);
        for stop in dependencies.iter().flat_map(stops) {
            let node = &graph.steps[stop];
            if first.iter().any(|first| !node.step.after.contains(&graph.steps[*first].id))
                && let Some(id) = subject(&node.step.action)
            {
                let dependent = dependent.clone();
                found.push(Violation::StoppedTooEarly { step: node.id, id: id.clone(), dependent });
            }
        }
    }
}
