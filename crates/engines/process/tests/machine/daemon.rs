//! A daemon may be killed at any time; the figures that were promised.

use crate::world::World;
use engine::Engine;
use plan::observed::{Exit, Phase};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn the_next_daemon_adopts_what_runs_and_hears_of_its_end() {
    let mut world = World::new().await;
    let id = world.run(world.shell("a.1", "echo up; exec sleep 1000")).await;
    let done = world.run(world.shell("a.2", "exit 4")).await;
    world.end(&done).await;
    let before = shim::status::read(&world.layout.replica(&world.stack, &id)).unwrap();
    world.restart().await;
    assert_eq!(shim::status::read(&world.layout.replica(&world.stack, &id)).unwrap(), before);
    assert!(matches!(world.phase(&id).await, Some(Phase::Running { .. })));
    assert_eq!(world.end(&done).await, Exit::Code(4), "ends are kept");
    world.exec(&id, "kill -9 2").await;
    let stack = tokio::time::timeout(Duration::from_secs(5), world.engine.changed()).await.expect("it is told");
    assert_eq!(stack, world.stack);
    assert_eq!(world.end(&id).await, Exit::Signal(9));
    world.end_of_the_world().await;
}

/// How long it takes is a figure of `docs/benchmarks.md`; what a shim keeps for itself is a limit.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_replicas_are_adopted_and_their_shims_are_small() {
    const N: u32 = 200;
    let mut world = World::new().await;
    let begun = Instant::now();
    for n in 1..=N {
        world.run(world.shell(&format!("a.{n}"), "exec sleep 1000")).await;
    }
    let each = begun.elapsed() / N;
    let begun = Instant::now();
    world.restart().await;
    let placed = world.engine.observe(&world.stack).await.unwrap();
    let adopted = begun.elapsed();
    assert_eq!(placed.replicas.values().filter(|r| matches!(r.phase, Phase::Running { .. })).count(), N as usize);
    let mut dirty: Vec<u64> = placed.replicas.keys().map(|id| private_dirty(&world, id)).collect();
    dirty.sort_unstable();
    let (median, most) = (dirty[dirty.len() / 2], dirty[dirty.len() - 1]);
    println!(
        "start {each:?} each; {N} adopted in {adopted:?}; shim and init {median} KiB Private_Dirty, at most {most}"
    );
    assert!(most <= 1024, "{most} KiB");
    world.end_of_the_world().await;
}

/// Of the shim and the first process of its namespace, in KiB.
fn private_dirty(world: &World, id: &model::ReplicaId) -> u64 {
    let status = shim::status::read(&world.layout.replica(&world.stack, id)).unwrap().unwrap();
    [status.shim.pid, status.init.unwrap().pid]
        .iter()
        .map(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        })
        .sum()
}
