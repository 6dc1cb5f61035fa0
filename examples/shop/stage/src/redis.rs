//! Redis in a temporary folder.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Process, free_port};

const PROGRAM: &str = "redis-server";

/// A Redis server. Stopped and deleted when dropped.
pub struct Redis {
    server: Option<Process>,
    folder: tempfile::TempDir,
    port: u16,
}

impl Redis {
    /// Starts a server and waits until it takes connections.
    #[must_use]
    pub fn start() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = std::env::split_paths(&path).any(|folder| folder.join(PROGRAM).is_file());
        assert!(is_there, "`{PROGRAM}` is not in PATH: run `apt-get install redis-server`");
        let folder =
            tempfile::Builder::new().prefix("shop-redis-").tempdir().expect("the temporary folder is writable");
        let mut redis = Self { server: None, folder, port: 0 };
        redis.boot();
        redis
    }

    /// Starts the server, on the port it had before if there was one. Its data is what its log holds.
    pub fn boot(&mut self) {
        for _ in 0..5 {
            if self.port == 0 {
                self.port = free_port();
            }
            let mut command = Command::new("setpriv");
            command.args([
                "--pdeathsig",
                "KILL",
                PROGRAM,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "yes",
                "--dir",
            ]);
            command.arg(self.folder.path()).arg("--port").arg(self.port.to_string());
            let mut process = Process::spawn("redis-server", command);
            if answers_before_it_ends(self.port, &mut process) {
                self.server = Some(process);
                return;
            }
            self.port = 0;
        }
        panic!("Redis did not start on any of five ports");
    }

    /// Stops the server at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
            let _ended = server.wait(Duration::from_secs(20));
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The variable by which the services find it.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("REDIS_URL".into(), self.url())]
    }

    /// Asks it with `redis-cli`.
    pub fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-p").arg(self.port.to_string()).args(command).output();
        let output = output.expect("redis-cli comes with redis-server on Debian (package redis-tools)");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn answers_before_it_ends(port: u16, process: &mut Process) -> bool {
    let begun = Instant::now();
    while process.is_running() {
        let is_up = process.lines().iter().any(|line| line.contains("Ready to accept connections"));
        if is_up && TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "Redis does not answer:\n{}", process.lines().join("\n"));
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
