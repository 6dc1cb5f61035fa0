//! Tasks against a manual clock: failures, panics, restarts, shutdown.

use mainstay_runtime::clock::timeout;
use mainstay_runtime::tasks::{Backoff, chain};
use mainstay_runtime::{OnError, Tasks};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use testkit::ManualClock;

fn tasks() -> (ManualClock, Tasks) {
    let clock = ManualClock::new();
    let tasks = Tasks::new(clock.shared());
    (clock, tasks)
}

#[tokio::test]
async fn a_fatal_failure_stops_the_process_and_is_told() {
    let (_clock, tasks) = tasks();
    tasks.spawn("edge", OnError::StopProcess, |_| async { Err(std::io::Error::other("no sockets")) });
    let failure = tasks.stopped().await.expect("a failure stopped it");
    assert_eq!(&*failure.task, "edge");
    assert_eq!(chain(&*failure), "task `edge` failed: no sockets");
}

#[tokio::test]
async fn a_panic_is_caught_and_counts_as_failure() {
    let (_clock, tasks) = tasks();
    tasks.child("stack").spawn("loop", OnError::StopProcess, |_| async {
        if true {
            panic!("index {} out of range", 3);
        }
    });
    let failure = tasks.stopped().await.expect("a failure stopped it");
    assert_eq!(chain(&*failure), "task `stack/loop` failed: panicked: index 3 out of range");
    let work: Result<(), _> = tasks.blocking("parse", || panic!("no")).await;
    assert_eq!(chain(&work.expect_err("it panicked")), "task `parse` failed: panicked: no");
}

#[tokio::test]
async fn a_logged_failure_leaves_the_rest_running() {
    let (_clock, tasks) = tasks();
    let failing = tasks.spawn("notify", OnError::Log, |_| async { Err("no route") });
    let staying = tasks.spawn("edge", OnError::StopProcess, |stop| async move { stop.cancelled().await });
    failing.ended().await;
    assert!(!tasks.token().is_cancelled());
    assert_eq!(tasks.running(), vec!["edge".into()]);
    assert!(tasks.shutdown(Duration::from_secs(1)).await.is_empty());
    staying.ended().await;
}

#[tokio::test]
async fn a_supervised_task_runs_again_after_growing_pauses() {
    let (clock, tasks) = tasks();
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(3) };
    let task = tasks.supervise("watch", backoff, move |_| {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        async move { if run < 4 { Err("lost the connection") } else { Ok(()) } }
    });
    let mut pauses = Vec::new();
    for _ in 0..4 {
        pauses.push(clock.advance_to_next().await.as_secs());
    }
    task.ended().await;
    assert_eq!((pauses, runs.load(Ordering::SeqCst)), (vec![1, 2, 3, 3], 5));
}

#[tokio::test]
async fn what_does_not_stop_in_time_is_aborted_and_named() {
    let (clock, tasks) = tasks();
    let stack = tasks.child("shop");
    stack.spawn("polite", OnError::Log, |stop| async move { stop.cancelled().await });
    stack.spawn("deaf", OnError::Log, |_| std::future::pending::<()>());
    let other = tasks.spawn("other", OnError::Log, |_| std::future::pending::<()>());
    let (left, _) = tokio::join!(stack.shutdown(Duration::from_secs(10)), clock.advance_to_next());
    assert_eq!(left, vec!["shop/deaf".into()]);
    assert!(stack.shutdown(Duration::from_secs(10)).await.is_empty(), "the aborted one is gone");
    assert_eq!(tasks.running(), vec!["other".into()], "another tree is not touched");
    other.abort();
}

#[tokio::test]
async fn a_thread_is_part_of_the_tree() {
    let (_clock, tasks) = tasks();
    let started = tasks.thread("writer", OnError::StopProcess, |_| Err::<(), _>("disk gone"));
    started.expect("a thread can be had");
    let failure = tasks.stopped().await.expect("a failure stopped it");
    assert_eq!(&*failure.task, "writer");
}

#[tokio::test]
async fn a_timeout_ends_what_is_too_slow_and_nothing_else() {
    let clock = ManualClock::new();
    let slow = timeout(&clock, Duration::from_secs(5), std::future::pending::<()>());
    let (slow, waited) = tokio::join!(slow, clock.advance_to_next());
    assert_eq!((slow.is_err(), waited), (true, Duration::from_secs(5)));
    let quick = timeout(&clock, Duration::ZERO, std::future::ready(7)).await;
    assert_eq!(quick, Ok(7));
}
