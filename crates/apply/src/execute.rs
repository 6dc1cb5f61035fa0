//! Carrying one plan out along its graph.
//!
//! Owns what may begin when: a step begins once all it waits for have succeeded, at most `width` at once (steps that
//! only wait do not count), and nothing new begins after a failure or a stop. Its beginning is durable before its
//! effect and its end after.
//!
//! ```text
//!            ┌── after all done ──► begun (journal) ──► effect ──► done | failed (journal)
//! not begun ─┤                          └── only waits, and the run halts ──► given up
//!            └── the run halts ──► never begun
//! ```

use crate::journal::{Journal, JournalError, NewRun, RunEnd, RunId, StepOutcome};
use crate::perform;
use crate::ports::Ports;
use futures_util::stream::{FuturesUnordered, StreamExt};
use model::StackId;
use plan::action::object::{Manifest, ObjectId};
use plan::action::{Action, object};
use plan::objects::ObjectState;
use plan::observed::Known;
use plan::{Desired, Generation, Observed, Plan, Step, StepId, Violation};
use runtime::{CancellationToken, Clock};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

/// A plan, and what it was made from: the checker reads both before anything is done.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// Of which stack.
    pub stack: &'a StackId,
    /// What it was made from.
    pub made_from: MadeFrom<'a>,
    /// What shall be done.
    pub plan: &'a Plan,
}

/// What is wanted and what was seen, for either sort of engine.
#[derive(Clone, Copy)]
pub enum MadeFrom<'a> {
    /// For an engine where replicas are placed one by one.
    Replicas {
        /// What is wanted.
        want: &'a Desired,
        /// What was seen.
        have: &'a Observed,
    },
    /// For an engine that takes whole stacks.
    Objects {
        /// What is wanted.
        want: &'a BTreeMap<ObjectId, Manifest>,
        /// What was seen.
        have: &'a BTreeMap<ObjectId, Known<ObjectState>>,
        /// The stack's generation when it was seen.
        generation: Generation,
    },
}

impl MadeFrom<'_> {
    fn generation(&self) -> Generation {
        match self {
            Self::Replicas { have, .. } => have.generation,
            Self::Objects { generation, .. } => *generation,
        }
    }

    fn check(&self, plan: &Plan) -> Vec<Violation> {
        match self {
            Self::Replicas { want, have } => plan::check(want, have, plan),
            Self::Objects { want, have, .. } => plan::check_objects(want, have, plan),
        }
    }
}

/// Hears how steps go.
pub trait Observer: Sync {
    /// A step has begun; that is durable.
    fn began(&self, id: StepId, step: &Step);
    /// A step is done; that is durable.
    fn ended(&self, id: StepId, step: &Step, took: Duration);
    /// A step failed: why, with its causes.
    fn failed(&self, id: StepId, step: &Step, error: &str);
}

/// How carrying out a plan ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every step is done.
    Done,
    /// A stop was asked for; the steps that had begun are done.
    Stopped,
    /// A step failed, and what had begun beside it is done.
    Failed {
        /// The first one that failed.
        step: StepId,
        /// Why, with its causes.
        error: String,
    },
}

/// Nothing was done, or what was done could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The checker found the plan to break an invariant: a bug of the planner, and nothing was done.
    #[error("the plan breaks {} of its own rules, the first is: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Unsound(Vec<Violation>),
    /// The journal refused. What had begun is done; nothing new was begun.
    #[error("could not keep the journal")]
    Journal(#[from] JournalError),
}

/// Carries a plan out along its graph, at most `width` steps at once. Stops only between steps; undoing is the
/// caller's choice.
pub async fn apply(
    task: Task<'_>,
    ports: Ports<'_>,
    journal: &dyn Journal,
    observer: &dyn Observer,
    clock: &dyn Clock,
    width: NonZeroUsize,
    stop: &CancellationToken,
) -> Result<Outcome, ApplyError> {
    let (basis, current) = (task.plan.basis, task.made_from.generation());
    if basis != current {
        return Err(JournalError::Stale { basis, current }.into());
    }
    let violations = task.made_from.check(task.plan);
    if !violations.is_empty() {
        return Err(ApplyError::Unsound(violations));
    }
    let new = NewRun {
        stack: task.stack.clone(),
        basis: task.plan.basis,
        digest: plan::text::digest(task.plan),
        text: plan::text::canonical(task.plan),
    };
    let run = journal.begin_run(&new).await?;
    // Of its own, so that a failure halts what only waits without stopping the caller's other work.
    let halt = stop.child_token();
    let executor = Executor { task, ports, journal, observer, clock, run, halt: &halt };
    let result = executor.walk(width, stop).await;
    let end = match &result {
        Ok(Outcome::Done) => RunEnd::Complete,
        Ok(Outcome::Stopped) => RunEnd::Stopped,
        Ok(Outcome::Failed { .. }) | Err(_) => RunEnd::Failed,
    };
    let closed = journal.end_run(run, end).await;
    let outcome = result?;
    closed?;
    Ok(outcome)
}

struct Executor<'a> {
    task: Task<'a>,
    ports: Ports<'a>,
    journal: &'a dyn Journal,
    observer: &'a dyn Observer,
    clock: &'a dyn Clock,
    run: RunId,
    halt: &'a CancellationToken,
}

/// What came of one step.
type Ended = (StepId, Result<StepOutcome, JournalError>);

impl Executor<'_> {
    async fn walk(&self, width: NonZeroUsize, stop: &CancellationToken) -> Result<Outcome, ApplyError> {
        let mut graph = Graph::of(self.task.plan);
        let mut running = FuturesUnordered::new();
        let (mut acting, mut failed, mut broken) = (0usize, None, None);
        loop {
            while !self.halt.is_cancelled()
                && let Some(id) = graph.next(acting < width.get())
            {
                acting += usize::from(!graph.waits.contains(&id));
                running.push(self.step(id));
            }
            let Some((id, result)) = running.next().await else {
                break;
            };
            acting -= usize::from(!graph.waits.contains(&id));
            match result {
                Ok(StepOutcome::Done) => graph.done(id),
                Ok(StepOutcome::GivenUp) => {}
                Ok(StepOutcome::Failed(error)) => {
                    failed.get_or_insert((id, error));
                    self.halt.cancel();
                }
                Err(error) => {
                    broken.get_or_insert(error);
                    self.halt.cancel();
                }
            }
        }
        match (broken, failed) {
            (Some(error), _) => Err(ApplyError::Journal(error)),
            (None, Some((step, error))) => Ok(Outcome::Failed { step, error }),
            (None, None) if stop.is_cancelled() && !graph.is_done() => Ok(Outcome::Stopped),
            (None, None) => Ok(Outcome::Done),
        }
    }

    async fn step(&self, id: StepId) -> Ended {
        (id, self.journaled(id).await)
    }

    async fn journaled(&self, id: StepId) -> Result<StepOutcome, JournalError> {
        let step = &self.task.plan.steps[&id];
        self.journal.begin_step(self.run, id).await?;
        self.observer.began(id, step);
        let began = self.clock.monotonic();
        let outcome = if waits(&step.action) {
            tokio::select! {
                outcome = self.perform(id, step) => outcome,
                () = self.halt.cancelled() => StepOutcome::GivenUp,
            }
        } else {
            self.perform(id, step).await
        };
        self.journal.end_step(self.run, id, &outcome).await?;
        match &outcome {
            StepOutcome::Done => self.observer.ended(id, step, self.clock.monotonic().duration_since(began)),
            StepOutcome::Failed(error) => self.observer.failed(id, step, error),
            StepOutcome::GivenUp => {}
        }
        Ok(outcome)
    }

    async fn perform(&self, id: StepId, step: &Step) -> StepOutcome {
        match perform::perform(&self.task, &self.ports, self.clock, self.halt, id, &step.action).await {
            Ok(()) => StepOutcome::Done,
            Err(error) => StepOutcome::Failed(runtime::tasks::chain(&error)),
        }
    }
}

/// Whether a step only waits for something: it changes nothing, so it may be given up and costs no width.
fn waits(action: &Action) -> bool {
    matches!(action, Action::Probe(_) | Action::Job(_) | Action::Object(object::Action::Watch { .. }))
}

/// Which steps may begin.
struct Graph {
    /// For each step, how many it still waits for.
    missing: BTreeMap<StepId, usize>,
    followers: BTreeMap<StepId, Vec<StepId>>,
    waits: BTreeSet<StepId>,
    /// Those that may begin and only wait.
    free_waits: BTreeSet<StepId>,
    /// Those that may begin when there is room.
    free_acts: BTreeSet<StepId>,
    left: usize,
}

impl Graph {
    fn of(plan: &Plan) -> Self {
        let mut followers: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
        for (id, step) in &plan.steps {
            for before in &step.after {
                followers.entry(*before).or_default().push(*id);
            }
        }
        let missing: BTreeMap<_, _> = plan.steps.iter().map(|(id, step)| (*id, step.after.len())).collect();
        let waits: BTreeSet<_> = plan.steps.iter().filter(|(_, step)| waits(&step.action)).map(|(id, _)| *id).collect();
        let free = missing.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id);
        let (free_waits, free_acts) = free.partition(|id| waits.contains(id));
        Self { missing, followers, waits, free_waits, free_acts, left: plan.steps.len() }
    }

    /// The next step that may begin, the lowest number first; only one that waits when there is no room for more.
    fn next(&mut self, has_room: bool) -> Option<StepId> {
        match (self.free_waits.first(), self.free_acts.first().filter(|_| has_room)) {
            (Some(wait), Some(act)) if act < wait => self.free_acts.pop_first(),
            (None, Some(_)) => self.free_acts.pop_first(),
            _ => self.free_waits.pop_first(),
        }
    }

    fn done(&mut self, id: StepId) {
        self.left -= 1;
        for follower in self.followers.remove(&id).unwrap_or_default() {
            let missing = self.missing.get_mut(&follower).expect("followers are steps of the plan");
            *missing -= 1;
            if *missing == 0 {
                let free = if self.waits.contains(&follower) { &mut self.free_waits } else { &mut self.free_acts };
                free.insert(follower);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0
    }
}
