//! Named tasks: what their failure means is said where they are spawned, and nothing outlives the shutdown.
//!
//! Owns the tree of cancellation tokens and the list of what runs. A panic is a bug, caught at the task
//! boundary, reported with the task's name and treated like a failure. Never swallows either.
//!
//! ```text
//! running ──returns Ok──► done
//!    │ fails or panics
//!    ├─ OnError::Log ────────► logged, done
//!    ├─ OnError::StopProcess ► first fatal failure, whole tree cancelled
//!    └─ supervise(backoff) ──► waits, runs again
//! ```

use crate::BoxError;
use crate::clock::Clock;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

/// What the failure of a task means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The process cannot go on without it: everything is stopped, [`Tasks::stopped`] tells why.
    StopProcess,
    /// It is logged; the rest goes on.
    Log,
}

/// How long to wait before a failed task is run again: `first`, doubled each time, at most `most`.
/// A task that ran for longer than `most` begins anew with `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
}

impl Backoff {
    /// The wait after this many failures in a row; none before the first.
    pub fn delay(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                self.first.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.most)
            }
        }
    }
}

/// A task or a piece of blocking work failed.
#[derive(Debug, thiserror::Error)]
#[error("task `{task}` failed")]
pub struct Failure {
    /// Its name, with the names of the trees it belongs to.
    pub task: Arc<str>,
    /// Why.
    #[source]
    pub source: BoxError,
}

/// A bug showed itself: the message of a caught panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(pub String);

/// What a task ends with: nothing, or a result.
pub trait Ending {
    /// The task's success or failure.
    fn into_result(self) -> Result<(), BoxError>;
}

impl Ending for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> Ending for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// Spawns and stops tasks; clones share the same tree.
#[derive(Clone)]
pub struct Tasks {
    name: Arc<str>,
    token: CancellationToken,
    root: Arc<Root>,
}

struct Root {
    clock: Arc<dyn Clock>,
    token: CancellationToken,
    fatal: OnceLock<Arc<Failure>>,
    next: AtomicU64,
    running: Mutex<Running>,
    /// Counts what has ended, so that a shutdown can wait for it.
    ended: watch::Sender<u64>,
}

/// What runs, by number: its name, and how it is aborted if it can be.
type Running = BTreeMap<u64, (Arc<str>, Option<AbortHandle>)>;

impl Root {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tasks {
    /// A tree without tasks.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let token = CancellationToken::new();
        let root = Root {
            clock,
            token: token.clone(),
            fatal: OnceLock::new(),
            next: AtomicU64::new(0),
            running: Mutex::default(),
            ended: watch::Sender::new(0),
        };
        Self { name: "".into(), token, root: Arc::new(root) }
    }

    /// A tree below this one: it is stopped with it, or by itself with [`Tasks::shutdown`].
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self { name: self.named(name), token: self.token.child_token(), root: Arc::clone(&self.root) }
    }

    /// The token that is cancelled when this tree stops.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs a task until it returns. `run` gets the token that asks it to stop.
    pub fn spawn<F, R>(&self, name: &str, on_error: OnError, run: F) -> Task
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output: Ending> + Send + 'static,
    {
        let stop = self.token.child_token();
        let future = run(stop.clone());
        self.start(name, stop, move |tasks, name| async move {
            if let Err(failure) = ended(&name, caught(future).await) {
                tasks.report(failure, on_error);
            }
        })
    }

    /// Runs a task again, after a pause, whenever it fails; done when it returns without an error or is stopped.
    pub fn supervise<F, R>(&self, name: &str, backoff: Backoff, mut run: F) -> Task
    where
        F: FnMut(CancellationToken) -> R + Send + 'static,
        R: Future<Output: Ending> + Send + 'static,
    {
        let stop = self.token.child_token();
        self.start(name, stop.clone(), move |tasks, name| async move {
            let clock = &tasks.root.clock;
            let mut failures = 0;
            loop {
                let begun = clock.monotonic();
                let Err(failure) = ended(&name, caught(run(stop.clone())).await) else { return };
                if clock.monotonic().duration_since(begun) > backoff.most {
                    failures = 0;
                }
                failures += 1;
                let pause = backoff.delay(failures);
                tracing::warn!(task = %name, error = %chain(&*failure.source), ?pause, "task failed, it is run again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = clock.sleep(pause) => {}
                }
            }
        })
    }

    /// Runs blocking work beside the runtime's threads and waits for it. A panic comes back as an error.
    ///
    /// The work goes on when the waiting is dropped.
    pub async fn blocking<T, F>(&self, name: &str, work: F) -> Result<T, Failure>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let task = self.named(name);
        let entry = self.enter(&task);
        let join = tokio::task::spawn_blocking(move || {
            let _entry = entry;
            catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Panicked(message(&*panic)))
        });
        match join.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panicked)) => Err(Failure { task, source: panicked.into() }),
            Err(error) => Err(Failure { task, source: error.into() }),
        }
    }

    /// Runs work that blocks for its whole life on a thread of its own. A failure or panic is treated by `on_error`.
    ///
    /// Errors: the system has no thread left.
    pub fn thread<F, E>(&self, name: &str, on_error: OnError, work: F) -> std::io::Result<()>
    where
        F: FnOnce(CancellationToken) -> E + Send + 'static,
        E: Ending,
    {
        let task = self.named(name);
        let (tasks, stop, entry) = (self.clone(), self.token.child_token(), self.enter(&task));
        let body = move || {
            let _entry = entry;
            let result = catch_unwind(AssertUnwindSafe(|| work(stop))).map_err(|panic| Panicked(message(&*panic)));
            if let Err(failure) = ended(&task, result) {
                tasks.report(failure, on_error);
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
    }

    /// Waits until the whole tree was asked to stop; tells the failure that did it, if one did. Cancel-safe.
    pub async fn stopped(&self) -> Option<Arc<Failure>> {
        self.root.token.cancelled().await;
        self.root.fatal.get().cloned()
    }

    /// Names of what runs now, for diagnosis.
    pub fn running(&self) -> Vec<Arc<str>> {
        self.root.running().values().map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Asks this tree to stop and waits for its tasks, at most so long; what is left then is aborted and named.
    /// Threads and blocking work cannot be aborted: they are only named.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<Arc<str>> {
        self.token.cancel();
        let mut ended = self.root.ended.subscribe();
        // The sender lives in the root, so the wait cannot fail.
        let all_done = ended.wait_for(|_| self.left().is_empty());
        if crate::clock::timeout(&*self.root.clock, deadline, all_done).await.is_ok() {
            return Vec::new();
        }
        self.left()
            .into_iter()
            .map(|(name, abort)| {
                if let Some(abort) = abort {
                    abort.abort();
                }
                name
            })
            .collect()
    }

    fn left(&self) -> Vec<(Arc<str>, Option<AbortHandle>)> {
        let below = |name: &str| {
            self.name.is_empty() || name.strip_prefix(&*self.name).is_some_and(|rest| rest.starts_with('/'))
        };
        self.root.running().values().filter(|(name, _)| below(name)).cloned().collect()
    }

    fn named(&self, name: &str) -> Arc<str> {
        if self.name.is_empty() { name.into() } else { format!("{}/{name}", self.name).into() }
    }

    fn enter(&self, task: &Arc<str>) -> Entry {
        let id = self.root.next.fetch_add(1, Ordering::Relaxed);
        self.root.running().insert(id, (Arc::clone(task), None));
        Entry { root: Arc::clone(&self.root), id }
    }

    fn start<B, R>(&self, name: &str, stop: CancellationToken, body: B) -> Task
    where
        B: FnOnce(Self, Arc<str>) -> R,
        R: Future<Output = ()> + Send + 'static,
    {
        let task = self.named(name);
        let entry = self.enter(&task);
        let id = entry.id;
        let body = body(self.clone(), task);
        let join = tokio::spawn(async move {
            let _entry = entry;
            body.await;
        });
        // The task may already be gone: then there is nothing to abort.
        if let Some((_, abort)) = self.root.running().get_mut(&id) {
            *abort = Some(join.abort_handle());
        }
        Task { stop, join }
    }

    fn report(&self, failure: Failure, on_error: OnError) {
        let error = chain(&*failure.source);
        match on_error {
            OnError::Log => tracing::error!(task = %failure.task, error, "task failed"),
            OnError::StopProcess => {
                tracing::error!(task = %failure.task, error, "task failed, the process stops");
                // The first failure is the cause; those that follow from the stop are not.
                let _later = self.root.fatal.set(Arc::new(failure));
                self.root.token.cancel();
            }
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("name", &self.name).field("running", &self.running()).finish()
    }
}

/// A place on the list of what runs; given up however the task ends, also when it is aborted.
struct Entry {
    root: Arc<Root>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.root.running().remove(&self.id);
        self.root.ended.send_modify(|count| *count += 1);
    }
}

/// A spawned task. Dropping the handle lets it run on.
#[derive(Debug)]
pub struct Task {
    stop: CancellationToken,
    join: JoinHandle<()>,
}

impl Task {
    /// Asks it to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends it at its next wait, without asking.
    pub fn abort(&self) {
        self.join.abort();
    }

    /// Waits until it has ended, however it ended: its failure was treated as said at its spawn.
    pub async fn ended(self) {
        // The body catches panics, so only an abort can show here.
        let _aborted = self.join.await;
    }
}

fn ended<E: Ending>(task: &Arc<str>, result: Result<E, Panicked>) -> Result<(), Failure> {
    let result = result.map_err(BoxError::from).and_then(Ending::into_result);
    result.map_err(|source| Failure { task: Arc::clone(task), source })
}

/// Polls `future` and turns a panic into an error.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(Panicked(message(&*panic)))),
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// The error and its causes in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
