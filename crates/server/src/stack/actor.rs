//! The one owner of a stack's record: takes orders, starts runs, looks again when something happens.

use super::converge::{Converge, Ended};
use super::explain::{self, Failure};
use super::handle::Order;
use super::record::{Kind, OpenRun, Record, Running, Wanted};
use super::runs::{RunLog, Runs};
use super::settle;
use super::world::{Documents, World, shows_health};
use crate::api::ApiError;
use crate::api::release::{Accepted, Explanation, RunEvent};
use crate::view;
use jiff::Timestamp;
use model::StackId;
use model::stack::Stack;
use plan::desired::{Desired, Down, Former, Up};
use plan::{Observed, Plan};
use runtime::{CancellationToken, OnError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A repair that failed is tried again after this.
const REPAIR_PAUSE: Duration = Duration::from_secs(5);

/// A health document that a route shows is made anew after this, so that its times tell something.
const REFRESH: Duration = Duration::from_secs(30);

/// The one owner of a stack's record.
pub struct Actor {
    pub(super) id: StackId,
    pub(super) world: Arc<World>,
    pub(super) record: Record,
    /// The wanted release, settled; none while the stack is down.
    pub(super) wanted: Option<Arc<Stack>>,
    /// The release that last was good, settled.
    pub(super) good: Option<Arc<Stack>>,
    pub(super) runs: Arc<Runs>,
    pub(super) active: Option<Active>,
    /// What was seen last.
    pub(super) have: Observed,
    /// The health documents that routes show, and when they were made.
    shown: Option<(Documents, Timestamp)>,
    wake: Option<Instant>,
    repair_from: Option<Instant>,
}

/// The run under way.
pub(super) struct Active {
    pub(super) open: OpenRun,
    log: Arc<RunLog>,
    stop: CancellationToken,
    began: Instant,
    ended: oneshot::Receiver<Ended>,
    /// Set while the last good release is put back: what the failed one died of.
    restoring: Option<Explanation>,
}

impl Actor {
    /// The actor of a stack with its record; the stacks it names have been settled.
    pub fn new(
        id: StackId,
        world: Arc<World>,
        record: Record,
        wanted: Option<Arc<Stack>>,
        good: Option<Arc<Stack>>,
        runs: Arc<Runs>,
    ) -> Self {
        let have = Observed::default();
        Self { id, world, record, wanted, good, runs, active: None, have, shown: None, wake: None, repair_from: None }
    }

    /// Lives until `stop`.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, stop: CancellationToken) {
        self.resume().await;
        loop {
            let clock = self.world.clock.clone();
            let wake = self.wake.map(|wake| wake.saturating_duration_since(clock.monotonic()));
            let refresh = self.shown.as_ref().map(|_| REFRESH);
            tokio::select! {
                () = stop.cancelled() => break,
                order = orders.recv() => match order {
                    Some(order) => self.order(order).await,
                    None => break,
                },
                ended = ended(&mut self.active) => self.finish(ended).await,
                () = clock.sleep(wake.unwrap_or(Duration::from_secs(3600))) => {
                    self.wake = None;
                    self.look().await;
                }
                () = clock.sleep(refresh.unwrap_or(REFRESH)), if refresh.is_some() => {
                    // An engine that cannot be read is told of by the next look.
                    let _ = self.see().await;
                }
            }
        }
        self.halt().await;
    }

    /// Takes up the run that an earlier daemon left open.
    async fn resume(&mut self) {
        let Some(open) = self.record.open.clone() else {
            return self.look().await;
        };
        self.world.event(&self.id, "stack", "run.resumed", &open.actor, format!("took up {} again", open.kind.name()));
        if let Err(error) = self.world.journal().close_interrupted(&self.id).await {
            tracing::error!(stack = %self.id, error = crate::chain(&error), "could not close the interrupted run in the journal");
        }
        let log = self.runs.begin(open.run);
        self.spawn(open, log, self.world.clock.monotonic(), None);
    }

    /// Looks at the stack, tells the edge what is ready, and repairs what is not as wanted.
    pub(super) async fn look(&mut self) {
        if let Err(error) = self.see().await {
            self.world.event(&self.id, "stack", "observe.failed", "mainstay", error);
            self.wake = Some(self.world.clock.monotonic() + REPAIR_PAUSE);
            return;
        }
        if self.active.is_some() || self.repair_from.is_some_and(|from| self.world.clock.monotonic() < from) {
            return;
        }
        let plan = plan::reconcile(&self.desired(), &self.have, self.world.clock.now());
        self.wake = self.instant(plan.wake_at);
        if !plan.is_empty() {
            let opened = self.begin(Kind::Repair, "mainstay".into()).await;
            if let Err(error) = opened {
                self.world.event(&self.id, "stack", "repair.failed", "mainstay", error.message);
                self.pause_repairs();
            }
        }
    }

    /// Observes, and passes on what changed.
    pub(super) async fn see(&mut self) -> Result<(), String> {
        let seen = self.world.observe(&self.id, self.wanted.as_deref()).await;
        let have = seen.map_err(|error| crate::chain(&error))?;
        self.world.tell_changes(&self.id, &self.have, &have);
        self.have = have;
        if let Some(stack) = &self.wanted {
            self.shown = shows_health(stack).then(|| self.documents(stack));
            self.world.publish(&self.id, &self.have, self.shown.as_ref().map(|(documents, _)| documents)).await;
        }
        Ok(())
    }

    /// The documents as they were, when they say the same and are not too old.
    fn documents(&self, stack: &Stack) -> (Documents, Timestamp) {
        let now = self.world.clock.now();
        let made_at = |at| Documents::of(stack, &self.have, self.record.up_since, at);
        match &self.shown {
            Some((shown, at)) if now.duration_since(*at).unsigned_abs() < REFRESH && *shown == made_at(*at) => {
                (shown.clone(), *at)
            }
            _ => (made_at(now), now),
        }
    }

    pub(super) fn desired(&self) -> Desired {
        match (&self.record.wanted, &self.wanted) {
            (Wanted::Up(_), Some(stack)) => Desired::Up(Up {
                stack: Stack::clone(stack),
                asked_at: self.record.asked_at,
                restart: self.record.restart.clone(),
                former: self.former(),
            }),
            (Wanted::Down(volumes), _) => {
                Desired::Down(Down { volumes: volumes.clone(), depends_on: self.depends_on() })
            }
            (Wanted::Up(_), None) => unreachable!("an actor is made with the stack it wants"),
        }
    }

    pub(super) fn former(&self) -> BTreeMap<model::SpecHash, Former> {
        let Some(good) = &self.good else {
            return BTreeMap::new();
        };
        let former = |target: &model::stack::Target| Former {
            template: target.template.clone(),
            release: good.release,
            bundle: good.bundle.clone(),
        };
        good.services.values().map(|target| (target.hash, former(target))).collect()
    }

    fn depends_on(&self) -> BTreeMap<model::ServiceName, std::collections::BTreeSet<model::ServiceName>> {
        let last = self.wanted.as_ref().or(self.good.as_ref());
        let services = last.iter().flat_map(|stack| &stack.services);
        services.map(|(name, target)| (name.clone(), target.depends_on.keys().cloned().collect())).collect()
    }

    /// Plans without doing anything.
    pub(super) async fn plan_for(&mut self, desired: &Desired) -> Result<(Plan, Observed), ApiError> {
        let stack = match desired {
            Desired::Up(up) => Some(&up.stack),
            Desired::Down(_) => None,
        };
        let have = self.world.observe(&self.id, stack).await.map_err(|error| crate::failed(&error))?;
        Ok((plan::reconcile(desired, &have, self.world.clock.now()), have))
    }

    /// Begins a run towards what the record wants.
    pub(super) async fn begin(&mut self, kind: Kind, actor: String) -> Result<Accepted, ApiError> {
        let desired = self.desired();
        let (plan, _) = self.plan_for(&desired).await?;
        let run = self.record.last_run + 1;
        let open = OpenRun { run, kind, actor, since: self.world.clock.now() };
        self.record.last_run = run;
        self.record.open = Some(open.clone());
        self.save().await?;
        let log = self.runs.begin(run);
        self.world.event(&self.id, "stack", "run.started", &open.actor, format!("{} begins", kind.name()));
        self.spawn(open, log, self.world.clock.monotonic(), None);
        let release = match kind {
            Kind::Release(number) => Some(number.0),
            _ => None,
        };
        Ok(Accepted { run, release, steps: view::plan::steps(&plan) })
    }

    fn spawn(&mut self, open: OpenRun, log: Arc<RunLog>, began: Instant, restoring: Option<Explanation>) {
        let converge = Converge {
            world: self.world.clone(),
            id: self.id.clone(),
            desired: self.desired(),
            log: log.clone(),
            patient: open.kind != Kind::Repair,
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        let (tell, ended) = oneshot::channel();
        // Not tied to the actor's life: a step that has begun is finished before the process ends.
        self.world.tasks.spawn("converge", OnError::Log, move |shutdown| async move {
            let mut run = std::pin::pin!(converge.run(token.clone()));
            let ended = tokio::select! {
                ended = &mut run => ended,
                () = shutdown.cancelled() => {
                    token.cancel();
                    run.await
                }
            };
            // The actor has gone with the daemon; the record says that the run is open.
            let _ = tell.send(ended);
        });
        self.active = Some(Active { open, log, stop, began, ended, restoring });
    }

    /// A run has ended.
    async fn finish(&mut self, ended: Ended) {
        let Some(active) = self.active.take() else {
            return;
        };
        if let Err(error) = self.see().await {
            self.world.event(&self.id, "stack", "observe.failed", "mainstay", error);
        }
        match (ended, active.open.kind, &active.restoring) {
            (Ended::Failed(failure), Kind::Release(_), None) => self.release_failed(active, failure).await,
            (ended, _, Some(_)) => self.restored(active, ended).await,
            (Ended::Done, _, _) => self.done(active).await,
            (Ended::Stopped, _, _) => self.close(active, "superseded", None).await,
            (Ended::Waiting(until), _, _) => {
                self.wake = self.instant(until);
                self.close(active, "waiting", None).await;
            }
            (Ended::Failed(failure), _, _) => {
                let explanation = self.explain(&failure).await;
                self.pause_repairs();
                self.close(active, "failed", Some(explanation)).await;
            }
        }
    }

    async fn done(&mut self, active: Active) {
        if let Wanted::Up(running) = &self.record.wanted {
            if matches!(active.open.kind, Kind::Release(_)) || self.record.good.is_none() {
                self.record.good = Some(running.clone());
            }
            self.good = self.wanted.clone();
            self.record.up_since.get_or_insert(active.open.since);
        } else {
            self.record.up_since = None;
            self.record.good = None;
            (self.wanted, self.good) = (None, None);
        }
        self.close(active, "done", None).await;
        self.look_soon();
    }

    /// The last good release is put back; without one, what runs is left to be looked at and supervised.
    async fn release_failed(&mut self, active: Active, failure: Failure) {
        let explanation = self.explain(&failure).await;
        let fallback = self.record.good.clone().zip(self.good.clone());
        match fallback.filter(|(good, _)| self.record.release() != Some(good)) {
            Some((good, stack)) => {
                self.world.event(
                    &self.id,
                    "release",
                    "release.reversing",
                    "mainstay",
                    format!("puts release {} back", good.release),
                );
                self.wanted = Some(stack);
                self.record.wanted = Wanted::Up(good);
                self.save_or_tell().await;
                self.spawn(active.open, active.log, active.began, Some(explanation));
            }
            None => {
                let state = "nothing earlier is there to go back to: what runs is left for you to look at".into();
                self.pause_repairs();
                self.close(active, "failed", Some(Explanation { state, ..explanation })).await;
            }
        }
    }

    async fn restored(&mut self, mut active: Active, ended: Ended) {
        let release = self.record.release().map(|running| running.release.to_string()).unwrap_or_default();
        let state = match ended {
            Ended::Done => format!("release {release} serves as before"),
            Ended::Failed(failure) => format!("release {release} could not be put back as a whole: {}", failure.error),
            Ended::Stopped | Ended::Waiting(_) => format!("release {release} is being put back"),
        };
        let explanation = active.restoring.take().map(|explanation| Explanation { state, ..explanation });
        self.close(active, "failed", explanation).await;
    }

    async fn close(&mut self, active: Active, outcome: &str, explanation: Option<Explanation>) {
        let Active { open, log, began, .. } = active;
        self.record.open = None;
        self.save_or_tell().await;
        if let Kind::Release(number) = open.kind
            && let Err(error) = self.world.end_release(&self.id, number, outcome, explanation.as_ref()).await
        {
            tracing::error!(stack = %self.id, error = error.message, "could not record how a release ended");
        }
        let millis = self.world.clock.monotonic().saturating_duration_since(began).as_millis();
        let text = explanation.as_ref().map_or_else(String::new, |e| format!(": {}", e.summary));
        let kind = format!("run.{outcome}");
        self.world.event(&self.id, "stack", &kind, &open.actor, format!("{} {outcome}{text}", open.kind.name()));
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        log.push(RunEvent::Finished { outcome: outcome.into(), explanation, millis });
    }

    async fn explain(&self, failure: &Failure) -> Explanation {
        let empty = || Explanation {
            summary: failure.error.clone(),
            step: None,
            replica: None,
            probe: None,
            exit: None,
            log: Vec::new(),
            differs: Vec::new(),
            state: String::new(),
            help: None,
        };
        match &self.wanted {
            Some(stack) => {
                let good = self.good.as_deref().filter(|good| good.release != stack.release);
                explain::explain(&self.world, &self.id, failure, good, stack, &self.have).await
            }
            None => empty(),
        }
    }

    /// Stops the run under way between two steps and waits until it has stopped.
    pub(super) async fn halt(&mut self) {
        if let Some(active) = &mut self.active {
            active.stop.cancel();
            // A sender that was dropped has ended as well.
            let _ = (&mut active.ended).await;
        }
    }

    /// Stops and closes the run under way, because another order takes its place.
    pub(super) async fn supersede(&mut self) {
        self.halt().await;
        if let Some(active) = self.active.take() {
            self.close(active, "superseded", None).await;
        }
    }

    /// Writes the record down.
    pub(super) async fn save(&self) -> Result<(), ApiError> {
        self.world.save(&self.id, &self.record).await
    }

    async fn save_or_tell(&self) {
        if let Err(error) = self.save().await {
            self.world.event(&self.id, "stack", "record.failed", "mainstay", error.message);
        }
    }

    /// Settles the release the record wants.
    pub(super) async fn settle(&mut self, running: &Running) -> Result<Arc<Stack>, ApiError> {
        let (stack, allocation) = settle::settle(&self.world, &self.id, running, &self.record).await?;
        self.record.allocation = allocation;
        Ok(Arc::new(stack))
    }

    fn pause_repairs(&mut self) {
        let from = self.world.clock.monotonic() + REPAIR_PAUSE;
        self.repair_from = Some(from);
        self.wake = Some(from);
    }

    fn look_soon(&mut self) {
        self.repair_from = None;
        self.wake = Some(self.world.clock.monotonic() + Duration::from_millis(50));
    }

    fn instant(&self, at: Option<Timestamp>) -> Option<Instant> {
        let at = at?;
        let wait = Duration::try_from(at.duration_since(self.world.clock.now())).unwrap_or_default();
        Some(self.world.clock.monotonic() + wait)
    }
}

/// How the run under way ended; waits forever when there is none.
async fn ended(active: &mut Option<Active>) -> Ended {
    match active {
        Some(active) => (&mut active.ended).await.unwrap_or(Ended::Stopped),
        None => std::future::pending().await,
    }
}
