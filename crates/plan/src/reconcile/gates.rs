//! What a service waits for: how far its dependencies are, and the steps that take them there.
//!
//! Owns the meaning of `depends_on`. A change (a replica in a new slot) waits for the rollout of its dependencies;
//! a repair (the same replica started again) only for what is not there at all, so that a crash is not mended later
//! because another service is being released.

use super::draft::Draft;
use crate::action::Await;
use crate::{Action, Reason, StepId};
use model::ReplicaId;
use model::project::{Condition, Role};
use model::stack::Target;

/// How far one service is, and which steps of the plan take it further.
#[derive(Default)]
pub(super) struct Progress {
    /// At least one replica was started, or none is wanted; and that stays so.
    pub(super) is_started: bool,
    /// At least one replica is ready, or none is wanted; and that stays so.
    pub(super) is_ready: bool,
    /// A job: all its replicas have exited with 0.
    pub(super) is_completed: bool,
    /// Steps that start replicas in new slots.
    pub(super) changes_started: Vec<StepId>,
    /// Steps after which those are ready and get traffic.
    pub(super) changes_ready: Vec<StepId>,
    /// Steps that start replicas again in their slots.
    pub(super) repairs_started: Vec<StepId>,
    /// Steps after which those are ready.
    pub(super) repairs_ready: Vec<StepId>,
    /// Steps that wait for a job's end.
    pub(super) completions: Vec<StepId>,
    /// Replicas that run and are not ready, for which nothing waits yet.
    pub(super) coming: Vec<Await>,
}

/// What a start waits for.
pub(super) type Gate = Result<Vec<StepId>, String>;

/// The progress of all services gone through so far.
pub(super) struct Gates {
    /// For each service the places of what it depends on, as declared.
    dependencies: Vec<Vec<Option<usize>>>,
    progress: Vec<Option<Progress>>,
}

impl Gates {
    pub(super) fn new(dependencies: Vec<Vec<Option<usize>>>) -> Self {
        Self { progress: dependencies.iter().map(|_| None).collect(), dependencies }
    }

    /// Of the service with this place among the names.
    pub(super) fn record(&mut self, index: usize, progress: Progress) {
        self.progress[index] = Some(progress);
    }

    /// Replicas that run and are not ready, for which no step of the plan waits.
    pub(super) fn not_awaited(&self) -> impl Iterator<Item = &ReplicaId> {
        self.progress.iter().flatten().flat_map(|progress| &progress.coming).map(|coming| &coming.id)
    }

    /// What a replica of `target`, the service with this place, in a new slot waits for, or why it cannot be started.
    pub(super) fn for_change(&mut self, index: usize, target: &Target, draft: &mut Draft) -> Gate {
        self.collect(index, target, |progress, condition| {
            let steps = progress.changes(condition);
            if steps.is_empty() { progress.missing_steps(condition, draft) } else { Some(steps.to_vec()) }
        })
    }

    /// What a replica of `target` that is started again waits for, or why it cannot be started.
    pub(super) fn for_repair(&mut self, index: usize, target: &Target, draft: &mut Draft) -> Gate {
        self.collect(index, target, |progress, condition| {
            if progress.has_reached(condition) {
                return Some(Vec::new());
            }
            let steps = progress.changes(condition);
            if steps.is_empty() { progress.missing_steps(condition, draft) } else { Some(steps.to_vec()) }
        })
    }

    fn collect(
        &mut self,
        index: usize,
        target: &Target,
        mut steps: impl FnMut(&mut Progress, Condition) -> Option<Vec<StepId>>,
    ) -> Gate {
        let mut all = Vec::new();
        for ((name, dependency), place) in target.depends_on.iter().zip(&self.dependencies[index]) {
            // One that is not recorded is part of a cycle or not in the stack: nothing could ever satisfy it.
            let progress = place.and_then(|place| self.progress[place].as_mut());
            let reached = progress.and_then(|progress| steps(progress, dependency.condition));
            match reached {
                Some(steps) => all.extend(steps),
                None => return Err(format!("waits for `{name}`, which {}", lacking(dependency.condition))),
            }
        }
        Ok(all)
    }
}

fn lacking(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "is not started",
        Condition::Healthy => "is not ready",
        Condition::Completed => "has not completed",
    }
}

impl Progress {
    /// Of a service that has no replicas and needs none.
    pub(super) fn reached() -> Self {
        Self { is_started: true, is_ready: true, is_completed: true, ..Self::default() }
    }

    fn changes(&self, condition: Condition) -> &[StepId] {
        match condition {
            Condition::Started => &self.changes_started,
            Condition::Healthy => &self.changes_ready,
            Condition::Completed => &self.completions,
        }
    }

    fn has_reached(&self, condition: Condition) -> bool {
        match condition {
            Condition::Started => self.is_started,
            Condition::Healthy => self.is_ready,
            Condition::Completed => self.is_completed,
        }
    }

    /// The steps that reach the condition when no change does: none are needed, or repairs, or waiting.
    fn missing_steps(&mut self, condition: Condition, draft: &mut Draft) -> Option<Vec<StepId>> {
        if self.has_reached(condition) {
            return Some(Vec::new());
        }
        match condition {
            Condition::Started => (!self.repairs_started.is_empty()).then(|| self.repairs_started.clone()),
            Condition::Completed => None,
            Condition::Healthy => {
                for coming in self.coming.drain(..) {
                    self.repairs_ready.push(draft.push(Action::Probe(coming), Reason::MustBeReady, &[]));
                }
                (!self.repairs_ready.is_empty()).then(|| self.repairs_ready.clone())
            }
        }
    }

    /// A job has no readiness beyond having done its work, so for it `Healthy` means completed.
    pub(super) fn settle_for(mut self, role: Role) -> Self {
        if role == Role::Job {
            self.is_ready = self.is_completed;
            self.changes_ready.clone_from(&self.completions);
        }
        self
    }
}

/// Waits for a replica as long as a release of its service may take.
pub(super) fn await_ready(id: &ReplicaId, target: &Target) -> Await {
    Await { id: id.clone(), deadline: target.update.deadline }
}
