//! A machine in memory: the fake engine, and probes, edge and jobs that keep state and look at it.
//!
//! As an observer of the run it watches what must hold at every moment: nothing starts before what it depends on, and
//! never fewer replicas are ready and routed than the floor.

use async_trait::async_trait;
use engine::Engine;
use engine::fake::FakeEngine;
use jiff::Timestamp;
use mainstay_apply::ports::{Edge, EdgeError, JobLost, Jobs, NotReady, Placing, Ports, Readiness};
use mainstay_apply::{ApplyError, Journal, MadeFrom, MemoryJournal, Observer, Outcome, Task, apply};
use model::fingerprint::HashKey;
use model::project::{Condition, Order, Project, Role};
use model::stack::Stack;
use model::{ReleaseNumber, ReplicaId, ServiceName, SpecHash, StackId};
use plan::action::{Action, replica};
use plan::desired::{Former, Up};
use plan::observed::{Exit, Health, Known, Phase, Placed, Routing};
use plan::{Allocation, Desired, Generation, Observed, Plan, Step, StepId, Terms};
use runtime::clock::Sleep;
use runtime::{CancellationToken, Clock};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A clock whose short sleeps are over at once, so that pauses between tries cost nothing, and whose long ones never
/// are, because no deadline passes meanwhile.
#[derive(Debug)]
pub struct Impatient;

impl Clock for Impatient {
    fn now(&self) -> Timestamp {
        start_of_time()
    }
    #[expect(clippy::disallowed_methods, reason = "an instant can only be had from the machine")]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
    fn sleep(&self, duration: Duration) -> Sleep {
        if duration > Duration::from_secs(10) {
            return Box::pin(std::future::pending());
        }
        Box::pin(tokio::task::yield_now())
    }
}

fn start_of_time() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

pub struct Rig {
    pub engine: FakeEngine,
    pub stack: StackId,
    pub journal: MemoryJournal,
    pub width: usize,
    pub stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    generation: u64,
    health: BTreeMap<ReplicaId, Health>,
    routing: Routing,
    broken: BTreeSet<SpecHash>,
    silent: BTreeSet<ServiceName>,
    watched: Option<(Up, BTreeMap<ServiceName, usize>)>,
    began: Vec<StepId>,
    ended: Vec<StepId>,
}

impl Rig {
    pub fn new() -> Self {
        Self {
            engine: FakeEngine::new(start_of_time()),
            stack: "shop@production".parse().unwrap(),
            journal: MemoryJournal::default(),
            width: 4,
            stop: CancellationToken::new(),
            state: Mutex::default(),
        }
    }

    pub fn with_width(width: usize) -> Self {
        Self { width, ..Self::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Replicas of this template never become ready, jobs of it never succeed.
    pub fn set_broken(&self, hash: SpecHash, is_broken: bool) {
        let mut state = self.lock();
        if is_broken {
            state.broken.insert(hash)
        } else {
            state.broken.remove(&hash)
        };
    }

    /// Nobody ever hears from the probes of this service.
    pub fn silence(&self, service: &str) {
        self.lock().silent.insert(service.parse().unwrap());
    }

    /// Steps in the order in which they began, and in which they were done, since the last call.
    pub fn take_steps(&self) -> (Vec<StepId>, Vec<StepId>) {
        let mut state = self.lock();
        (std::mem::take(&mut state.began), std::mem::take(&mut state.ended))
    }

    /// Whether this is the only step that has begun and not ended.
    pub async fn is_alone_at(&self, id: StepId) -> bool {
        let open = self.journal.open_run(&self.stack).await.unwrap();
        open.is_some_and(|open| open.begun == [id])
    }

    pub async fn observe(&self) -> Observed {
        let placed = self.engine.observe(&self.stack).await.unwrap();
        self.lock().seen(placed)
    }

    pub async fn plan(&self, want: &Desired) -> (Observed, Plan) {
        let have = self.observe().await;
        let plan = plan::reconcile(want, &have, self.engine.now());
        (have, plan)
    }

    pub async fn apply(&self, want: &Desired, have: &Observed, plan: &Plan) -> Result<Outcome, ApplyError> {
        self.apply_with(want, have, plan, &self.journal).await
    }

    pub async fn apply_with(
        &self,
        want: &Desired,
        have: &Observed,
        plan: &Plan,
        journal: &dyn Journal,
    ) -> Result<Outcome, ApplyError> {
        self.lock().watch(want, have);
        let task = Task { stack: &self.stack, made_from: MadeFrom::Replicas { want, have }, plan };
        let ports = Ports { placing: Placing::Replicas(&self.engine), probes: self, edge: self, jobs: self };
        let width = NonZeroUsize::new(self.width).unwrap();
        apply(task, ports, journal, self, &Impatient, width, &self.stop).await
    }

    /// What the daemon does before the first plan of every run, whatever became of the one before: closes what was left
    /// open, and counts on.
    pub async fn close_interrupted(&self) {
        self.journal.close_interrupted(&self.stack).await.unwrap();
        let mut state = self.lock();
        state.generation += 1;
        self.journal.set_generation(&self.stack, Generation(state.generation));
    }

    /// Plans and applies until nothing is left to do; panics when that never comes.
    pub async fn converge(&self, want: &Desired) {
        self.close_interrupted().await;
        for _ in 0..30 {
            let (mut have, mut plan) = self.plan(want).await;
            if plan.is_empty() && plan.wake_at.is_none() {
                self.let_probes_speak().await;
                (have, plan) = self.plan(want).await;
                if plan.is_empty() && plan.wake_at.is_none() {
                    return;
                }
            }
            if let (true, Some(at)) = (plan.is_empty(), plan.wake_at) {
                self.engine.advance(at.duration_since(self.engine.now()));
                continue;
            }
            self.apply(want, &have, &plan).await.unwrap();
        }
        panic!("does not converge: {}", plan::text::short(&self.plan(want).await.1));
    }

    /// Panics unless everything is exactly as wanted and nothing is left to do.
    pub async fn assert_as_wanted(&self, want: &Desired) {
        let Desired::Up(up) = want else { panic!("nothing is wanted") };
        let (have, plan) = self.plan(want).await;
        assert!(plan.is_empty(), "{}", plan::text::short(&plan));
        for (id, replica) in &have.placed.replicas {
            let target = &up.stack.services[&id.service];
            assert_eq!(replica.hash, target.hash, "{id} is of the wanted release");
            let is_done = matches!(replica.phase, Phase::Exited { how: Exit::Code(0), .. });
            assert!(if target.role == Role::Job { is_done } else { have.is_ready(id) }, "{id}: {replica:?}");
        }
        for (name, target) in &up.stack.services {
            assert_eq!(of(&have, name).count(), target.replicas as usize, "{name}");
            if target.role == Role::Service {
                assert_eq!(serving(up, &have, name), target.replicas as usize, "{name} serves");
            }
        }
    }

    async fn let_probes_speak(&self) {
        let placed = self.engine.observe(&self.stack).await.unwrap();
        let mut state = self.lock();
        for (id, replica) in placed.replicas {
            if !state.broken.contains(&replica.hash) {
                state.health.insert(id, Health::Ready);
            }
        }
    }

    /// The state at this moment, which [`Observer`]'s calls, being synchronous, cannot wait for.
    fn at_this_moment(&self) -> Observed {
        let placed = futures_util::FutureExt::now_or_never(self.engine.observe(&self.stack));
        self.lock().seen(placed.expect("the fake never waits").unwrap())
    }

    fn judge(&self) {
        let have = self.at_this_moment();
        let state = self.lock();
        let Some((up, floors)) = &state.watched else { return };
        for (name, floor) in floors {
            let serving = serving(up, &have, name);
            assert!(serving >= *floor, "{name}: {serving} serve, the floor is {floor}");
        }
    }
}

impl State {
    fn seen(&self, placed: Placed) -> Observed {
        let runs = |id: &ReplicaId| placed.replicas.get(id).is_some_and(|r| matches!(r.phase, Phase::Running { .. }));
        let health = self.health.iter().filter(|(id, _)| runs(id)).map(|(id, h)| (id.clone(), h.clone())).collect();
        let edge = Known::Is(self.routing.clone());
        Observed { generation: Generation(self.generation), placed, health, edge, completed: Default::default() }
    }

    fn watch(&mut self, want: &Desired, have: &Observed) {
        let Desired::Up(up) = want else {
            self.watched = None;
            return;
        };
        let keeps = |target: &model::stack::Target| {
            target.role == Role::Service && !target.direct && target.update.order == Order::StartFirst
        };
        let services = up.stack.services.iter().filter(|(_, target)| keeps(target));
        let floor = |(name, target): (&ServiceName, &model::stack::Target)| {
            (name.clone(), serving(up, have, name).min(target.replicas as usize))
        };
        self.watched = Some((up.clone(), services.map(floor).collect()));
    }
}

fn of<'a>(
    have: &'a Observed,
    name: &ServiceName,
) -> impl Iterator<Item = (&'a ReplicaId, &'a plan::observed::Replica)> {
    have.placed.replicas.iter().filter(move |(id, _)| id.service == *name)
}

fn serving(up: &Up, have: &Observed, name: &ServiceName) -> usize {
    let takes = plan::routing::Reach::of(&up.stack).takes_traffic(name, &up.stack.services[name]);
    of(have, name).filter(|(id, _)| have.is_ready(id) && (!takes || have.is_routed(id))).count()
}

fn is_reached(up: &Up, have: &Observed, name: &ServiceName, condition: Condition) -> bool {
    let target = &up.stack.services[name];
    let is_done = |r: &plan::observed::Replica| {
        r.hash == target.hash && matches!(r.phase, Phase::Exited { how: Exit::Code(0), .. })
    };
    match (condition, target.role) {
        _ if target.replicas == 0 => true,
        (Condition::Started, _) => of(have, name).any(|(_, r)| !matches!(r.phase, Phase::Half)),
        (Condition::Healthy, Role::Service) => of(have, name).any(|(id, _)| have.is_ready(id)),
        _ => of(have, name).filter(|(_, r)| is_done(r)).count() >= target.replicas as usize,
    }
}

impl Observer for Rig {
    fn began(&self, id: StepId, step: &Step) {
        self.judge();
        self.lock().began.push(id);
        let Action::Replica(replica::Action::Start(start)) = &step.action else { return };
        self.lock().health.remove(&start.id);
        let have = self.at_this_moment();
        let watched = self.lock().watched.clone();
        if let Some((up, _)) = watched {
            for (name, dependency) in &up.stack.services[&start.id.service].depends_on {
                let is_reached = is_reached(&up, &have, name, dependency.condition);
                assert!(is_reached, "{} starts before {name} is {:?}", start.id, dependency.condition);
            }
        }
    }
    fn ended(&self, id: StepId, _: &Step, _: Duration) {
        self.judge();
        self.lock().ended.push(id);
    }
    fn failed(&self, _: StepId, _: &Step, _: &str) {
        self.judge();
    }
}

#[async_trait]
impl Readiness for Rig {
    async fn wait_ready(&self, stack: &StackId, id: &ReplicaId, _: Duration) -> Result<(), NotReady> {
        tokio::task::yield_now().await;
        if self.lock().silent.contains(&id.service) {
            std::future::pending::<()>().await;
        }
        let placed = self.engine.observe(stack).await.unwrap();
        let replica = placed.replicas.get(id).filter(|r| matches!(r.phase, Phase::Running { .. }));
        let mut state = self.lock();
        match replica {
            Some(replica) if !state.broken.contains(&replica.hash) => {
                state.health.insert(id.clone(), Health::Ready);
                Ok(())
            }
            found => Err(NotReady { id: id.clone(), why: format!("{found:?}"), exited: found.is_none() }),
        }
    }
}

#[async_trait]
impl Jobs for Rig {
    async fn wait_exit(&self, stack: &StackId, id: &ReplicaId) -> Result<Exit, JobLost> {
        tokio::task::yield_now().await;
        let replica =
            self.engine.observe(stack).await.unwrap().replicas.remove(id).expect("a job that is awaited exists");
        let code = i32::from(self.lock().broken.contains(&replica.hash));
        self.engine.crash(stack, id, Exit::Code(code));
        match self.engine.observe(stack).await.unwrap().replicas[id].phase {
            Phase::Exited { how, .. } => Ok(how),
            ref phase => Err(JobLost { id: id.clone(), source: format!("{phase:?}").into() }),
        }
    }
}

#[async_trait]
impl Edge for Rig {
    async fn open(&self, _: &StackId, _: &Desired) -> Result<(), EdgeError> {
        Ok(())
    }
    async fn route(&self, _: &StackId, id: &ReplicaId) -> Result<(), EdgeError> {
        self.lock().routing.routed.insert(id.clone());
        Ok(())
    }
    async fn drain(&self, _: &StackId, id: &ReplicaId, _: Duration) -> Result<(), EdgeError> {
        self.lock().routing.routed.remove(id);
        tokio::task::yield_now().await;
        Ok(())
    }
    async fn settle(&self, _: &StackId, _: &Desired, hash: SpecHash) -> Result<(), EdgeError> {
        self.lock().routing.settled = Some(hash);
        Ok(())
    }
}

/// What one project after the other is released as.
pub struct Releases {
    allocation: Allocation,
    up: Option<Up>,
}

impl Releases {
    pub fn new() -> Self {
        Self { allocation: Allocation::default(), up: None }
    }

    /// The next release, asked for at this time.
    pub fn next(&mut self, project: &Project, asked_at: Timestamp) -> Desired {
        self.allocation = plan::allocate(project, &self.allocation, &plan::InUse::default()).unwrap();
        let release = ReleaseNumber(self.up.as_ref().map_or(1, |up| up.stack.release.0 + 1));
        let bundle = "ab".repeat(32).parse().unwrap();
        let terms = Terms { release, bundle, uid_base: 100_000, key: HashKey([7; 32]) };
        let stack = plan::settle_stack(project, &self.allocation, &terms, &|_| None).unwrap();
        let mut former = self.up.take().map(|up| former(&up.stack, up.former)).unwrap_or_default();
        former.retain(|hash, _| !stack.services.values().any(|target| target.hash == *hash));
        let up = Up { stack, asked_at, restart: BTreeMap::new(), former };
        self.up = Some(up.clone());
        Desired::Up(up)
    }
}

fn former(stack: &Stack, mut former: BTreeMap<SpecHash, Former>) -> BTreeMap<SpecHash, Former> {
    for target in stack.services.values() {
        let (release, bundle) = (stack.release, stack.bundle.clone());
        former.insert(target.hash, Former { template: Arc::clone(&target.template), release, bundle });
    }
    former
}
