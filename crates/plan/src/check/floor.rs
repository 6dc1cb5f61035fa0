//! Never fewer replicas of a service serve than its floor, in whatever order the steps are done.
//!
//! A step that takes a serving replica away (a loss) is covered when a step that makes another one serve (a gain)
//! always comes before it, and no gain covers two losses. At any moment at most as many replicas are lost as there are
//! losses that cannot all be covered at once: the number of losses minus the largest matching of losses to gains.
//! (The largest closed set of a graph weighs what its smallest cut leaves; with weights of one, that cut is a matching.)

use super::Violation;
use super::graph::{Local, subject};
use super::leaving::Turns;
use super::sight::{Sight, Slots};
use crate::action::{edge, replica};
use crate::desired::Up;
use crate::observed::{Known, Replica};
use crate::routing::Reach;
use crate::{Action, Observed};
use model::project::{Order, Role};
use model::stack::Target;
use model::{ReplicaId, Slot};
use std::collections::{BTreeMap, BTreeSet};

/// Judges the losses and gains of one service.
pub(super) fn check(
    (want, reach): (&Up, &Reach<'_>),
    have: &Observed,
    (service, sights): (&Local<'_, '_>, &Slots<'_>),
    turns: &Turns,
    found: &mut Vec<Violation>,
) {
    let Some(target) = want.stack.services.get(service.service) else { return };
    if target.role == Role::Job || !target.has_replicas() {
        return;
    }
    let takes_traffic = reach.takes_traffic(service.service, target);
    let serving = serving(want, have, sights, target, takes_traffic);
    let stops_first = target.direct || target.update.order == Order::StopFirst;
    turns.check(service, &serving, stops_first, found);
    if stops_first {
        return;
    }
    let floor = serving.len().min(target.replicas as usize);
    let changes = Changes::of(service, sights, &serving, takes_traffic);
    let uncovered = changes.losses.len() - changes.matched(service);
    let left = serving.len().saturating_sub(uncovered);
    if left < floor {
        found.push(Violation::UnderFloor { service: service.service.clone(), left, floor });
    }
}

/// Who serves now and stands on an address that stays its own.
fn serving(want: &Up, have: &Observed, sights: &Slots<'_>, target: &Target, takes_traffic: bool) -> BTreeSet<Slot> {
    let needs_mark = takes_traffic && matches!(have.edge, Known::Is(_));
    let serves = |sight: &Sight<'_>| {
        let is_right = |replica: &Replica| replica.role == target.role && !is_misplaced(want, have, target, replica);
        sight.is_ready && (sight.has_mark || !needs_mark) && sight.replica.is_some_and(is_right)
    };
    sights.iter().filter(|(_, sight)| serves(sight)).map(|(slot, _)| *slot).collect()
}

/// Whether the replica stands on a network that moves, or on a stable address that is not its own.
fn is_misplaced(want: &Up, have: &Observed, target: &Target, replica: &Replica) -> bool {
    replica.addresses.iter().any(|(network, address)| {
        let shall = want.stack.networks.get(network);
        let is = have.placed.networks.get(network);
        let moves = match (is, shall) {
            (Some(Known::Is(is)), Some(shall)) => is.subnet.net != shall.net || is.subnet.gateway != shall.gateway,
            _ => false,
        };
        let is_own = target.direct && target.addresses.get(network) == Some(address);
        moves || (!is_own && shall.is_some_and(|shall| *address < shall.replicas_from))
    })
}

struct Changes {
    /// Positions of steps that end a replica's service.
    losses: Vec<usize>,
    /// Positions of steps that make a replica serve.
    gains: Vec<usize>,
}

impl Changes {
    fn of(service: &Local<'_, '_>, sights: &Slots<'_>, serving: &BTreeSet<Slot>, takes_traffic: bool) -> Self {
        let mut gains: BTreeMap<Slot, usize> = BTreeMap::new();
        let mut losses: BTreeMap<Slot, usize> = BTreeMap::new();
        for (position, node) in service.steps() {
            let Some(ReplicaId { slot, .. }) = subject(&node.step.action) else { continue };
            let keeps_mark = !takes_traffic || sights.get(slot).is_some_and(|sight| sight.has_mark);
            match &node.step.action {
                Action::Edge(edge::Change::Route { .. }) => {
                    gains.insert(*slot, position);
                }
                // Who still has the edge's mark serves as soon as it is ready.
                Action::Probe(_) if keeps_mark && !losses.contains_key(slot) => {
                    gains.entry(*slot).or_insert(position);
                }
                Action::Probe(_) if !takes_traffic => {
                    gains.entry(*slot).or_insert(position);
                }
                Action::Edge(edge::Change::Drain { .. })
                | Action::Replica(replica::Action::Stop { .. } | replica::Action::Remove { .. })
                    if serving.contains(slot) || gains.contains_key(slot) =>
                {
                    losses.entry(*slot).or_insert(position);
                }
                _ => {}
            }
        }
        Self { losses: losses.into_values().collect(), gains: gains.into_values().collect() }
    }

    /// The size of the largest matching of losses to gains that always come before them, by augmenting paths.
    fn matched(&self, service: &Local<'_, '_>) -> usize {
        let mut loss_of = vec![None; self.gains.len()];
        (0..self.losses.len())
            .filter(|loss| self.augment(service, *loss, &mut loss_of, &mut vec![false; self.gains.len()]))
            .count()
    }

    fn augment(
        &self,
        service: &Local<'_, '_>,
        loss: usize,
        loss_of: &mut Vec<Option<usize>>,
        tried: &mut Vec<bool>,
    ) -> bool {
        let covers = |gain: &usize| service.is_before(self.gains[*gain], self.losses[loss]);
        // A gain nobody needs is taken before somebody is asked to give up theirs; the latest are needed least.
        let free = (0..self.gains.len()).rev().filter(covers).find(|gain| loss_of[*gain].is_none());
        if let Some(gain) = free {
            loss_of[gain] = Some(loss);
            return true;
        }
        for gain in 0..self.gains.len() {
            if !covers(&gain) || std::mem::replace(&mut tried[gain], true) {
                continue;
            }
            let Some(other) = loss_of[gain] else { continue };
            if self.augment(service, other, loss_of, tried) {
                loss_of[gain] = Some(loss);
                return true;
            }
        }
        false
    }
}
