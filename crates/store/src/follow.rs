//! Reading the event log and going on with it live.

use crate::actor::Store;
use crate::error::StoreError;
use crate::tables::events::{Event, EventId, EventQuery};
use model::StackId;
use std::collections::VecDeque;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// So many events are read from the table at once.
const PAGE: u32 = 256;

/// Events one after the other, in order of their ids.
#[derive(Debug)]
pub struct Follow {
    store: Store,
    live: Receiver<Event>,
    last: EventId,
    stack: Option<StackId>,
    page: VecDeque<Event>,
    /// All that is in the table was read; what is missing comes live.
    caught_up: bool,
}

impl Follow {
    // Subscribed before the table is read: an event is in the table, or comes live, or both.
    pub(crate) fn new(store: Store, live: Receiver<Event>, after: EventId, stack: Option<StackId>) -> Self {
        Self { store, live, last: after, stack, page: VecDeque::new(), caught_up: false }
    }

    /// Waits for the next event. Cancel-safe.
    ///
    /// Errors: the table cannot be read, or the store was closed.
    pub async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.last = event.id;
                return Ok(event);
            }
            if !self.caught_up {
                let query = EventQuery { after: self.last, stack: self.stack.clone(), most: PAGE };
                let page = self.store.run("read events", move |tx| tx.events(&query)).await?;
                self.caught_up = page.is_empty();
                self.page = page.into();
                continue;
            }
            match self.live.recv().await {
                Ok(event) if event.id <= self.last || self.is_other(&event) => {}
                Ok(event) => {
                    self.last = event.id;
                    return Ok(event);
                }
                Err(RecvError::Lagged(_)) => self.caught_up = false,
                Err(RecvError::Closed) => return Err(StoreError::Closed { doing: "follow events" }),
            }
        }
    }

    fn is_other(&self, event: &Event) -> bool {
        self.stack.is_some() && event.stack != self.stack
    }
}
