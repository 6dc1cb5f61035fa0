//! Stacks of which something changed by itself, collected until somebody asks.

use model::StackId;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Stacks that changed since they were last asked for.
#[derive(Debug, Default)]
pub struct Changes {
    stacks: Mutex<BTreeSet<StackId>>,
    arrived: Notify,
}

impl Changes {
    /// Something of this stack changed.
    pub fn note(&self, stack: StackId) {
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner).insert(stack);
        self.arrived.notify_one();
    }

    /// Waits for a change. Cancel-safe: a change is taken only when it is returned.
    pub async fn next(&self) -> StackId {
        loop {
            // Asked for before looking, so that a change between the two is not missed.
            let arrived = self.arrived.notified();
            if let Some(stack) = self.stacks.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
                return stack;
            }
            arrived.await;
        }
    }
}
