//! Replicas as seen, with what probes and the edge say of them.
//!
//! Everything observed is sorted by replica, so one pass over three sorted sequences puts it together: planning stays
//! linear where a look-up per replica would not.

use crate::observed::{Health, Known, Phase, Replica};
use crate::{FIRST_ONE_OFF_SLOT, Observed};
use model::project::Role;
use model::{ReplicaId, ServiceName};
use std::time::Duration;

/// One replica with everything that is known of it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) id: &'a ReplicaId,
    pub(super) replica: &'a Replica,
    pub(super) health: Option<&'a Health>,
    /// Gets traffic when ready; true while the edge cannot be read, the careful side before a stop.
    pub(super) routed: bool,
}

impl Seen<'_> {
    pub(super) fn runs(&self) -> bool {
        matches!(self.replica.phase, Phase::Running { .. })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.runs() && self.health == Some(&Health::Ready)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.runs() && matches!(self.health, Some(Health::Dead(_)))
    }

    pub(super) fn is_unready(&self) -> bool {
        self.runs() && matches!(self.health, Some(Health::Unready(_)))
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.replica.phase, Phase::Unknown(_))
    }

    /// A run that no stack asks for.
    pub(super) fn is_one_off(&self) -> bool {
        self.replica.role == Role::Job && self.id.slot.number() >= FIRST_ONE_OFF_SLOT
    }

    /// The grace its own template asks for.
    pub(super) fn grace(&self) -> Duration {
        self.replica.stop_grace
    }
}

/// All replicas, in order of service and slot.
pub(super) fn all(have: &Observed) -> Vec<Seen<'_>> {
    let mut health = have.health.iter().peekable();
    let nothing = Default::default();
    let (is_known, marks) = match &have.edge {
        Known::Is(routing) => (true, &routing.routed),
        Known::Unknown(_) => (false, &nothing),
    };
    let mut marks = marks.iter().peekable();
    let mut seen = Vec::with_capacity(have.placed.replicas.len());
    for (id, replica) in &have.placed.replicas {
        while health.next_if(|(other, _)| *other < id).is_some() {}
        while marks.next_if(|other| *other < id).is_some() {}
        let health = health.next_if(|(other, _)| *other == id).map(|(_, health)| health);
        let routed = marks.next_if(|other| *other == id).is_some() || !is_known;
        seen.push(Seen { id, replica, health, routed });
    }
    seen
}

/// The replicas of each of `names`, which are sorted, in one pass over all.
pub(super) fn by_service<'s, 'a>(seen: &'s [Seen<'a>], names: &[&ServiceName]) -> Vec<&'s [Seen<'a>]> {
    let mut of_each = seen.chunk_by(|a, b| a.id.service == b.id.service).peekable();
    let one = |name: &&ServiceName| {
        while of_each.next_if(|replicas| replicas[0].id.service < **name).is_some() {}
        of_each.next_if(|replicas| replicas[0].id.service == **name).unwrap_or_default()
    };
    names.iter().map(one).collect()
}

/// The replicas of one service, found without looking at the others.
pub(super) fn of<'s, 'a>(seen: &'s [Seen<'a>], service: &ServiceName) -> &'s [Seen<'a>] {
    let start = seen.partition_point(|s| s.id.service < *service);
    let len = seen[start..].partition_point(|s| s.id.service == *service);
    &seen[start..start + len]
}
