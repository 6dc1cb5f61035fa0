//! Replicas as seen, with what probes and the edge say of them.
//!
//! Everything observed is sorted by replica, so one pass over three sorted sequences puts it together: planning stays
//! linear where a look-up per replica would not.

use crate::observed::{Health, Known, Phase, Replica};
use crate::{FIRST_ONE_OFF_SLOT, Observed, StepId};
use model::project::Role;
use model::{ReplicaId, ServiceName};
use std::cmp::Ordering;
use std::iter::Peekable;
use std::time::Duration;

/// One replica with everything that is known of it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) id: &'a ReplicaId,
    pub(super) replica: &'a Replica,
    pub(super) health: Option<&'a Health>,
    /// Its place among all that are seen.
    place: u32,
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
    for (place, (id, replica)) in (0..).zip(&have.placed.replicas) {
        let health = next_of(&mut health, |(other, _)| other.cmp(&id)).map(|(_, health)| health);
        let routed = next_of(&mut marks, |other| other.cmp(&id)).is_some() || !is_known;
        seen.push(Seen { id, replica, health, place, routed });
    }
    seen
}

/// The next of `sorted` that `compare` finds equal; those before it are passed over.
fn next_of<I: Iterator>(sorted: &mut Peekable<I>, compare: impl Fn(&I::Item) -> Ordering) -> Option<I::Item> {
    loop {
        match compare(sorted.peek()?) {
            Ordering::Less => sorted.next(),
            Ordering::Equal => return sorted.next(),
            Ordering::Greater => return None,
        };
    }
}

/// The step after which each replica is gone, by its place: of many, so that a map would be most of the work.
pub(super) struct Gone(Vec<Option<StepId>>);

impl Gone {
    /// None of `seen`, which are all.
    pub(super) fn none_of(seen: &[Seen<'_>]) -> Self {
        Self(vec![None; seen.len()])
    }

    /// The replica is gone after `step`.
    pub(super) fn record(&mut self, seen: &Seen<'_>, step: StepId) {
        self.0[seen.place as usize] = Some(step);
    }

    /// The step after which the replica is gone; none when it stays.
    pub(super) fn step(&self, seen: &Seen<'_>) -> Option<StepId> {
        self.0[seen.place as usize]
    }

    /// All those steps.
    pub(super) fn steps(&self) -> impl Iterator<Item = StepId> {
        self.0.iter().flatten().copied()
    }
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
