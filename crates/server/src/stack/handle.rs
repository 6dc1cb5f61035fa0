//! The way into a stack's actor: orders with their answers.

use crate::api::ApiError;
use crate::api::plan::{PlanRequest, PlanView};
use crate::api::release::{Accepted, DownRequest, ReleaseRequest, RestartRequest, ScaleRequest};
use crate::api::status::{HealthDocument, StackStatus};
use crate::stack::runs::{RunLog, Runs};
use model::{BundleId, ReplicaId, StackId};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// How many orders may wait for an actor; more are a client gone wild.
const QUEUE: usize = 64;

/// What an actor is asked, with the place its answer goes to.
#[derive(Debug)]
pub enum Order {
    /// What a release of this bundle would do.
    Plan(PlanRequest, Answer<PlanView>),
    /// Run a bundle, ordered by this actor.
    Release(ReleaseRequest, String, Answer<Accepted>),
    /// Take everything down.
    Down(DownRequest, String, Answer<Accepted>),
    /// Replace replicas by fresh ones.
    Restart(RestartRequest, String, Answer<Accepted>),
    /// Set numbers of replicas.
    Scale(ScaleRequest, String, Answer<Accepted>),
    /// How it is.
    Status(Answer<StackStatus>),
    /// How healthy it is.
    Health(Answer<HealthDocument>),
    /// Whether it can serve.
    Ready(Answer<HealthDocument>),
    /// The bundles it needs.
    Needs(Answer<BTreeSet<BundleId>>),
    /// A running replica of a service, or this one.
    Pick(String, Answer<ReplicaId>),
    /// Everything for a one-off replica of this service.
    OneOff(String, Answer<plan::action::replica::Start>),
    /// Something happened to the stack: look again.
    Look,
}

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, ApiError>>;

/// The way into a stack's actor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    id: StackId,
    orders: mpsc::Sender<Order>,
    runs: Arc<Runs>,
}

impl Handle {
    /// A handle and the actor's end of it.
    pub fn new(id: StackId, runs: Arc<Runs>) -> (Self, mpsc::Receiver<Order>) {
        let (orders, queue) = mpsc::channel(QUEUE);
        (Self { id, orders, runs }, queue)
    }

    /// Which stack.
    pub fn id(&self) -> &StackId {
        &self.id
    }

    /// What a release of `bundle` would do.
    pub async fn plan(&self, request: PlanRequest) -> Result<PlanView, ApiError> {
        self.ask(|answer| Order::Plan(request, answer)).await
    }

    /// Runs a bundle.
    pub async fn release(&self, request: ReleaseRequest, actor: String) -> Result<Accepted, ApiError> {
        self.ask(|answer| Order::Release(request, actor, answer)).await
    }

    /// Takes everything down.
    pub async fn down(&self, request: DownRequest, actor: String) -> Result<Accepted, ApiError> {
        self.ask(|answer| Order::Down(request, actor, answer)).await
    }

    /// Replaces replicas by fresh ones.
    pub async fn restart(&self, request: RestartRequest, actor: String) -> Result<Accepted, ApiError> {
        self.ask(|answer| Order::Restart(request, actor, answer)).await
    }

    /// Sets numbers of replicas.
    pub async fn scale(&self, request: ScaleRequest, actor: String) -> Result<Accepted, ApiError> {
        self.ask(|answer| Order::Scale(request, actor, answer)).await
    }

    /// How it is.
    pub async fn status(&self) -> Result<StackStatus, ApiError> {
        self.ask(Order::Status).await
    }

    /// How healthy it is.
    pub async fn health(&self) -> Result<HealthDocument, ApiError> {
        self.ask(Order::Health).await
    }

    /// Whether it can serve.
    pub async fn ready(&self) -> Result<HealthDocument, ApiError> {
        self.ask(Order::Ready).await
    }

    /// The bundles that what is wanted, and what it may go back to, run from.
    pub async fn needs(&self) -> Result<BTreeSet<BundleId>, ApiError> {
        self.ask(Order::Needs).await
    }

    /// A running replica of the service `target`, or the replica `target`.
    pub async fn pick(&self, target: String) -> Result<ReplicaId, ApiError> {
        self.ask(|answer| Order::Pick(target, answer)).await
    }

    /// Everything for a one-off replica of `service`.
    pub async fn one_off(&self, service: String) -> Result<plan::action::replica::Start, ApiError> {
        self.ask(|answer| Order::OneOff(service, answer)).await
    }

    /// Tells the actor that something happened. A full queue means that it will look anyway.
    pub fn look(&self) {
        let _ = self.orders.try_send(Order::Look);
    }

    /// What happened during a run of this daemon's life.
    pub fn run(&self, run: u64) -> Option<Arc<RunLog>> {
        self.runs.get(run)
    }

    async fn ask<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, ApiError> {
        let (answer, wait) = oneshot::channel();
        let gone = || ApiError::new(503, "MS0201", "the daemon is shutting down").help("try again once it is back");
        self.orders.send(order(answer)).await.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }
}
