//! A plan's graph, made ready for questions about order.
//!
//! Owns the order of steps and, for the steps of one service, who comes before whom. Reachability over the whole graph
//! would cost the square of its size; a service's own steps are few, and what has to be ordered among them the planner
//! orders by them alone. A path through other services only is not seen: a plan that relies on one is refused.

use super::Violation;
use crate::action::{edge, replica};
use crate::{Action, Plan, Step, StepId};
use model::{ReplicaId, ServiceName};
use std::collections::BTreeMap;

/// The steps of a plan by index, in an order in which they can be done.
pub(super) struct Graph<'a> {
    pub(super) steps: Vec<Node<'a>>,
    /// Indices of steps by service, in order.
    by_service: BTreeMap<&'a ServiceName, Vec<usize>>,
    /// All step numbers, ascending, and the index of each.
    numbers: Vec<StepId>,
    index_of: Vec<u32>,
}

/// One step.
pub(super) struct Node<'a> {
    pub(super) id: StepId,
    pub(super) step: &'a Step,
}

impl<'a> Graph<'a> {
    /// The graph, or what keeps it from being one.
    pub(super) fn of(plan: &'a Plan) -> Result<Self, Vec<Violation>> {
        let order = topological(plan)?;
        let numbers: Vec<StepId> = plan.steps.keys().copied().collect();
        let mut index_of = vec![0; numbers.len()];
        let mut runs: Vec<(&'a ServiceName, Vec<usize>)> = Vec::new();
        let mut steps = Vec::with_capacity(order.len());
        for (index, (id, step)) in order.into_iter().enumerate() {
            index_of[position(&numbers, id)] = index as u32;
            steps.push(Node { id, step });
            let Some(replica) = subject(&step.action) else { continue };
            // Steps of one service mostly follow each other: few look-ups are needed.
            match runs.last_mut() {
                Some((service, indices)) if **service == replica.service => indices.push(index),
                _ => runs.push((&replica.service, vec![index])),
            }
        }
        let mut by_service: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (service, indices) in runs {
            by_service.entry(service).or_default().extend(indices);
        }
        Ok(Self { steps, by_service, numbers, index_of })
    }

    /// The services that have steps.
    pub(super) fn service_names(&self) -> impl Iterator<Item = &'a ServiceName> {
        self.by_service.keys().copied()
    }

    /// The steps of each service.
    pub(super) fn services(&self) -> impl Iterator<Item = Local<'_, 'a>> {
        self.by_service.iter().map(|(service, indices)| self.local(service, indices))
    }

    /// The indices of a service's steps.
    pub(super) fn of_service(&self, service: &ServiceName) -> &[usize] {
        self.by_service.get(service).map_or(&[], Vec::as_slice)
    }

    /// The index of a step, which exists: loose ends were refused.
    pub(super) fn index(&self, id: StepId) -> usize {
        self.index_of[position(&self.numbers, id)] as usize
    }

    /// By index, whether a step comes after the one at `first`.
    pub(super) fn after(&self, first: usize) -> Vec<bool> {
        let mut after = vec![false; self.steps.len()];
        for (index, node) in self.steps.iter().enumerate().skip(first + 1) {
            after[index] =
                node.step.after.iter().map(|id| self.index(*id)).any(|before| before == first || after[before]);
        }
        after
    }

    fn local<'g>(&'g self, service: &'a ServiceName, indices: &'g [usize]) -> Local<'g, 'a> {
        let words = indices.len().div_ceil(64);
        let mut before = vec![0u64; words * indices.len()];
        for (position, index) in indices.iter().enumerate() {
            let (done, mine) = before.split_at_mut(position * words);
            for id in &self.steps[*index].step.after {
                if let Ok(other) = indices.binary_search(&self.index(*id)) {
                    let theirs = &done[other * words..(other + 1) * words];
                    mine[..words].iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine |= theirs);
                    mine[other / 64] |= 1 << (other % 64);
                }
            }
        }
        Local { service, graph: self, indices, words, before }
    }
}

/// The steps of one service and the order among them.
pub(super) struct Local<'g, 'a> {
    pub(super) service: &'a ServiceName,
    graph: &'g Graph<'a>,
    pub(super) indices: &'g [usize],
    words: usize,
    before: Vec<u64>,
}

impl<'g, 'a> Local<'g, 'a> {
    /// The steps with their positions.
    pub(super) fn steps(&self) -> impl Iterator<Item = (usize, &'g Node<'a>)> {
        self.indices.iter().map(|index| &self.graph.steps[*index]).enumerate()
    }

    /// Whether the step at `first` always comes before the one at `second`.
    pub(super) fn is_before(&self, first: usize, second: usize) -> bool {
        self.before[second * self.words + first / 64] & (1 << (first % 64)) != 0
    }
}

/// Where a number that exists stands among all; numbers are mostly dense, so the first guess mostly hits.
fn position(numbers: &[StepId], id: StepId) -> usize {
    let guess = numbers.first().map_or(0, |first| id.0.wrapping_sub(first.0)) as usize;
    if numbers.get(guess) == Some(&id) {
        return guess;
    }
    numbers.binary_search(&id).expect("loose ends were refused")
}

/// The replica a step is about.
pub(super) fn subject(action: &Action) -> Option<&ReplicaId> {
    match action {
        Action::Replica(replica::Action::Start(start)) => Some(&start.id),
        Action::Replica(replica::Action::Stop { id, .. } | replica::Action::Remove { id }) => Some(id),
        Action::Probe(wait) => Some(&wait.id),
        Action::Job(job) => Some(&job.id),
        Action::Edge(edge::Change::Route { id } | edge::Change::Drain { id, .. }) => Some(id),
        Action::Replica(_) | Action::Object(_) | Action::Edge(_) => None,
    }
}

/// The steps so that each comes after those it waits for.
fn topological(plan: &Plan) -> Result<Vec<(StepId, &Step)>, Vec<Violation>> {
    let steps: Vec<(StepId, &Step)> = plan.steps.iter().map(|(id, step)| (*id, step)).collect();
    let loose = steps.iter().flat_map(|(id, step)| step.after.iter().map(move |before| (*id, *before)));
    let loose = loose.filter(|(_, before)| !plan.steps.contains_key(before));
    let loose: Vec<_> = loose.map(|(step, missing)| Violation::LooseEnd { step, missing }).collect();
    if !loose.is_empty() {
        return Err(loose);
    }
    if steps.iter().all(|(id, step)| step.after.last().is_none_or(|before| before < id)) {
        return Ok(steps);
    }
    let numbers: Vec<StepId> = plan.steps.keys().copied().collect();
    let mut left: Vec<usize> = steps.iter().map(|(_, step)| step.after.len()).collect();
    let mut followers = vec![Vec::new(); steps.len()];
    for (index, (_, step)) in steps.iter().enumerate() {
        step.after.iter().for_each(|before| followers[position(&numbers, *before)].push(index));
    }
    let mut free: Vec<usize> = (0..steps.len()).filter(|index| left[*index] == 0).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some(index) = free.pop() {
        order.push(steps[index]);
        for follower in &followers[index] {
            left[*follower] -= 1;
            if left[*follower] == 0 {
                free.push(*follower);
            }
        }
    }
    if order.len() == steps.len() {
        return Ok(order);
    }
    let stuck = (0..steps.len()).filter(|index| left[*index] > 0).map(|index| steps[index].0);
    Err(stuck.map(|step| Violation::Cycle { step }).collect())
}
