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

/// All replicas, in order of service and slot, put together in one pass.
pub(super) struct Sight<'a> {
    pub(super) all: Vec<Seen<'a>>,
    /// Where the replicas of each service begin, and after them the end.
    begins: Vec<usize>,
    /// What the edge has marks for although it is not there.
    pub(super) strays: Vec<&'a ReplicaId>,
}

impl<'a> Sight<'a> {
    pub(super) fn of(have: &'a Observed) -> Self {
        let mut health = have.health.iter().peekable();
        let marks = match &have.edge {
            Known::Is(routing) => Some(&routing.routed),
            Known::Unknown(_) => None,
        };
        let is_known = marks.is_some();
        let mut marks = marks.into_iter().flatten().peekable();
        let mut all: Vec<Seen<'a>> = Vec::with_capacity(have.placed.replicas.len());
        let (mut begins, mut strays) = (Vec::new(), Vec::new());
        for (place, (id, replica)) in (0..).zip(&have.placed.replicas) {
            if all.last().is_none_or(|last| last.id.service != id.service) {
                begins.push(all.len());
            }
            let health = next_of(&mut health, |(other, _)| other.cmp(&id), |_| {}).map(|(_, health)| health);
            let routed = next_of(&mut marks, |other| other.cmp(&id), |stray| strays.push(stray)).is_some();
            all.push(Seen { id, replica, health, place, routed: routed || !is_known });
        }
        begins.push(all.len());
        strays.extend(marks);
        Self { all, begins, strays }
    }

    /// The replicas of each service that has any.
    pub(super) fn of_each(&self) -> impl Iterator<Item = &[Seen<'a>]> {
        self.begins.windows(2).map(|ends| &self.all[ends[0]..ends[1]])
    }

    /// The replicas of each of `names`, which are sorted, in one pass over all.
    pub(super) fn by_service(&self, names: &[&ServiceName]) -> Vec<&[Seen<'a>]> {
        let mut of_each = self.of_each().peekable();
        let mut of = |name: &ServiceName| next_of(&mut of_each, |seen| seen[0].id.service.cmp(name), |_| {});
        names.iter().map(|name| of(name).unwrap_or_default()).collect()
    }
}

/// The next of `sorted` that `compare` finds equal; those before it go to `passed`.
pub(super) fn next_of<I: Iterator>(
    sorted: &mut Peekable<I>,
    compare: impl Fn(&I::Item) -> Ordering,
    mut passed: impl FnMut(I::Item),
) -> Option<I::Item> {
    loop {
        match compare(sorted.peek()?) {
            Ordering::Less => sorted.next().into_iter().for_each(&mut passed),
            Ordering::Equal => return sorted.next(),
            Ordering::Greater => return None,
        }
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

/// The replicas of one service, found without looking at the others.
pub(super) fn of<'s, 'a>(seen: &'s [Seen<'a>], service: &ServiceName) -> &'s [Seen<'a>] {
    let start = seen.partition_point(|s| s.id.service < *service);
    let len = seen[start..].partition_point(|s| s.id.service == *service);
    &seen[start..start + len]
}
