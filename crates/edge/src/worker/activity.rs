//! Which client connections are idle, for when there is no room for another one.
//!
//! Owns the choice of the connection that makes room: the one that has been idle longest, be it a kept one or one whose
//! client has not said a word yet. A client that has begun its first request is not chosen; it has a time limit of its
//! own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use slab::Slab;
use tokio::sync::Notify;

use super::Worker;
use crate::http::ClientContext;

/// What a client connection is about.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests under way.
    busy: Cell<u32>,
    /// Since when there is none, after there was one or before a word was said.
    idle_since: Cell<Option<Instant>>,
    /// Told when the connection shall make room.
    pub leave: Notify,
}

impl Activity {
    /// Waits for a client's first words; none when it was asked to make room first.
    pub(crate) async fn silent<T>(client: &Rc<ClientContext>, words: impl Future<Output = T>) -> Option<T> {
        let _guest = Guest::new(client);
        let activity = &client.activity;
        activity.idle_since.set(Some(Instant::now()));
        let words = tokio::select! {
            biased;
            () = activity.leave.notified() => None,
            words = words => Some(words),
        };
        activity.idle_since.set(None);
        words
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.busy.set(self.busy.get() + 1);
        self.idle_since.set(None);
    }

    /// Whether there has been no request yet.
    pub(crate) fn is_new(&self) -> bool {
        self.busy.get() == 0 && self.idle_since.get().is_none()
    }

    /// A request has ended.
    pub(crate) fn end(&self) {
        self.busy.set(self.busy.get().saturating_sub(1));
        if self.busy.get() == 0 {
            self.idle_since.set(Some(Instant::now()));
        }
    }
}

/// The connections that could be asked to leave.
#[derive(Debug, Default)]
pub(crate) struct Guests(RefCell<Slab<Rc<ClientContext>>>);

/// A connection's place among the guests.
pub(crate) struct Guest {
    worker: Rc<Worker>,
    key: usize,
}

impl Guest {
    pub(crate) fn new(client: &Rc<ClientContext>) -> Self {
        let worker = client.worker.clone();
        let key = worker.guests.0.borrow_mut().insert(client.clone());
        Self { worker, key }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let gone = self.worker.guests.0.borrow_mut().remove(self.key);
        drop(gone);
    }
}

impl Guests {
    /// Asks the one that has been idle longest to leave.
    pub(crate) fn make_room(&self) {
        let guests = self.0.borrow();
        let idle = guests.iter().filter_map(|(_, client)| Some((client.activity.idle_since.get()?, client)));
        if let Some((_, client)) = idle.min_by_key(|(since, _)| *since) {
            // It is asked once.
            client.activity.idle_since.set(None);
            client.activity.leave.notify_one();
        }
    }
}
