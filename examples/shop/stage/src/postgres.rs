//! PostgreSQL 15 in a temporary folder, with a password, as the shop's Compose file has it. Never as root.

use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{Process, free_port};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const PASSWORD: &str = "for this test only";

/// A database server with the user and database `shop`. Stopped and deleted when dropped.
pub struct Postgres {
    server: Option<Process>,
    folder: tempfile::TempDir,
    port: u16,
}

impl Postgres {
    /// Makes a new server and waits until it takes connections.
    #[must_use]
    pub fn start() -> Self {
        assert!(
            Path::new(PROGRAMS).join("initdb").exists(),
            "PostgreSQL 15 is missing in {PROGRAMS}: run `apt-get install postgresql-15`"
        );
        let folder =
            tempfile::Builder::new().prefix("shop-postgres-").tempdir().expect("the temporary folder is writable");
        std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).expect("our folder is writable");
        give_away(folder.path());
        give_away(&folder.path().join("password"));
        let mut server = Self { server: None, folder, port: 0 };
        server.initialise();
        server.boot();
        server.sql_in("postgres", "CREATE DATABASE shop");
        server
    }

    fn initialise(&self) {
        let mut initdb = unprivileged("initdb");
        initdb.args(["--username=shop", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        initdb.arg(self.data()).arg("--pwfile").arg(self.folder.path().join("password"));
        let ended = Process::spawn("initdb", initdb).wait(Duration::from_secs(60));
        assert_eq!(ended.code, Some(0), "initdb failed:\n{}", ended.output());
    }

    /// Starts the server, on the port it had before if there was one.
    pub fn boot(&mut self) {
        for _ in 0..5 {
            if self.port == 0 {
                self.port = free_port();
            }
            let mut postgres = unprivileged("postgres");
            postgres.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
            postgres
                .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c"])
                .arg(format!("port={}", self.port));
            let mut process = Process::spawn("postgres", postgres);
            if self.answers_before_it_ends(&mut process) {
                self.server = Some(process);
                return;
            }
            // Somebody took the port in between.
            self.port = 0;
        }
        panic!("PostgreSQL did not start on any of five ports");
    }

    fn answers_before_it_ends(&self, process: &mut Process) -> bool {
        let begun = Instant::now();
        while process.is_running() {
            let mut ready = Command::new(Path::new(PROGRAMS).join("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p"]).arg(self.port.to_string());
            if ready.status().is_ok_and(|status| status.success()) {
                return true;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "PostgreSQL does not answer:\n{}",
                process.lines().join("\n")
            );
            std::thread::sleep(Duration::from_millis(30));
        }
        false
    }

    /// Stops the server at once, as a crash would, but leaves its data.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::QUIT);
            let _ended = server.wait(Duration::from_secs(20));
        }
    }

    /// Runs SQL in the database `shop` with `psql` and returns the rows, columns separated by `|`.
    #[must_use]
    pub fn sql(&self, text: &str) -> String {
        self.sql_in("shop", text)
    }

    fn sql_in(&self, database: &str, text: &str) -> String {
        let mut psql = Command::new(Path::new(PROGRAMS).join("psql"));
        psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "shop", "-p"]);
        psql.arg(self.port.to_string()).args(["-d", database, "-c", text]).env("PGPASSWORD", PASSWORD);
        let output = psql.output().expect("psql lies beside postgres");
        assert!(output.status.success(), "{text}:\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The variables by which the API finds it, with the password in a file.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let password = self.folder.path().join("password").display().to_string();
        let port = self.port.to_string();
        [
            ("DATABASE_HOST", "127.0.0.1"),
            ("DATABASE_PORT", &port),
            ("DATABASE_USER", "shop"),
            ("DATABASE_NAME", "shop"),
            ("DATABASE_PASSWORD_FILE", &password),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// The same as one URL.
    #[must_use]
    pub fn url(&self) -> String {
        let mut password = String::new();
        for byte in PASSWORD.bytes() {
            write!(password, "%{byte:02X}").expect("texts take everything");
        }
        format!("postgres://shop:{password}@127.0.0.1:{}/shop", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Postgres {
    /// Waits for its end, so that no shared memory is left behind; never panics, as a failed test drops it as well.
    fn drop(&mut self) {
        let Some(server) = &mut self.server else { return };
        server.signal(Signal::QUIT);
        let begun = Instant::now();
        while server.is_running() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A program of PostgreSQL that runs as the user `postgres` where we are root, and ends with us in any case.
fn unprivileged(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some((user, group)) = account() {
        command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
    }
    command.arg(Path::new(PROGRAMS).join(program)).env_clear().env("LC_ALL", "C").current_dir("/");
    command
}

/// The account `postgres`, or none if we are not root and stay who we are.
fn account() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").expect("every Linux has /etc/passwd");
    let line = accounts.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.expect("Debian's PostgreSQL makes the account `postgres`").split(':').skip(2);
    let mut number = || fields.next().and_then(|text| text.parse().ok()).expect("an account has numbers");
    Some((number(), number()))
}

/// The file becomes the account's, readable for it alone; our own processes are root then and read it all the same.
fn give_away(path: &Path) {
    if let Some((user, group)) = account() {
        chown(path, Some(user), Some(group)).expect("root may give files away");
    }
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own file can be changed");
}
