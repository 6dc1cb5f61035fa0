//! A daemon without its API: real store and edge, a machine in memory, time that runs fast, and a disk that fails at a
//! chosen write.

use crate::api::ApiError;
use crate::api::bundle::NewBundle;
use crate::api::release::{Accepted, ReleaseRequest, ReleaseView, RunEvent};
use crate::daemon::Daemon;
use crate::settings::Settings;
use crate::start::{self, Keepers, Wiring};
use engine::Engine;
use engine::fake::FakeEngine;
use jiff::SignedDuration;
use model::StackId;
use plan::observed::{Exit, Phase};
use runtime::{Rng, Tasks};
use rusqlite::Connection;
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::ManualClock;

/// No write fails.
pub const HEALTHY: i64 = 1 << 40;

pub struct Rig {
    pub dir: tempfile::TempDir,
    pub engine: Arc<FakeEngine>,
    pub clock: ManualClock,
    pub id: StackId,
}

/// One daemon's life.
pub struct Life {
    pub daemon: Arc<Daemon>,
    tasks: Tasks,
    keepers: Keepers,
    id: StackId,
}

impl Rig {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let engine = Arc::new(FakeEngine::new(clock.shared().now()));
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let rig = Self { dir, engine, clock, id: "shop@production".parse().unwrap() };
        rig.serve_edge();
        let (clock, engine) = (rig.clock.clone(), rig.engine.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                clock.advance(Duration::from_millis(10));
                engine.advance(SignedDuration::from_millis(10));
            }
        });
        rig
    }

    fn settings(&self) -> Settings {
        Settings {
            state: self.dir.path().join("state"),
            run: self.dir.path().join("run"),
            http: ([127, 0, 0, 1], 0).into(),
            program: "/bin/false".into(),
            edge_user: None,
        }
    }

    /// The edge lives in a thread: daemons find it as they find one that an earlier daemon started.
    fn serve_edge(&self) {
        let socket = runtime::sockets::listen_unix(&self.settings().edge_socket(), 0o600, None).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let options = edge::Options {
            workers: Some(std::num::NonZeroUsize::MIN),
            ..edge::Options::new(socket.into_raw_fd(), uid)
        };
        std::thread::spawn(move || edge::serve(options));
    }

    pub async fn begin(&self) -> Life {
        let clock = self.clock.shared();
        let tasks = Tasks::new(clock.clone());
        let engine: Arc<dyn Engine> = self.engine.clone();
        let wiring = Wiring {
            engines: Box::new(move || Box::pin(async move { Ok(vec![engine]) })),
            clock,
            tasks: tasks.clone(),
            rng: Rng::from_number(1),
        };
        let (daemon, keepers) = start::begin(&self.settings(), wiring, "a test").await.unwrap();
        self.arm();
        Life { daemon, tasks, keepers, id: self.id.clone() }
    }

    pub fn state_file(&self) -> PathBuf {
        self.dir.path().join("state/state.db")
    }

    pub fn sql(&self, sql: &str) {
        let connection = Connection::open(self.state_file()).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    pub fn count(&self, sql: &str) -> i64 {
        let connection = Connection::open(self.state_file()).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Every write but those of the event log counts, and fails once none is left.
    fn arm(&self) {
        let tables = ["stacks", "releases", "runs", "steps", "settings", "completions"];
        let triggers = tables.into_iter().flat_map(|table| {
            ["INSERT", "UPDATE", "DELETE"].map(|what| {
                format!(
                    "CREATE TRIGGER IF NOT EXISTS fault_{table}_{what} BEFORE {what} ON {table} BEGIN
                       SELECT RAISE(ABORT, 'the disk is full') FROM faults WHERE left <= 0;
                       UPDATE faults SET left = left - 1;
                     END;"
                )
            })
        });
        let triggers: String = triggers.collect();
        self.sql(&format!(
            "CREATE TABLE IF NOT EXISTS faults (left INTEGER NOT NULL);
             INSERT INTO faults SELECT {HEALTHY} WHERE NOT EXISTS (SELECT 1 FROM faults); {triggers}"
        ));
    }

    /// So many more writes succeed.
    pub fn writes_left(&self, left: i64) {
        self.sql(&format!("UPDATE faults SET left = {left}"));
    }

    /// The commands of what runs, sorted.
    pub async fn running(&self) -> Vec<String> {
        let placed = self.engine.observe(&self.id).await.unwrap();
        let running = placed.replicas.iter().filter(|(_, seen)| matches!(seen.phase, Phase::Running { .. }));
        running.map(|(id, seen)| format!("{} r{}", id.service, seen.release.0)).collect()
    }

    pub async fn crash_one(&self) {
        let placed = self.engine.observe(&self.id).await.unwrap();
        let id = placed.replicas.keys().next().expect("something runs");
        self.engine.crash(&self.id, id, Exit::Code(1));
    }

    /// Lets so much time pass.
    pub async fn pass(&self, time: Duration) {
        let until = self.clock.shared().monotonic() + time;
        while self.clock.shared().monotonic() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Two replicas of a service that runs this command, after a job.
pub fn declaration(command: &str) -> String {
    let words: Vec<String> = command.split(' ').map(|word| format!("{word:?}")).collect();
    let (words, restart) = (words.join(", "), if command.starts_with("exit") { "no" } else { "always" });
    format!(
        r#"{{"mainstay":"1","project":"shop","environment":"production","compose":{{"services":{{
            "api":{{"image":"api","restart":"{restart}","deploy":{{"replicas":2}},
                    "depends_on":{{"migrate":{{"condition":"service_completed_successfully"}}}}}},
            "migrate":{{"image":"migrate","restart":"no"}}}}}},
          "policy":{{"environments":{{"production":{{"engine":"process"}}}},
            "processes":{{"api":{{"command":[{words}]}},"migrate":{{"command":["exit","0"]}}}}}}}}"#
    )
}

impl Life {
    pub async fn bundle(&self, command: &str) -> model::BundleId {
        let new = NewBundle { declaration: declaration(command), files: Vec::new() };
        self.daemon.create_bundle(new).await.unwrap()
    }

    pub async fn order_up(&self, command: &str) -> Result<Accepted, ApiError> {
        let bundle = self.bundle(command).await.to_string();
        let request = ReleaseRequest {
            bundle,
            images: Default::default(),
            message: None,
            expect_plan: None,
            replace: false,
            adopt: None,
            again: None,
        };
        self.daemon.release(&self.id, request, "ann".into()).await
    }

    /// Releases a project of another name, which publishes a port that is given to it.
    pub async fn release_as(&self, project: &str, published: bool) -> Result<Accepted, ApiError> {
        let ports = if published { r#","ports":[{"target":8080}]"# } else { "" };
        let declaration = format!(
            r#"{{"mainstay":"1","project":"{project}","environment":"production",
              "compose":{{"services":{{"api":{{"image":"api"{ports}}}}}}},
              "policy":{{"environments":{{"production":{{"engine":"process"}}}},
                "processes":{{"api":{{"command":["run"]}}}}}}}}"#
        );
        let bundle = self.daemon.create_bundle(NewBundle { declaration, files: Vec::new() }).await?.to_string();
        let request = ReleaseRequest {
            bundle,
            images: Default::default(),
            message: None,
            expect_plan: None,
            replace: true,
            adopt: None,
            again: None,
        };
        let id = format!("{project}@production").parse().unwrap();
        self.daemon.release(&id, request, "ann".into()).await
    }

    /// Releases and waits for the end; tells the outcome.
    pub async fn up(&self, command: &str) -> Result<String, ApiError> {
        let accepted = self.order_up(command).await?;
        Ok(self.outcome(accepted.run).await)
    }

    pub async fn outcome(&self, run: u64) -> String {
        let log = self.daemon.stack(&self.id).unwrap().run(run).expect("it began in this life");
        let mut seen = Vec::new();
        for number in 0.. {
            let next = tokio::time::timeout(Duration::from_secs(30), log.event(number)).await;
            match next.unwrap_or_else(|_| panic!("run {run} does not end: {seen:#?}")) {
                Some(RunEvent::Finished { outcome, .. }) => return outcome,
                Some(event) => seen.push(event),
                None => break,
            }
        }
        panic!("run {run} has no end")
    }

    pub async fn releases(&self) -> Vec<ReleaseView> {
        self.daemon.releases(&self.id).await.unwrap()
    }

    /// Waits until nothing is under way and nothing is left to do.
    pub async fn settled(&self) {
        let begun = Instant::now();
        loop {
            let status = self.daemon.stack(&self.id).unwrap().status().await.unwrap();
            if status.run.is_none() && status.summary.health == "ok" {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "does not settle: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn end(self) {
        self.tasks.shutdown(Duration::from_secs(600)).await;
        for tasks in [&self.keepers.events, &self.keepers.store] {
            tasks.shutdown(Duration::from_secs(600)).await;
        }
    }

    /// Nothing more is written from here on, which is all that a killed daemon leaves behind.
    pub async fn kill(self, rig: &Rig) {
        rig.writes_left(0);
        self.end().await;
        rig.writes_left(HEALTHY);
    }
}
