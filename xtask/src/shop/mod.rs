//! A project on a stage of its own, mostly a copy of the example shop: in a temporary folder, driven by the real binary
//! from outside.
//!
//! Owns the copy, the ports, the state folder and everything that was started; whatever happens, [`Stage::clear`]
//! takes it all away again. `demo` and `bench` share it. Start at [`Stage::set`].

mod api;
mod containers;
mod leftovers;
mod programs;

pub use api::{Api, StackStatus, counts};
pub use programs::{Profile, build, executable};

use crate::machine::{Process, complain, free_port, is_interrupted, take_interrupt, wait_for};
use anyhow::{Context as _, ensure};
use containers::Containers;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Folders of the example that are results of building, not sources.
const RESULTS: &[&str] = &["target", ".git"];

/// Where replicas run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// As processes of this machine.
    Process,
    /// As containers of the Docker Engine that MAINSTAY_DOCKER names.
    Docker,
}

/// A shop of its own, and the Mainstay that carries it.
pub struct Stage {
    /// The project's name.
    project: String,
    /// Its files.
    pub project_folder: PathBuf,
    /// The port routes are served on.
    pub http_port: u16,
    /// What is on the Docker Engine, where that is the stage's engine.
    containers: Option<Containers>,
    binary: PathBuf,
    folder: tempfile::TempDir,
    /// Every process of ours ever seen: replicas, shims, daemons, edges.
    seen: BTreeSet<Process>,
    /// A daemon that was started by hand.
    daemon: Option<Child>,
}

/// A process of a replica, as its shim wrote it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Written {
    pid: i32,
}

/// What a shim writes down of its replica.
#[derive(Debug, Deserialize)]
struct Status {
    /// `shop@development/api.1`
    name: String,
    shim: Written,
    init: Option<Written>,
    workload: Option<Written>,
}

/// The processes of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// What holds it: ours of a process, Docker's of a container.
    pub shim: Process,
    /// The same program inside, as its first process.
    pub init: Option<Process>,
    /// The program itself.
    pub workload: Process,
}

impl Stage {
    /// Copies the example from `root` and takes ports that are free; starts nothing.
    pub fn set(root: &Path, binary: PathBuf, engine: Engine) -> anyhow::Result<Self> {
        let mut stage = Self::empty(binary, "shop", engine)?;
        copy(&root.join("examples/shop"), &stage.project_folder)?;
        stage.move_published_port()?;
        if stage.has_containers() {
            let own = stage.own_name()?;
            stage.edit("compose.yaml", "\nname: shop\n", &format!("\nname: {own}\n"))?;
        }
        Ok(stage)
    }

    /// A project of these files.
    pub fn of_files(binary: PathBuf, project: &str, engine: Engine, files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut stage = Self::empty(binary, project, engine)?;
        for (name, text) in files {
            let path = stage.project_folder.join(name);
            fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        if stage.has_containers() {
            stage.own_name()?;
        }
        Ok(stage)
    }

    fn empty(binary: PathBuf, project: &str, engine: Engine) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mainstay-stage.").tempdir().context("make a temporary folder")?;
        // Services run as users of their own, which have to reach the project's files.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let project_folder = folder.path().join(project);
        fs::create_dir(&project_folder)?;
        let http_port = free_port()?;
        let run = folder.path().join("run");
        let containers = match engine {
            Engine::Process => None,
            Engine::Docker => Some(Containers::of(leftovers::owner(&run))?),
        };
        let (project, seen) = (project.to_owned(), BTreeSet::new());
        Ok(Self { project, project_folder, http_port, containers, binary, folder, seen, daemon: None })
    }

    /// An Engine may be shared: what things are called there is made of the project's name, so it gets one of its own.
    fn own_name(&mut self) -> anyhow::Result<String> {
        let own = format!("{}-{}", self.project, leftovers::tag(&self.path("run")));
        self.edit("mainstay.yaml", &format!("project: {}\n", self.project), &format!("project: {own}\n"))?;
        self.project.clone_from(&own);
        Ok(own)
    }

    /// The example publishes 8080, which may be taken.
    fn move_published_port(&self) -> anyhow::Result<()> {
        let port = free_port()?;
        self.edit("compose.yaml", "\"8080:80\"", &format!("\"{port}:80\""))
    }

    /// Replaces the one place of `old` in a file of the copy.
    pub fn edit(&self, file: &str, old: &str, new: &str) -> anyhow::Result<()> {
        let path = self.project_folder.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(text.matches(old).count() == 1, "{file} must have `{old}` exactly once");
        fs::write(&path, text.replace(old, new)).with_context(|| format!("write {}", path.display()))
    }

    /// The shop's address for people.
    pub fn url(&self) -> String {
        format!("http://shop.localhost:{}", self.http_port)
    }

    /// Where replicas run, in words.
    pub fn engine(&self) -> String {
        let containers = |own: &Containers| format!("containers of the Docker Engine at {}", own.url());
        self.containers.as_ref().map_or_else(|| "processes".to_owned(), containers)
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The Docker Engine, where that is the stage's engine.
    pub fn containers(&self) -> anyhow::Result<&Containers> {
        self.containers.as_ref().context("the stage has no Docker Engine")
    }

    /// Whether replicas are containers.
    pub fn has_containers(&self) -> bool {
        self.containers.is_some()
    }

    /// The daemon's interface.
    pub fn api(&self) -> Api {
        Api::at(self.path("run/mainstay.sock"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of Mainstay, with the stage's folders and ports.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.project_folder).stdin(Stdio::null());
        // A project's files read the environment: what a caller happens to have set would change what is shown.
        command.env_clear();
        let kept = std::env::vars_os().filter(|(name, _)| is_passed_on(&name.to_string_lossy()));
        command
            .envs(kept)
            .env("MAINSTAY_STATE", self.path("state"))
            .env("MAINSTAY_RUN", self.path("run"))
            .env("MAINSTAY_SOCKET", self.path("run/mainstay.sock"))
            .env("MAINSTAY_HTTP_PORT", self.http_port.to_string());
        match &self.containers {
            // Also on a machine where a Docker answers.
            None => command.env("MAINSTAY_ENGINE", "process"),
            Some(containers) => command.env("MAINSTAY_ENGINE", "docker").env("DOCKER_HOST", containers.url()),
        };
        // The copy's own `target` gets the results; what cargo compiles on the way is kept for the next copy.
        command.env_remove("CARGO_TARGET_DIR");
        if let Some(kept) = programs::build_folder() {
            command.env("CARGO_BUILD_BUILD_DIR", kept);
        }
        command
    }

    /// Runs a command to its end; its output.
    ///
    /// Errors: any exit code but 0, with what it said.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        said(arguments, self.output(arguments)?)
    }

    /// The same for a command that builds beside what is watched: as far behind as processes can be, as a build machine
    /// of its own would be. What it asks of the daemon is not held back, for the daemon is another process.
    pub fn run_behind(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let command = self.command(arguments);
        let mut behind = Command::new("nice");
        behind.args(["-n", "19"]).arg(command.get_program()).args(arguments);
        behind.current_dir(&self.project_folder).stdin(Stdio::null()).env_clear();
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => behind.env(name, value),
                None => behind.env_remove(name),
            };
        }
        said(arguments, behind.output().context("run nice")?)
    }

    /// Runs a command to its end, whatever that is.
    pub fn output(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        ensure!(!is_interrupted(), "interrupted");
        self.command(arguments).output().with_context(|| format!("run mainstay {}", arguments.join(" ")))
    }

    /// Runs a command inside a replica.
    pub fn exec(&self, target: &str, argv: &[&str]) -> anyhow::Result<String> {
        let mut arguments = vec!["exec", "--no-tty", target, "--"];
        arguments.extend(argv);
        Ok(self.run(&arguments)?.trim().to_owned())
    }

    /// Where the daemon's interface has the stack.
    pub fn stack_path(&self) -> String {
        format!("/v1/stacks/{}/development", self.project)
    }

    /// How the stack is, as the daemon sees it.
    pub fn status(&self) -> anyhow::Result<StackStatus> {
        self.api().get(&self.stack_path())
    }

    /// Waits until every service is as wanted.
    pub fn wait_until_ready(&self, patience: Duration) -> anyhow::Result<StackStatus> {
        wait_for("every replica to be ready", patience, || {
            let status = self.status()?;
            Ok(status.is_ready().then_some(status))
        })
    }

    /// The running replicas with their processes, by id (`api.1`). Remembers them for [`Stage::clear`].
    pub fn replicas(&mut self) -> anyhow::Result<BTreeMap<String, Replica>> {
        let Some(containers) = &self.containers else { return self.replicas_of_shims() };
        let running = containers.running()?;
        self.seen.extend(running.values().flat_map(|(workload, shim)| [*workload, *shim]));
        let replica = |(workload, shim)| Replica { shim, init: None, workload };
        Ok(running.into_iter().map(|(id, processes)| (id, replica(processes))).collect())
    }

    fn replicas_of_shims(&mut self) -> anyhow::Result<BTreeMap<String, Replica>> {
        let mut found = BTreeMap::new();
        for path in files_named(&self.path("run"), "status")? {
            // A file that is being replaced, or of a replica that is being taken away, is none of those running.
            let Some(status) = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Status>(&bytes).ok())
            else {
                continue;
            };
            let alive = |written: Written| Process::with_pid(written.pid);
            self.seen.extend(alive(status.shim));
            self.seen.extend(status.init.and_then(alive));
            self.seen.extend(status.workload.and_then(alive));
            let id = status.name.rsplit('/').next().unwrap_or_default().to_owned();
            if let (Some(shim), Some(workload)) = (alive(status.shim), status.workload.and_then(alive)) {
                found.insert(id, Replica { shim, init: status.init.and_then(alive), workload });
            }
        }
        Ok(found)
    }

    /// The daemon's process. Remembers it and the edge's for [`Stage::clear`].
    pub fn daemon(&mut self) -> anyhow::Result<Process> {
        let version = self.api().version()?;
        let edge = version.edge_pid.and_then(|pid| Process::with_pid(i32::try_from(pid).ok()?));
        self.seen.extend(edge);
        let daemon = Process::with_pid(i32::try_from(version.pid)?).context("the daemon that just answered is gone")?;
        self.seen.insert(daemon);
        Ok(daemon)
    }

    /// The edge's process.
    pub fn edge(&mut self) -> anyhow::Result<Process> {
        let pid = self.api().version()?.edge_pid.context("the daemon has no edge")?;
        let edge = Process::with_pid(i32::try_from(pid)?).context("the edge is gone")?;
        self.seen.insert(edge);
        Ok(edge)
    }

    /// Starts the daemon by hand, and waits until it answers. (`up` would start one as well.)
    pub fn start_daemon(&mut self) -> anyhow::Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log"))?;
        let mut command = self.command(&["serve"]);
        command.stdout(log.try_clone()?).stderr(log);
        self.reap();
        // Ctrl-C is for whoever started it: the daemon ends when it is told to.
        command.process_group(0);
        self.daemon = Some(command.spawn().context("start mainstay serve")?);
        wait_for("the daemon to answer", Duration::from_secs(10), || self.api().version().map(Some))?;
        self.daemon()?;
        Ok(())
    }

    /// Takes the exit status of a daemon that was started by hand and has ended.
    fn reap(&mut self) {
        if let Some(mut daemon) = self.daemon.take()
            && !matches!(daemon.try_wait(), Ok(Some(_)))
        {
            self.daemon = Some(daemon);
        }
    }

    /// Takes the shop down and ends daemon and edge, as an operator would.
    pub fn strike(&mut self) -> anyhow::Result<()> {
        self.run(&["down", "--volumes", "--yes"])?;
        self.end_daemon()?;
        // Mainstay keeps what it built for the next release. There is none: who comes next has names of its own.
        self.containers.as_ref().map_or(Ok(()), |containers| containers.remove_images(&self.project))
    }

    /// Ends daemon and edge, and waits for their end.
    pub fn end_daemon(&mut self) -> anyhow::Result<()> {
        let (daemon, edge) = (self.daemon()?, self.edge()?);
        self.api().post("/v1/shutdown?edge=true")?;
        wait_for("the daemon's and the edge's end", Duration::from_secs(20), || {
            self.reap();
            Ok((!daemon.is_alive() && !edge.is_alive()).then_some(()))
        })
    }

    /// The end of every log of the daemon, for whoever has to find out what went wrong.
    pub fn log_tails(&self, lines: usize) -> String {
        let mut text = String::new();
        for path in ["daemon.log", "state/daemon.log", "run/daemon.log"].map(|name| self.path(name)) {
            let Ok(log) = fs::read_to_string(&path) else { continue };
            let from = log.lines().count().saturating_sub(lines);
            text.push_str(&format!("--- {}\n", path.display()));
            log.lines().skip(from).for_each(|line| text.push_str(&format!("{line}\n")));
        }
        text
    }

    /// What of ours is still on the machine, in words.
    pub fn leftovers(&self) -> anyhow::Result<Vec<String>> {
        let mut found = leftovers::of(self.folder.path(), &self.path("run"))?;
        if let Some(containers) = &self.containers {
            found.extend(containers.left()?);
            found.extend(containers.images(&self.project)?.into_iter().map(|name| format!("image {name}")));
        }
        found.extend(self.survivors().into_iter().map(|process| format!("process {}", process.pid)));
        Ok(found)
    }

    /// Processes of ours that still run.
    pub fn survivors(&self) -> Vec<Process> {
        let mut alive: BTreeSet<_> = self.seen.iter().copied().filter(|process| process.is_alive()).collect();
        // Also those nobody has named: whoever writes below the stage's folder is ours.
        alive.extend(leftovers::processes_below(self.folder.path()));
        alive.into_iter().collect()
    }

    /// The stage's folder, which everything of ours lies in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Takes away whatever is left: as an operator would, and then by force. For the way out after a failure; after
    /// [`Stage::strike`] nothing is left to do.
    pub fn clear(&mut self) {
        // Without state there never was a daemon, and without anything left there is nothing it could end.
        let is_left = || !self.survivors().is_empty() || self.containers.as_ref().is_some_and(Containers::has_any);
        if self.path("state").exists() && is_left() {
            // Whoever interrupted what was under way wants this done.
            take_interrupt();
            if let Err(error) = self.strike_after_failure() {
                complain(&format!("could not take it down properly: {error:#}"));
            }
        }
        self.clear_by_force();
    }

    fn strike_after_failure(&mut self) -> anyhow::Result<()> {
        drop(self.replicas());
        if self.daemon().is_err() {
            self.start_daemon()?;
        }
        self.strike()
    }

    /// Without asking the daemon.
    fn clear_by_force(&mut self) {
        // Whoever is not remembered yet is looked up a last time; without daemon there is nobody to look up.
        drop(self.daemon());
        drop(self.replicas());
        // The daemon first: it would start the others again.
        let ours = self.survivors().into_iter().filter(|process| is_program(*process, &self.binary));
        ours.for_each(end);
        // Docker's own processes end with their containers.
        if let Some(containers) = self.containers.as_ref().filter(|containers| containers.has_any()) {
            containers.remove_all(&self.project);
        }
        self.survivors().into_iter().for_each(end);
        self.reap();
        leftovers::unmount_below(self.folder.path());
    }

    /// Leaves the folder for a look at it.
    pub fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }
}

impl Drop for Stage {
    /// Whatever happens: also when somebody gives up on the way, or panics.
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whether a variable of the caller is for building and finding programs, and no setting of Mainstay or a project.
fn is_passed_on(name: &str) -> bool {
    const NAMES: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "TERM", "TMPDIR", "LANG"];
    const BEGINNINGS: &[&str] = &["CARGO_", "RUSTUP_", "RUSTC", "RUSTFLAGS", "LC_", "SSL_CERT_"];
    let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
    is_proxy || NAMES.contains(&name) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// What a command printed, or, after any exit code but 0, all it said as an error.
fn said(arguments: &[&str], output: Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = arguments.join(" ");
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`mainstay {line}` ended with {}\n{text}{errors}", output.status);
    Ok(text)
}

fn end(process: Process) {
    if let Err(error) = process.kill() {
        complain(&format!("could not end process {}: {error:#}", process.pid));
    }
}

fn is_program(process: Process, binary: &Path) -> bool {
    fs::read_link(format!("/proc/{}/exe", process.pid)).is_ok_and(|exe| exe == binary)
}

/// Copies a folder's sources.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if RESULTS.iter().any(|result| name == *result) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(name))?;
        } else {
            fs::copy(entry.path(), to.join(&name)).with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// All files of this name below a folder; none where there is no folder.
fn files_named(folder: &Path, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", folder.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A replica's root is the machine's root once more: not to be searched.
        if entry.file_type()?.is_dir() && entry.file_name() != "root" {
            found.extend(files_named(&entry.path(), name)?);
        } else if entry.file_name() == name {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_sources_only_and_edits_stay_in_it() {
        let root = tempfile::tempdir().unwrap();
        let shop = root.path().join("examples/shop");
        fs::create_dir_all(shop.join("api/src")).unwrap();
        fs::create_dir_all(shop.join("target/debug")).unwrap();
        fs::write(shop.join("compose.yaml"), "ports: [\"8080:80\"]\n").unwrap();
        fs::write(shop.join("api/src/main.rs"), "fn main() {}\n").unwrap();

        let stage = Stage::set(root.path(), "/bin/true".into(), Engine::Process).unwrap();
        assert!(stage.project_folder.join("api/src/main.rs").exists());
        assert!(!stage.project_folder.join("target").exists());
        assert!(!fs::read_to_string(stage.project_folder.join("compose.yaml")).unwrap().contains("8080"));
        assert!(fs::read_to_string(shop.join("compose.yaml")).unwrap().contains("8080"));
        assert!(stage.edit("api/src/main.rs", "nowhere", "x").is_err());
    }

    #[test]
    fn settings_of_the_caller_reach_no_project() {
        for name in ["PATH", "CARGO_HOME", "RUSTUP_TOOLCHAIN", "RUSTC_WORKSPACE_WRAPPER", "HTTPS_PROXY", "no_proxy"] {
            assert!(is_passed_on(name), "{name}");
        }
        for name in ["DOMAIN", "LOG_LEVEL", "WORKER_CALLS_PER_SECOND", "MAINSTAY_STATE", "FAULT_SLOW_MS", "SHOP_TARGET"]
        {
            assert!(!is_passed_on(name), "{name}");
        }
    }

    #[test]
    fn replicas_are_found_where_their_shims_wrote_them_down() {
        let root = tempfile::tempdir().unwrap();
        let shop = root.path().join("examples/shop");
        fs::create_dir_all(&shop).unwrap();
        fs::write(shop.join("compose.yaml"), "\"8080:80\"").unwrap();
        let mut stage = Stage::set(root.path(), "/bin/true".into(), Engine::Process).unwrap();
        assert!(stage.replicas().unwrap().is_empty());

        let mut program = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = program.id();
        let replica = stage.path("run/shop@development/api.1");
        fs::create_dir_all(&replica).unwrap();
        let status = serde_json::json!({
            "name": "shop@development/api.1", "shim": { "pid": pid }, "workload": { "pid": pid }
        });
        fs::write(replica.join("status"), status.to_string()).unwrap();
        let found = stage.replicas().unwrap();
        assert_eq!(found["api.1"].workload.pid, i32::try_from(pid).unwrap());

        // Whoever is remembered does not outlive the stage.
        drop(stage);
        assert!(!program.wait().unwrap().success());
    }
}
