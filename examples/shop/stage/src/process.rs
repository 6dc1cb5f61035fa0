//! Processes of the shop: started with a clean environment, read line by line, always ended.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running process whose output is kept. Killed when it is dropped.
pub struct Process {
    child: Child,
    name: String,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

/// A process that has ended.
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// How long the wait for it took.
    pub took: Duration,
    /// Everything it wrote.
    pub lines: Vec<String>,
}

impl Ended {
    /// Everything it wrote, as one text.
    #[must_use]
    pub fn output(&self) -> String {
        self.lines.join("\n")
    }
}

/// The path of a built program of this workspace.
///
/// Whoever runs an integration test names its package's programs in the environment; the other packages' programs lie
/// beside them. The test itself may lie in another folder altogether (`build.build-dir`), so it is no guide.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let named = std::env::vars_os().find_map(|(variable, path)| {
        let variable = variable.to_str()?;
        let is_program = ["NEXTEST_BIN_EXE_", "CARGO_BIN_EXE_"].iter().any(|prefix| variable.starts_with(prefix));
        is_program.then(|| PathBuf::from(path))
    });
    let one = named.expect("`cargo nextest run` and `cargo test` name a package's programs to its integration tests");
    let path = one.with_file_name(name);
    assert!(path.exists(), "{} is not built: run the tests of the whole workspace, not of one package", path.display());
    path
}

impl Process {
    /// Starts a program of this workspace with `environment` and nothing else.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str], environment: &[(String, String)]) -> Self {
        let mut command = Command::new(binary(name));
        command.args(arguments).env_clear().envs(environment.iter().cloned());
        Self::spawn(name, command)
    }

    /// Starts any command.
    #[must_use]
    pub fn spawn(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|failure| panic!("could not start {name}: {failure}"));
        let lines = Arc::default();
        let out = read(child.stdout.take().expect("stdout is piped"), &lines);
        let err = read(child.stderr.take().expect("stderr is piped"), &lines);
        Self { child, name: name.to_owned(), lines, readers: vec![out, err] }
    }

    /// What it has written so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log line with this message, once it is there; fails the test after ten seconds.
    #[must_use]
    pub fn line(&self, message: &str) -> Value {
        let begun = Instant::now();
        loop {
            let parsed = self.lines().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            if let Some(found) = parsed.into_iter().find(|line| line["message"] == message) {
                return found;
            }
            let output = || self.lines().join("\n");
            assert!(begun.elapsed() < Duration::from_secs(10), "{} never wrote `{message}`:\n{}", self.name, output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The port it says it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.line("listening")["port"].as_u64().expect("a port is a number");
        u16::try_from(port).expect("a port has 16 bits")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Is it still running?
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child can be waited for").is_none()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a process id");
        kill_process(pid, signal).unwrap_or_else(|failure| panic!("could not signal {}: {failure}", self.name));
    }

    /// Waits for its end; fails the test when that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Ended {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
                for reader in self.readers.drain(..) {
                    reader.join().expect("a reader does not panic");
                }
                return Ended { code: status.code(), took: begun.elapsed(), lines: self.lines() };
            }
            let output = || self.lines().join("\n");
            assert!(begun.elapsed() < limit, "{} did not end within {limit:?}:\n{}", self.name, output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for a process that has already ended, which is what we want.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}", self.name, self.lines().join("\n"));
        }
    }
}

fn read(stream: impl std::io::Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> std::thread::JoinHandle<()> {
    let lines = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}
