//! The machine as one stack's actor sees it: engine, probes, edge, store.

use crate::api::ApiError;
use crate::edge_link::table::StackRouting;
use crate::edge_link::{Drained, Hub};
use crate::engines::Engines;
use crate::redact;
use crate::view;
use edge::control::Fixed;
use engine::{Engine, EngineError};
use jiff::Timestamp;
use model::policy::RouteTarget;
use model::project::Project;
use model::stack::{Stack, Target};
use model::{ReplicaId, StackId};
use plan::observed::{Completed, Health, Known, Phase, Placed, Replica, Routing};
use plan::{Observed, Step};
use probe::{Probes, Watch};
use runtime::{Clock, Tasks};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Bundles, Keys, NewEvent, Store, StoreError};
use tokio::sync::{Notify, mpsc, watch};

use crate::api::status::HealthDocument;

/// The machine.
pub struct World {
    /// Where replicas run.
    pub engines: Arc<Engines>,
    /// The edge.
    pub hub: Hub,
    /// The probes.
    pub probes: Probes,
    /// What is durable.
    pub store: Store,
    /// What seals, and what hashes are keyed with.
    pub keys: Keys,
    /// What releases run from.
    pub bundles: Bundles,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Tasks.
    pub tasks: Tasks,
    /// The port routes are served on.
    pub http_port: u16,
    /// Events on their way into the log.
    pub events: mpsc::Sender<(Option<StackId>, NewEvent)>,
    /// Grows whenever something happened to some stack.
    pub pulse: watch::Sender<u64>,
    /// Something ended that may have left things nobody needs.
    pub tidy: Notify,
    /// Held while an order chooses subnets and ports, until they are written down: no two stacks choose the same.
    pub choosing: tokio::sync::Mutex<()>,
    /// The machine was seen to be able to lead calls on any port to replicas.
    pub leads_any_port: AtomicBool,
}

/// A stack could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SeeError {
    /// What runs is not known.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What is written down of it is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What routes to `@health` and `@ready` answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Documents {
    health: HealthDocument,
    ready: HealthDocument,
}

impl Documents {
    /// Those of a stack.
    pub fn of(stack: &Stack, have: &Observed, since: Option<Timestamp>, now: Timestamp) -> Self {
        let health = view::health::public(view::health::document(stack, have, since, now));
        let ready = view::health::public(view::health::readiness(stack, have, since, now));
        Self { health, ready }
    }
}

/// Whether a stack shows its health on a route.
pub fn shows_health(stack: &Stack) -> bool {
    let mut paths = stack.routes.iter().flat_map(|route| &route.paths);
    paths.any(|path| matches!(path.target, RouteTarget::Health | RouteTarget::Ready))
}

impl World {
    /// The engine that a project names, or the usual one.
    pub fn engine_for(&self, project: &Project) -> Result<&Arc<dyn Engine>, ApiError> {
        let kind = project.engine.unwrap_or(self.engines.usual());
        self.engines.get(kind).ok_or_else(|| {
            ApiError::new(422, "MS0249", format!("this daemon has no engine `{kind}`"))
                .help("name another engine for the environment in mainstay.yaml")
        })
    }

    /// Whether calls to a stable address on any port can be led to replicas.
    pub async fn leads_any_port(&self) -> bool {
        // Asked again until it is: a missing program may be installed at any time.
        if !self.leads_any_port.load(Ordering::Relaxed) {
            self.leads_any_port.store(self.hub.balancer().is_able().await, Ordering::Relaxed);
        }
        self.leads_any_port.load(Ordering::Relaxed)
    }

    /// The sockets of the machine that containers hold which are taken over for this stack.
    pub async fn held(&self, id: &StackId) -> Result<BTreeSet<SocketAddr>, EngineError> {
        match self.engines.of(id).takeover() {
            Some(takeover) => takeover.held(id).await,
            None => Ok(BTreeSet::new()),
        }
    }

    /// Has the edge listen itself on ports that nobody holds any more; how soon to look again, if at all.
    pub async fn free_ports(&self, id: &StackId) -> Option<Duration> {
        if !self.hub.has_detours(id) {
            return None;
        }
        let freed = match self.held(id).await {
            Ok(held) => self.hub.free(id, &held).await.map_err(|error| crate::chain(&error)),
            Err(error) => Err(crate::chain(&error)),
        };
        match freed {
            Ok(again) => again,
            Err(error) => {
                tracing::warn!(stack = %id, error, "a port that is free again could not be listened on yet");
                Some(Duration::from_secs(1))
            }
        }
    }

    /// An engine on which nothing can ever run is refused before anything is touched; one that is away says so itself.
    pub async fn refuse_unusable(&self, engine: &dyn Engine) -> Result<(), ApiError> {
        match engine.usable().await {
            Err(unusable) if !unusable.may_pass => {
                let message = format!("the engine `{}` cannot be used: {}", engine.kind(), unusable.why);
                Err(ApiError::new(422, "MS0250", message).help(unusable.cure))
            }
            _ => Ok(()),
        }
    }

    /// Returns when something has happened to some stack since this call.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut pulse = self.pulse.subscribe();
        async move {
            // The sender lives as long as the daemon.
            let _ = pulse.changed().await;
        }
    }

    /// Tells everybody who waits that something happened.
    pub fn beat(&self) {
        self.pulse.send_modify(|count| *count += 1);
    }

    /// Everything that can be seen of a stack. Changes nothing. What replicas and probes say is shown to people, so the
    /// secrets of `stack` are hidden in it.
    pub async fn observe(&self, id: &StackId, stack: Option<&Stack>) -> Result<Observed, SeeError> {
        // Read first: what changes while we look makes the plan stale, never the other way round.
        let (generation, completions) = self.known(id).await?;
        let placed = self.engines.of(id).observe(id).await?;
        let routing = self.hub.routing(id).await;
        // A stack the edge has nothing of is as settled as one that was taken down.
        let is_nothing = routing.opened.is_none() && routing.kept.is_none();
        let settled = routing.settled.map(|(_, hash)| hash).or(is_nothing.then(plan::routing::hash_of_nothing));
        let edge = Known::Is(Routing { routed: routing.routed, settled });
        let completed = completions
            .into_iter()
            .map(|done| ((done.service, done.hash), Completed { replicas: done.replicas, at: done.at }));
        let health = self.probes.health(id);
        let mut have = Observed { generation, health, placed, edge, completed: completed.collect() };
        if let Some(stack) = stack {
            redact::observed(stack, &mut have);
        }
        Ok(have)
    }

    /// Has the probes watch what runs, each replica as the release it was started with wants it watched.
    pub fn watch(&self, id: &StackId, placed: &Placed, wanted: Option<&Stack>, good: Option<&Stack>) {
        self.probes.settle(id, &watches(placed, wanted, good, &|replica| self.probes.watched(id, replica)));
    }

    /// Whether the replica's probe passes.
    pub fn is_ready(&self, stack: &StackId, id: &ReplicaId) -> bool {
        self.probes.observation(stack, id).is_some_and(|seen| seen.health == Health::Ready)
    }

    /// What a replica's probe last asked and got, in words.
    pub fn last_answer(&self, stack: &StackId, id: &ReplicaId) -> Option<String> {
        let seen = self.probes.observation(stack, id)?;
        let failed = [seen.live, seen.ready].into_iter().flatten().find(|answer| !answer.passed)?;
        Some(format!("{} ({} times in a row)", failed.detail, failed.failures))
    }

    /// Tells the edge who is ready, and the documents of routes to `@health` and `@ready`.
    pub async fn publish(&self, id: &StackId, have: &Observed, documents: Option<&Documents>) {
        let documents = documents.map(|of| (fixed(&of.health), fixed(&of.ready)));
        // With the edge's entry in hand: what was routed or asked since `have` was seen stays.
        let refresh = |routing: &mut StackRouting| {
            renew(routing, have, &self.probes.health(id));
            routing.documents = documents.clone();
        };
        let before = self.hub.routing(id).await;
        let mut after = before.clone();
        refresh(&mut after);
        if after.documents == before.documents && after.health == before.health && after.replicas == before.replicas {
            return;
        }
        if let Err(error) = self.hub.change(id, refresh).await {
            self.event(id, "edge", "edge.refused", "mainstay", crate::chain(&error));
        }
    }

    /// Where a stack is reached.
    pub fn urls(&self, stack: &Stack) -> Vec<String> {
        let port = if self.http_port == 80 { String::new() } else { format!(":{}", self.http_port) };
        let hosts = stack.routes.iter().map(|route| if route.host == "*" { "localhost" } else { &route.host });
        let routed = hosts.map(|host| format!("http://{host}{port}/"));
        let published = stack.services.values().filter(|target| !target.direct).flat_map(|target| &target.published);
        let published = published.filter_map(|port| {
            let host = port.host.map_or_else(|| "localhost".to_owned(), |host| host.to_string());
            Some(format!("http://{host}:{}/", port.published?))
        });
        routed.chain(published).collect()
    }

    /// Records what changed between two looks.
    pub fn tell_changes(&self, id: &StackId, before: &Observed, after: &Observed) {
        for (replica, now) in &after.placed.replicas {
            let was = before.placed.replicas.get(replica);
            if was.map(|was| &was.phase) != Some(&now.phase)
                && let Some((kind, text)) = phase_news(now)
            {
                self.event(id, &replica.to_string(), kind, "mainstay", text);
            }
            let (was, now) = (before.health.get(replica), after.health.get(replica));
            if was != now
                && let Some((kind, text)) = health_news(now)
            {
                self.event(id, &replica.to_string(), kind, "mainstay", text);
            }
        }
    }

    /// Records that a step of a run is done.
    pub fn step_done(&self, id: &StackId, run: u64, step: &Step) {
        let step = view::plan::step(plan::StepId(0), step);
        let text = format!("{}: {}", step.action, step.why);
        self.tell(id, &step.subject, "step.done", "mainstay", Some(format!("run {run}")), text);
    }

    /// Records that a step of a run failed.
    pub fn step_failed(&self, id: &StackId, run: u64, step: &Step, error: &str) {
        let step = view::plan::step(plan::StepId(0), step);
        let text = format!("{}: {error}", step.action);
        self.tell(id, &step.subject, "step.failed", "mainstay", Some(format!("run {run}")), text);
    }

    /// Records what a drain cut.
    pub fn drained(&self, id: &StackId, replica: &ReplicaId, drained: &Drained) {
        let (mut websockets, mut tcp, mut left) = (0, drained.flows as u64, 0);
        for row in &drained.report.upstreams {
            websockets += row.cut.websockets;
            tcp += row.cut.tcp;
            left += row.requests_left;
        }
        if websockets + tcp + left > 0 {
            let text =
                format!("cut after the grace period: {websockets} websockets, {tcp} tcp connections, {left} requests");
            self.event(id, &replica.to_string(), "drain.cut", "mainstay", text);
        }
    }
}

/// How each running replica is probed. A release that asks other questions asks them of its own replicas only: those it
/// replaces would fail them and be out of rotation before anything takes their place.
fn watches(
    placed: &Placed,
    wanted: Option<&Stack>,
    good: Option<&Stack>,
    watched: &dyn Fn(&ReplicaId) -> Option<Watch>,
) -> BTreeMap<ReplicaId, Watch> {
    let target = |stack: Option<&Stack>, id: &ReplicaId| stack?.services.get(&id.service).cloned();
    let watch = |(id, replica): (&ReplicaId, &Replica)| {
        let Phase::Running { since } = replica.phase else {
            return None;
        };
        let address = replica.addresses.values().next().map(|address| IpAddr::V4(*address));
        let same = |target: &Target| target.hash == replica.hash;
        let probes = target(wanted, id)
            .filter(same)
            .or_else(|| target(good.filter(|good| good.release == replica.release), id))
            .or_else(|| target(good, id).filter(same))
            .map(|target| target.probes);
        // Of a release that is neither: as it was watched until now, if it is the same process.
        let before = || watched(id).filter(|watch| watch.since == since).map(|watch| watch.probes);
        let probes = probes.or_else(before).or_else(|| target(wanted, id).map(|target| target.probes));
        Some((id.clone(), Watch { since, address, probes: probes.unwrap_or_default() }))
    };
    placed.replicas.iter().filter_map(watch).collect()
}

/// Brings what the edge goes by up to what was seen. Marks stay: they are taken away by drains alone.
fn renew(routing: &mut StackRouting, have: &Observed, health: &BTreeMap<ReplicaId, Health>) {
    let before = std::mem::take(&mut routing.replicas);
    let mut replicas = have.placed.replicas.clone();
    for (id, known) in &before {
        match replicas.get(id) {
            Some(seen) if age(known).is_none_or(|known| age(seen).is_none_or(|seen| known <= seen)) => {}
            None if !routing.routed.contains(id) => {}
            // Seen and routed after `have` was.
            _ => drop(replicas.insert(id.clone(), known.clone())),
        }
    }
    routing.health = carried(&replicas, health, &before, &routing.health);
    routing.replicas = replicas;
}

/// How far a replica is in its lives: grows with each start and each end. None when that cannot be told.
fn age(replica: &Replica) -> Option<(Timestamp, bool)> {
    match replica.phase {
        Phase::Running { since } => Some((since, false)),
        Phase::Exited { since, .. } => Some((since, true)),
        Phase::Failed { at, .. } => Some((at, true)),
        Phase::Half | Phase::Unknown(_) => None,
    }
}

/// What the edge goes by. A replica that was ready and has not been asked since the daemon came back stays so:
/// the control plane's death must not take anything out of rotation.
fn carried(
    replicas: &BTreeMap<ReplicaId, Replica>,
    health: &BTreeMap<ReplicaId, Health>,
    before: &BTreeMap<ReplicaId, Replica>,
    was: &BTreeMap<ReplicaId, Health>,
) -> BTreeMap<ReplicaId, Health> {
    let one = |(id, replica): (&ReplicaId, &Replica)| {
        let health = match health.get(id) {
            Some(Health::Starting) | None if is_same(replica, before.get(id)) => was.get(id)?,
            health => health?,
        };
        Some((id.clone(), health.clone()))
    };
    replicas.iter().filter_map(one).collect()
}

/// Whether a replica still runs the process it ran before.
fn is_same(now: &Replica, before: Option<&Replica>) -> bool {
    matches!(now.phase, Phase::Running { .. }) && before.is_some_and(|before| before.phase == now.phase)
}

fn fixed(document: &HealthDocument) -> Fixed {
    let status = if view::health::is_well(document) { 200 } else { 503 };
    let body = serde_json::to_string(document).expect("a health document is plain data");
    Fixed { status, content_type: "application/json".into(), body, retry_after: (status == 503).then_some(1) }
}

fn phase_news(replica: &Replica) -> Option<(&'static str, String)> {
    match &replica.phase {
        Phase::Running { .. } => Some(("replica.started", format!("release {} runs", replica.release))),
        Phase::Exited { how, .. } => Some(("replica.exited", how.to_string())),
        Phase::Failed { why, .. } => Some(("replica.failed", why.clone())),
        Phase::Half | Phase::Unknown(_) => None,
    }
}

fn health_news(health: Option<&Health>) -> Option<(&'static str, String)> {
    match health? {
        Health::Ready => Some(("replica.ready", "ready".into())),
        Health::Unready(why) => Some(("replica.unready", why.clone())),
        Health::Dead(why) => Some(("replica.dead", why.clone())),
        Health::Starting => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::probe::{Check, Probe};
    use model::project::Role;
    use model::{BundleId, ReleaseNumber, SpecHash};
    use std::time::Duration;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn bundle() -> BundleId {
        "ab".repeat(32).parse().expect("64 digits")
    }

    fn replica(hash: u8, release: u64, since: i64) -> Replica {
        Replica {
            role: Role::Service,
            hash: SpecHash::from_digest([hash; 16]),
            release: ReleaseNumber(release),
            bundle: bundle(),
            addresses: plan::Addresses::default(),
            failures: 0,
            stop_signal: 15,
            stop_grace: Duration::ZERO,
            phase: Phase::Running { since: at(since) },
        }
    }

    /// A stack of one service `api` whose readiness is asked at this path.
    fn stack(hash: u8, release: u64, path: &str) -> Stack {
        let project = testkit::project::with(testkit::project::project(), "api", |service| {
            let check = Check::Http { port: 80, path: path.into() };
            service.probes.ready = Some(Probe::with_defaults(check));
        });
        let mut stack = crate::testing::stack(&project);
        stack.release = ReleaseNumber(release);
        stack.services.values_mut().for_each(|target| target.hash = SpecHash::from_digest([hash; 16]));
        stack
    }

    fn id(text: &str) -> ReplicaId {
        text.parse().expect("legal")
    }

    #[test]
    fn each_replica_is_asked_what_its_own_release_says() {
        let replicas = [("api.1", replica(1, 1, 0)), ("api.2", replica(2, 2, 0)), ("api.3", replica(3, 3, 0))];
        let replicas = replicas.into_iter().map(|(name, replica)| (id(name), replica)).collect();
        let placed = Placed { replicas, ..Placed::default() };
        let (good, wanted) = (stack(1, 1, "/old"), stack(2, 2, "/new"));
        let third = Watch {
            since: at(0),
            address: None,
            probes: stack(3, 3, "/third").services[&id("api.1").service].probes.clone(),
        };
        let watched = |replica: &ReplicaId| (*replica == id("api.3")).then(|| third.clone());
        let watches = watches(&placed, Some(&wanted), Some(&good), &watched);
        let path = |name: &str| match &watches[&id(name)].probes.ready.as_ref().expect("it has one").check {
            Check::Http { path, .. } => path.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(["api.1", "api.2", "api.3"].map(path), ["/old", "/new", "/third"]);
    }

    #[test]
    fn what_was_routed_after_the_look_stays_routed_and_fresh() {
        let have = Observed {
            placed: Placed { replicas: BTreeMap::from([(id("api.1"), replica(1, 1, 0))]), ..Placed::default() },
            ..Observed::default()
        };
        let mut routing = StackRouting {
            routed: [id("api.1"), id("api.2")].into(),
            // The first one was started again since, the second one is new, the third one is gone.
            replicas: [("api.1", 5), ("api.2", 6), ("api.3", 0)].map(|(n, since)| (id(n), replica(1, 1, since))).into(),
            ..StackRouting::default()
        };
        let health = BTreeMap::from([(id("api.1"), Health::Ready), (id("api.2"), Health::Ready)]);
        renew(&mut routing, &have, &health);
        assert_eq!(routing.routed.len(), 2);
        assert_eq!(
            routing.replicas,
            [("api.1", 5), ("api.2", 6)].map(|(n, since)| (id(n), replica(1, 1, since))).into()
        );
        assert_eq!(routing.health, health);
    }
}
