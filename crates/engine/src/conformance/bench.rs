//! One stack on one engine, with the short words the checks are written in.

use super::Workloads;
use crate::{Engine, Retry};
use model::project::{Role, Template};
use model::{ReleaseNumber, ReplicaId, SpecHash, StackId};
use plan::Addresses;
use plan::action::replica::{Action, Start};
use plan::observed::{Exit, Known, Phase, Placed, Replica};
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

pub(super) const SIGTERM: i32 = 15;
/// Long enough for whatever hears the signal, on a machine under load.
pub(super) const GRACE: Duration = Duration::from_secs(20);

pub(super) struct Bench<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) workloads: &'a dyn Workloads,
    pub(super) stack: StackId,
}

impl<'a> Bench<'a> {
    /// Panics when anything of a stack of that name is there.
    pub(super) async fn new(engine: &'a dyn Engine, workloads: &'a dyn Workloads, name: &str) -> Self {
        let stack = format!("{name}@conformance").parse().expect("a legal name");
        let bench = Self { engine, workloads, stack };
        assert_eq!(bench.placed().await, Placed::default(), "nothing of {name} is there before");
        bench
    }

    pub(super) fn start(&self, id: &str, template: Template) -> Start {
        Start {
            id: id.parse().expect("a legal id"),
            role: Role::Service,
            template: Arc::new(template),
            hash: SpecHash::from_digest([1; 16]),
            release: ReleaseNumber(1),
            bundle: "0".repeat(64).parse().expect("a legal digest"),
            uid_base: self.workloads.uid_base(),
            addresses: Addresses::default(),
            failures: 0,
        }
    }

    pub(super) async fn run(&self, start: &Start) -> ReplicaId {
        self.perform(Action::Start(start.clone().into())).await;
        start.id.clone()
    }

    pub(super) async fn stop(&self, id: &ReplicaId, grace: Duration) {
        self.perform(Action::Stop { id: id.clone(), signal: SIGTERM, grace }).await;
    }

    pub(super) async fn remove(&self, id: &ReplicaId) {
        self.perform(Action::Remove { id: id.clone() }).await;
    }

    /// As whoever carries out plans does: what may succeed later is tried again.
    pub(super) async fn perform(&self, action: Action) {
        while let Err(error) = self.engine.perform(&self.stack, &action).await {
            assert!(error.retry == Retry::Later, "{action:?}: {}", chain(&error));
            tokio::task::yield_now().await;
        }
    }

    /// It is refused for good, with words that name all of `names`.
    pub(super) async fn refuses(&self, action: Action, why: &str, names: &[&str]) {
        let Err(error) = self.engine.perform(&self.stack, &action).await else {
            panic!("{action:?} succeeds although {why}");
        };
        let text = chain(&error);
        assert_eq!(error.retry, Retry::Never, "{text}");
        assert!(names.iter().all(|name| text.contains(name)), "{names:?} are named: {text}");
    }

    pub(super) async fn placed(&self) -> Placed {
        match self.engine.observe(&self.stack).await {
            Ok(placed) => placed,
            Err(error) => panic!("observe `{}`: {}", self.stack, chain(&error)),
        }
    }

    pub(super) async fn replica(&self, id: &ReplicaId) -> Replica {
        let found = self.placed().await.replicas.remove(id);
        found.unwrap_or_else(|| panic!("`{id}` is observed"))
    }

    pub(super) async fn runs(&self, id: &ReplicaId) -> bool {
        matches!(self.replica(id).await.phase, Phase::Running { .. })
    }

    /// How many processes the replica has.
    pub(super) async fn pids(&self, id: &ReplicaId) -> u32 {
        match self.engine.usage(&self.stack).await {
            Ok(usage) => match usage.get(id) {
                Some(Known::Is(usage)) => usage.pids,
                other => panic!("`{id}` runs and tells nothing of what it uses: {other:?}"),
            },
            Err(error) => panic!("usage: {}", chain(&error)),
        }
    }

    /// How the replica ended, once it has: woken by the engine, never by a timer.
    pub(super) async fn end(&self, id: &ReplicaId) -> Exit {
        loop {
            if let Phase::Exited { how, since, at } = self.replica(id).await.phase {
                assert!(since <= at, "`{id}` ended at {at}, before it was started at {since}");
                return how;
            }
            self.woken().await;
        }
    }

    /// Waits until the engine tells of a change of this stack.
    pub(super) async fn woken(&self) {
        while self.engine.changed().await != self.stack {}
    }

    /// Removes everything and asserts that nothing is left.
    pub(super) async fn tear_down(self) {
        let placed = self.placed().await;
        for id in placed.replicas.keys() {
            self.stop(id, Duration::ZERO).await;
            self.remove(id).await;
        }
        for name in placed.networks.into_keys() {
            self.perform(Action::RemoveNetwork { name: name.clone() }).await;
            self.perform(Action::RemoveNetwork { name }).await;
        }
        for name in placed.volumes {
            self.perform(Action::RemoveVolume { name: name.clone() }).await;
            self.perform(Action::RemoveVolume { name }).await;
        }
        assert_eq!(self.placed().await, Placed::default(), "nothing of `{}` is left", self.stack);
        assert!(!self.stacks().await.contains(&self.stack), "`{}` is no stack any more", self.stack);
    }

    pub(super) async fn stacks(&self) -> Vec<StackId> {
        match self.engine.stacks().await {
            Ok(stacks) => stacks,
            Err(error) => panic!("list stacks: {}", chain(&error)),
        }
    }
}

pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _infallible = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
