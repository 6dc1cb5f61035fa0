//! Signals, ends, logs, and the shim's own death.

use crate::world::{World, eventually};
use plan::action::replica::Action;
use plan::observed::{Exit, Phase};
use shim::life::Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_and_signals_are_kept() {
    let world = World::new().await;
    let id = world.run(world.shell("a.1", "exit 42")).await;
    assert_eq!(world.end(&id).await, Exit::Code(42));
    let id = world.run(world.shell("a.2", "kill -KILL $$")).await;
    assert_eq!(world.end(&id).await, Exit::Signal(9));
    let id = world.run(world.shell("a.3", "exec sleep 1000")).await;
    assert!(matches!(world.phase(&id).await, Some(Phase::Running { .. })));
    world.stop(&id, Duration::from_secs(10)).await;
    assert_eq!(world.end(&id).await, Exit::Signal(15));
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_asked_for_first_and_forced_after_the_grace_period() {
    let world = World::new().await;
    let polite =
        world.run(world.shell("a.1", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done")).await;
    let deaf = world.run(world.shell("a.2", "trap '' TERM; echo up; while :; do sleep 0.05; done")).await;
    world.logged(&polite, "up").await;
    world.logged(&deaf, "up").await;
    world.stop(&polite, Duration::from_secs(10)).await;
    assert_eq!(world.end(&polite).await, Exit::Code(7));
    assert!(world.log(&polite).ends_with("bye\n"));
    let begun = Instant::now();
    world.stop(&deaf, Duration::from_millis(300)).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(world.end(&deaf).await, Exit::Signal(9));
    world.stop(&deaf, Duration::from_secs(10)).await;
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_reaped_and_end_with_the_workload() {
    let world = World::new().await;
    // Each inner shell leaves a child behind that ends later, with nobody of its own to wait for it.
    let script = "for i in 1 2 3 4 5; do sh -c 'sleep 0.1 & exit 0'; done; sh -c 'sleep 1000 & exit 0'; echo up; sleep 1; \
        cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '; exit 5";
    let id = world.run(world.shell("a.1", script)).await;
    assert_eq!(world.end(&id).await, Exit::Code(5));
    assert_eq!(world.log(&id), "up\n0\n");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_takes_its_replica_along() {
    let world = World::new().await;
    let id = world.run(world.shell("a.1", "sh -c 'sleep 1000 & exit 0'; exec sleep 1000")).await;
    let dir = world.layout.replica(&world.stack, &id);
    let status = shim::status::read(&dir).unwrap().unwrap();
    let (init, workload) = (status.init.unwrap(), status.workload.unwrap());
    assert!(status.shim.exists() && init.exists() && workload.exists());
    kill(status.shim);
    // A test's own shims are children of whoever reaps orphans here; a zombie is gone for every purpose but its number.
    eventually("the replica's processes to be gone", || is_gone(init) && is_gone(workload)).await;
    assert_eq!(world.end(&id).await, Exit::Lost);
    assert_eq!(world.end(&id).await, Exit::Lost, "it stays so");
    world.run(world.shell("a.1", "exec sleep 1000")).await;
    assert!(matches!(world.phase(&id).await, Some(Phase::Running { .. })), "its slot can be used again");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_is_asked_to_end_asks_its_workload() {
    let world = World::new().await;
    let id = world.run(world.shell("a.1", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")).await;
    world.logged(&id, "up").await;
    let status = shim::status::read(&world.layout.replica(&world.stack, &id)).unwrap().unwrap();
    let pid = rustix::process::Pid::from_raw(status.shim.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(world.end(&id).await, Exit::Code(0));
    assert!(world.log(&id).ends_with("bye\n"));
    world.end_of_the_world().await;
}

fn kill(process: Process) {
    let pid = rustix::process::Pid::from_raw(process.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn is_gone(process: Process) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    !process.exists() || stat.contains(") Z ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_never_older_than_the_start_of_who_wrote_it() {
    let world = World::new().await;
    let id: model::ReplicaId = "a.1".parse().unwrap();
    let dir = world.layout.replica(&world.stack, &id);
    let over = Arc::new(AtomicBool::new(false));
    let hindered = std::thread::spawn({
        let (dir, over) = (dir.clone(), Arc::clone(&over));
        move || hinder(&dir, &over)
    });
    for round in 0..12 {
        world.run(world.shell("a.1", &format!("echo {round}; sleep 0.02; exit 3"))).await;
        assert_eq!(world.end(&id).await, Exit::Code(3));
        let started = shim::status::read(&dir).unwrap().unwrap().started_at.unwrap();
        let log = std::fs::read_to_string(engine::Engine::log_path(&world.engine, &world.stack, &id)).unwrap();
        let last = log.lines().last().unwrap();
        assert!(last.ends_with(&format!(" {round}")), "{log}");
        assert!(last.split(' ').next() >= Some(&started), "started {started}: {last}");
    }
    over.store(true, Ordering::Relaxed);
    assert!(hindered.join().unwrap() > 0, "no shim was ever held up");
    world.end_of_the_world().await;
}

/// Holds the shim of a replica up again and again, so that whatever it reads is all there at once; how many times.
fn hinder(dir: &std::path::Path, over: &AtomicBool) -> usize {
    use rustix::process::{Pid, Signal, kill_process};
    let mut held = 0;
    while !over.load(Ordering::Relaxed) {
        if let Ok(Some(status)) = shim::status::read(dir)
            && status.shim.exists()
            && let Some(pid) = Pid::from_raw(status.shim.pid)
            && kill_process(pid, Signal::STOP).is_ok()
        {
            std::thread::sleep(Duration::from_millis(4));
            held += usize::from(kill_process(pid, Signal::CONT).is_ok());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_may_be_repeated() {
    let world = World::new().await;
    let start = world.shell("a.1", "exec sleep 1000");
    let id = world.run(start.clone()).await;
    let dir = world.layout.replica(&world.stack, &id);
    let first = shim::status::read(&dir).unwrap().unwrap().shim;
    world.run(start.clone()).await;
    assert_eq!(shim::status::read(&dir).unwrap().unwrap().shim, first, "what runs is left alone");
    let mut other = start;
    other.hash = "ffffffffffffffffffffffffffffffff".parse().unwrap();
    let error = engine::Engine::perform(&world.engine, &world.stack, &Action::Start(Box::new(other)))
        .await
        .expect_err("is taken");
    assert!(crate::world::chain(&error).contains("another replica runs in its slot"));
    let remove = Action::Remove { id: id.clone() };
    let error = engine::Engine::perform(&world.engine, &world.stack, &remove).await.expect_err("it runs");
    assert!(crate::world::chain(&error).contains("it still runs"));
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_made_replicas_are_seen_and_cleared_away() {
    let world = World::new().await;
    let id = world.run(world.shell("a.1", "true")).await;
    world.end(&id).await;
    // What a kill between the labels and the shim leaves.
    let dir = world.layout.replica(&world.stack, &id);
    eventually("its shim's end", || !shim::life::is_held(&dir).unwrap()).await;
    for name in ["status", "control.sock", "hosts"] {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    assert_eq!(world.phase(&id).await, Some(Phase::Half));
    world.run(world.shell("a.1", "exit 3")).await;
    assert_eq!(world.end(&id).await, Exit::Code(3));
    // What a kill during a removal leaves.
    eventually("its shim's end", || !shim::life::is_held(&dir).unwrap()).await;
    std::fs::remove_file(dir.join("status")).unwrap();
    world.perform(Action::Remove { id: id.clone() }).await;
    assert_eq!(world.phase(&id).await, None);
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_replica_hides_no_other() {
    let world = World::new().await;
    world.network("front", 0, true).await;
    let mut start = world.shell("a.1", "exec sleep 1000");
    start.addresses = [("front".parse().unwrap(), world.address(0, 10))].into();
    let damaged = world.run(start).await;
    let whole = world.run(world.shell("b.1", "exec sleep 1000")).await;
    let labels = world.layout.replica(&world.stack, &damaged).join("labels.json");
    let kept = std::fs::read(&labels).unwrap();
    std::fs::write(&labels, "{").unwrap();
    let placed = engine::Engine::observe(&world.engine, &world.stack).await.unwrap();
    assert!(matches!(placed.replicas[&whole].phase, Phase::Running { .. }));
    let seen = &placed.replicas[&damaged];
    assert!(matches!(&seen.phase, Phase::Unknown(why) if why.contains("labels.json")), "{:?}", seen.phase);
    assert_eq!(seen.addresses.values().collect::<Vec<_>>(), [&world.address(0, 10)], "its address stays taken");
    std::fs::write(&labels, kept).unwrap();
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_nobody_up() {
    let mut world = World::new().await;
    let logs = world.layout.logs.clone();
    rustix::mount::mount("test", &logs, "tmpfs", rustix::mount::MountFlags::empty(), c"size=256k").unwrap();
    let fill = logs.join("fill");
    let script = "echo first; while [ ! -e /go/on ]; do sleep 0.02; done; \
        i=0; while [ $i -lt 20000 ]; do echo line $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; i=$((i+1)); done; \
        echo done > /go/done; while [ ! -e /go/end ]; do sleep 0.02; done; sleep 1.5; echo last; sleep 0.2";
    world.perform(Action::EnsureVolume { name: "go".parse().unwrap(), made: Default::default() }).await;
    let mut start = world.shell("a.1", script);
    std::sync::Arc::make_mut(&mut start.template).mounts = vec![crate::world::volume("go", "/go")];
    let id = world.run(start).await;
    world.logged(&id, "first").await;
    std::fs::write(&fill, vec![0; 200 * 1024]).unwrap();
    let go = world.layout.volume(&world.stack, &"go".parse().unwrap());
    std::fs::write(go.join("on"), "").unwrap();
    eventually("the workload to go on", || go.join("done").exists()).await;
    std::fs::remove_file(&fill).unwrap();
    std::fs::write(go.join("end"), "").unwrap();
    assert_eq!(world.end(&id).await, Exit::Code(0));
    let text = world.log(&id);
    assert!(
        text.contains("lines before this one could not be kept: No space left on device"),
        "{}",
        &text[text.len() - 500..]
    );
    assert!(text.ends_with("last\n"));
    let raw = std::fs::read_to_string(engine::Engine::log_path(&world.engine, &world.stack, &id)).unwrap();
    assert!(raw.lines().all(|line| line.len() > 32 && &line[29..31] == "Z "), "no torn line");
    world.restart().await;
    rustix::mount::unmount(&logs, rustix::mount::UnmountFlags::DETACH).unwrap();
    world.end_of_the_world().await;
}
