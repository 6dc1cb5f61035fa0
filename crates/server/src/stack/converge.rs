//! Making a stack as it is wanted: plan, apply, and again, until there is nothing left to do.

use super::explain::Failure;
use super::ports::{EdgePort, ReadyPort};
use super::runs::RunLog;
use super::world::{SeeError, World};
use crate::api::release::RunEvent;
use crate::redact::Redactor;
use crate::view;
use apply::journal::{Journal, JournalError};
use apply::{ApplyError, MadeFrom, Outcome, Placing, Ports, Task};
use jiff::Timestamp;
use model::project::{RestartPolicy, Role};
use model::stack::{Stack, Target};
use model::{ReplicaId, ServiceName, StackId};
use plan::action::Action;
use plan::desired::Desired;
use plan::observed::{Exit, Health, Phase, Replica};
use plan::{Observed, Plan, Step, StepId};
use runtime::CancellationToken;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// The wanted release and the last good one: they say how replicas are probed.
    pub wanted: Option<Arc<Stack>>,
    /// The last good release.
    pub good: Option<Arc<Stack>>,
    /// The number of the run.
    pub run: u64,
    /// Who follows.
    pub log: Arc<RunLog>,
    /// Whether to wait for what is in back-off: an order waits, a repair comes back later.
    pub patient: bool,
    /// Whether steps are left out of the event log: they failed before, and that was told.
    pub quiet: bool,
    /// The first plan must have this digest: it was approved, and no other one.
    pub expect: Option<String>,
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
    pub async fn run(mut self, stop: CancellationToken) -> Ended {
        // What a full disk or a dead daemon left open would keep every further run out.
        if let Err(error) = self.world.journal().close_interrupted(&self.id).await {
            return failed(None, crate::chain(&error));
        }
        let redactor = self.stack().map(Redactor::of).unwrap_or_default();
        match self.converge(&redactor, stop).await {
            Ended::Failed(Failure { step, error }) => failed(step, redactor.text(&error)),
            ended => ended,
        }
    }

    async fn converge(&mut self, redactor: &Redactor, stop: CancellationToken) -> Ended {
        let (mut shown, mut lacks_since) = (None, None);
        loop {
            if stop.is_cancelled() {
                return Ended::Stopped;
            }
            let changed = self.world.changed();
            let have = match self.see().await {
                Ok(have) => have,
                Err(error) => return failed(None, crate::chain(&error)),
            };
            let plan = plan::reconcile(&self.desired, &have, self.world.clock.now());
            if self.expect.as_ref().is_some_and(|expected| *expected != plan::text::digest(&plan)) {
                let error = "the stack has changed since the plan was approved: nothing of it was done";
                return failed(None, error.into());
            }
            if plan.is_empty() {
                match self.rest(&plan, &have, &mut lacks_since, changed, &stop).await {
                    Some(ended) => return ended,
                    None => continue,
                }
            }
            self.show(&plan, &mut shown);
            match self.apply(&plan, &have, redactor, &stop).await {
                Ok(Outcome::Done) => self.expect = None,
                Ok(Outcome::Stopped) => return Ended::Stopped,
                Ok(Outcome::Failed { step, error }) => {
                    self.expect = None;
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

    async fn see(&self) -> Result<Observed, SeeError> {
        let have = self.world.observe(&self.id, self.wanted.as_deref()).await?;
        self.world.watch(&self.id, &have.placed, self.wanted.as_deref(), self.good.as_deref());
        Ok(have)
    }

    fn stack(&self) -> Option<&Stack> {
        match &self.desired {
            Desired::Up(up) => Some(&up.stack),
            Desired::Down(_) => None,
        }
    }

    /// What an empty plan means; none to look again.
    async fn rest(
        &self,
        plan: &Plan,
        have: &Observed,
        lacks_since: &mut Option<Instant>,
        changed: impl Future<Output = ()>,
        stop: &CancellationToken,
    ) -> Option<Ended> {
        let now = self.world.clock.monotonic();
        let wait = match (plan.wake_at, self.stack().and_then(|stack| lacking(stack, have))) {
            (None, None) => return Some(Ended::Done),
            (at, _) if !self.patient => return Some(Ended::Waiting(at)),
            (Some(at), _) => Duration::try_from(at.duration_since(self.world.clock.now())).unwrap_or_default(),
            (None, Some(Lack { why, hope: None })) => return Some(failed(None, why)),
            // A replica that stays is not ready at the moment: it has as long as a new one to get there.
            (None, Some(Lack { why, hope: Some(deadline) })) => {
                let left = (*lacks_since.get_or_insert(now) + deadline).saturating_duration_since(now);
                if left.is_zero() {
                    let after = model::units::format_duration(deadline);
                    return Some(failed(None, format!("not ready after {after}: {why}")));
                }
                left
            }
        };
        tokio::select! {
            () = stop.cancelled() => Some(Ended::Stopped),
            () = changed => None,
            () = self.world.clock.sleep(wait) => None,
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
        let (wanted, good) = (self.wanted.clone(), self.good.clone());
        let ready = ReadyPort { world: self.world.clone(), wanted, good };
        let edge = EdgePort { world: self.world.clone() };
        let placing = Placing::Replicas(&**self.world.engines.of(&self.id));
        let ports = Ports { placing, probes: &ready, jobs: &ready, edge: &edge };
        let (run, quiet) = (self.run, self.quiet);
        let observer = Progress { log: &self.log, world: &self.world, id: &self.id, run, quiet, redactor };
        let made_from = MadeFrom::Replicas { want: &self.desired, have };
        let task = Task { stack: &self.id, made_from, plan };
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
        let Ok(placed) = self.world.engines.of(&self.id).observe(&self.id).await else {
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

/// A service that is not as wanted.
struct Lack {
    /// In words.
    why: String,
    /// How long it may take until it is by itself; none when it never will be.
    hope: Option<Duration>,
}

/// The first service that is not as wanted. Replicas of an earlier release do not count, however well they serve.
fn lacking(stack: &Stack, have: &Observed) -> Option<Lack> {
    stack
        .services
        .iter()
        .filter(|(_, target)| target.has_replicas())
        .find_map(|(name, target)| lack(name, target, have))
}

fn lack(name: &ServiceName, target: &Target, have: &Observed) -> Option<Lack> {
    let first = ReplicaId::new(name.clone(), model::Slot::FIRST);
    let mine = have.placed.replicas.range(first..).take_while(|(id, _)| id.service == *name);
    let mine: Vec<_> = mine.filter(|(_, seen)| seen.role == target.role && seen.hash == target.hash).collect();
    let is_good = |(id, seen): &(&ReplicaId, &Replica)| match target.role {
        Role::Job => matches!(seen.phase, Phase::Exited { how: Exit::Code(0), .. }),
        Role::Service => have.is_ready(id),
    };
    let n_known = have.n_completed(name, target.hash, None) as usize;
    let n_good = mine.iter().filter(|seen| is_good(seen)).count().max(n_known);
    if n_good >= target.n_wanted() {
        return None;
    }
    let bad = mine.iter().find(|seen| !is_good(seen));
    let why = bad.map(|(id, seen)| format!("{id}: {}", view::health::detail(id, seen, have)));
    let runs = |(id, seen): &(&ReplicaId, &Replica)| {
        matches!(seen.phase, Phase::Running { .. }) && !matches!(have.health.get(id), Some(Health::Dead(_)))
    };
    let may_come = mine.len() >= target.n_wanted() && mine.iter().all(|seen| is_good(seen) || runs(seen));
    let hope = may_come.then_some(target.update.deadline);
    Some(Lack { why: format!("{name}: {}", why.unwrap_or_else(|| "no replica is there".into())), hope })
}

/// Tells followers and the event log how steps go.
struct Progress<'a> {
    log: &'a RunLog,
    world: &'a World,
    id: &'a StackId,
    run: u64,
    quiet: bool,
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
        if !self.quiet {
            self.world.step_done(self.id, self.run, step);
        }
    }

    fn failed(&self, id: StepId, step: &Step, error: &str) {
        let error = self.redactor.text(error);
        if !self.quiet {
            self.world.step_failed(self.id, self.run, step, &error);
        }
        self.log.push(RunEvent::Failed { step: id.0, at: self.world.clock.now().to_string(), error });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::observed::Placed;
    use std::collections::BTreeMap;

    fn lack_of(health: Option<Health>, phase: Phase) -> Option<Lack> {
        lack_with(|_| {}, health, phase)
    }

    fn lack_with(
        change: impl FnOnce(&mut model::project::Service),
        health: Option<Health>,
        phase: Phase,
    ) -> Option<Lack> {
        let project = testkit::project::with(testkit::project::project(), "api", change);
        let stack = crate::testing::stack(&project);
        let id: ReplicaId = "api.1".parse().expect("legal");
        let hash = stack.services[&id.service].hash;
        let replica = Replica { hash, ..crate::testing::replica(Role::Service, phase) };
        let placed = Placed { replicas: BTreeMap::from([(id.clone(), replica)]), ..Placed::default() };
        let health = health.into_iter().map(|health| (id.clone(), health)).collect();
        lacking(&stack, &Observed { placed, health, ..Observed::default() })
    }

    #[test]
    fn a_replica_that_stays_is_waited_for_unless_it_is_dead_or_has_ended() {
        let runs = Phase::Running { since: Timestamp::UNIX_EPOCH };
        assert!(lack_of(Some(Health::Ready), runs.clone()).is_none());
        let unready = lack_of(Some(Health::Unready("503".into())), runs.clone()).expect("it is not ready");
        assert!(unready.hope.is_some_and(|hope| !hope.is_zero()), "{}", unready.why);
        assert!(lack_of(None, runs.clone()).expect("nobody has asked yet").hope.is_some());
        assert!(lack_of(Some(Health::Dead("500".into())), runs).expect("it is dead").hope.is_none());
        let ended = Phase::Exited { since: Timestamp::UNIX_EPOCH, at: Timestamp::UNIX_EPOCH, how: Exit::Code(1) };
        assert!(lack_of(None, ended).expect("it has ended").hope.is_none());
    }

    #[test]
    fn a_direct_service_lacks_nothing_with_its_one_replica() {
        let runs = Phase::Running { since: Timestamp::UNIX_EPOCH };
        let two = |service: &mut model::project::Service| service.replicas = 2;
        assert!(lack_with(two, Some(Health::Ready), runs.clone()).is_some());
        let direct = |service: &mut model::project::Service| (service.replicas, service.direct) = (2, true);
        assert!(lack_with(direct, Some(Health::Ready), runs).is_none());
    }
}
