//! Who serves goes when its turn has come: not before the listeners are open, and not before the new routes are in
//! force unless another one needs its room.
//!
//! Opening listeners can fail, as when somebody else has a port. What stops first loses a replica before it gains one, so
//! a failure then must not find it gone. What still comes in by the old routes is answered by the old as long as they
//! are in force.

use super::Violation;
use super::graph::{Graph, Local, subject};
use crate::action::{edge, replica};
use crate::{Action, StepId};
use model::Slot;
use std::collections::BTreeSet;

/// The steps that those who serve wait for, and what comes after each.
pub(super) struct Turns {
    open: Option<Turn>,
    settle: Option<Turn>,
}

struct Turn {
    step: StepId,
    /// By a step's index: whether it comes after.
    after: Vec<bool>,
}

impl Turns {
    pub(super) fn of(graph: &Graph<'_>) -> Self {
        let turn = |is_it: fn(&edge::Change) -> bool| {
            let index =
                graph.steps.iter().position(|node| matches!(&node.step.action, Action::Edge(it) if is_it(it)))?;
            Some(Turn { step: graph.steps[index].id, after: graph.after(index) })
        };
        Self {
            open: turn(|change| matches!(change, edge::Change::Open)),
            settle: turn(|change| matches!(change, edge::Change::Settle { .. })),
        }
    }

    /// Judges the going of those who serve.
    pub(super) fn check(
        &self,
        service: &Local<'_, '_>,
        serving: &BTreeSet<Slot>,
        stops_first: bool,
        found: &mut Vec<Violation>,
    ) {
        let mut gone = BTreeSet::new();
        for (position, node) in service.steps() {
            let ends = matches!(
                &node.step.action,
                Action::Edge(edge::Change::Drain { .. })
                    | Action::Replica(replica::Action::Stop { .. } | replica::Action::Remove { .. })
            );
            let Some(slot) = subject(&node.step.action).filter(|_| ends).map(|id| id.slot) else { continue };
            if !serving.contains(&slot) || !gone.insert(slot) {
                continue;
            }
            let is_after = |turn: &Turn| turn.after[service.indices[position]];
            let mut early = |turn: &Option<Turn>| {
                let turn = turn.as_ref().filter(|turn| !is_after(turn));
                found.extend(turn.map(|turn| Violation::NoGround { step: node.id, before: turn.step }));
            };
            if !makes_room(service, position, slot) {
                early(&self.settle);
            } else if stops_first {
                early(&self.open);
            }
        }
    }
}

/// Whether the coming of another replica of the service waits for this one's going.
fn makes_room(service: &Local<'_, '_>, going: usize, slot: Slot) -> bool {
    service.steps().any(|(position, node)| {
        let comes = matches!(
            &node.step.action,
            Action::Replica(replica::Action::Start(_)) | Action::Probe(_) | Action::Edge(edge::Change::Route { .. })
        );
        let is_other = subject(&node.step.action).is_some_and(|id| id.slot != slot);
        comes && is_other && service.is_before(going, position)
    })
}
