//! A project in a temporary folder, and the program run in it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take: generous, because the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A folder with a project's files.
pub struct Project {
    folder: tempfile::TempDir,
    socket: PathBuf,
}

/// How the program ended.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Project {
    /// A folder with these files; no daemon.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temp folder");
        let socket = folder.path().join("run").join("mainstay.sock");
        let project = Self { folder, socket };
        files.iter().for_each(|(name, text)| project.write(name, text));
        project
    }

    /// The shop in small: a program, a static folder, a database.
    pub fn shop() -> Self {
        let project = Self::new(&[
            ("compose.yaml", include_str!("shop/compose.yaml")),
            ("mainstay.yaml", include_str!("shop/mainstay.yaml")),
            ("web/index.html", "<h1>shop</h1>\n"),
            ("bin/api", "#!/bin/sh\nexec sleep 1000\n"),
        ]);
        project.run_program("chmod", &["+x", "bin/api"]);
        project
    }

    /// Where the project lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the daemon's socket is looked for.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect(name)
    }

    /// The program with these words, in this folder, with an environment of its own.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.bare(env!("CARGO_BIN_EXE_mainstay"));
        command.args(words);
        command
    }

    /// Another program in the same surroundings.
    pub fn bare(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("MAINSTAY_SOCKET", &self.socket).env("TZ", "UTC");
        // Whether a Docker answers on this machine makes no difference.
        command.env("MAINSTAY_STATE", self.path().join("state")).env("MAINSTAY_ENGINE", "process");
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, words: &[&str]) -> Ended {
        self.ended(self.command(words).spawn().expect("spawned"))
    }

    /// Runs the program to its end with something on its standard input.
    pub fn run_with_input(&self, words: &[&str], input: &str) -> Ended {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().expect("spawned");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
        self.ended(child)
    }

    /// Runs the program on a terminal, with something typed.
    pub fn run_on_terminal(&self, line: &str, typed: &str) -> Ended {
        let line = format!("{} {line}", env!("CARGO_BIN_EXE_mainstay"));
        let mut command = self.bare("script");
        command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
        let mut child = command.stdin(Stdio::piped()).spawn().expect("`script` is part of every Debian");
        child.stdin.take().expect("piped").write_all(typed.as_bytes()).expect("written");
        self.ended(child)
    }

    /// Waits for a program's end; one that takes too long is killed, which fails the test.
    pub fn ended(&self, child: Child) -> Ended {
        let pid = rustix::process::Pid::from_child(&child);
        let (done, watched) = std::sync::mpsc::channel::<()>();
        let guard = std::thread::spawn(move || {
            if watched.recv_timeout(DEADLINE).is_err() {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        let output = child.wait_with_output().expect("waited");
        let _ = done.send(());
        guard.join().expect("no panic");
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: self.filtered(&output.stdout),
            err: self.filtered(&output.stderr),
        }
    }

    // What differs from run to run has a name instead.
    fn filtered(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes).replace(&self.path().display().to_string(), "DIR");
        let real = self.path().canonicalize().expect("it is there").display().to_string();
        seconds(&text.replace(&real, "DIR"))
    }

    fn run_program(&self, program: &str, words: &[&str]) {
        assert!(self.bare(program).args(words).status().expect(program).success());
    }
}

// Every time span (`0.4s`, `1m 02s`) as TIME: how long something takes is no business of these tests.
fn seconds(text: &str) -> String {
    let is_span = |word: &str| {
        let digits = word.strip_suffix('s').and_then(|word| word.split_once('.'));
        digits.is_some_and(|(a, b)| {
            [a, b].iter().all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()))
        })
    };
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || c == '.' {
            word.push(c);
            continue;
        }
        out.push_str(if is_span(&word) { "TIME" } else { &word });
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

impl Ended {
    /// Checks how it ended and what it printed as data.
    pub fn expect(self, code: i32, out: expect_test::Expect, err: expect_test::Expect) {
        out.assert_eq(self.out.trim_end());
        err.assert_eq(self.err.trim_end());
        assert_eq!(self.code, code, "exit code");
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.err))
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{}\n{}", self.out, self.err);
        self
    }
}

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
