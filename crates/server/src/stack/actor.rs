//! The one owner of a stack's record: takes orders, starts runs, looks again when something happens.
//!
//! What an order changes is written down first and gone by afterwards: one that could not be written down has changed
//! nothing.

use super::converge::{Converge, Ended};
use super::course::Course;
use super::durable::News;
use super::explain::{self, Failure};
use super::handle::Order;
use super::record::{Kind, OpenRun, Wanted};
use super::repairs::Repairs;
use super::runs::{RunLog, Runs};
use super::world::{Documents, World, shows_health};
use crate::api::ApiError;
use crate::api::release::{Accepted, Explanation, RunEvent};
use crate::view;
use apply::journal::{self, Journal};
use jiff::Timestamp;
use model::StackId;
use model::stack::Stack;
use plan::desired::Desired;
use plan::{Observed, Plan};
use runtime::{CancellationToken, OnError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A stack that could not be looked at is looked at again after this.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// What cannot be read is tried again after this.
const READ_PAUSE: Duration = Duration::from_secs(30);

/// A health document that a route shows is made anew after this, so that its times tell something.
const REFRESH: Duration = Duration::from_secs(30);

/// The one owner of a stack's record.
pub struct Actor {
    pub(super) id: StackId,
    pub(super) world: Arc<World>,
    pub(super) course: Course,
    /// Why the wanted release cannot be read: nothing is done about the stack until it can, or another is ordered.
    pub(super) unreadable: Option<ApiError>,
    pub(super) runs: Arc<Runs>,
    pub(super) active: Option<Active>,
    /// Begins once the run under way has stopped.
    next: Option<Run>,
    /// What was seen last.
    pub(super) have: Observed,
    /// The health documents that routes show, and when they were made.
    shown: Option<(Documents, Timestamp)>,
    wake: Option<Instant>,
    repairs: Repairs,
    /// Why it could not be looked at, as it was told last.
    unseen: Option<String>,
    /// What became of runs and could not be written down; it is with the next write.
    owed: Option<Vec<News>>,
}

/// A run that begins.
struct Run {
    open: OpenRun,
    log: Arc<RunLog>,
    began: Instant,
    /// The first plan must have this digest.
    expect: Option<String>,
}

/// The run under way.
pub(super) struct Active {
    pub(super) open: OpenRun,
    log: Arc<RunLog>,
    stop: CancellationToken,
    began: Instant,
    ended: oneshot::Receiver<Ended>,
}

/// What an order sets in motion.
pub(super) struct Ordered {
    pub(super) kind: Kind,
    pub(super) actor: String,
    /// What else is written down with it.
    pub(super) news: Vec<News>,
    /// What it does, for the event log.
    pub(super) text: String,
    /// The first plan must have this digest.
    pub(super) expect: Option<String>,
}

impl Actor {
    /// The actor of a stack that goes this way; `unreadable` says why what is wanted could not be settled.
    pub fn new(id: StackId, world: Arc<World>, course: Course, unreadable: Option<ApiError>, runs: Arc<Runs>) -> Self {
        Self {
            id,
            world,
            course,
            unreadable,
            runs,
            active: None,
            next: None,
            have: Observed::default(),
            shown: None,
            wake: None,
            repairs: Repairs::default(),
            unseen: None,
            owed: None,
        }
    }

    /// Whose it is.
    pub fn id(&self) -> &StackId {
        &self.id
    }

    /// What happens during its runs.
    pub fn runs(&self) -> &Arc<Runs> {
        &self.runs
    }

    /// Lives until `stop`.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, stop: CancellationToken) {
        // One that took its first order before it came to life has a run of its own already.
        if self.active.is_none() {
            self.resume().await;
        }
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
        let Some(open) = self.course.record.open.clone().filter(|_| self.unreadable.is_none()) else {
            return self.look().await;
        };
        let cut = match self.world.journal().close_interrupted(&self.id).await {
            Ok(cut) => cut.map(|cut| in_words(&cut)).unwrap_or_default(),
            Err(error) => format!("; the journal could not be read: {}", crate::chain(&error)),
        };
        let text = format!("took up {} again{cut}", open.kind.name());
        self.world.event(&self.id, "stack", "run.resumed", &open.actor, text);
        let (log, began) = (self.runs.begin(open.run), self.world.clock.monotonic());
        self.spawn(Run { open, log, began, expect: None });
    }

    /// Looks at the stack, tells the edge what is ready, and repairs what is not as wanted.
    pub(super) async fn look(&mut self) {
        self.look_and_repair().await;
        if let Some(pause) = self.world.free_ports(&self.id).await {
            let at = self.world.clock.monotonic() + pause;
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        }
    }

    async fn look_and_repair(&mut self) {
        if let Err(error) = self.see().await {
            self.tell_unseen(error);
            self.wake = Some(self.world.clock.monotonic() + LOOK_PAUSE);
            return;
        }
        if self.owed.is_some() {
            let same = self.course.clone();
            self.close_with(same, Vec::new()).await;
        }
        if self.active.is_some() || self.repairs.from().is_some_and(|from| self.world.clock.monotonic() < from) {
            return;
        }
        if self.unreadable.is_some() && !self.read_again().await {
            self.wake = Some(self.world.clock.monotonic() + READ_PAUSE);
            return;
        }
        if self.course.record.open.is_some() {
            // Left open by an earlier daemon, and only now there is something to go by.
            return Box::pin(self.resume()).await;
        }
        let Some(desired) = self.course.desired() else { return };
        let plan = plan::reconcile(&desired, &self.have, self.world.clock.now());
        self.wake = self.instant(plan.wake_at);
        if !plan.is_empty() {
            self.repair(&plan).await;
        }
    }

    async fn repair(&mut self, plan: &Plan) {
        let ordered = Ordered {
            kind: Kind::Repair,
            actor: "mainstay".into(),
            news: Vec::new(),
            text: format!("repair begins: {}", plan::text::short(plan).lines().next().unwrap_or_default()),
            expect: None,
        };
        if let Err(error) = self.begin(self.course.clone(), ordered).await {
            if self.repairs.failed(&error.message, self.world.clock.monotonic()) {
                self.world.event(&self.id, "stack", "repair.failed", "mainstay", error.message);
            }
            self.wake = self.repairs.from();
        }
    }

    /// Whether what is wanted can be read by now: a backup was put back, a disk is there again.
    async fn read_again(&mut self) -> bool {
        let (course, why) = Course::of(&self.world, &self.id, self.course.record.clone()).await;
        self.course = course;
        self.unreadable = why;
        self.unreadable.is_none()
    }

    /// Observes, and passes on what changed.
    pub(super) async fn see(&mut self) -> Result<(), String> {
        let have =
            self.world.observe(&self.id, self.course.wanted.as_deref()).await.map_err(|error| crate::chain(&error))?;
        self.world.watch(&self.id, &have.placed, self.course.wanted.as_deref(), self.course.good.as_deref());
        self.world.note_completions(&self.id, &have).await;
        self.world.tell_changes(&self.id, &self.have, &have);
        (self.have, self.unseen) = (have, None);
        if let Some(stack) = &self.course.wanted {
            self.shown = shows_health(stack).then(|| self.documents(stack));
            self.world.publish(&self.id, &self.have, self.shown.as_ref().map(|(documents, _)| documents)).await;
        }
        Ok(())
    }

    /// The documents as they were, when they say the same and are not too old.
    fn documents(&self, stack: &Stack) -> (Documents, Timestamp) {
        let now = self.world.clock.now();
        let made_at = |at| Documents::of(stack, &self.have, self.course.record.up_since, at);
        match &self.shown {
            Some((shown, at)) if now.duration_since(*at).unsigned_abs() < REFRESH && *shown == made_at(*at) => {
                (shown.clone(), *at)
            }
            _ => (made_at(now), now),
        }
    }

    /// Plans without doing anything.
    pub(super) async fn plan_for(&self, desired: &Desired) -> Result<Plan, ApiError> {
        let have =
            self.world.observe(&self.id, self.course.wanted.as_deref()).await.map_err(|error| crate::failed(&error))?;
        Ok(plan::reconcile(desired, &have, self.world.clock.now()))
    }

    /// Writes down what an order wants, and begins a run towards it. The run that it takes the place of stops between
    /// two steps, and nobody waits for that here.
    pub(super) async fn begin(&mut self, mut next: Course, ordered: Ordered) -> Result<Accepted, ApiError> {
        let Ordered { kind, actor, news, text, expect } = ordered;
        let desired = next.desired().ok_or_else(|| self.unreadable.clone().unwrap_or_else(|| self.is_down()))?;
        let plan = self.plan_for(&desired).await?;
        let run = next.record.last_run + 1;
        let open = OpenRun { run, kind, actor, since: self.world.clock.now(), failed: None };
        let replaced = self.course.record.open.as_ref().and_then(replaced);
        next.record.last_run = run;
        next.record.open = Some(open.clone());
        let all: Vec<_> = self.owed.iter().flatten().cloned().chain(replaced).chain(news).collect();
        self.world.save(&self.id, &next.record, all).await?;
        (self.owed, self.unreadable, self.course) = (None, None, next);
        if kind != Kind::Repair {
            self.repairs.reset();
        }
        if self.repairs.is_told() {
            self.world.tell(&self.id, "stack", "run.started", &open.actor, None, text);
        }
        let (log, began) = (self.runs.begin(run), self.world.clock.monotonic());
        let begins = Run { open, log, began, expect };
        if let Some(never_begun) = self.next.take() {
            self.tell_end(never_begun.open, &never_begun.log, never_begun.began, "superseded", None);
        }
        match &self.active {
            Some(active) => {
                active.stop.cancel();
                self.next = Some(begins);
            }
            None => self.spawn(begins),
        }
        let release = match kind {
            Kind::Release(number) => Some(number.0),
            _ => None,
        };
        Ok(Accepted { run, release, steps: view::plan::steps(&plan) })
    }

    fn spawn(&mut self, run: Run) {
        let Run { open, log, began, expect } = run;
        let Some(desired) = self.course.desired() else { return };
        let converge = Converge {
            world: self.world.clone(),
            id: self.id.clone(),
            desired,
            wanted: self.course.wanted.clone(),
            good: self.course.good.clone(),
            run: open.run,
            log: log.clone(),
            patient: open.kind != Kind::Repair,
            quiet: open.kind == Kind::Repair && !self.repairs.is_told(),
            expect,
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        let (tell, ended) = oneshot::channel();
        // Not tied to the actor's life: a step that has begun is finished before the process ends.
        self.world.tasks.spawn("converge", OnError::Log, move |shutdown| async move {
            let mut run = std::pin::pin!(runtime::tasks::caught(converge.run(token.clone())));
            let ended = tokio::select! {
                ended = &mut run => ended,
                () = shutdown.cancelled() => {
                    token.cancel();
                    run.await
                }
            };
            let bug = |panicked: runtime::tasks::Panicked| {
                tracing::error!(error = %panicked, "a run ended in a bug");
                Ended::Failed(Failure { step: None, error: format!("a bug in mainstay: {panicked}") })
            };
            // The actor has gone with the daemon; the record says that the run is open.
            let _ = tell.send(ended.unwrap_or_else(bug));
        });
        self.active = Some(Active { open, log, stop, began, ended });
    }

    /// A run has ended.
    async fn finish(&mut self, ended: Ended) {
        let Some(active) = self.active.take() else {
            return;
        };
        if let Some(next) = self.next.take() {
            // That it was superseded is durable since the order that did it.
            let failed = active.open.failed.clone();
            self.tell_end(active.open, &active.log, active.began, "superseded", failed);
            return self.spawn(next);
        }
        if let Err(error) = self.see().await {
            self.tell_unseen(error);
        }
        match (ended, active.open.kind, active.open.failed.clone()) {
            (ended, _, Some(explanation)) => self.restored(active, ended, explanation).await,
            (Ended::Failed(failure), Kind::Release(_), None) => self.release_failed(active, failure).await,
            (Ended::Done, _, None) => self.done(active).await,
            // Nobody took its place: the daemon stops, and the next one takes it up again.
            (Ended::Stopped, _, None) => self.active = None,
            (Ended::Waiting(until), _, None) => {
                self.wake = self.instant(until);
                self.close(active, "waiting", None).await;
            }
            (Ended::Failed(failure), kind, None) => {
                let explanation = self.explain(&failure).await;
                match kind {
                    Kind::Repair => self.repair_failed(active, explanation).await,
                    _ => {
                        self.pause_repairs();
                        self.close(active, "failed", Some(explanation)).await;
                    }
                }
            }
        }
    }

    async fn done(&mut self, active: Active) {
        self.course.reached(active.open.since);
        self.close(active, "done", None).await;
        self.repairs.reset();
        self.wake = Some(self.world.clock.monotonic() + Duration::from_millis(50));
        self.world.tidy.notify_one();
    }

    /// The last good release is put back; without one, what runs is left to be looked at and supervised.
    async fn release_failed(&mut self, mut active: Active, failure: Failure) {
        let explanation = self.explain(&failure).await;
        let Some(mut back) = self.course.back() else {
            let state = "nothing earlier is there to go back to: what runs is left for you to look at".into();
            self.pause_repairs();
            return self.close(active, "failed", Some(Explanation { state, ..explanation })).await;
        };
        let text = format!("puts release {} back", release_of(&back));
        let cause = Some(explanation.summary.clone());
        self.world.tell(&self.id, "release", "release.reversing", "mainstay", cause, text);
        active.open.failed = Some(explanation);
        back.record.open = Some(active.open.clone());
        self.close_with(back, Vec::new()).await;
        self.spawn(Run { open: active.open, log: active.log, began: active.began, expect: None });
    }

    async fn restored(&mut self, active: Active, ended: Ended, explanation: Explanation) {
        let release = release_of(&self.course);
        let state = match ended {
            Ended::Done => {
                self.course.reached(active.open.since);
                format!("release {release} serves as before")
            }
            Ended::Failed(failure) => {
                self.pause_repairs();
                format!("release {release} could not be put back as a whole: {}", failure.error)
            }
            // The daemon stops; the next one takes it up again, explanation and all.
            Ended::Stopped => return,
            Ended::Waiting(_) => format!("release {release} is being put back"),
        };
        self.close(active, "failed", Some(Explanation { state, ..explanation })).await;
        self.world.tidy.notify_one();
    }

    async fn repair_failed(&mut self, active: Active, explanation: Explanation) {
        let quiet = !self.repairs.failed(&explanation.summary, self.world.clock.monotonic());
        self.wake = self.repairs.from();
        if !quiet {
            return self.close(active, "failed", Some(explanation)).await;
        }
        let mut next = self.course.clone();
        next.record.open = None;
        self.close_with(next, Vec::new()).await;
        active.log.push(RunEvent::Finished { outcome: "failed".into(), explanation: Some(explanation), millis: 0 });
    }

    /// Writes down that a run has ended, and tells.
    async fn close(&mut self, active: Active, outcome: &str, explanation: Option<Explanation>) {
        let mut next = self.course.clone();
        next.record.open = None;
        let news = match active.open.kind {
            Kind::Release(number) => vec![News::ended(number, outcome, explanation.clone())],
            _ => Vec::new(),
        };
        self.close_with(next, news).await;
        self.tell_end(active.open, &active.log, active.began, outcome, explanation);
    }

    /// Goes on by this course whether or not it can be written down now: what has happened has happened, and is
    /// written down as soon as that can be.
    async fn close_with(&mut self, next: Course, news: Vec<News>) {
        let all: Vec<_> = self.owed.iter().flatten().cloned().chain(news).collect();
        let saved = self.world.save(&self.id, &next.record, all.clone()).await;
        self.course = next;
        match saved {
            Ok(()) => self.owed = None,
            Err(error) => {
                if self.owed.is_none() {
                    self.world.event(&self.id, "stack", "record.failed", "mainstay", error.message);
                }
                self.owed = Some(all);
            }
        }
    }

    fn tell_end(&self, open: OpenRun, log: &RunLog, began: Instant, outcome: &str, explanation: Option<Explanation>) {
        let millis = self.world.clock.monotonic().saturating_duration_since(began).as_millis();
        let text = explanation.as_ref().map_or_else(String::new, |e| format!(": {}", e.summary));
        let (kind, cause) = (format!("run.{outcome}"), Some(format!("run {}", open.run)));
        let text = format!("{} {outcome}{text}", open.kind.name());
        self.world.tell(&self.id, "stack", &kind, &open.actor, cause, text);
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        log.push(RunEvent::Finished { outcome: outcome.into(), explanation, millis });
    }

    async fn explain(&self, failure: &Failure) -> Explanation {
        match &self.course.wanted {
            Some(stack) if matches!(self.course.record.wanted, Wanted::Up(_)) => {
                let good = self.course.good.as_deref().filter(|good| good.release != stack.release);
                explain::explain(&self.world, &self.id, failure, good, stack, &self.have).await
            }
            _ => Explanation { summary: failure.error.clone(), ..Explanation::default() },
        }
    }

    /// Stops the run under way between two steps and waits until it has stopped.
    async fn halt(&mut self) {
        if let Some(active) = &mut self.active {
            active.stop.cancel();
            // A sender that was dropped has ended as well.
            let _ = (&mut active.ended).await;
        }
    }

    fn pause_repairs(&mut self) {
        self.repairs.pause(self.world.clock.monotonic());
        self.wake = self.repairs.from();
    }

    fn tell_unseen(&mut self, error: String) {
        if self.unseen.as_ref() != Some(&error) {
            self.world.event(&self.id, "stack", "observe.failed", "mainstay", error.clone());
            self.unseen = Some(error);
        }
    }

    fn instant(&self, at: Option<Timestamp>) -> Option<Instant> {
        let at = at?;
        let wait = Duration::try_from(at.duration_since(self.world.clock.now())).unwrap_or_default();
        Some(self.world.clock.monotonic() + wait)
    }
}

/// How the release of a run ends that another order takes the place of.
fn replaced(open: &OpenRun) -> Option<News> {
    let Kind::Release(number) = open.kind else { return None };
    Some(match &open.failed {
        Some(explanation) => {
            let state = "another order came before the last good release was back".into();
            News::ended(number, "failed", Some(Explanation { state, ..explanation.clone() }))
        }
        None => News::ended(number, "superseded", None),
    })
}

fn release_of(course: &Course) -> String {
    course.record.release().map(|running| running.release.to_string()).unwrap_or_default()
}

/// What was cut, as the plan's text names it.
fn in_words(cut: &journal::OpenRun) -> String {
    let name = |step: &plan::StepId| {
        let number = format!("{step} ");
        let line = cut.run.text.lines().find_map(|line| line.strip_prefix(&number));
        line.map_or_else(|| step.to_string(), |line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
    };
    let names: Vec<_> = cut.begun.iter().map(name).collect();
    if names.is_empty() { String::new() } else { format!("; it was cut in: {}", names.join(", ")) }
}

/// How the run under way ended; waits forever when there is none.
async fn ended(active: &mut Option<Active>) -> Ended {
    let lost = |_| Ended::Failed(Failure { step: None, error: "the run was lost".into() });
    match active {
        Some(active) => (&mut active.ended).await.unwrap_or_else(lost),
        None => std::future::pending().await,
    }
}
