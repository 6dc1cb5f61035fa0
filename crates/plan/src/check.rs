//! Reads a plan again and looks for broken invariants, before anything is done by it.
//!
//! Independent of `reconcile`: it shares the definitions (what takes traffic, what a dependency means) and no logic, so
//! that a mistake of the planner is found by somebody else. Knows nothing of how a plan came about. It judges every
//! order in which the steps may be done, not the order of their numbers. Start with [`check`].

mod depends;
mod floor;
mod graph;
mod ground;
mod leaving;
mod meant;
mod objects;
mod replicas;
mod sight;
mod subjects;
mod violation;

pub use objects::check_objects;
pub use violation::Violation;

use crate::routing::Reach;
use crate::{Desired, Observed, Plan};
use graph::Graph;
use sight::Sights;

/// Everything about `plan` that breaks an invariant; empty for a plan that may be carried out.
///
/// - The graph has no cycle and no loose end.
/// - No slot, no address and no port that is listened on is used twice; every address lies in its network.
/// - Only what was observed, and could be read, is stopped or removed; volumes only when they were named.
/// - Every start is followed by a wait; traffic comes after readiness, a stop after draining, a removal after a stop, a new
///   run of a job after the earlier ones that go.
/// - What is started, made or opened is what is wanted: a replica as the stack or its own former release has it, a
///   network and the routing as the stack has them. On the way down nothing is.
/// - Dependencies are as far as declared before their dependents start.
/// - Who serves goes after the new routes are in force, unless another one needs its room; then it goes after the listeners
///   are open where it is stopped first.
/// - Never fewer replicas of a service serve than the floor: as many as are wanted, or as serve now if that is less.
///   Exempt are services that are replaced stop-first (direct ones always are), and replicas on addresses that are no
///   longer theirs.
pub fn check(want: &Desired, have: &Observed, plan: &Plan) -> Vec<Violation> {
    let graph = match Graph::of(plan) {
        Ok(graph) => graph,
        // Without an order nothing else can be judged.
        Err(violations) => return violations,
    };
    let mut found = Vec::new();
    let sights = Sights::new(have, &graph);
    subjects::check(want, have, (&graph, &sights), &mut found);
    meant::check(want, have, &graph, &mut found);
    ground::check(want, have, &graph, &mut found);
    let up = match want {
        Desired::Up(up) => Some((up, Reach::of(&up.stack))),
        Desired::Down(_) => None,
    };
    let turns = leaving::Turns::of(&graph);
    for service in graph.services() {
        let slots = sights.of(service.service);
        replicas::check(slots, &service, &mut found);
        if let Some((up, reach)) = &up {
            depends::check(up, have, (&graph, &sights), &service, &mut found);
            floor::check((up, reach), have, (&service, slots), &turns, &mut found);
        }
    }
    if let Desired::Down(down) = want {
        depends::check_down(down, &graph, &mut found);
    }
    found
}
