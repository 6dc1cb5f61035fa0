//! The steps that take a replica away: drain, stop, remove.

use super::draft::Draft;
use super::seen::Seen;
use crate::action::{edge, replica};
use crate::{Action, Reason, StepId};

/// Takes the replica away and returns the last step. What does not run is not stopped, what gets no traffic not drained.
pub(super) fn depart(draft: &mut Draft, seen: &Seen<'_>, why: Reason, after: &[StepId]) -> StepId {
    let stopped = halt(draft, seen, why.clone(), after);
    let after = stopped.as_ref().map_or(after, std::slice::from_ref);
    draft.push(Action::Replica(replica::Action::Remove { id: seen.id.clone() }), why, after)
}

/// Drains and stops the replica, as far as there is anything to drain or stop.
///
/// One that has exited is drained as well: that takes the edge's mark away, which would otherwise give traffic to
/// whatever is started in this slot next. Nothing can be in flight to it, so the grace is not used.
pub(super) fn halt(draft: &mut Draft, seen: &Seen<'_>, why: Reason, after: &[StepId]) -> Option<StepId> {
    let mut last = None;
    if seen.routed {
        let change = edge::Change::Drain { id: seen.id.clone(), grace: seen.grace() };
        last = Some(draft.push(Action::Edge(change), Reason::AboutToStop, after));
    }
    if seen.runs() {
        let after = last.as_ref().map_or(after, std::slice::from_ref);
        let (signal, grace) = (seen.replica.stop_signal, seen.grace());
        let stop = replica::Action::Stop { id: seen.id.clone(), signal, grace };
        last = Some(draft.push(Action::Replica(stop), why, after));
    }
    last
}
