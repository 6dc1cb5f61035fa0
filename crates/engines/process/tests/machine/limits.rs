//! Control groups and resource limits.

use crate::world::{World, eventually};
use model::units::{Bytes, MilliCpus};
use plan::observed::{Exit, Known};

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_is_told_from_a_kill() {
    let world = World::new().await;
    let mut start = world.shell("a.1", "exec perl -e 'my $x = \"x\" x (200 << 20); sleep 100'");
    std::sync::Arc::make_mut(&mut start.template).limits.memory = Some(Bytes(32 << 20));
    let id = world.run(start).await;
    assert_eq!(world.end(&id).await, Exit::OutOfMemory);
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_and_usage_is_read() {
    let world = World::new().await;
    let mut start = world.shell("a.1", "ulimit -n; exec sh -c 'while :; do :; done'");
    let limits = &mut std::sync::Arc::make_mut(&mut start.template).limits;
    limits.cpus = Some(MilliCpus(100));
    limits.pids = std::num::NonZeroU32::new(20);
    limits.ulimits.insert("nofile".into(), (512, 1024));
    let id = world.run(start).await;
    world.logged(&id, "512").await;
    let usage = async || match engine::Engine::usage(&world.engine, &world.stack).await.unwrap().get(&id) {
        Some(Known::Is(usage)) => *usage,
        other => panic!("{other:?}"),
    };
    let begun = std::time::Instant::now();
    let first = usage().await;
    let last = loop {
        let now = usage().await;
        if now.cpu > first.cpu + std::time::Duration::from_millis(100) {
            break now;
        }
        assert!(begun.elapsed() < crate::world::SOON);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let share = (last.cpu - first.cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    assert!(share < 0.3, "a tenth of a processor was given, {share:.2} used");
    assert!(last.pids == 1 && last.memory > 0, "{last:?}");
    let (_, text) = world
        .exec(&id, "i=0; while [ $i -lt 40 ]; do sleep 1 & i=$((i+1)); done 2>&1; kill $(jobs -p) 2>/dev/null")
        .await;
    assert!(text.contains("fork"), "more than 20 processes are refused: {text}");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_cannot_be_raised_is_lowered_and_said_so() {
    let world = World::new().await;
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let most = hard.expect("the kernel has a greatest number of open files");
    let mut start = world.shell("a.1", "ulimit -n; exec sleep 1000");
    // Above the kernel's own limit this is refused even to who may raise limits.
    std::sync::Arc::make_mut(&mut start.template).limits.ulimits.insert("nofile".into(), (1 << 30, 1 << 30));
    let id = world.run(start).await;
    let most = most.to_string();
    eventually("the limit in the log", || world.log(&id).lines().any(|line| line == most)).await;
    assert!(
        world.log(&id).contains("mainstay: limit `nofile` 1073741824:1073741824 was lowered to"),
        "{}",
        world.log(&id)
    );
    let status = shim::status::read(&world.layout.replica(&world.stack, &id)).unwrap().unwrap();
    assert!(status.notes.iter().any(|note| note.contains("was lowered to")), "{:?}", status.notes);
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_whose_program_took_too_much_memory_says_so() {
    let world = World::new().await;
    let script = "perl -e 'my $x = \"x\" x (200 << 20); sleep 100'; exit $?";
    let mut start = world.shell("a.1", script);
    std::sync::Arc::make_mut(&mut start.template).limits.memory = Some(Bytes(32 << 20));
    let id = world.run(start).await;
    assert_eq!(world.end(&id).await, Exit::OutOfMemory);
    assert!(world.log(&id).contains("over its memory limit"), "{}", world.log(&id));
    world.end_of_the_world().await;
}
