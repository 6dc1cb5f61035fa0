//! The one thread that writes, and the handle everybody has.
//!
//! Work that waits together is committed together: each piece has a savepoint of its own, so that one that fails
//! takes nothing else with it, and one sync serves them all. Nobody hears of a success before that sync.

use crate::error::StoreError;
use crate::follow::Follow;
use crate::open::{self, Copied};
use crate::tables::Tx;
use crate::tables::events::{Event, EventId};
use model::StackId;
use runtime::files::Lock;
use runtime::{CancellationToken, OnError, Tasks};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot};

/// So much work may wait; who hands in more waits with it.
const WAITING: usize = 256;

/// A subscriber may fall so many events behind before it reads them from the table again.
const LIVE_EVENTS: usize = 1024;

/// The daemon's memory: a cheap handle to the thread that writes. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    work: mpsc::Sender<Box<dyn Work>>,
    events: broadcast::Sender<Event>,
    path: Arc<PathBuf>,
    tasks: Tasks,
}

impl Store {
    pub(crate) fn start(connection: Connection, lock: Lock, path: PathBuf, tasks: &Tasks) -> Result<Self, StoreError> {
        let (work, waiting) = mpsc::channel(WAITING);
        let events = broadcast::Sender::new(LIVE_EVENTS);
        let path = Arc::new(path);
        let writer = Writer { connection, _lock: lock, waiting, events: events.clone(), path: Arc::clone(&path) };
        let runtime = tokio::runtime::Handle::current();
        let started = tasks.thread("store", OnError::StopProcess, move |stop| writer.serve(&runtime, &stop));
        started.map_err(|error| runtime::files::FileError::new("start the thread of", &path, error))?;
        Ok(Self { work, events, path, tasks: tasks.clone() })
    }

    /// Runs `work` in a transaction: all of it is durable when this returns `Ok`, and nothing of it was kept
    /// when it returns an error. `doing` says what it is, for errors.
    ///
    /// Once handed in, the work is done even if nobody waits for it any more.
    pub async fn run<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Task { doing, work: Some(work), result: None, reply });
        self.work.send(work).await.map_err(|_| StoreError::Closed { doing })?;
        answer.await.map_err(|_| StoreError::Closed { doing })?
    }

    /// Every event after `after` that is of `stack` (of all when none): first those in the table, then those to
    /// come, without gap or double.
    pub fn follow(&self, after: EventId, stack: Option<StackId>) -> Follow {
        Follow::new(self.clone(), self.events.subscribe(), after, stack)
    }

    /// Writes a whole, compact copy of the state file beside it: what a damaged file is replaced with.
    pub async fn copy(&self) -> Result<Copied, StoreError> {
        let path = Arc::clone(&self.path);
        let copied = self.tasks.blocking("copy the state file", move || open::copy(&path)).await;
        copied.map_err(|_| StoreError::Closed { doing: "copy the state file" })?
    }

    /// The state file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Work of any type.
trait Work: Send {
    /// Does it; tells whether it is to be kept.
    fn run(&mut self, tx: &Tx<'_>) -> bool;

    /// Answers who waits. `lost` says why what was done is not kept.
    fn answer(self: Box<Self>, lost: Option<&Lost>);
}

/// Why a whole batch is not kept.
struct Lost {
    path: Arc<PathBuf>,
    error: Arc<rusqlite::Error>,
}

struct Task<T, F> {
    doing: &'static str,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Task<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let work = self.work.take().expect("work is run once");
        let result = work(&tx.doing(self.doing));
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, lost: Option<&Lost>) {
        let result = match (self.result, lost) {
            // Its own error says more than that of the batch.
            (Some(Err(error)), _) => Err(error),
            (_, Some(lost)) => Err(StoreError::sql(self.doing, &lost.path, Arc::clone(&lost.error))),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => Err(StoreError::Closed { doing: self.doing }),
        };
        // Who no longer waits does not want to know.
        let _gone = self.reply.send(result);
    }
}

struct Writer {
    connection: Connection,
    _lock: Lock,
    waiting: mpsc::Receiver<Box<dyn Work>>,
    events: broadcast::Sender<Event>,
    path: Arc<PathBuf>,
}

impl Writer {
    /// Works until nobody has a handle any more, or until a stop is asked for and all that waits is done.
    fn serve(mut self, runtime: &tokio::runtime::Handle, stop: &CancellationToken) {
        while let Some(first) = runtime.block_on(next(&mut self.waiting, stop)) {
            let mut batch = vec![first];
            while batch.len() < WAITING
                && let Ok(more) = self.waiting.try_recv()
            {
                batch.push(more);
            }
            let (lost, events) = self.commit(&mut batch);
            // Before the answers: who waited for its own event finds it on the way.
            for event in events {
                // Nobody needs to listen.
                let _listeners = self.events.send(event);
            }
            batch.into_iter().for_each(|work| work.answer(lost.as_ref()));
        }
        if let Err((_, error)) = self.connection.close() {
            // Nothing is lost: the write-ahead log is read at the next start.
            tracing::warn!(%error, "the state file was not closed cleanly");
        }
    }

    fn commit(&self, batch: &mut [Box<dyn Work>]) -> (Option<Lost>, Vec<Event>) {
        let tx = Tx::new(&self.connection, &self.path);
        let done = (|| {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            for work in batch {
                self.connection.execute_batch("SAVEPOINT work")?;
                let begun = tx.n_events();
                if work.run(&tx) {
                    self.connection.execute_batch("RELEASE work")?;
                } else {
                    tx.drop_events(begun);
                    self.connection.execute_batch("ROLLBACK TO work; RELEASE work")?;
                }
            }
            self.connection.execute_batch("COMMIT")
        })();
        match done {
            Ok(()) => (None, tx.into_events()),
            Err(error) => {
                // After a full disk SQLite may have rolled back by itself.
                if !self.connection.is_autocommit()
                    && let Err(error) = self.connection.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "a transaction could not be rolled back");
                }
                (Some(Lost { path: Arc::clone(&self.path), error: Arc::new(error) }), Vec::new())
            }
        }
    }
}

async fn next(waiting: &mut mpsc::Receiver<Box<dyn Work>>, stop: &CancellationToken) -> Option<Box<dyn Work>> {
    tokio::select! {
        biased;
        work = waiting.recv() => work,
        () = stop.cancelled() => {
            // No more is taken in; what waits is done.
            waiting.close();
            waiting.recv().await
        }
    }
}
