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
use std::sync::Arc;
use std::time::Duration;

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
}

#[async_trait]
impl Readiness for ReadyPort {
    async fn wait_ready(&self, stack: &StackId, id: &ReplicaId, deadline: Duration) -> Result<(), NotReady> {
        match runtime::clock::timeout(&*self.world.clock, deadline, self.wait(stack, id)).await {
            Ok(result) => result,
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
        let report = drained.map_err(|error| Self::error(format!("drain `{id}`"), error))?;
        self.world.drained(stack, id, &report);
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
