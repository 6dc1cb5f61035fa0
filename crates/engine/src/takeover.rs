//! Taking over what another tool has started: containers of a project that `docker compose` runs.
//!
//! An engine that can do it remembers which containers were offered to a stack. A start whose replica has an offer takes
//! the container as it runs in place of making one; one that is not as wanted bears no known hash, so that the planner
//! replaces it as it replaces every other. Volumes keep their names.

use crate::EngineError;
use async_trait::async_trait;
use model::container::ImageId;
use model::stack::Stack;
use model::{ReplicaId, ServiceName, StackId, VolumeName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// A container that another tool has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The service it runs, by that tool's word.
    pub service: String,
    /// Its number within the service, from 1.
    pub number: u32,
    /// What it is called on the engine.
    pub name: String,
    /// What it runs.
    pub image: ImageId,
    /// What its image was called when it was made.
    pub image_name: String,
    /// Whether it runs.
    pub is_running: bool,
    /// The TCP sockets of the machine that it holds.
    pub holds: BTreeSet<SocketAddr>,
}

/// What a takeover would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// What becomes of each container.
    pub containers: Vec<Prospect>,
    /// Volumes that go on, by the stack's names, with theirs.
    pub volumes: BTreeMap<VolumeName, String>,
}

/// What becomes of a stray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospect {
    /// The container's name.
    pub name: String,
    /// The service that it runs.
    pub service: String,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a stray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on as this replica.
    Stays(ReplicaId),
    /// It goes on as this replica until one takes its place: these keys differ.
    Replaced(ReplicaId, Vec<String>),
    /// There are more than wanted: it is drained and removed.
    Surplus(ReplicaId),
    /// It is left alone: why.
    Left(String),
}

/// An engine that takes over what another tool has started.
#[async_trait]
pub trait Takeover: Send + Sync {
    /// The containers of a project of that tool, those of other stacks' takeovers left out.
    async fn find(&self, project: &str) -> Result<Vec<Stray>, EngineError>;

    /// What would become of each, and of the project's volumes.
    async fn weigh(&self, project: &str, stack: &Stack) -> Result<Outlook, EngineError>;

    /// Offers them, and the project's volumes, to the stack's next starts. Doing it again changes nothing.
    async fn offer(&self, project: &str, stack: &Stack) -> Result<(), EngineError>;

    /// Takes back what was offered and not taken over yet.
    async fn withdraw(&self, stack: &StackId) -> Result<(), EngineError>;

    /// The replicas of the stack that are still containers of the other tool.
    fn taken(&self, stack: &StackId) -> Result<BTreeSet<ReplicaId>, EngineError>;

    /// The TCP sockets of the machine that running containers hold which were offered to the stack or taken over.
    async fn held(&self, stack: &StackId) -> Result<BTreeSet<SocketAddr>, EngineError>;
}

/// Which stray goes on as which replica: in the order of their numbers, in the first slots that are not `taken` already.
/// Exited ones count for jobs only.
pub fn assign(
    strays: &[Stray],
    service: &ServiceName,
    is_job: bool,
    taken: &BTreeSet<String>,
) -> Vec<(ReplicaId, Stray)> {
    let counts = |stray: &&Stray| stray.service == service.as_str() && (stray.is_running || is_job);
    let mut mine: Vec<Stray> = strays.iter().filter(counts).cloned().collect();
    mine.sort_by_key(|stray| stray.number);
    let slots = std::iter::successors(Some(model::Slot::FIRST), |slot| Some(slot.next()));
    let free = slots.map(|slot| ReplicaId::new(service.clone(), slot)).filter(|id| !taken.contains(&id.to_string()));
    free.zip(mine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stray(service: &str, number: u32, is_running: bool) -> Stray {
        let name = format!("shop-{service}-{number}");
        let image = format!("sha256:{}", "a".repeat(64)).parse().expect("an id");
        let (service, image_name, holds) = (service.to_owned(), "i".to_owned(), BTreeSet::new());
        Stray { service, number, name, image, image_name, is_running, holds }
    }

    #[test]
    fn strays_take_the_first_free_slots_in_the_order_of_their_numbers() {
        let strays = [stray("web", 3, true), stray("db", 1, true), stray("web", 1, true), stray("web", 2, false)];
        let check = |is_job: bool, taken: &[&str], want: &[&str]| {
            let taken = taken.iter().map(|id| (*id).to_owned()).collect();
            let got = assign(&strays, &"web".parse().expect("legal"), is_job, &taken);
            let got: Vec<String> = got.into_iter().map(|(id, stray)| format!("{id} {}", stray.name)).collect();
            assert_eq!(got, want);
        };
        check(false, &[], &["web.1 shop-web-1", "web.2 shop-web-3"]);
        check(true, &[], &["web.1 shop-web-1", "web.2 shop-web-2", "web.3 shop-web-3"]);
        check(false, &["web.1"], &["web.2 shop-web-1", "web.3 shop-web-3"]);
    }
}
