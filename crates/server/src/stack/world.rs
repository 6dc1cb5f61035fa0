//! The machine as one stack's actor sees it: engine, probes, edge, store.

use crate::edge_link::Hub;
use crate::edge_link::table::StackRouting;
use crate::redact;
use crate::view;
use edge::control::{DrainReport, Fixed};
use engine::{Engine, EngineError};
use jiff::Timestamp;
use model::policy::RouteTarget;
use model::stack::Stack;
use model::{ReplicaId, StackId};
use plan::observed::{Health, Known, Phase, Placed, Replica, Routing};
use plan::{Observed, Step};
use probe::{Probes, Watch};
use runtime::{Clock, Tasks};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use store::{Bundles, Keys, NewEvent, Store};
use tokio::sync::{mpsc, watch};

use crate::api::status::HealthDocument;

/// The machine.
pub struct World {
    /// Where replicas run.
    pub engine: Arc<dyn Engine>,
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

    /// Everything that can be seen of a stack; probes are made to watch what runs as `stack` wants it watched.
    /// What they say is shown to people, so the stack's secrets are hidden in it.
    pub async fn observe(&self, id: &StackId, stack: Option<&Stack>) -> Result<Observed, EngineError> {
        // Read first: what changes while we look makes the plan stale, never the other way round.
        let generation = self.generation(id).await;
        let placed = self.engine.observe(id).await?;
        self.probes.settle(id, &watches(&placed, stack));
        let routing = self.hub.routing(id).await;
        // A stack the edge has nothing of is as settled as one that was taken down.
        let nothing = routing.opened.is_none().then(plan::routing::hash_of_nothing);
        let settled = routing.settled.map(|(_, hash)| hash).or(nothing);
        let edge = Known::Is(Routing { routed: routing.routed, settled });
        let mut have = Observed { generation, health: self.probes.health(id), placed, edge };
        if let Some(stack) = stack {
            redact::observed(stack, &mut have);
        }
        Ok(have)
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
        let before = self.hub.routing(id).await;
        let health = carried(have, &before);
        if documents == before.documents && before.health == health && before.replicas == have.placed.replicas {
            return;
        }
        let replicas = have.placed.replicas.clone();
        let changed = self.hub.change(id, |routing| {
            routing.routed.retain(|id| replicas.contains_key(id));
            routing.replicas = replicas;
            routing.health = health;
            routing.documents = documents;
        });
        if let Err(error) = changed.await {
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

    /// Records that a step is done.
    pub fn step_done(&self, id: &StackId, step: &Step) {
        let step = view::plan::step(plan::StepId(0), step);
        self.event(id, &step.subject, "step.done", "mainstay", format!("{}: {}", step.action, step.why));
    }

    /// Records that a step failed.
    pub fn step_failed(&self, id: &StackId, step: &Step, error: &str) {
        let step = view::plan::step(plan::StepId(0), step);
        self.event(id, &step.subject, "step.failed", "mainstay", format!("{}: {error}", step.action));
    }

    /// Records what a drain cut.
    pub fn drained(&self, id: &StackId, replica: &ReplicaId, report: &DrainReport) {
        for row in &report.upstreams {
            let (websockets, tcp, left) = (row.cut.websockets, row.cut.tcp, row.requests_left);
            if websockets + tcp + left > 0 {
                let text = format!(
                    "cut after the grace period: {websockets} websockets, {tcp} tcp connections, {left} requests"
                );
                self.event(id, &replica.to_string(), "drain.cut", "mainstay", text);
            }
        }
    }
}

/// How each running replica is probed: as the wanted stack says, whichever release it belongs to.
fn watches(placed: &Placed, stack: Option<&Stack>) -> BTreeMap<ReplicaId, Watch> {
    let watch = |(id, replica): (&ReplicaId, &Replica)| {
        let Phase::Running { since } = replica.phase else {
            return None;
        };
        let probes = stack.and_then(|stack| stack.services.get(&id.service)).map(|target| target.probes.clone());
        let address = replica.addresses.values().next().map(|address| IpAddr::V4(*address));
        Some((id.clone(), Watch { since, address, probes: probes.unwrap_or_default() }))
    };
    placed.replicas.iter().filter_map(watch).collect()
}

/// What the edge goes by. A replica that was ready and has not been asked since the daemon came back stays so:
/// the control plane's death must not take anything out of rotation.
fn carried(have: &Observed, before: &StackRouting) -> BTreeMap<ReplicaId, Health> {
    let one = |(id, replica): (&ReplicaId, &Replica)| {
        let health = match have.health.get(id) {
            Some(Health::Starting) | None if is_same(replica, before.replicas.get(id)) => before.health.get(id)?,
            health => health?,
        };
        Some((id.clone(), health.clone()))
    };
    have.placed.replicas.iter().filter_map(one).collect()
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
