//! Calls to stable addresses on ports that the edge does not listen on: led by the machine's packet rules.

use super::hub::{Hub, HubError};
use super::table;
use edge::control::DrainReport;
use model::stack::Stack;
use model::{ReplicaId, StackId};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// How often connections are counted that have to end: each time the kernel tells all it has.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// How often the kernel is asked whether somebody has changed packet rules; two system calls while nobody has.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the drain of a replica came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drained {
    /// What the edge tells.
    pub report: DrainReport,
    /// TCP connections past the edge that were still open when the grace was over.
    pub flows: usize,
}

impl Hub {
    /// Keeps the packet rules in force until the end of time: others change rules too, or flush them all.
    pub async fn hold(&self) {
        let mut last = None;
        loop {
            let failed = self.put_back().await.err().map(|error| crate::chain(&error));
            if let Some(error) = failed.as_ref().filter(|error| last.as_ref() != Some(*error)) {
                tracing::warn!(error, "packet rules that somebody changed are not back yet");
            }
            last = failed;
            self.clock().sleep(LOOK_EVERY).await;
        }
    }

    async fn put_back(&self) -> Result<(), HubError> {
        if self.balancer().stands().await.map_err(HubError::Balance)? {
            return Ok(());
        }
        // Held, so that what is set is not older than what another sets.
        let _link = self.link().await;
        let stacks = self.stacks().clone();
        let (_, needs) = table::table(&stacks, self.ground());
        self.balancer().set(needs.balances).await.map_err(HubError::Balance)
    }

    /// Waits until no connection leads past the edge to the replica, at most `grace`; how many are left.
    pub(super) async fn flows_end(&self, stack: &StackId, replica: &ReplicaId, grace: Duration) -> usize {
        let Some((stable, replicas)) = self.leads(stack, replica) else { return 0 };
        let deadline = self.clock().monotonic() + grace;
        loop {
            let left = match self.balancer().n_open(stable.clone(), replicas.clone()).await {
                Ok(left) => left,
                Err(error) => {
                    tracing::warn!(%stack, %replica, error = crate::chain(&error), "its connections cannot be counted");
                    return 0;
                }
            };
            if left == 0 || self.clock().monotonic() >= deadline {
                return left;
            }
            self.clock().sleep(COUNT_EVERY).await;
        }
    }

    /// The stable addresses that may lead to a replica, and its own.
    fn leads(&self, stack: &StackId, replica: &ReplicaId) -> Option<(BTreeSet<Ipv4Addr>, BTreeSet<Ipv4Addr>)> {
        let stacks = self.stacks();
        let routing = stacks.get(stack)?;
        let own = routing.replicas.get(replica)?.addresses.values().copied().collect();
        let target =
            |stack: &'_ Arc<Stack>| stack.services.get(&replica.service).filter(|target| stack.leads(target)).cloned();
        let targets = routing.stacks().filter_map(target);
        let stable: BTreeSet<Ipv4Addr> = targets.flat_map(|target| target.addresses.into_values()).collect();
        (!stable.is_empty()).then_some((stable, own))
    }
}
