//! The stage for the shop's tests: real PostgreSQL and Redis in a temporary folder, real processes of the shop.
//!
//! Everything is started by the test that needs it, on ports of its own, and stopped when the test lets go of it. What
//! is missing on the machine is an error that says how to get it, never a skip. Failures panic: this is test code.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a stage that cannot be set up fails its test")]

mod client;
mod postgres;
mod process;
mod redis;

use std::time::{Duration, Instant};

pub use client::{Answer, Connection, get, send};
pub use postgres::Postgres;
pub use process::{Ended, Process, binary};
pub use redis::Redis;

/// PostgreSQL, migrated, and Redis.
pub struct Stage {
    /// The database.
    pub postgres: Postgres,
    /// The cache and the queue.
    pub redis: Redis,
}

impl Stage {
    /// Starts both and runs the shop's migrations.
    #[must_use]
    pub fn start() -> Self {
        let stage = Self { postgres: Postgres::start(), redis: Redis::start() };
        let ended = stage.run_migrate();
        assert_eq!(ended.code, Some(0), "{}", ended.output());
        stage
    }

    /// Runs `shop-api migrate` to its end.
    #[must_use]
    pub fn run_migrate(&self) -> Ended {
        let mut migrate = Process::start("shop-api", &["migrate"], &self.postgres.environment());
        migrate.wait(Duration::from_secs(20))
    }

    /// Starts a replica of the API with more variables, and waits until it is ready.
    pub async fn api(&self, more: &[(&str, &str)]) -> Process {
        let api = self.api_as_it_comes(more);
        until("the API to be ready", || async {
            get(api.port(), "/ready").await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        api
    }

    /// Starts a replica of the API and waits for nothing.
    #[must_use]
    pub fn api_as_it_comes(&self, more: &[(&str, &str)]) -> Process {
        let mut environment = self.postgres.environment();
        environment.extend(self.redis.environment());
        environment.push(("PORT".into(), "0".into()));
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Process::start("shop-api", &[], &environment)
    }

    /// Starts a worker that calls the API on `api_port`.
    #[must_use]
    pub fn worker(&self, api_port: u16, more: &[(&str, &str)]) -> Process {
        let mut environment = self.redis.environment();
        environment.push(("PORT".into(), "0".into()));
        environment.push(("API_URL".into(), format!("http://127.0.0.1:{api_port}")));
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Process::start("shop-worker", &[], &environment)
    }
}

/// A port that refuses connections until somebody listens on it by its number; nobody else is given it meanwhile.
pub struct HeldPort {
    socket: tokio::net::TcpSocket,
}

impl HeldPort {
    /// Takes a free one.
    #[must_use]
    pub fn take() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("Linux has sockets");
        // So that who is told the number can bind it as well: listeners of ours set the same.
        socket.set_reuseaddr(true).expect("a new socket can be set");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("loopback has a free port");
        Self { socket }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.socket.local_addr().expect("a bound socket has an address").port()
    }
}

/// A port that was free a moment ago: for servers that are started again on another one when it is taken.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Asks until the answer is yes; fails the test after twenty seconds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The value of a series in Prometheus' text form, by its name with labels as written there.
#[must_use]
pub fn series(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
