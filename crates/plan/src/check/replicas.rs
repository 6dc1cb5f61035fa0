//! The steps of each replica come in a sound order: wait after start, traffic after readiness, stop after draining,
//! removal after a stop, and a slot is empty before something is started in it. Runs of a job follow each other.

use super::Violation;
use super::graph::{Local, subject};
use super::sight::{Sight, Slots};
use crate::action::{edge, replica};
use crate::{Action, StepId};
use model::project::Role;
use model::{ReplicaId, Slot};
use std::collections::BTreeMap;

/// The steps of one replica by kind, as positions among its service's.
#[derive(Default)]
struct Steps {
    starts: Vec<(usize, StepId, Role)>,
    waits: Vec<(usize, StepId)>,
    completions: Vec<(usize, StepId)>,
    routes: Vec<(usize, StepId)>,
    drains: Vec<(usize, StepId)>,
    stops: Vec<(usize, StepId)>,
    removals: Vec<(usize, StepId)>,
}

/// Judges the steps of every replica of one service.
pub(super) fn check(sights: &Slots<'_>, service: &Local<'_, '_>, found: &mut Vec<Violation>) {
    let mut replicas: BTreeMap<Slot, (&ReplicaId, Steps)> = BTreeMap::new();
    for (position, node) in service.steps() {
        let Some(id) = subject(&node.step.action) else { continue };
        let (_, steps) = replicas.entry(id.slot).or_insert_with(|| (id, Steps::default()));
        let at = (position, node.id);
        match &node.step.action {
            Action::Replica(replica::Action::Start(start)) => steps.starts.push((position, node.id, start.role)),
            Action::Replica(replica::Action::Stop { .. }) => steps.stops.push(at),
            Action::Replica(replica::Action::Remove { .. }) => steps.removals.push(at),
            Action::Probe(_) => steps.waits.push(at),
            Action::Job(_) => steps.completions.push(at),
            Action::Edge(edge::Change::Route { .. }) => steps.routes.push(at),
            Action::Edge(edge::Change::Drain { .. }) => steps.drains.push(at),
            _ => {}
        }
    }
    runs_of_a_job(sights, service, &replicas, found);
    for (slot, (id, steps)) in replicas {
        of_one(sights.get(&slot).copied().unwrap_or_default(), service, id, &steps, found);
    }
}

/// A new run of a job comes after the earlier ones that go: two at once would do its work twice.
fn runs_of_a_job(
    sights: &Slots<'_>,
    service: &Local<'_, '_>,
    replicas: &BTreeMap<Slot, (&ReplicaId, Steps)>,
    found: &mut Vec<Violation>,
) {
    let is_new = |slot: &Slot| sights.get(slot).is_none_or(|sight| sight.replica.is_none());
    let starts = replicas.iter().filter(|(slot, _)| is_new(slot)).flat_map(|(_, (_, steps))| &steps.starts);
    for (start, step, _) in starts.filter(|(.., role)| *role == Role::Job) {
        for (id, steps) in replicas.values() {
            if steps.removals.iter().any(|(removal, _)| !service.is_before(*removal, *start)) {
                found.push(Violation::TooEarly { step: *step, id: (*id).clone(), what: "the removal" });
            }
        }
    }
}

fn of_one(sight: Sight<'_>, service: &Local<'_, '_>, id: &ReplicaId, steps: &Steps, found: &mut Vec<Violation>) {
    let (runs, is_routed) = (sight.runs(), sight.has_mark);
    let comes = |earlier: &[(usize, StepId)], later: usize| earlier.iter().any(|(e, _)| service.is_before(*e, later));
    let mut too_early = |step: StepId, what| found.push(Violation::TooEarly { step, id: id.clone(), what });

    for (route, step) in &steps.routes {
        let started = steps.starts.iter().all(|(start, ..)| service.is_before(*start, *route));
        let is_ready = steps.starts.is_empty() && sight.is_ready;
        if !started || !(is_ready || comes(&steps.waits, *route)) {
            too_early(*step, "the readiness");
        }
    }
    for (wait, step) in steps.waits.iter().chain(&steps.completions) {
        if !(runs || steps.starts.iter().any(|(start, ..)| service.is_before(*start, *wait))) {
            too_early(*step, "the start");
        }
    }
    for (stop, step) in &steps.stops {
        if is_routed && !comes(&steps.drains, *stop) {
            too_early(*step, "the draining");
        }
    }
    for (removal, step) in &steps.removals {
        if runs && !comes(&steps.stops, *removal) {
            too_early(*step, "the stop");
        }
        if is_routed && !comes(&steps.drains, *removal) {
            too_early(*step, "the draining");
        }
    }
    for (start, step, role) in &steps.starts {
        let is_free = !runs || comes(&steps.stops, *start);
        if !is_free {
            found.push(Violation::SlotInUse { step: *step, id: id.clone() });
        }
        let waits = if *role == Role::Job { &steps.completions } else { &steps.waits };
        if !waits.iter().any(|(wait, _)| service.is_before(*start, *wait)) {
            found.push(Violation::NotAwaited { step: *step, id: id.clone() });
        }
    }
    for (_, step, _) in steps.starts.iter().skip(1) {
        found.push(Violation::StartedTwice { step: *step, id: id.clone() });
    }
}
