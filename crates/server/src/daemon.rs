//! What all requests share: the stacks' actors, and what belongs to the daemon itself.

use crate::api::ApiError;
use crate::api::bundle::NewBundle;
use crate::api::event::Event;
use crate::api::plan::{PlanRequest, PlanView};
use crate::api::release::{Accepted, ReleaseChanges, ReleaseRequest, ReleaseView};
use crate::api::status::{EngineView, Version};
use crate::logs::Source;
use crate::settings::Settings;
use crate::stack::actor::Actor;
use crate::stack::course::Course;
use crate::stack::durable::no_release;
use crate::stack::world::World;
use crate::stack::{Handle, history, refuser};
use crate::view;
use async_trait::async_trait;
use axum::body::Body;
use edge::control::Stats;
use engine::{Engine, Unusable};
use futures_util::stream::{self, Stream};
use jiff::Timestamp;
use model::policy::EngineKind;
use model::{BundleId, ReleaseNumber, ReplicaId, StackId};
use runtime::{Clock, OnError, Tasks};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all requests share.
pub struct Daemon {
    settings: Settings,
    world: Arc<World>,
    handles: Mutex<BTreeMap<StackId, Handle>>,
    /// Held while the first order of a new stack is taken.
    making: tokio::sync::Mutex<()>,
    started: Timestamp,
}

impl Daemon {
    /// A daemon without stacks.
    pub fn new(settings: Settings, world: Arc<World>) -> Self {
        let started = world.clock.now();
        Self { settings, world, handles: Mutex::default(), making: tokio::sync::Mutex::default(), started }
    }

    /// The machine.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.world.tasks
    }

    /// Time.
    pub fn clock(&self) -> &dyn Clock {
        &*self.world.clock
    }

    /// Where the replicas of a stack run.
    pub fn engine(&self, stack: &StackId) -> &dyn Engine {
        &**self.world.engines.of(stack)
    }

    /// Its engines, and which of them can be used now.
    pub async fn engines(&self) -> Vec<EngineView> {
        let view = |(kind, usable): (EngineKind, Result<(), Unusable>)| EngineView {
            kind: kind.to_string(),
            usable: usable.is_ok(),
            why: usable.err().map(|unusable| unusable.why),
        };
        self.world.engines.offered(self.clock()).await.into_iter().map(view).collect()
    }

    fn handles(&self) -> MutexGuard<'_, BTreeMap<StackId, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All stacks.
    pub fn stacks(&self) -> Vec<Handle> {
        self.handles().values().cloned().collect()
    }

    /// One stack.
    pub fn stack(&self, id: &StackId) -> Result<Handle, ApiError> {
        let handles = self.handles();
        let missing = || {
            let known: Vec<_> = handles.keys().map(|id| format!("`{id}`")).collect();
            let help = if known.is_empty() {
                "start it with `mainstay up`".into()
            } else {
                format!("known are {}", known.join(", "))
            };
            ApiError::new(404, "MS0223", format!("there is no stack `{id}`")).help(help)
        };
        handles.get(id).cloned().ok_or_else(missing)
    }

    /// What a release of `bundle` would do; of a stack that is not there yet, too, and nothing of it is there afterwards.
    pub async fn plan(&self, id: &StackId, request: PlanRequest) -> Result<PlanView, ApiError> {
        match self.stack(id) {
            Ok(handle) => handle.plan(request).await,
            Err(_) => self.new_actor(id).await?.plan(request).await,
        }
    }

    /// Runs a bundle. A stack that is not there is made by this, unless the order is refused.
    pub async fn release(&self, id: &StackId, request: ReleaseRequest, actor: String) -> Result<Accepted, ApiError> {
        let making = self.making.lock().await;
        if let Ok(handle) = self.stack(id) {
            drop(making);
            return handle.release(request, actor).await;
        }
        let mut first = self.new_actor(id).await?;
        let accepted = first.release(request, actor).await?;
        self.start(first);
        Ok(accepted)
    }

    async fn new_actor(&self, id: &StackId) -> Result<Actor, ApiError> {
        let course = Course { record: self.world.new_record(id).await?, wanted: None, good: None };
        Ok(Actor::new(id.clone(), self.world.clone(), course, None, Arc::default()))
    }

    /// Starts the actor of a stack.
    pub fn start(&self, actor: Actor) {
        let (id, runs) = (actor.id().clone(), actor.runs().clone());
        let (handle, orders) = Handle::new(id.clone(), runs);
        self.world.tasks.spawn(&format!("stack {id}"), OnError::StopProcess, move |stop| async move {
            actor.run(orders, stop).await;
        });
        self.handles().insert(id, handle);
    }

    /// Has every order for a stack refused, because its record cannot be read.
    pub fn refuse(&self, id: StackId, why: String) {
        let (handle, orders) = Handle::new(id.clone(), Arc::default());
        let stack = id.clone();
        self.world.tasks.spawn(&format!("stack {id}"), OnError::StopProcess, move |stop| async move {
            refuser::refuse(stack, why, orders, stop).await;
        });
        self.handles().insert(id, handle);
    }

    /// The daemon itself.
    pub async fn version(&self) -> Version {
        Version {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(),
            started: self.started.to_string(),
            state: self.settings.state.display().to_string(),
            http_port: self.settings.http.port(),
            edge_pid: self.world.hub.pid().await,
        }
    }

    /// The edge's counters; none while it does not answer.
    pub async fn edge_stats(&self) -> Option<Stats> {
        self.world.hub.stats().await
    }

    /// Ends the daemon, and the edge with it if it serves nothing.
    pub async fn shutdown(&self, edge: bool) -> Result<(), ApiError> {
        if edge {
            if !self.world.hub.is_idle().await {
                return Err(ApiError::new(409, "MS0224", "the edge serves stacks that are up")
                    .help("take them down first: `mainstay down`"));
            }
            self.world.hub.shutdown().await;
        }
        self.tasks().token().cancel();
        Ok(())
    }

    /// The releases of a stack, newest first.
    pub async fn releases(&self, id: &StackId) -> Result<Vec<ReleaseView>, ApiError> {
        self.world.releases(id).await
    }

    /// One of its releases.
    pub async fn release_of(&self, id: &StackId, number: ReleaseNumber) -> Result<ReleaseView, ApiError> {
        let mut all = self.world.releases(id).await?.into_iter();
        all.find(|release| release.number == number.0).ok_or_else(|| no_release(id, number))
    }

    /// What differs between two releases; the one before when no other is named.
    pub async fn changes(
        &self,
        id: &StackId,
        since: Option<ReleaseNumber>,
        number: ReleaseNumber,
    ) -> Result<ReleaseChanges, ApiError> {
        let since = since.unwrap_or(ReleaseNumber(number.0.saturating_sub(1)));
        let [from, to] = [self.release_of(id, since).await?, self.release_of(id, number).await?];
        let [before, after] =
            [history::settled(&self.world, id, &from).await?, history::settled(&self.world, id, &to).await?];
        let services = view::plan::changes(Some(&before), &after);
        Ok(ReleaseChanges { from: from.number, to: to.number, services })
    }

    /// Has what a release runs from stay, however many come after it, or not.
    pub async fn keep(
        &self,
        id: &StackId,
        number: ReleaseNumber,
        kept: bool,
        actor: &str,
    ) -> Result<ReleaseView, ApiError> {
        self.world.keep(id, number, kept).await?;
        let text = if kept { "is kept however many come after it" } else { "goes when ten have come after it" };
        self.world.event(id, &format!("release {number}"), "release.kept", actor, text.to_owned());
        self.release_of(id, number).await
    }

    /// The volumes of a stack that exist.
    pub async fn volumes(&self, id: &StackId) -> Result<Vec<String>, ApiError> {
        let placed = self.world.engines.of(id).observe(id).await.map_err(|error| crate::failed(&error))?;
        Ok(placed.volumes.iter().map(ToString::to_string).collect())
    }

    /// Which blobs the store does not have.
    pub async fn missing_blobs(&self, digests: Vec<String>) -> Result<Vec<String>, ApiError> {
        self.world.missing_blobs(digests).await
    }

    /// Takes a blob in.
    pub async fn put_blob(&self, digest: String, body: Body) -> Result<(), ApiError> {
        self.world.put_blob(digest, body).await
    }

    /// Makes a bundle.
    pub async fn create_bundle(&self, bundle: NewBundle) -> Result<BundleId, ApiError> {
        self.world.create_bundle(bundle).await
    }

    /// The event log.
    pub async fn events(
        &self,
        after: Option<u64>,
        last: Option<usize>,
        follow: bool,
        stack: Option<String>,
    ) -> Result<impl Stream<Item = Event> + use<>, ApiError> {
        let events = self.world.events(after, last, follow, stack).await?;
        Ok(stream::unfold(events, |mut events| async { events.recv().await.map(|event| (event, events)) }))
    }

    /// Where the logs of a stack are found.
    pub fn log_source(&self, stack: StackId) -> Box<dyn Source> {
        Box::new(Logs { world: self.world.clone(), folder: self.settings.logs().join(stack.to_string()), stack })
    }
}

struct Logs {
    world: Arc<World>,
    stack: StackId,
    /// Where logs of the stack lie, each in its replica's folder.
    folder: PathBuf,
}

#[async_trait]
impl Source for Logs {
    async fn logs(&self) -> Result<BTreeMap<String, PathBuf>, ApiError> {
        let placed =
            self.world.engines.of(&self.stack).observe(&self.stack).await.map_err(|error| crate::failed(&error))?;
        let path = |id| self.world.engines.of(&self.stack).log_path(&self.stack, id);
        Ok(placed.replicas.keys().map(|id| (id.to_string(), path(id))).collect())
    }

    async fn left(&self) -> Result<BTreeMap<String, PathBuf>, ApiError> {
        let folders = runtime::files::list(&self.folder).map_err(|error| crate::failed(&error))?;
        let names = folders.iter().filter_map(|folder| folder.file_name()?.to_str()?.parse::<ReplicaId>().ok());
        Ok(names.map(|id| (id.to_string(), self.world.engines.of(&self.stack).log_path(&self.stack, &id))).collect())
    }
}
