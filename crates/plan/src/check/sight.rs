//! What is seen of the replicas a plan is about, put together once: many questions are asked of each.

use super::graph::Graph;
use crate::Observed;
use crate::observed::{Health, Known, Phase, Replica};
use model::{ReplicaId, ServiceName, Slot};
use std::collections::BTreeMap;

/// What is seen of one slot of a service.
#[derive(Clone, Copy, Default)]
pub(super) struct Sight<'a> {
    /// The replica in it.
    pub(super) replica: Option<&'a Replica>,
    /// It runs, and its probe, if it has one, says it is ready.
    pub(super) is_ready: bool,
    /// The edge could be read and has a mark for it.
    pub(super) has_mark: bool,
}

impl Sight<'_> {
    pub(super) fn runs(&self) -> bool {
        self.replica.is_some_and(|replica| matches!(replica.phase, Phase::Running { .. }))
    }
}

/// The slots of one service in which anything is seen.
pub(super) type Slots<'a> = BTreeMap<Slot, Sight<'a>>;

/// What is seen of each service that has steps.
pub(super) struct Sights<'a>(BTreeMap<&'a ServiceName, Slots<'a>>);

impl<'a> Sights<'a> {
    pub(super) fn new(have: &'a Observed, graph: &Graph<'a>) -> Self {
        Self(graph.service_names().map(|service| (service, slots(have, service))).collect())
    }

    /// What is seen of a service, which has steps.
    pub(super) fn of(&self, service: &ServiceName) -> &Slots<'a> {
        &self.0[service]
    }

    /// Whether there is a replica in a slot of a service, which has steps.
    pub(super) fn exists(&self, service: &ServiceName, slot: Slot) -> bool {
        self.of(service).get(&slot).is_some_and(|sight| sight.replica.is_some())
    }
}

fn slots<'a>(have: &'a Observed, service: &ServiceName) -> Slots<'a> {
    let first = ReplicaId::new(service.clone(), Slot::FIRST);
    let replicas = have.placed.replicas.range(&first..).take_while(|(id, _)| id.service == *service);
    let mut sights: Slots<'a> =
        replicas.map(|(id, replica)| (id.slot, Sight { replica: Some(replica), ..Sight::default() })).collect();
    for (id, health) in have.health.range(&first..).take_while(|(id, _)| id.service == *service) {
        if let Some(sight) = sights.get_mut(&id.slot) {
            sight.is_ready = sight.runs() && *health == Health::Ready;
        }
    }
    if let Known::Is(routing) = &have.edge {
        for id in routing.routed.range(&first..).take_while(|id| id.service == *service) {
            sights.entry(id.slot).or_default().has_mark = true;
        }
    }
    sights
}
