//! An Engine of one test's own, for tests that stop or kill it: the one that all share must go on.

#![expect(clippy::disallowed_methods, reason = "sets the scene on the real machine")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/docker/engine");

/// A running Engine without images, in a network namespace of its own that leads nowhere. Needs root.
///
/// Whatever is to reach its containers or published ports must be started with [`Engine::command`].
#[derive(Debug)]
pub struct Engine {
    // Before the folder: it is in use as long as this runs.
    keeper: Keeper,
    _disk: Option<Disk>,
    dir: TempDir,
}

/// A file system in memory.
#[derive(Debug)]
struct Disk(PathBuf);

#[derive(Debug)]
struct Keeper {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Engine {
    /// Starts one. Panics when it cannot be started, with what it said of that.
    pub fn start() -> Self {
        Self::start_on(None)
    }

    /// The same with room for so many bytes of images, containers and volumes, which it can fill up.
    pub fn start_with_disk(bytes: u64) -> Self {
        Self::start_on(Some(bytes))
    }

    fn start_on(disk: Option<u64>) -> Self {
        // Not in /tmp, which may be in memory; layers of images need a disk.
        let dir = tempfile::Builder::new().prefix("mainstay-engine-").tempdir_in("/var/tmp");
        let dir = dir.expect("a temporary folder can be made in /var/tmp");
        let name = dir.path().file_name().expect("a temporary folder has a name");
        let disk = disk.map(|bytes| Disk::mount(dir.path().join("data"), bytes));
        let child = Command::new("unshare")
            .args(["--net", "--", SCRIPT, "hand"])
            // The last part of the second names its control group.
            .args([dir.path().join("data"), dir.path().join(name)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("`unshare` is installed");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut engine = Self { keeper: Keeper { child, orders, answers }, _disk: disk, dir };
        engine.keeper.expect("ready");
        engine
    }

    fn run(&self) -> PathBuf {
        let name = self.dir.path().file_name().expect("a temporary folder has a name");
        self.dir.path().join(name)
    }

    /// Its socket, also while it does not run.
    pub fn socket(&self) -> PathBuf {
        self.run().join("docker.sock")
    }

    /// Where it is, as `MAINSTAY_DOCKER` would say it.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// What its server writes: its log, for a test that fails.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("data/dockerd.log")).unwrap_or_default()
    }

    /// A program in the Engine's network namespace, with `MAINSTAY_DOCKER` naming the Engine.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let namespace = Path::new("/proc").join(self.keeper.child.id().to_string()).join("ns/net");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace.display())).arg("--").arg(program);
        command.env("MAINSTAY_DOCKER", self.url());
        command
    }

    /// Runs `docker` on this Engine, like [`super::docker`] on the shared one.
    pub fn docker(&self, args: &[&str]) -> String {
        super::docker_at(&self.url(), args)
    }

    /// Brings an image over from the Engine that all tests share.
    pub fn load(&self, image: &str) {
        let mut save = super::client(&super::url(), &["save", image]);
        let mut save = save.stdout(Stdio::piped()).spawn().expect("`docker` is installed");
        let mut load = super::client(&self.url(), &["load", "--quiet"]);
        let load = load.stdin(save.stdout.take().expect("its output is piped")).status();
        assert!(load.expect("`docker` is installed").success(), "`docker load` of {image} failed");
        assert!(save.wait().expect("it was started").success(), "`docker save` of {image} failed");
    }

    /// Ends the server in order, which takes its containers along.
    pub fn stop(&mut self) {
        self.keeper.order("stop");
    }

    /// Kills the server; containers run on until it starts again, which ends them.
    pub fn kill(&mut self) {
        self.keeper.order("kill");
    }

    /// Starts the server again, after [`Engine::stop`] or [`Engine::kill`], and waits until it answers.
    pub fn start_again(&mut self) {
        self.keeper.order("start");
    }
}

impl Disk {
    fn mount(at: PathBuf, bytes: u64) -> Self {
        std::fs::create_dir(&at).expect("its folder is new");
        let size = format!("size={bytes},mode=0711");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status();
        assert!(mounted.expect("`mount` is installed").success(), "mounts need root");
        Self(at)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let is_gone = ended.is_ok_and(|status| status.success());
        assert!(is_gone || std::thread::panicking(), "{} is still mounted", self.0.display());
    }
}

impl Keeper {
    fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("it is open until the end");
        writeln!(orders, "{order}").expect("the Engine's keeper takes orders");
        self.expect("done");
    }

    fn expect(&mut self, wanted: &str) {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the Engine's keeper answers");
        assert_eq!(answer.trim_end(), wanted, "the Docker Engine: {answer}");
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The end of its orders ends it, with all that it started.
        self.orders = None;
        self.child.wait().expect("nobody else waits for it");
    }
}

#[cfg(test)]
mod tests {
    use super::Engine;
    use crate::docker::BASE;

    #[test]
    fn an_engine_of_ones_own_is_killed_and_started_again_and_leaves_nothing() {
        let mut engine = Engine::start();
        engine.load(BASE);
        engine.docker(&["run", "--detach", "--name", "web", "--publish", "80:80", BASE, "httpd", "-f", "-h", "/"]);
        let mut ask = engine.command("curl");
        ask.args([
            "--silent",
            "--retry",
            "20",
            "--retry-connrefused",
            "--retry-delay",
            "1",
            "http://127.0.0.1/etc/group",
        ]);
        let answer = ask.output().unwrap();
        assert!(String::from_utf8_lossy(&answer.stdout).starts_with("root:"), "{answer:?}\n{}", engine.log());

        engine.kill();
        let ask = || engine.command("docker").args(["--host", &engine.url(), "ps"]).output().unwrap();
        assert!(!ask().status.success(), "a killed Engine answers");
        engine.start_again();
        assert_eq!(engine.docker(&["ps", "--all", "--format", "{{.Names}}"]), "web");
        engine.stop();
        engine.start_again();

        let dir = engine.dir.path().to_owned();
        drop(engine);
        assert!(!dir.exists(), "{} is left", dir.display());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(dir.to_str().unwrap()), "{mounts}");
    }
}
