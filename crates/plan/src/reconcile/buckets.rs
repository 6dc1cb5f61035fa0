//! Sorts the replicas of one service by what becomes of them.
//!
//! Owns who stays and who goes. Never says how: that is `rollout` and `job`.

use super::seen::Seen;
use crate::Reason;
use crate::desired::Up;
use crate::observed::Phase;
use model::ServiceName;
use model::project::Role;
use model::stack::Target;

/// The replicas of one service by what becomes of them. One-off runs are in none.
#[derive(Default)]
pub(super) struct Buckets<'a> {
    /// Cannot be read: they stay as they are, and nothing is started in their place.
    pub(super) unknown: Vec<Seen<'a>>,
    /// Run or ran what is wanted, at most as many as wanted; the best first.
    pub(super) keep: Vec<Seen<'a>>,
    /// Are no longer wanted, each with the reason; those that can be spared most come first.
    pub(super) leave: Vec<(Seen<'a>, Reason)>,
    /// How many wanted ones do not exist in any form.
    pub(super) missing: usize,
}

/// Sorts `seen`, the replicas of `service`; `is_misplaced` tells who stands on an address that is no longer right.
pub(super) fn sort<'a>(
    want: &Up,
    service: &ServiceName,
    target: &Target,
    seen: impl Iterator<Item = Seen<'a>>,
    is_misplaced: impl Fn(&Seen<'a>) -> bool,
) -> Buckets<'a> {
    let wanted = target.n_wanted();
    let mut buckets = Buckets::default();
    let mut current = Vec::new();
    for seen in seen.filter(|seen| !seen.is_one_off()) {
        if seen.is_unknown() {
            buckets.unknown.push(seen);
        } else if let Some(why) = why_replaced(want, service, target, &seen, &is_misplaced) {
            buckets.leave.push((seen, why));
        } else {
            current.push(seen);
        }
    }
    // Stable sorts: slots stay in order within a rank.
    current.sort_by_key(|seen| rank(seen, target.role));
    // One that cannot be read is in nobody's place: it keeps new ones from being started, and no other from staying.
    let surplus = current.split_off(wanted.min(current.len()));
    buckets.leave.extend(surplus.into_iter().map(|seen| (seen, Reason::TooMany)));
    // Those of least use go first, of those the highest slots when there are too many, else the lowest.
    buckets.leave.sort_by_key(|(seen, why)| {
        let slot = i64::from(seen.id.slot.number());
        (u8::MAX - rank(seen, target.role), if *why == Reason::TooMany { -slot } else { slot })
    });
    buckets.missing = wanted.saturating_sub(buckets.unknown.len() + current.len());
    buckets.keep = current;
    buckets
}

fn why_replaced<'a>(
    want: &Up,
    service: &ServiceName,
    target: &Target,
    seen: &Seen<'a>,
    is_misplaced: &impl Fn(&Seen<'a>) -> bool,
) -> Option<Reason> {
    let replica = seen.replica;
    if replica.hash != target.hash || replica.role != target.role {
        return Some(Reason::TemplateChanged);
    }
    let since = match &replica.phase {
        Phase::Running { since } | Phase::Exited { since, .. } => Some(*since),
        Phase::Failed { at, .. } => Some(*at),
        Phase::Half | Phase::Unknown(_) => None,
    };
    let asked = want.restart.get(service);
    if asked.is_some_and(|asked| since.is_some_and(|since| since < *asked)) {
        return Some(Reason::RestartAsked);
    }
    is_misplaced(seen).then_some(Reason::AddressChanged)
}

/// How useful a replica is, 0 the most.
fn rank(seen: &Seen<'_>, role: Role) -> u8 {
    match &seen.replica.phase {
        // A job that is done is what was wanted of it.
        Phase::Exited { how: crate::observed::Exit::Code(0), .. } if role == Role::Job => 0,
        Phase::Running { .. } if seen.is_ready() && seen.routed => 0,
        Phase::Running { .. } if seen.is_ready() => 1,
        Phase::Running { .. } if seen.is_dead() => 5,
        Phase::Running { .. } if seen.is_unready() => 4,
        Phase::Running { .. } if seen.routed => 2,
        Phase::Running { .. } => 3,
        Phase::Half => 6,
        Phase::Exited { .. } => 7,
        Phase::Failed { .. } => 8,
        Phase::Unknown(_) => 9,
    }
}
