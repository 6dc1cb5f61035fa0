//! The ports of `apply`, over the machine.

use super::world::World;
use crate::edge_link::HubError;
use apply::ports::{Edge, EdgeError, JobLost, Jobs, NotReady, Readiness};
use async_trait::async_trait;
use engine::Retry;
use model::stack::Stack;
use model::{ReplicaId, SpecHash, StackId};
use plan::Desired;
use plan::observed::{Exit, Health, Phase};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a replica without a probe may take to listen where others of its service do.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
const LISTENS_EVERY: Duration = Duration::from_millis(25);
/// Linux gives out ports from here on to whoever asks for any.
const EPHEMERAL: u16 = 32768;

/// Waits for replicas by looking at them whenever something happens.
pub struct ReadyPort {
    /// The machine.
    pub world: Arc<World>,
    /// The wanted release, which says how its replicas are probed.
    pub wanted: Option<Arc<Stack>>,
    /// The last good release, which says how the others are.
    pub good: Option<Arc<Stack>>,
}

impl ReadyPort {
    /// Whether the replica is ready; none when it has to be waited for.
    async fn look(&self, stack: &StackId, id: &ReplicaId) -> Result<bool, NotReady> {
        let not = |why: String, exited| NotReady { id: id.clone(), why, exited };
        let have = self
            .world
            .observe(stack, self.wanted.as_deref())
            .await
            .map_err(|error| not(crate::chain(&error), false))?;
        // Asked for after that: a replica without a probe is ready as soon as it is watched.
        self.world.watch(stack, &have.placed, self.wanted.as_deref(), self.good.as_deref());
        let health = self.world.probes.health(stack);
        match have.placed.replicas.get(id).map(|replica| &replica.phase) {
            None => Err(not("it is not there".into(), true)),
            Some(Phase::Exited { how, .. }) => Err(not(super::explain::in_words(*how), true)),
            Some(Phase::Failed { why, .. }) => Err(not(why.clone(), true)),
            Some(Phase::Half) => Err(not("its start was cut short".into(), true)),
            Some(Phase::Unknown(_)) => Ok(false),
            Some(Phase::Running { .. }) => match health.get(id) {
                Some(Health::Dead(why)) => Err(not(why.clone(), false)),
                health => Ok(health == Some(&Health::Ready)),
            },
        }
    }

    async fn wait(&self, stack: &StackId, id: &ReplicaId) -> Result<(), NotReady> {
        loop {
            let changed = self.world.changed();
            if self.look(stack, id).await? {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Waits until a replica that nobody declared a probe for listens where those listen that take its work now.
    ///
    /// It runs, which is all that is known of it; connections to a port that it does not listen on yet would be refused.
    /// A release may listen elsewhere than the one before it, so this has an end.
    async fn listens_like_the_others(&self, stack: &StackId, id: &ReplicaId) {
        let target = |stack: &Arc<Stack>| stack.services.get(&id.service).filter(|target| stack.leads(target)).cloned();
        let target = self.wanted.as_ref().and_then(target);
        if target.is_none_or(|target| target.probes.ready.is_some()) {
            return;
        }
        let engine = self.world.engines.of(stack);
        let routed = self.world.hub.routing(stack).await.routed;
        let mut wanted = BTreeSet::new();
        for other in routed.iter().filter(|other| other.service == id.service && *other != id) {
            let ports = engine.listens(stack, other).await.ok().flatten().unwrap_or_default();
            // One that the kernel chose says nothing of the next replica.
            wanted.extend(ports.into_iter().filter(|port| *port < EPHEMERAL));
        }
        let deadline = self.world.clock.monotonic() + LISTENS_WITHIN;
        while !wanted.is_empty() {
            match engine.listens(stack, id).await {
                Ok(Some(ports)) if wanted.is_subset(&ports) => return,
                Ok(Some(_)) if self.world.clock.monotonic() < deadline => {
                    self.world.clock.sleep(LISTENS_EVERY).await;
                }
                Ok(Some(ports)) => {
                    wanted.retain(|port| !ports.contains(port));
                    let missing: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                    let text = format!(
                        "gets traffic although it does not listen on port {} as the replicas before it do; a `healthcheck` \
                         would tell when it is ready",
                        missing.join(", ")
                    );
                    return self.world.event(stack, &id.to_string(), "replica.silent", "mainstay", text);
                }
                // It is gone, or its ports cannot be told.
                Ok(None) | Err(_) => return,
            }
        }
    }
}

#[async_trait]
impl Readiness for ReadyPort {
    async fn wait_ready(&self, stack: &StackId, id: &ReplicaId, deadline: Duration) -> Result<(), NotReady> {
        match runtime::clock::timeout(&*self.world.clock, deadline, self.wait(stack, id)).await {
            Ok(Ok(())) => {
                self.listens_like_the_others(stack, id).await;
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let last = self.world.last_answer(stack, id).unwrap_or_else(|| "its probe has not answered".into());
                let why = format!("not ready after {}: {last}", model::units::format_duration(deadline));
                Err(NotReady { id: id.clone(), why, exited: false })
            }
        }
    }
}

#[async_trait]
impl Jobs for ReadyPort {
    async fn wait_exit(&self, stack: &StackId, id: &ReplicaId) -> Result<Exit, JobLost> {
        let lost = |why: String| JobLost { id: id.clone(), source: why.into() };
        loop {
            let changed = self.world.changed();
            let have =
                self.world.observe(stack, self.wanted.as_deref()).await.map_err(|error| lost(crate::chain(&error)))?;
            // Before anything that counts on the job is done.
            self.world.note_completions(stack, &have).await;
            match have.placed.replicas.get(id).map(|replica| &replica.phase) {
                Some(Phase::Exited { how, .. }) => return Ok(*how),
                Some(Phase::Failed { why, .. }) => return Err(lost(why.clone())),
                Some(Phase::Half) => return Err(lost("its start was cut short".into())),
                None => return Err(lost("it is not there".into())),
                Some(Phase::Running { .. } | Phase::Unknown(_)) => changed.await,
            }
        }
    }
}

/// The edge, through the hub.
pub struct EdgePort {
    /// The machine.
    pub world: Arc<World>,
}

impl EdgePort {
    fn error(doing: String, source: HubError) -> EdgeError {
        let retry = match source {
            HubError::Edge(_) | HubError::NoEdge | HubError::Silent(_) => Retry::Later,
            _ => Retry::Never,
        };
        EdgeError { doing, retry, source: Box::new(source) }
    }
}

#[async_trait]
impl Edge for EdgePort {
    async fn open(&self, stack: &StackId, want: &Desired) -> Result<(), EdgeError> {
        let Desired::Up(up) = want else {
            return Ok(());
        };
        let opened = Arc::new(up.stack.clone());
        let failed = |error| EdgeError {
            doing: "see which ports are held".into(),
            retry: Retry::Later,
            source: Box::new(error),
        };
        let held = self.world.held(stack).await.map_err(failed)?;
        let change = self.world.hub.open(stack, opened, &held).await;
        change.map_err(|error| Self::error("open the listeners".into(), error))
    }

    async fn route(&self, stack: &StackId, id: &ReplicaId) -> Result<(), EdgeError> {
        let doing = || format!("give traffic to `{id}`");
        let failed = |error| EdgeError { doing: doing(), retry: Retry::Later, source: Box::new(error) };
        let mut placed = self.world.engines.of(stack).observe(stack).await.map_err(failed)?;
        let health = self.world.probes.health(stack).remove(id);
        let change = self.world.hub.change(stack, |routing| {
            if let Some(replica) = placed.replicas.remove(id) {
                routing.replicas.insert(id.clone(), replica);
            }
            if let Some(health) = health {
                routing.health.insert(id.clone(), health);
            }
            routing.draining.remove(id);
            routing.routed.insert(id.clone());
        });
        change.await.map_err(|error| Self::error(doing(), error))
    }

    async fn drain(&self, stack: &StackId, id: &ReplicaId, grace: Duration) -> Result<(), EdgeError> {
        let drained = self.world.hub.drain(stack, id, grace).await;
        let drained = drained.map_err(|error| Self::error(format!("drain `{id}`"), error))?;
        self.world.drained(stack, id, &drained);
        Ok(())
    }

    async fn settle(&self, stack: &StackId, want: &Desired, hash: SpecHash) -> Result<(), EdgeError> {
        let settled = match want {
            Desired::Down(_) => self.world.hub.forget(stack).await,
            Desired::Up(up) => {
                let wanted = Arc::new(up.stack.clone());
                let settle = |routing: &mut crate::edge_link::table::StackRouting| {
                    routing.settled = Some((wanted, hash));
                    routing.opened = None;
                    routing.kept = None;
                };
                match self.world.hub.change(stack, settle).await {
                    Ok(()) => self.world.hub.lead().await,
                    Err(error) => Err(error),
                }
            }
        };
        settled.map_err(|error| Self::error("switch to the wanted routes".into(), error))
    }
}
