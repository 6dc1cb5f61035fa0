//! Making a stack as it is wanted: plan, apply, and again, until there is nothing left to do.

use super::explain::Failure;
use super::ports::{EdgePort, ReadyPort};
use super::runs::RunLog;
use super::world::World;
use crate::api::release::RunEvent;
use crate::redact::Redactor;
use crate::view;
use apply::journal::JournalError;
use apply::{ApplyError, Outcome, Placing, Ports, Task};
use jiff::Timestamp;
use model::StackId;
use model::project::RestartPolicy;
use model::stack::{Stack, Target};
use plan::action::Action;
use plan::desired::Desired;
use plan::observed::Phase;
use plan::{Observed, Plan, Step, StepId};
use runtime::CancellationToken;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// So many steps run at once: starting more processes than that does not make two cores faster.
const WIDTH: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

/// A replica that exited so many times in a row fails the release: with the back-off of 0.1 s doubled each time
/// that is about three seconds of trying, long enough for a dependency that is just starting.
const CRASHES: u32 = 5;

/// What is to be made so.
pub struct Converge {
    /// The machine.
    pub world: Arc<World>,
    /// Which stack.
    pub id: StackId,
    /// What is wanted.
    pub desired: Desired,
    /// Who follows.
    pub log: Arc<RunLog>,
    /// Whether to wait for what is in back-off: an order waits, a repair comes back later.
    pub patient: bool,
}

/// How it ended.
#[derive(Debug)]
pub enum Ended {
    /// It is as wanted.
    Done,
    /// Not yet, and nothing more can be done before this time.
    Waiting(Option<Timestamp>),
    /// It cannot be made so.
    Failed(Failure),
    /// It was told to stop.
    Stopped,
}

impl Converge {
    /// Works until the plan is empty.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let redactor = self.stack().map(Redactor::of).unwrap_or_default();
        match self.converge(&redactor, stop).await {
            Ended::Failed(Failure { step, error }) => failed(step, redactor.text(&error)),
            ended => ended,
        }
    }

    async fn converge(&self, redactor: &Redactor, stop: CancellationToken) -> Ended {
        let mut shown = None;
        loop {
            if stop.is_cancelled() {
                return Ended::Stopped;
            }
            let have = match self.world.observe(&self.id, self.stack()).await {
                Ok(have) => have,
                Err(error) => return failed(None, crate::chain(&error)),
            };
            let plan = plan::reconcile(&self.desired, &have, self.world.clock.now());
            if plan.is_empty() {
                match self.rest(&plan, &have, &stop).await {
                    Some(ended) => return ended,
                    None => continue,
                }
            }
            self.show(&plan, &mut shown);
            match self.apply(&plan, &have, redactor, &stop).await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Stopped) => return Ended::Stopped,
                Ok(Outcome::Failed { step, error }) => {
                    if let Some(ended) = self.after_failure(&plan, step, error).await {
                        return ended;
                    }
                }
                // The world moved between looking and acting: look again.
                Err(ApplyError::Journal(JournalError::Stale { .. })) => {}
                Err(error) => return failed(None, crate::chain(&error)),
            }
        }
    }

    fn stack(&self) -> Option<&Stack> {
        match &self.desired {
            Desired::Up(up) => Some(&up.stack),
            Desired::Down(_) => None,
        }
    }

    /// What an empty plan means; none to look again.
    async fn rest(&self, plan: &Plan, have: &Observed, stop: &CancellationToken) -> Option<Ended> {
        let lacking = self.stack().and_then(|stack| lacking(stack, have));
        match (plan.wake_at, lacking) {
            (None, None) => Some(Ended::Done),
            (Some(at), _) if self.patient => {
                let wait = Duration::try_from(at.duration_since(self.world.clock.now())).unwrap_or_default();
                tokio::select! {
                    () = stop.cancelled() => Some(Ended::Stopped),
                    () = self.world.clock.sleep(wait) => None,
                }
            }
            (at @ Some(_), _) => Some(Ended::Waiting(at)),
            (None, Some(why)) if self.patient => Some(failed(None, why)),
            (None, Some(_)) => Some(Ended::Waiting(None)),
        }
    }

    fn show(&self, plan: &Plan, shown: &mut Option<String>) {
        let digest = plan::text::digest(plan);
        if shown.as_ref() != Some(&digest) {
            self.log.push(RunEvent::Replanned { steps: view::plan::steps(plan) });
            *shown = Some(digest);
        }
    }

    async fn apply(
        &self,
        plan: &Plan,
        have: &Observed,
        redactor: &Redactor,
        stop: &CancellationToken,
    ) -> Result<Outcome, ApplyError> {
        let ready = ReadyPort { world: self.world.clone(), stack: self.stack().cloned() };
        let edge = EdgePort { world: self.world.clone() };
        let placing = Placing::Replicas(&*self.world.engine);
        let ports = Ports { placing, probes: &ready, jobs: &ready, edge: &edge };
        let observer = Progress { log: &self.log, world: &self.world, id: &self.id, redactor };
        let task = Task { stack: &self.id, want: &self.desired, have, plan };
        let journal = self.world.journal();
        apply::apply(task, ports, &journal, &observer, &*self.world.clock, WIDTH, stop).await
    }

    /// A new replica that crashed may be started again, by its policy and within reason.
    async fn after_failure(&self, plan: &Plan, step: StepId, error: String) -> Option<Ended> {
        let step = plan.steps.get(&step).map(|found| (step, found.clone()));
        if self.may_try_again(step.as_ref()).await {
            return None;
        }
        Some(failed(step, error))
    }

    async fn may_try_again(&self, step: Option<&(StepId, Step)>) -> bool {
        let (Some((_, Step { action: Action::Probe(wait), .. })), Some(stack)) = (step, self.stack()) else {
            return false;
        };
        let Ok(placed) = self.world.engine.observe(&self.id).await else {
            return false;
        };
        let Some(replica) = placed.replicas.get(&wait.id) else {
            return false;
        };
        let policy = stack.services.get(&wait.id.service).map(|target| target.restart);
        let ended = matches!(replica.phase, Phase::Exited { .. });
        ended && replica.failures < CRASHES && policy.is_some_and(|policy| policy != RestartPolicy::No)
    }
}

fn failed(step: Option<(StepId, Step)>, error: String) -> Ended {
    Ended::Failed(Failure { step, error })
}

/// The first service that is not as wanted, in words. Replicas of an earlier release do not count, however well they serve.
fn lacking(stack: &Stack, have: &Observed) -> Option<String> {
    let lacks = |(name, target): (&model::ServiceName, &Target)| {
        let mut current = have.clone();
        current.placed.replicas.retain(|id, replica| id.service != *name || replica.hash == target.hash);
        let health = view::health::service(name, target, &current);
        let good = matches!(health.status.as_str(), "ok" | "completed");
        (!good).then(|| format!("{name}: {}", health.detail.unwrap_or(health.status)))
    };
    stack.services.iter().find_map(lacks)
}

/// Tells followers and the event log how steps go.
struct Progress<'a> {
    log: &'a RunLog,
    world: &'a World,
    id: &'a StackId,
    redactor: &'a Redactor,
}

impl apply::Observer for Progress<'_> {
    fn began(&self, id: StepId, _: &Step) {
        self.log.push(RunEvent::Began { step: id.0, at: self.world.clock.now().to_string() });
    }

    fn ended(&self, id: StepId, step: &Step, took: Duration) {
        let at = self.world.clock.now().to_string();
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.log.push(RunEvent::Ended { step: id.0, at, millis });
        self.world.step_done(self.id, step);
    }

    fn failed(&self, id: StepId, step: &Step, error: &str) {
        let error = self.redactor.text(error);
        self.world.step_failed(self.id, step, &error);
        self.log.push(RunEvent::Failed { step: id.0, at: self.world.clock.now().to_string(), error });
    }
}
