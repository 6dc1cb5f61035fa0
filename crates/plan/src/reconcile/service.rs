//! One service in the making of a plan: its gates, addresses and slots, and what an arrival or a departure looks like.
//!
//! Owns the steps of a single replica. How many come and go, and who waits for whom, is decided in `rollout`.

use super::addresses::{self, Slots};
use super::buckets::Buckets;
use super::depart;
use super::draft::Draft;
use super::gates::{self, Gate, Gates, Progress};
use super::restart::{self, Verdict};
use super::seen::{Gone, Seen};
use crate::action::{Await, edge, replica};
use crate::desired::Up;
use crate::observed::Phase;
use crate::{Action, Addresses, Reason, StepId};
use jiff::Timestamp;
use model::project::Order;
use model::stack::Target;
use model::{ReplicaId, ServiceName};
use replica::Start;
use std::sync::Arc;

/// One service in the making of a plan.
pub(super) struct Service<'d, 'a> {
    pub(super) draft: &'d mut Draft,
    pub(super) addresses: &'d mut addresses::Addresses<'a>,
    /// Asked for only when replicas are missing.
    pub(super) slots: Slots,
    pub(super) want: &'a Up,
    pub(super) now: Timestamp,
    pub(super) name: &'a ServiceName,
    pub(super) target: &'a Target,
    /// Whether anything can reach it through the edge.
    pub(super) takes_traffic: bool,
    /// Whether any replica has been given traffic: a service that only worked inside until now has none.
    pub(super) had_traffic: bool,
    pub(super) edge_is_known: bool,
    /// Whether routes change in this plan.
    pub(super) settles: bool,
    /// What every start comes after: networks, volumes, listeners; or why nothing can be started.
    pub(super) ground: Gate,
    pub(super) gates: &'d mut Gates,
    /// Its place among the services.
    pub(super) index: usize,
    /// What a change waits for, once somebody has asked: asking may add steps that wait for a dependency.
    pub(super) change_gate: Option<Gate>,
    /// What a repair waits for, once somebody has asked.
    pub(super) repair_gate: Option<Gate>,
    pub(super) progress: Progress,
    /// Departures that come at the very end of the plan.
    pub(super) last: &'d mut Vec<Leaving<'a>>,
    /// Removals, by replica: networks wait for them.
    pub(super) removed: &'d mut Gone,
    /// Steps that give traffic: routes change after them.
    pub(super) routes: &'d mut Vec<StepId>,
    /// The step after which the replica that was revived last is ready: one at a time.
    pub(super) revived: Option<StepId>,
}

/// A replica that is to serve and does not yet.
pub(super) enum Coming<'a> {
    /// Is ready and gets no traffic.
    Route(&'a ReplicaId),
    /// Runs and is not ready; `route` when it gets no traffic yet.
    Await { id: &'a ReplicaId, route: bool },
    /// Ended, and is started again in its slot.
    Restart { start: Box<Start>, route: bool, why: Reason },
    /// Runs and fails its liveness probe: it is stopped and started in its slot.
    Revive { seen: Seen<'a>, start: Box<Start> },
    /// Is started in a new slot.
    New { start: Box<Start>, why: Reason },
}

/// What holds back one change among others of the same service.
#[derive(Clone, Copy)]
pub(super) enum Window {
    /// Nothing.
    Open,
    /// It comes after this step.
    After(StepId),
    /// It comes after this step, which itself comes after everything a change waits for.
    Behind(StepId),
}

impl Window {
    fn step(self) -> Option<StepId> {
        match self {
            Self::Open => None,
            Self::After(step) | Self::Behind(step) => Some(step),
        }
    }
}

/// A replica that leaves at the end of the plan.
pub(super) struct Leaving<'a> {
    pub(super) seen: Seen<'a>,
    pub(super) why: Reason,
    /// After this step, if not at once.
    pub(super) after: Option<StepId>,
}

impl<'a> Service<'_, 'a> {
    pub(super) fn is_stop_first(&self) -> bool {
        self.target.direct || self.target.update.order == Order::StopFirst
    }

    /// Whether traffic, if it takes any, reaches the replica now.
    pub(super) fn serves(&self, seen: &Seen<'_>) -> bool {
        seen.is_ready() && (seen.routed || !self.takes_traffic)
    }

    /// Whether the replica has to be reckoned with as serving: probes may simply not have spoken yet.
    ///
    /// One of the wanted kind that is surplus and known not to be ready is no loss; one of an old kind is, because
    /// what made it unready (its database, say) may pass while nothing new is ready yet. One without traffic, where
    /// others have it, was never let in.
    pub(super) fn may_serve(&self, seen: &Seen<'_>, is_surplus: bool) -> bool {
        let is_out = seen.is_dead() || (is_surplus && seen.is_unready());
        seen.runs() && (seen.routed || !self.had_traffic) && !is_out
    }

    /// Whether the replica can be taken away: not while the edge cannot be told to drain it.
    pub(super) fn can_leave(&self, seen: &Seen<'_>) -> bool {
        self.edge_is_known || !seen.routed
    }

    /// Dependents can count on what the replica is now for as long as the plan is carried out.
    pub(super) fn count_on(&mut self, seen: &Seen<'_>) {
        self.progress.is_started |= seen.runs();
        self.progress.is_ready |= seen.is_ready();
    }

    /// What a replica in a new slot comes after, or why there can be none.
    pub(super) fn change_gate(&mut self) -> Gate {
        let gate = match (self.change_gate.take(), &self.ground) {
            (Some(gate), _) => gate,
            (None, Err(why)) => Err(why.clone()),
            (None, Ok(ground)) => {
                self.gates.for_change(self.index, self.target, self.draft).map(|gate| [&gate, &ground[..]].concat())
            }
        };
        self.change_gate.insert(gate).clone()
    }

    /// What a replica that is started again comes after, or why it cannot be.
    pub(super) fn repair_gate(&mut self) -> Gate {
        let gate = match (self.repair_gate.take(), &self.ground) {
            (Some(gate), _) => gate,
            (None, Err(why)) => Err(why.clone()),
            (None, Ok(ground)) => {
                self.gates.for_repair(self.index, self.target, self.draft).map(|gate| [&gate, &ground[..]].concat())
            }
        };
        self.repair_gate.insert(gate).clone()
    }

    /// Those of the kept replicas that do not serve and for which something is to be done.
    pub(super) fn kept_arrivals(&mut self, keep: &[Seen<'a>]) -> Vec<Coming<'a>> {
        let mut coming = Vec::new();
        for seen in keep {
            let routes = self.takes_traffic && !seen.routed;
            if seen.is_dead() {
                match self.revive(*seen) {
                    Some(revived) => coming.push(revived),
                    // It runs on.
                    None => self.count_on(seen),
                }
            } else if !seen.runs() {
                coming.extend(self.restart(*seen));
            } else if routes && seen.is_ready() {
                coming.push(Coming::Route(seen.id));
            } else if routes {
                coming.push(Coming::Await { id: seen.id, route: true });
            } else if !seen.is_ready() {
                self.progress.coming.push(gates::await_ready(seen.id, self.target));
            }
        }
        coming
    }

    fn revive(&mut self, seen: Seen<'a>) -> Option<Coming<'a>> {
        let failures = match restart::judge(&seen, self.target, self.want.asked_at, self.now)? {
            Verdict::Now { failures, .. } => failures,
            Verdict::Later { at } => {
                self.draft.wake(at);
                self.draft.note(seen.id, format!("is not live and waits for its back-off until {at}"));
                return None;
            }
            Verdict::Leave { why } => {
                self.draft.note(seen.id, why);
                return None;
            }
        };
        if let Err(why) = self.repair_gate() {
            self.draft.note(seen.id, why);
            return None;
        }
        if !self.can_leave(&seen) {
            self.draft.note(seen.id, "is not live, but the edge cannot be told to drain it");
            return None;
        }
        let start = self.start_in_place(&seen, failures)?;
        Some(Coming::Revive { seen, start })
    }

    fn restart(&mut self, seen: Seen<'a>) -> Option<Coming<'a>> {
        let verdict = restart::judge(&seen, self.target, self.want.asked_at, self.now)?;
        match verdict {
            Verdict::Now { failures, why } => match self.repair_gate() {
                Err(why) => self.draft.note(seen.id, why),
                Ok(_) => {
                    let start = self.start_in_place(&seen, failures)?;
                    // The mark of the edge outlives an exit: traffic comes back as soon as the replica is ready.
                    return Some(Coming::Restart { start, route: !seen.routed, why });
                }
            },
            Verdict::Later { at } => {
                self.draft.wake(at);
                self.draft.note(seen.id, format!("waits for its back-off until {at}"));
            }
            Verdict::Leave { why } => {
                self.progress.is_started = true;
                self.draft.note(seen.id, why);
            }
        }
        None
    }

    /// The start of a replica that exists in some form: same slot, same addresses.
    pub(super) fn start_in_place(&mut self, seen: &Seen<'_>, failures: u32) -> Option<Box<Start>> {
        let has_all = self.target.template.networks.keys().all(|name| seen.replica.addresses.contains_key(name));
        // A start that was cut short may have left without them.
        let addresses = if has_all { seen.replica.addresses.clone() } else { self.take_addresses(1)? };
        Some(self.start_of(seen.id.clone(), addresses, failures))
    }

    fn take_addresses(&mut self, n_missing: usize) -> Option<Addresses> {
        match self.addresses.take(self.target) {
            Ok(addresses) => Some(addresses),
            Err(full) => {
                let text = format!("network `{}` ({}) has no address for {n_missing} more", full.network, full.subnet);
                self.draft.note(self.name, text);
                None
            }
        }
    }

    /// Kept replicas that get traffic already and are not ready, at most `most`: nobody else waits for them then.
    pub(super) fn on_their_way(&mut self, keep: &[Seen<'a>], most: usize) -> Vec<Coming<'a>> {
        let waiting = |seen: &&Seen<'a>| seen.runs() && !seen.is_ready() && !seen.is_dead();
        let routed = keep.iter().filter(waiting).filter(|seen| seen.routed || !self.takes_traffic);
        let found: Vec<_> = routed.take(most).map(|seen| Coming::Await { id: seen.id, route: false }).collect();
        let is_found =
            |id: &ReplicaId| found.iter().any(|c| matches!(c, Coming::Await { id: found, .. } if *found == id));
        self.progress.coming.retain(|waits| !is_found(&waits.id));
        found
    }

    /// What the missing replicas are started with: as many as can be started now.
    pub(super) fn new_starts(&mut self, buckets: &Buckets<'a>) -> Vec<Box<Start>> {
        if buckets.missing == 0 {
            return Vec::new();
        }
        if let Err(why) = self.change_gate() {
            self.draft.note(self.name, why);
            return Vec::new();
        }
        let stuck = buckets.leave.iter().filter(|(seen, _)| seen.runs() && !self.can_leave(seen)).count();
        let wanted = if self.is_stop_first() { buckets.missing } else { buckets.missing.saturating_sub(stuck) };
        let mut starts = Vec::with_capacity(wanted);
        while starts.len() < wanted {
            let Some(addresses) = self.take_addresses(wanted - starts.len()) else { break };
            let id = ReplicaId::new(self.name.clone(), self.slots.take());
            starts.push(self.start_of(id, addresses, 0));
        }
        self.progress.changes_started.reserve(starts.len());
        self.progress.changes_ready.reserve(starts.len());
        starts
    }

    fn start_of(&self, id: ReplicaId, addresses: Addresses, failures: u32) -> Box<Start> {
        let stack = &self.want.stack;
        Box::new(Start {
            id,
            role: self.target.role,
            template: Arc::clone(&self.target.template),
            hash: self.target.hash,
            release: stack.release,
            bundle: stack.bundle.clone(),
            uid_base: stack.uid_base,
            addresses,
            failures,
        })
    }

    /// Starts crashed replicas of an old kind again while they cannot be replaced and too few run without them;
    /// they then no longer leave.
    pub(super) fn refill(&mut self, buckets: &mut Buckets<'a>, n_coming: usize) {
        let running = buckets.keep.iter().chain(buckets.leave.iter().map(|(seen, _)| seen)).filter(|seen| seen.runs());
        let there = running.count() + buckets.unknown.len() + n_coming;
        let mut lacking = self.target.n_wanted().saturating_sub(there);
        let mut stay = Vec::new();
        for (seen, _) in buckets.leave.iter().filter(|(seen, _)| !seen.runs()) {
            if lacking == 0 {
                break;
            }
            if self.restart_former(*seen) {
                stay.push(seen.id);
                lacking -= 1;
            }
        }
        buckets.leave.retain(|(seen, _)| !stay.contains(&seen.id));
    }

    /// Whether the replica stays: it is started again as the code it was, or will be.
    fn restart_former(&mut self, seen: Seen<'a>) -> bool {
        let Some(verdict) = restart::judge(&seen, self.target, self.want.asked_at, self.now) else { return false };
        if seen.replica.hash != self.target.hash && !self.want.former.contains_key(&seen.replica.hash) {
            self.draft.note(seen.id, "is still needed, but what its release started it with is no longer known");
            return false;
        }
        match verdict {
            Verdict::Leave { .. } => return false,
            Verdict::Later { at } => {
                self.draft.wake(at);
                self.draft.note(seen.id, format!("is still needed and waits for its back-off until {at}"));
            }
            Verdict::Now { failures, why } => match self.repair_gate() {
                Err(why) => self.draft.note(seen.id, why),
                Ok(_) => {
                    let start = self.start_former(&seen, failures);
                    self.start_again(start, !seen.routed, why, &[]);
                }
            },
        }
        true
    }

    fn start_former(&self, seen: &Seen<'a>, failures: u32) -> Box<Start> {
        let mut start = self.start_of(seen.id.clone(), seen.replica.addresses.clone(), failures);
        // An earlier release may have wanted the same; then it is the wanted one's.
        let former = self.want.former.get(&seen.replica.hash).filter(|_| seen.replica.hash != self.target.hash);
        let Some(former) = former else { return start };
        start.template = Arc::clone(&former.template);
        start.hash = seen.replica.hash;
        start.release = former.release;
        start.bundle = former.bundle.clone();
        start
    }

    /// Brings one replica to where it serves, and returns the step after which it does. `window` holds back a change.
    pub(super) fn arrive(&mut self, coming: Coming<'a>, window: Window) -> StepId {
        match coming {
            Coming::Route(id) => self.route(id.clone(), &[]),
            Coming::Await { id, route } => {
                let waited = self.await_ready(id.clone(), &[]);
                let ready = if route { self.route(id.clone(), &[waited]) } else { waited };
                // Who resumes a release is part of the change.
                self.progress.changes_ready.push(ready);
                ready
            }
            Coming::Restart { start, route, why } => self.start_again(start, route, why, &[]),
            Coming::Revive { seen, start } => {
                let after = self.revived;
                let halted = depart::halt(self.draft, &seen, Reason::NotLive, after.as_slice());
                // Its drain takes the edge's mark away.
                let ready = self.start_again(start, true, Reason::NotLive, halted.as_slice());
                self.revived = Some(ready);
                ready
            }
            Coming::New { start, why } => {
                let step = window.step();
                let after = match (window, &self.ground) {
                    (Window::Behind(_), Ok(ground)) => [ground, step.as_slice()].concat(),
                    _ => [&self.change_gate().unwrap_or_default(), step.as_slice()].concat(),
                };
                self.start_new(start, why, &after)
            }
        }
    }

    fn start_again(&mut self, start: Box<Start>, route: bool, why: Reason, after: &[StepId]) -> StepId {
        let mut gate = self.repair_gate().unwrap_or_default();
        gate.extend_from_slice(after);
        let after = gate;
        let (started, ready) = self.start(start, route, why, &after);
        self.progress.repairs_started.push(started);
        self.progress.repairs_ready.push(ready);
        ready
    }

    /// Starts a replica in a new slot after `after`.
    pub(super) fn start_new(&mut self, start: Box<Start>, why: Reason, after: &[StepId]) -> StepId {
        let (started, ready) = self.start(start, true, why, after);
        self.progress.changes_started.push(started);
        self.progress.changes_ready.push(ready);
        ready
    }

    fn start(&mut self, start: Box<Start>, route: bool, why: Reason, after: &[StepId]) -> (StepId, StepId) {
        let id = start.id.clone();
        let started = self.draft.push(Action::Replica(replica::Action::Start(start)), why, after);
        let ready = self.await_ready(id.clone(), &[started]);
        if route && self.takes_traffic && self.edge_is_known {
            return (started, self.route(id, &[ready]));
        }
        (started, ready)
    }

    fn await_ready(&mut self, id: ReplicaId, after: &[StepId]) -> StepId {
        let deadline = self.target.update.deadline;
        self.draft.push(Action::Probe(Await { id, deadline }), Reason::MustBeReady, after)
    }

    fn route(&mut self, id: ReplicaId, after: &[StepId]) -> StepId {
        let step = self.draft.push(Action::Edge(edge::Change::Route { id }), Reason::ReadyForTraffic, after);
        self.routes.push(step);
        step
    }

    /// Takes the replica away after `after`; none when it cannot be now.
    pub(super) fn leave(&mut self, seen: &Seen<'a>, why: Reason, after: &[StepId]) -> Option<StepId> {
        if !self.can_leave(seen) {
            self.note_stays(seen);
            return None;
        }
        let gone = depart::depart(self.draft, seen, why, after);
        self.removed.record(seen, gone);
        Some(gone)
    }

    /// Takes the replica away at the end of the plan.
    pub(super) fn leave_last(&mut self, leaving: Leaving<'a>) {
        if self.can_leave(&leaving.seen) {
            self.last.push(leaving);
        } else {
            self.note_stays(&leaving.seen);
        }
    }

    pub(super) fn note_stays(&mut self, seen: &Seen<'_>) {
        let why = if self.can_leave(seen) {
            "stays until another is ready in its place"
        } else {
            "stays while the edge cannot be told to drain it"
        };
        self.draft.note(seen.id, why);
    }

    pub(super) fn note_one_only(&mut self) {
        let replicas = self.target.replicas;
        self.draft.note(
            self.name,
            format!("has one replica instead of {replicas}: it is direct, and its one address is the replica's"),
        );
    }

    pub(super) fn note_unknown(&mut self, seen: &Seen<'_>) {
        if let Phase::Unknown(why) = &seen.replica.phase {
            self.draft.note(seen.id, format!("cannot be read and is left as it is: {why}"));
        }
    }
}
