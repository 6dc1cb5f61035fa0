//! The plan for a stack that shall run, in its order:
//!
//! 1. networks (and whoever stands in the way of their change), volumes, listeners: a taken port fails before anything
//!    is started;
//! 2. services and jobs, dependencies first;
//! 3. routes, once everything that gets traffic has it;
//! 4. what is no longer wanted: replicas, then the networks they stood on. Volumes are never removed here.

use super::addresses::{Addresses, Slots};
use super::buckets;
use super::depart;
use super::draft::Draft;
use super::gates::{Gate, Gates, Progress};
use super::networks::{self, Ground};
use super::seen::{Gone, Seen, Sight, next_of};
use super::service::{Leaving, Service};
use super::{job, order, rollout};
use crate::action::{edge, replica};
use crate::desired::Up;
use crate::observed::{Health, Known};
use crate::routing::{self, Reach};
use crate::{Action, Observed, Plan, Reason, StepId};
use jiff::Timestamp;
use model::project::{MountSource, Role};
use model::stack::Target;
use model::{ReplicaId, ServiceName, Slot, SpecHash, VolumeName};
use std::collections::BTreeMap;
use std::time::Duration;

/// Decides what has to change so that the stack runs as wanted.
pub(super) fn plan(want: &Up, have: &Observed, now: Timestamp) -> Plan {
    let sight = Sight::of(have);
    let mut planner = Planner::new(want, have, &sight, now);
    planner.lay_ground();
    planner.go_through_services();
    planner.settle();
    planner.clear_away();
    planner.draft.finish(have.generation)
}

struct Planner<'a> {
    want: &'a Up,
    have: &'a Observed,
    sight: &'a Sight<'a>,
    seen: &'a [Seen<'a>],
    now: Timestamp,
    draft: Draft,
    ground: Ground<'a>,
    volumes: BTreeMap<&'a VolumeName, StepId>,
    open: Option<StepId>,
    /// The hash of the wanted routing, when it is not the one in force.
    unsettled: Option<SpecHash>,
    settle: Option<StepId>,
    routes: Vec<StepId>,
    last: Vec<Leaving<'a>>,
    removed: Gone,
    reach: Reach<'a>,
}

impl<'a> Planner<'a> {
    fn new(want: &'a Up, have: &'a Observed, sight: &'a Sight<'a>, now: Timestamp) -> Self {
        let seen = &*sight.all;
        // Three steps for each that comes and for each that goes, at most.
        let n_wanted: usize = want.stack.services.values().map(|target| target.replicas as usize).sum();
        let n_steps = 3 * (n_wanted.min(1 << 20) + seen.len()) + 64;
        Self {
            want,
            have,
            sight,
            seen,
            now,
            draft: Draft::with_room(n_steps),
            ground: Ground::default(),
            volumes: BTreeMap::new(),
            open: None,
            unsettled: None,
            settle: None,
            routes: Vec::new(),
            last: Vec::new(),
            removed: Gone::none_of(seen),
            reach: Reach::of(&want.stack),
        }
    }

    fn lay_ground(&mut self) {
        let stack = &self.want.stack;
        self.ground = networks::ensure(stack, self.have, self.seen, &mut self.draft);
        if !self.ground.evicted.is_empty() {
            let gone = |seen: &'a Seen<'a>| Some((seen, *self.ground.evicted.get(seen.id)?));
            self.seen.iter().filter_map(gone).for_each(|(seen, step)| self.removed.record(seen, step));
        }
        for name in stack.volumes.difference(&self.have.placed.volumes) {
            let action = replica::Action::EnsureVolume { name: name.clone(), made: stack.makes.volume(name).into() };
            self.volumes.insert(name, self.draft.push(Action::Replica(action), Reason::Missing, &[]));
        }
        self.open_listeners();
    }

    /// Listeners come after the networks, because they stand on stable addresses, and before everything that starts.
    fn open_listeners(&mut self) {
        let routing = match &self.have.edge {
            Known::Is(routing) => routing,
            Known::Unknown(why) => {
                self.draft.note("edge", format!("cannot be read, traffic stays as it is: {why}"));
                return;
            }
        };
        let hash = routing::routing_hash(&self.want.stack);
        let changes = routing.settled != Some(hash);
        if let Some(why) = self.ground.blocked.values().next() {
            if changes {
                self.draft.note("edge", format!("listeners and routes stay as they are: {why}"));
            }
            return;
        }
        self.unsettled = changes.then_some(hash);
        if changes || !self.ground.ensured.is_empty() {
            let after: Vec<StepId> = self.ground.ensured.values().copied().collect();
            self.open = Some(self.draft.push(Action::Edge(edge::Change::Open), Reason::RoutingChanged, &after));
        }
    }

    fn go_through_services(&mut self) {
        let services = &self.want.stack.services;
        let (names, targets): (Vec<&'a ServiceName>, Vec<&'a Target>) = services.iter().unzip();
        let order = order::dependencies_first(&names, |index| targets[index].depends_on.keys());
        let mut gates = Gates::new(order.dependencies);
        let seen = self.sight.by_service(&names);
        let mut addresses = Addresses::new(&self.want.stack.networks, services, self.seen);
        for index in order.indices {
            let (name, target) = (names[index], targets[index]);
            let progress = if target.has_replicas() && target.replicas > 0 {
                self.plan_service(index, (name, target), seen[index], &mut gates, &mut addresses)
            } else {
                Progress::reached()
            };
            gates.record(index, progress);
        }
        self.note_not_ready(&gates);
    }

    /// No step waits for them, since nothing hangs on them: whoever asks why the stack is not ready is told.
    fn note_not_ready(&mut self, gates: &Gates) {
        for id in gates.not_awaited() {
            match self.have.health.get(id) {
                Some(Health::Unready(why)) => self.draft.note(id, format!("runs and is not ready: {why}")),
                _ => self.draft.note(id, "runs and is not ready yet"),
            }
        }
    }

    fn plan_service(
        &mut self,
        index: usize,
        (name, target): (&'a ServiceName, &'a Target),
        mine: &[Seen<'a>],
        gates: &mut Gates,
        addresses: &mut Addresses<'a>,
    ) -> Progress {
        let staying = mine.iter().copied().filter(|seen| !self.ground.evicted.contains_key(seen.id));
        let is_misplaced = |seen: &Seen<'a>| {
            let is_direct = target.direct && target.role == Role::Service;
            is_direct && !seen.replica.addresses.iter().eq(&target.addresses)
        };
        let buckets = buckets::sort(self.want, name, target, staying.clone(), is_misplaced);
        let takes_traffic = self.reach.takes_traffic(name, target);
        let taken = if buckets.missing > 0 { self.taken_slots(name, mine) } else { Vec::new() };
        let mut service = Service {
            slots: Slots::new(taken),
            want: self.want,
            now: self.now,
            name,
            target,
            takes_traffic,
            had_traffic: takes_traffic && staying.clone().any(|seen| seen.routed),
            edge_is_known: matches!(self.have.edge, Known::Is(_)),
            settles: self.unsettled.is_some(),
            ground: self.ground_of(name, target),
            gates,
            index,
            change_gate: None,
            repair_gate: None,
            draft: &mut self.draft,
            addresses,
            progress: Progress::default(),
            last: &mut self.last,
            removed: &mut self.removed,
            routes: &mut self.routes,
            revived: None,
        };
        match target.role {
            Role::Service => rollout::plan(&mut service, buckets),
            Role::Job => {
                let asked_again = self.want.restart.get(name).copied();
                let n_known = self.have.n_completed(name, target.hash, asked_again);
                job::plan(&mut service, buckets, n_known as usize);
            }
        }
        service.progress.settle_for(target.role)
    }

    /// Slots that must not be given out: those of replicas, and those the edge has a mark for.
    fn taken_slots(&self, name: &ServiceName, mine: &[Seen<'a>]) -> Vec<Slot> {
        let mut taken: Vec<Slot> = mine.iter().map(|seen| seen.id.slot).collect();
        if let Known::Is(routing) = &self.have.edge {
            let first = ReplicaId::new(name.clone(), Slot::FIRST);
            taken.extend(routing.routed.range(first..).take_while(|id| id.service == *name).map(|id| id.slot));
        }
        taken
    }

    fn ground_of(&self, name: &ServiceName, target: &Target) -> Gate {
        let template = &target.template;
        if let Some(why) = template.networks.keys().find_map(|network| self.ground.blocked.get(network)) {
            return Err(format!("cannot be started: {why}"));
        }
        let networks = template.networks.keys().filter_map(|network| self.ground.ensured.get(network));
        let volumes = template.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Volume(volume) => self.volumes.get(volume),
            _ => None,
        });
        // Listeners come after the networks, so there is no need to name both.
        let networks = networks.filter(|_| self.open.is_none());
        let ground = networks.chain(volumes).chain(&self.open).copied();
        Ok(ground.chain(self.ground.evicted_of(name)).collect())
    }

    fn settle(&mut self) {
        let Some(hash) = self.unsettled else { return };
        let mut after = std::mem::take(&mut self.routes);
        after.extend(self.open);
        let settle = Action::Edge(edge::Change::Settle { hash });
        self.settle = Some(self.draft.push(settle, Reason::RoutingChanged, &after));
    }

    fn clear_away(&mut self) {
        let settle = self.settle;
        for leaving in std::mem::take(&mut self.last) {
            let after: Vec<StepId> = leaving.after.into_iter().chain(settle).collect();
            let gone = depart::depart(&mut self.draft, &leaving.seen, leaving.why, &after);
            self.removed.record(&leaving.seen, gone);
        }
        self.remove_unwanted_services();
        self.wipe_marks();
        if self.edge_holds_listeners() {
            return;
        }
        let wanted = &self.want.stack.networks;
        let (is_wanted, why) = (|name: &_| wanted.contains_key(name), Reason::NotWanted);
        networks::remove(self.have, is_wanted, self.seen, &self.removed, settle.as_slice(), &why, &mut self.draft);
    }

    /// Whether listeners of networks that are no longer wanted may still be open: then the networks stay.
    fn edge_holds_listeners(&self) -> bool {
        !matches!(self.have.edge, Known::Is(_)) || !self.ground.blocked.is_empty()
    }

    fn remove_unwanted_services(&mut self) {
        let services = self.want.stack.services.iter();
        let mut wanted = services.filter(|(_, t)| t.has_replicas() && t.replicas > 0).map(|(name, _)| name).peekable();
        for of_one in self.sight.of_each() {
            if next_of(&mut wanted, |name| (*name).cmp(&of_one[0].id.service), |_| {}).is_some() {
                continue;
            }
            for seen in of_one {
                if seen.is_one_off() || self.removed.step(seen).is_some() {
                    continue;
                }
                let is_stuck = seen.routed && !matches!(self.have.edge, Known::Is(_));
                if seen.is_unknown() || is_stuck {
                    self.draft.note(seen.id, "is no longer wanted and stays while it cannot be read or drained");
                    continue;
                }
                let gone = depart::depart(&mut self.draft, seen, Reason::NotWanted, self.settle.as_slice());
                self.removed.record(seen, gone);
            }
        }
    }

    /// Marks of replicas that are no more would give traffic to whatever comes into their slots.
    fn wipe_marks(&mut self) {
        for id in &self.sight.strays {
            let change = edge::Change::Drain { id: ReplicaId::clone(id), grace: Duration::ZERO };
            self.draft.push(Action::Edge(change), Reason::NotWanted, &[]);
        }
    }
}
