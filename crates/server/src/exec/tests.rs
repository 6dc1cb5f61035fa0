//! Clients that press keys, send signals, go away; commands that read nothing.

use super::*;
use async_trait::async_trait;
use engine::fake::FakeEngine;
use engine::{EngineError, Shortcoming, Usage};
use model::project::{Role, Template};
use plan::observed::{Known, Phase, Placed};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::io::DuplexStream;

/// Runs commands that never end by themselves, and notes that one was left.
struct Endless {
    fake: FakeEngine,
    left: Arc<AtomicBool>,
    placed: Placed,
    performed: Mutex<Vec<String>>,
}

impl Endless {
    fn new() -> Self {
        let fake = FakeEngine::new(jiff::Timestamp::UNIX_EPOCH);
        Self { fake, left: Arc::default(), placed: Placed::default(), performed: Mutex::default() }
    }
}

struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Engine for Endless {
    fn kind(&self) -> model::policy::EngineKind {
        self.fake.kind()
    }

    async fn observe(&self, _: &StackId) -> Result<Placed, EngineError> {
        Ok(self.placed.clone())
    }

    async fn perform(&self, _: &StackId, action: &replica::Action) -> Result<(), EngineError> {
        let text = match action {
            replica::Action::Stop { id, signal, .. } => format!("stop {id} {signal}"),
            replica::Action::Remove { id } => format!("remove {id}"),
            other => format!("{other:?}"),
        };
        self.performed.lock().expect("no panic").push(text);
        Ok(())
    }

    async fn stacks(&self) -> Result<Vec<StackId>, EngineError> {
        self.fake.stacks().await
    }

    async fn changed(&self) -> StackId {
        self.fake.changed().await
    }

    async fn subnets_in_use(&self) -> Result<Vec<ipnet::Ipv4Net>, EngineError> {
        self.fake.subnets_in_use().await
    }

    async fn check(&self, template: &Template) -> Vec<Shortcoming> {
        self.fake.check(template).await
    }

    fn log_path(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.fake.log_path(stack, id)
    }

    async fn exec(&self, _: &StackId, _: &ReplicaId, exec: Exec) -> Result<ExecExit, EngineError> {
        let _leaving = Leaving(self.left.clone());
        let _held = exec.stdio;
        std::future::pending().await
    }

    async fn usage(&self, stack: &StackId) -> Result<BTreeMap<ReplicaId, Known<Usage>>, EngineError> {
        self.fake.usage(stack).await
    }
}

/// Runs `argv` for a client that does as `client` does; what came of it, and whether the command was left.
async fn serve(argv: &[&str], client: impl AsyncFnOnce(DuplexStream)) -> (Result<ExecResult, ApiError>, bool) {
    let engine = Endless::new();
    let tasks = Tasks::new(Arc::new(runtime::SystemClock));
    let (stack, id) = ("shop@test".parse().expect("legal"), "api.1".parse().expect("legal"));
    let request = ExecRequest {
        target: "api.1".into(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        environment: BTreeMap::new(),
        working_dir: None,
        user: None,
        tty: None,
    };
    let (near, mut far) = tokio::io::duplex(4096);
    let (out, _frames) = mpsc::channel(64);
    let place = Place { engine: &engine, stack: &stack, id: &id };
    let conversation = converse(place, request, &tasks, &mut far, &out);
    let (result, ()) = runtime::clock::timeout(&runtime::SystemClock, Duration::from_secs(20), async {
        tokio::join!(conversation, client(near))
    })
    .await
    .expect("it ends");
    (result, engine.left.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_signal_ends_a_command_that_reads_nothing() {
    let (result, left) = serve(&["cat"], async |mut near| {
        // More than any pipe holds.
        for _ in 0..WINDOW / 1024 {
            write_frame(&mut near, Frame::Stdin, &[b'x'; 1024]).await.expect("it is read");
        }
        write_frame(&mut near, Frame::Signal, &[2]).await.expect("it is read");
    })
    .await;
    assert_eq!(result.expect("a result").code, 130);
    assert!(left);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_command() {
    let (result, left) = serve(&["cat"], async |mut near| {
        for _ in 0..WINDOW / 1024 {
            write_frame(&mut near, Frame::Stdin, &[b'x'; 1024]).await.expect("it is read");
        }
    })
    .await;
    assert_eq!(result.expect_err("nobody is there").code, "MS0211");
    assert!(left);
}

#[tokio::test]
async fn input_beyond_the_window_is_refused() {
    let (result, _) = serve(&["cat"], async |mut near| {
        let frame = vec![b'x'; WINDOW];
        write_frame(&mut near, Frame::Stdin, &frame).await.expect("it is read");
        // The pipe took a part of the first; the window is given back only once it took all of it.
        write_frame(&mut near, Frame::Stdin, &frame).await.expect("it is read");
    })
    .await;
    assert_eq!(result.expect_err("too much").code, "MS0211");
}

#[tokio::test]
async fn no_words_are_no_command() {
    let (result, _) = serve(&[], async |_| {}).await;
    let error = result.expect_err("nothing to run");
    assert_eq!((error.status, error.code.as_str()), (400, "MS0235"));
}

#[tokio::test]
async fn what_a_daemon_left_of_one_offs_is_swept_and_nothing_else() {
    let mut engine = Endless::new();
    for id in ["api.1", "api.1000", "db.1001"] {
        let replica = crate::testing::replica(Role::Service, Phase::Half);
        engine.placed.replicas.insert(id.parse().expect("legal"), replica);
    }
    let stack = "shop@test".parse().expect("legal");
    assert_eq!(crate::stack::one_off::sweep(&engine, &stack).await.expect("swept"), 2);
    let performed = engine.performed.into_inner().expect("no panic");
    assert_eq!(performed, ["stop api.1000 9", "remove api.1000", "stop db.1001 9", "remove db.1001"]);
}
