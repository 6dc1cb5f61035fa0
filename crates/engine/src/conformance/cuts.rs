//! What a daemon that dies leaves behind, and what the next one makes of it.

use super::Workloads;
use super::bench::{Bench, GRACE, chain};
use super::lives::command;
use crate::{Engine, ExecExit};
use plan::action::replica::Action;
use plan::observed::{Exit, Phase};
use std::future::Future;
use std::pin::pin;
use std::task::Poll;

/// Drops a start at each place where it waits for something, and starts it again.
pub(super) async fn a_start_that_is_cut_is_seen_and_done_again(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "cut").await;
    let start = bench.start("web.1", workloads.runs());
    let action = Action::Start(start.clone().into());
    for waits in 0.. {
        let is_done = cut_after(waits, engine.perform(&bench.stack, &action)).await;
        if let Some(replica) = bench.placed().await.replicas.get(&start.id) {
            assert_eq!((replica.hash, replica.release), (start.hash, start.release), "it is known whose it is");
            let phase = &replica.phase;
            assert!(matches!(phase, Phase::Half | Phase::Running { .. }), "cut after {waits} waits: {phase:?}");
        }
        let id = bench.run(&start).await;
        let replica = bench.replica(&id).await;
        assert!(matches!(replica.phase, Phase::Running { .. }), "cut after {waits} waits: {:?}", replica.phase);
        bench.stop(&id, GRACE).await;
        bench.remove(&id).await;
        if is_done {
            break;
        }
    }
    bench.tear_down().await;
}

/// Polls until it has waited so often, and drops it then. Whether it was done before.
pub(super) async fn cut_after<T>(waits: usize, work: impl Future<Output = T>) -> bool {
    let (mut work, mut left) = (pin!(work), waits);
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending if left == 0 => Poll::Ready(false),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

pub(super) async fn the_next_object_has_what_the_first_one_started(
    engine: &dyn Engine,
    next: &dyn Engine,
    workloads: &dyn Workloads,
) {
    let first = Bench::new(engine, workloads, "handed-over").await;
    let id = first.run(&first.start("web.1", workloads.runs())).await;
    let job = first.run(&first.start("job.1", workloads.exits(3))).await;
    assert_eq!(first.end(&job).await, Exit::Code(3));
    let second = Bench { engine: next, workloads, stack: first.stack.clone() };
    assert_eq!(second.placed().await, first.placed().await);
    assert!(second.stacks().await.contains(&first.stack));
    match next.exec(&second.stack, &id, command(workloads.exit_command(4))).await {
        Ok(exit) => assert_eq!(exit, ExecExit::Code(4)),
        Err(error) => panic!("run a command: {}", chain(&error)),
    }
    second.run(&second.start("web.1", workloads.runs())).await;
    assert_eq!(second.placed().await, first.placed().await, "what runs is not started again");
    second.stop(&id, GRACE).await;
    first.end(&id).await;
    second.tear_down().await;
}
