//! A world of its own for each test: names nobody else uses, folders below `/var/tmp` (`/tmp` is each replica's own), and an end that leaves nothing.

use engine::{Engine, Exec, ExecExit};
use mainstay_engine_process::layout::Layout;
use mainstay_engine_process::{Names, ProcessEngine, Settings};
use model::project::{Mount, MountSource, Role, Runs, Template};
use model::stack::Subnet;
use model::{ReleaseNumber, ReplicaId, Secret, StackId};
use plan::action::replica::{Action, Start};
use plan::observed::{Known, NetworkState, Phase};
use runtime::{SystemClock, Tasks};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use testkit::project::process as template;

/// How long anything may take before a test gives up.
pub const SOON: Duration = Duration::from_secs(30);

pub struct World {
    pub engine: ProcessEngine,
    pub stack: StackId,
    pub layout: Layout,
    pub settings: Settings,
    pub uid_base: u32,
    dir: tempfile::TempDir,
    number: u32,
}

/// A number no other test on this machine has at the same time: tests are processes.
fn unique() -> u32 {
    std::process::id()
}

impl World {
    pub async fn new() -> Self {
        let number = unique();
        let dir = tempfile::Builder::new().prefix("mainstay-world-").tempdir_in("/var/tmp").unwrap();
        // Replicas of unprivileged users look through it at what is mounted from it.
        let base = dir.path().to_owned();
        let layout = Layout {
            run: base.join("run"),
            scratch: base.join("scratch"),
            volumes: base.join("volumes"),
            logs: base.join("logs"),
        };
        let bundles = base.join("bundle");
        std::fs::create_dir_all(&bundles).unwrap();
        // A link's name is at most 15 characters long, ten of them a hash.
        let links = format!("m{:04x}", number & 0xffff);
        let name = format!("mainstay-test-{number}");
        let settings = Settings {
            layout: layout.clone(),
            programs: base.join("programs"),
            hidden: vec![base.clone()],
            bundle: Arc::new(move |_| bundles.clone()),
            names: Names { links, table: name.clone(), cgroup: name },
        };
        let engine = open(&settings).await;
        let stack = "shop@test".parse().unwrap();
        Self { engine, stack, layout, settings, uid_base: 300_000, dir, number }
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    /// A third-octet-sized subnet that no parallel test uses.
    pub fn subnet(&self, index: u8, internal: bool) -> Subnet {
        let [.., high, low] = self.number.to_be_bytes();
        // 10.x.y.0/26: the process number's low bits choose x and y, the index the quarter.
        let base = Ipv4Addr::new(10, 64 | (high & 0x3f), low, index * 64);
        let at = |offset: u32| Ipv4Addr::from(u32::from(base) + offset);
        let net = ipnet::Ipv4Net::new(base, 26).unwrap();
        Subnet { net, gateway: at(1), replicas_from: at(10), internal }
    }

    pub fn address(&self, index: u8, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet(index, false).net.addr()) + offset)
    }

    pub async fn network(&self, name: &str, index: u8, internal: bool) {
        let (stable, names) = (BTreeSet::new(), BTreeMap::new());
        self.network_with(name, NetworkState { subnet: self.subnet(index, internal), stable, names }).await;
    }

    pub async fn network_with(&self, name: &str, state: NetworkState) {
        self.perform(Action::EnsureNetwork {
            name: name.parse().unwrap(),
            state: Box::new(state),
            made: Default::default(),
        })
        .await;
    }

    pub async fn perform(&self, action: Action) {
        self.engine.perform(&self.stack, &action).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    /// A start of `id` that runs a shell script.
    pub fn shell(&self, id: &str, script: &str) -> Start {
        self.start(id, template(&["sh", "-c", script]))
    }

    pub fn start(&self, id: &str, template: Template) -> Start {
        Start {
            id: id.parse().unwrap(),
            role: Role::Service,
            template: Arc::new(template),
            hash: "00112233445566778899aabbccddeeff".parse().unwrap(),
            release: ReleaseNumber(1),
            bundle: "0".repeat(64).parse().unwrap(),
            uid_base: self.uid_base,
            addresses: plan::Addresses::default(),
            failures: 0,
        }
    }

    pub async fn run(&self, start: Start) -> ReplicaId {
        let id = start.id.clone();
        self.perform(Action::Start(Box::new(start))).await;
        id
    }

    /// Stops it as a plan would: with the signal that was kept for it.
    pub async fn stop(&self, id: &ReplicaId, grace: Duration) {
        let placed = self.engine.observe(&self.stack).await.unwrap();
        let signal = placed.replicas.get(id).map_or(15, |replica| replica.stop_signal);
        self.perform(Action::Stop { id: id.clone(), signal, grace }).await;
    }

    pub async fn phase(&self, id: &ReplicaId) -> Option<Phase> {
        self.engine.observe(&self.stack).await.unwrap().replicas.get(id).map(|replica| replica.phase.clone())
    }

    /// How the replica ended, once it has.
    pub async fn end(&self, id: &ReplicaId) -> plan::observed::Exit {
        let deadline = Instant::now() + SOON;
        loop {
            match self.phase(id).await {
                Some(Phase::Exited { how, .. }) => return how,
                phase => assert!(Instant::now() < deadline, "{id} has not ended: {phase:?}\n{}", self.log(id)),
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), self.engine.changed()).await;
        }
    }

    /// The log without times and tags.
    pub fn log(&self, id: &ReplicaId) -> String {
        let text = std::fs::read_to_string(self.engine.log_path(&self.stack, id)).unwrap_or_default();
        text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(|line| format!("{line}\n")).collect()
    }

    /// Waits until the log has this text.
    pub async fn logged(&self, id: &ReplicaId, text: &str) {
        let what = format!("`{text}` in the log of {id}");
        eventually(&what, || self.log(id).contains(text)).await;
    }

    /// Runs a script in a running replica; its exit and what it printed.
    pub async fn exec(&self, id: &ReplicaId, script: &str) -> (ExecExit, String) {
        self.exec_argv(id, &["sh", "-c", script]).await
    }

    pub async fn exec_argv(&self, id: &ReplicaId, argv: &[&str]) -> (ExecExit, String) {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let error = writer.try_clone().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let exec = exec(argv, [null.into(), writer.into(), error.into()]);
        let exit = self.engine.exec(&self.stack, id, exec).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        (exit, text)
    }

    /// Another daemon on the same folders, as after a kill: the old one is forgotten without a word.
    pub async fn restart(&mut self) {
        let next = open(&self.settings).await;
        std::mem::forget(std::mem::replace(&mut self.engine, next));
    }

    /// Removes everything through the engine and asserts that nothing is left on the machine.
    pub async fn end_of_the_world(self) {
        let placed = self.engine.observe(&self.stack).await.unwrap();
        for id in placed.replicas.keys() {
            self.stop(id, Duration::ZERO).await;
            self.perform(Action::Remove { id: id.clone() }).await;
            self.perform(Action::Remove { id: id.clone() }).await;
        }
        for name in placed.networks.keys() {
            self.perform(Action::RemoveNetwork { name: name.clone() }).await;
            self.perform(Action::RemoveNetwork { name: name.clone() }).await;
        }
        for name in placed.volumes {
            self.perform(Action::RemoveVolume { name: name.clone() }).await;
        }
        assert_eq!(self.engine.stacks().await.unwrap(), []);
        assert_eq!(leftovers(&self.settings), Vec::<String>::new());
    }
}

impl Drop for World {
    /// After a failure: whatever the engine would have removed, by force.
    fn drop(&mut self) {
        let processes = || -> Vec<i32> {
            let own = self.dir.path().display().to_string();
            let entries = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok());
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.filter(|pid| {
                std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.display().to_string().contains(&own))
            })
            .collect()
        };
        for pid in processes() {
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid).unwrap(),
                rustix::process::Signal::KILL,
            );
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while !processes().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        for line in std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().rev() {
            let point = line.split(' ').nth(4).unwrap();
            if point.starts_with(&self.dir.path().display().to_string()) {
                let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
            }
        }
        for link in links(&self.settings.names.links) {
            let _ = Command::new("ip").args(["link", "delete", &link]).status();
        }
        for group in groups(&self.settings.names.cgroup) {
            let _ = std::fs::remove_dir(group);
        }
        let table = &self.settings.names.table;
        if !tables(table).is_empty() {
            let _ = Command::new("nft").args(["delete", "table", "ip", table]).status();
        }
    }
}

pub async fn open(settings: &Settings) -> ProcessEngine {
    let clock = SystemClock::shared();
    let opened = ProcessEngine::open(settings.clone(), Tasks::new(Arc::clone(&clock)), clock).await;
    opened.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

pub fn exec(argv: &[&str], stdio: [OwnedFd; 3]) -> Exec {
    Exec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        environment: BTreeMap::new(),
        working_dir: None,
        user: None,
        stdio,
        tty: false,
        timeout: Some(SOON),
    }
}

pub fn image(image: &str, env: &[(&str, &str)]) -> Template {
    let mut template = template(&[]);
    template.runs = Runs::Image {
        image: image.parse().unwrap(),
        pull: Default::default(),
        pin: None,
        entrypoint: None,
        command: None,
    };
    template.environment = env.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(v))).collect();
    template
}

pub fn volume(name: &str, target: &str) -> Mount {
    Mount { target: target.into(), source: MountSource::Volume(name.parse().unwrap()), read_only: false }
}

pub fn state(network: Option<&Known<NetworkState>>) -> &NetworkState {
    match network {
        Some(Known::Is(state)) => state,
        other => panic!("no such network: {other:?}"),
    }
}

/// Runs a test in a network namespace of its own, where it may set the machine's rules as it likes.
pub fn in_own_network<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    use mainstay_engine_process::network::namespace;
    let dir = tempfile::tempdir().unwrap();
    let own = namespace::ensure(&dir.path().join("netns")).unwrap();
    namespace::remove(&dir.path().join("netns")).unwrap();
    // The threads of the runtime are made by this one and inherit where it is.
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&own), kind).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(test());
}

/// Polls until it holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    runtime::tasks::chain(error)
}

fn leftovers(settings: &Settings) -> Vec<String> {
    let mut left = links(&settings.names.links);
    left.extend(groups(&settings.names.cgroup).iter().map(|path| path.display().to_string()));
    left.extend(tables(&settings.names.table));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let run = settings.layout.run.display().to_string();
    left.extend(mounts.lines().filter(|line| line.contains(&run)).map(str::to_owned));
    for dir in [&settings.layout.run, &settings.layout.scratch, &settings.layout.volumes] {
        left.extend(entries(dir));
    }
    left
}

fn entries(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path().display().to_string()).collect()
}

fn links(prefix: &str) -> Vec<String> {
    let names = std::fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with(prefix)).collect()
}

fn groups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for mount in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let mut todo = vec![mount.unwrap().path().join(name)];
        while let Some(dir) = todo.pop().filter(|dir| dir.is_dir()) {
            todo.extend(std::fs::read_dir(&dir).unwrap().filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_dir()));
            found.push(dir);
        }
    }
    found.reverse();
    found
}

fn tables(name: &str) -> Vec<String> {
    let output = Command::new("nft").args(["list", "tables"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.ends_with(&format!(" {name}"))).map(str::to_owned).collect()
}
