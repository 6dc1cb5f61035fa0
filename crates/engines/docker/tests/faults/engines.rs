//! The Engine itself: killed, stopped, too old.

use crate::bench::{Bench, RUNS, SOON, chain, perform};
use engine::{Engine as _, Retry};
use mainstay_engine_docker::Address;
use plan::action::replica::Action;
use plan::observed::{Exit, Phase};
use std::path::{Path, PathBuf};
use testkit::docker::{BASE, Engine};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

async fn own() -> (Engine, Bench) {
    let engine = tokio::task::spawn_blocking(|| {
        let engine = Engine::start();
        engine.load(BASE);
        engine
    });
    let engine = engine.await.unwrap();
    let bench = Bench::at(&engine.url().parse().unwrap()).await;
    (engine, bench)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_was_killed_is_away_and_what_ran_on_it_is_seen_when_it_is_back() {
    let (mut own, bench) = own().await;
    let id = bench.run("web.1", RUNS).await;
    bench.asked(&id, "echo before > /proc/1/fd/1").await;
    own.kill();
    let error = bench.engine.observe(&bench.stack).await.expect_err("nobody answers");
    assert_eq!(error.retry, Retry::Later);
    let text = chain(&error);
    assert!(text.contains(&own.url()) && text.contains("systemctl start docker"), "{text}");
    let start = Action::Start(bench.start("web.2", bench.shell(RUNS)).into());
    let error = bench.engine.perform(&bench.stack, &start).await.expect_err("nobody answers");
    assert!(error.retry == Retry::Later && chain(&error).contains("does not answer"), "{}", chain(&error));
    own.start_again();
    // Nobody tells of what happened meanwhile, so that it is looked at.
    let woken = tokio::time::timeout(SOON, bench.engine.changed()).await;
    assert_eq!(woken.expect("the engine tells that the Engine is back"), bench.stack);
    let phase = bench.phase(&id).await;
    assert!(matches!(phase, Phase::Exited { since, at, .. } if since <= at), "{phase:?}");
    bench.run("web.1", RUNS).await;
    bench.perform(start).await;
    assert!(matches!(bench.phase(&id).await, Phase::Running { .. }));
    let log = std::fs::read_to_string(bench.engine.log_path(&bench.stack, &id)).unwrap();
    assert!(log.contains("before"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_was_stopped_ends_what_runs_on_it_in_order() {
    let (mut own, bench) = own().await;
    let id = bench.run("web.1", RUNS).await;
    own.stop();
    own.start_again();
    let phase = bench.once("its end", async || match bench.engine.observe(&bench.stack).await {
        Ok(mut placed) => placed.replicas.remove(&id).map(|replica| replica.phase),
        Err(_) => None,
    });
    assert!(matches!(phase.await, Phase::Exited { how: Exit::Code(0), .. }));
    bench.run("web.1", RUNS).await;
    assert!(matches!(bench.phase(&id).await, Phase::Running { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_that_were_cut_by_the_engines_death_are_done_when_it_is_back() {
    let (mut own, bench) = own().await;
    let starts: Vec<_> = (1..=6).map(|slot| bench.start(&format!("web.{slot}"), bench.shell(RUNS))).collect();
    let all = || {
        futures_util::future::join_all(starts.iter().map(|start| async {
            let action = Action::Start(Box::new(start.clone()));
            bench.engine.perform(&bench.stack, &action).await
        }))
    };
    let cut = async {
        bench.once("the first start", async || (!bench.placed().await.replicas.is_empty()).then_some(())).await;
        tokio::task::block_in_place(|| own.kill());
    };
    let (ends, ()) = tokio::join!(all(), cut);
    let refused: Vec<_> = ends.into_iter().filter_map(Result::err).collect();
    for error in &refused {
        assert_eq!(error.retry, Retry::Later, "{}", chain(error));
    }
    tokio::task::block_in_place(|| own.start_again());
    let again = starts.iter().map(|start| {
        let action = Action::Start(Box::new(start.clone()));
        perform(&bench.engine, &bench.stack, action)
    });
    futures_util::future::join_all(again).await;
    let placed = bench.placed().await;
    assert_eq!(placed.replicas.len(), 6);
    assert!(placed.replicas.values().all(|replica| matches!(replica.phase, Phase::Running { .. })), "{placed:?}");
    assert_eq!(own.docker(&["ps", "--all", "--quiet"]).lines().count(), 6, "each is there once");
}

/// An Engine that says of itself that it is of API 1.40: the shared one, with its word changed on the way.
struct Older {
    folder: tempfile::TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Older {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket(folder.path())).unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let engine = UnixStream::connect(testkit::docker::socket()).await.unwrap();
                    let ((from_client, mut to_client), (mut from_engine, mut to_engine)) =
                        (client.into_split(), engine.into_split());
                    tokio::spawn(async move {
                        let mut from_client = from_client;
                        let _ = tokio::io::copy(&mut from_client, &mut to_engine).await;
                    });
                    let mut bytes = vec![0; 1 << 16];
                    while let Ok(count @ 1..) = from_engine.read(&mut bytes).await {
                        let said = &mut bytes[..count];
                        let word = br#""ApiVersion":"1."#;
                        let places: Vec<usize> =
                            (0..said.len()).filter(|at| said[*at..].starts_with(word) && at + 18 < count).collect();
                        places.iter().for_each(|at| said[at + word.len()..][..2].copy_from_slice(b"40"));
                        if to_client.write_all(said).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { folder, serving }
    }

    fn address(&self) -> Address {
        socket(self.folder.path()).to_str().unwrap().parse().unwrap()
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("docker.sock")
}

impl Drop for Older {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_too_old_for_a_key_is_named_with_the_key_and_the_version_it_takes() {
    let older = Older::new();
    let bench = Bench::at(&older.address()).await;
    let id = bench.run("web.1", RUNS).await;
    assert!(matches!(bench.phase(&id).await, Phase::Running { .. }), "what it can do it does");
    assert!(!bench.engine.usage(&bench.stack).await.unwrap().is_empty());
    let mut platform = bench.shell(RUNS);
    platform.container.platform = Some("linux/amd64".into());
    let mut group = bench.shell(RUNS);
    group.container.namespaces.cgroup = Some("host".into());
    let mut notes = bench.shell(RUNS);
    notes.container.annotations.insert("a".into(), "b".into());
    for (template, key, needed) in
        [(platform, "platform", "1.41"), (group, "cgroup", "1.41"), (notes, "annotations", "1.43")]
    {
        let short = bench.engine.check(&template).await;
        let says = |text: &str| text.contains(&format!("`{key}`")) && text.contains(needed) && text.contains("1.40");
        assert!(short.iter().any(|short| short.fatal && says(&short.what)), "{key}: {short:?}");
        let start = Action::Start(bench.start("web.2", template).into());
        bench.refuses(start, &[&format!("`{key}`"), "1.40", needed, "update Docker"]).await;
    }
    assert_eq!(bench.placed().await.replicas.len(), 1);
}
