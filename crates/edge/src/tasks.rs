//! Named tasks on a worker's runtime.
//!
//! Owns what a task's failure means: a task of the edge serves one connection or one chore, its panic ends only that,
//! is logged with the task's name and counted. What must not end (accepting, commands) is held by the worker itself.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Takes connections from one listening socket.
    Accept,
    /// Serves one client connection.
    Connection,
    /// Serves one HTTP/2 stream.
    Stream,
    /// Drives one connection to an upstream.
    Upstream,
    /// Gives an upstream connection back once it is quiet.
    GiveBack,
    /// Carries an upgraded connection.
    Tunnel,
    /// Waits for upstreams to fall quiet.
    Drain,
    /// Flushes the log and drops idle connections.
    Chores,
}

/// Spawns named tasks on the current worker and counts those that panic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    panics: Rc<Cell<u64>>,
}

impl Tasks {
    /// Runs `future` on its own; whoever needs its end or its cancellation keeps the handle.
    pub(crate) fn spawn<F>(&self, task: Task, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        tokio::task::spawn_local(Named { future, mark: Mark { task, panics: self.panics.clone() } })
    }

    /// Tasks that panicked so far.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.get()
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Tasks
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(self.spawn(Task::Stream, future));
    }
}

pin_project! {
    struct Named<F> {
        #[pin]
        future: F,
        mark: Mark,
    }
}

struct Mark {
    task: Task,
    panics: Rc<Cell<u64>>,
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // The runtime drops a task that panics while it unwinds.
        if std::thread::panicking() {
            self.panics.set(self.panics.get() + 1);
            tracing::error!(task = ?self.task, "a task panicked");
        }
    }
}
