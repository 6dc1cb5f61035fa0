//! What somebody does to containers by hand, and ends that are not ordinary.

use crate::bench::{Bench, RUNS, docker, on};
use engine::Engine;
use model::ReplicaId;
use plan::action::replica::Action;
use plan::observed::{Exit, Phase};
use std::sync::Arc;
use std::time::Duration;

async fn exit(bench: &Bench, id: &ReplicaId) -> Exit {
    match bench.end(id).await {
        Phase::Exited { how, since, at } => {
            assert!(since <= at);
            how
        }
        other => panic!("`{id}` is {other:?}"),
    }
}

#[tokio::test]
async fn a_container_that_was_stopped_by_hand_is_seen_and_started_anew() {
    let bench = Bench::new().await;
    let id = bench.run("web.1", RUNS).await;
    docker(&["stop", &bench.called("-web-1")]);
    assert_eq!(exit(&bench, &id).await, Exit::Code(0));
    bench.run("web.1", RUNS).await;
    docker(&["kill", &bench.called("-web-1")]);
    assert_eq!(exit(&bench, &id).await, Exit::Signal(9));
}

#[tokio::test]
async fn a_container_that_was_removed_by_hand_is_absent_and_started_anew() {
    let bench = Bench::new().await;
    let id = bench.run("web.1", RUNS).await;
    docker(&["rm", "--force", &bench.called("-web-1")]);
    bench.once("a removal", async || bench.placed().await.replicas.is_empty().then_some(())).await;
    // What is wanted of one that is gone is done already.
    bench.stop(&id).await;
    bench.remove(&id).await;
    bench.run("web.1", RUNS).await;
    assert!(matches!(bench.phase(&id).await, Phase::Running { .. }));
}

#[tokio::test]
async fn a_container_that_was_renamed_by_hand_is_still_ours() {
    let bench = Bench::new().await;
    let id = bench.run("web.1", RUNS).await;
    let before = bench.placed().await;
    let name = bench.ground.name("renamed");
    docker(&["rename", &bench.called("-web-1"), &name]);
    assert_eq!(bench.engine.changed().await, bench.stack);
    assert_eq!(bench.placed().await, before);
    bench.run("web.1", RUNS).await;
    assert_eq!(bench.placed().await, before, "it is not started again");
    bench.stop(&id).await;
    bench.remove(&id).await;
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &format!("name={name}")]), "");
}

#[tokio::test]
async fn a_container_that_was_paused_by_hand_takes_no_commands_and_is_stopped_all_the_same() {
    let bench = Bench::new().await;
    let id = bench.run("web.1", RUNS).await;
    docker(&["pause", &bench.called("-web-1")]);
    assert!(matches!(bench.phase(&id).await, Phase::Running { .. }), "it holds its slot");
    let (nothing, _) = std::io::pipe().unwrap();
    let (_, out) = std::io::pipe().unwrap();
    let exec = engine::Exec {
        argv: vec!["true".into()],
        environment: Default::default(),
        working_dir: None,
        user: None,
        stdio: [nothing.into(), out.try_clone().unwrap().into(), out.into()],
        tty: false,
        timeout: Some(Duration::from_secs(10)),
    };
    let error = bench.engine.exec(&bench.stack, &id, exec).await.expect_err("it is paused");
    let text = crate::bench::chain(&error);
    assert!(text.contains("paused") && text.contains("docker unpause"), "{text}");
    let begun = std::time::Instant::now();
    bench.stop(&id).await;
    assert!(begun.elapsed() < Duration::from_secs(9), "it is not killed after its grace: {:?}", begun.elapsed());
    assert_eq!(exit(&bench, &id).await, Exit::Code(0));
    bench.remove(&id).await;
}

#[tokio::test]
async fn a_container_that_was_started_again_by_hand_is_seen() {
    let bench = Bench::new().await;
    let id = bench.run("web.1", "exit 3").await;
    assert_eq!(exit(&bench, &id).await, Exit::Code(3));
    let name = bench.called("-web-1");
    docker(&["start", &name]);
    let first = bench.phase(&id).await;
    assert!(!matches!(first, Phase::Unknown(_) | Phase::Half), "{first:?}");
    assert_eq!(exit(&bench, &id).await, Exit::Code(3));
}

#[tokio::test]
async fn a_program_that_is_missing_is_named_in_plain_words() {
    let bench = Bench::new().await;
    let mut start = bench.start("web.1", bench.shell(""));
    let template = Arc::make_mut(&mut start.template);
    if let model::project::Runs::Image { entrypoint, command, .. } = &mut template.runs {
        (*entrypoint, *command) = (Some(vec!["/app/server".into()]), None);
    }
    let text = bench.refuses(Action::Start(start.into()), &["/app/server", "no such file"]).await;
    assert!(!text.contains("OCI") && !text.contains("runc"), "{text}");
    let phase = bench.phase(&"web.1".parse().unwrap()).await;
    assert!(
        matches!(&phase, Phase::Failed { why, .. } if why.contains("/app/server") && !why.contains("OCI")),
        "{phase:?}"
    );
    // The slot is free for the next attempt.
    let id = bench.run("web.1", RUNS).await;
    assert!(matches!(bench.phase(&id).await, Phase::Running { .. }));
}

#[tokio::test]
async fn whoever_needs_more_memory_than_it_may_have_is_told_so() {
    let bench = Bench::new().await;
    // `tail` keeps what has no end of a line.
    let mut template = bench.shell("exec tail -n 1 /dev/zero");
    template.limits.memory = Some(model::units::Bytes(16 << 20));
    template.container.memory_swap = Some(16 << 20);
    let id = bench.begin(bench.start("web.1", template)).await;
    assert_eq!(exit(&bench, &id).await, Exit::OutOfMemory);
}

#[tokio::test]
async fn the_signal_that_an_image_names_asks_it_to_stop() {
    let bench = Bench::new().await;
    let image = bench.image("STOPSIGNAL SIGQUIT");
    let script = "trap 'echo quit; exit 0' QUIT; trap '' TERM; while :; do sleep 1000 & wait; done";
    let id = bench.begin(bench.start("web.1", on(bench.shell(script), &image))).await;
    let replica = bench.replica(&id).await;
    assert_eq!(replica.stop_signal, 3);
    // By hand, too.
    docker(&["stop", "--time", "20", &bench.called("-web-1")]);
    assert_eq!(exit(&bench, &id).await, Exit::Code(0));
    // Who writes another one means it.
    let mut template = on(bench.shell("trap 'exit 7' USR1; while :; do sleep 1000 & wait; done"), &image);
    template.stop_signal = Some(10);
    let id = bench.begin(bench.start("web.2", template)).await;
    let replica = bench.replica(&id).await;
    assert_eq!(replica.stop_signal, 10);
    let stop = Action::Stop { id: id.clone(), signal: replica.stop_signal, grace: Duration::from_secs(20) };
    bench.perform(stop).await;
    assert_eq!(exit(&bench, &id).await, Exit::Code(7));
}

#[tokio::test]
async fn two_clients_that_start_the_same_at_once_start_it_once() {
    let bench = Bench::new().await;
    let next = bench.open();
    let start = bench.start("web.1", bench.shell(RUNS));
    let one = bench.perform(Action::Start(Box::new(start.clone())));
    let other = crate::bench::perform(&next, &bench.stack, Action::Start(Box::new(start.clone())));
    tokio::join!(one, other);
    let owner = format!("label=app.mainstay.owner={}", bench.settings.names.owner);
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &owner]).lines().count(), 1);
    assert!(matches!(bench.phase(&start.id).await, Phase::Running { .. }));
}
