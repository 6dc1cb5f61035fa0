//! The adapter between the plan's actions and the machine: [`ProcessEngine`].
//!
//! What blocks runs in [`Machine`]; what waits (a shim's start, a stop, a command) is awaited here. Each living
//! replica is watched by a task, so that its end is known at once; nothing is polled.
#![expect(clippy::disallowed_methods, reason = "the engine's own folders")]

use crate::catalogue::{self, Program};
use crate::cgroup;
use crate::control::Conversation;
use crate::error::Error;
use crate::launch::Executable;
use crate::layout::Layout;
use crate::machine::{self, Machine, Prepared};
use crate::network::Networks;
use crate::{capability, programs, spec};
use async_trait::async_trait;
use engine::{Changes, Engine, EngineError, Exec, ExecExit, Shortcoming, Usage};
use model::policy::EngineKind;
use model::project::{Runs, Template};
use model::{BundleId, ReplicaId, StackId};
use network::{Duty, Rules, Scope};
use plan::action::replica::{Action, Start};
use plan::observed::{Known, Phase, Placed};
use runtime::{Clock, OnError, Tasks};
use shim::control::{Answer, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Before a shim that cannot be reached is looked at again.
const UNREACHABLE: Duration = Duration::from_secs(1);
/// How often what others change of the machine is looked at: some system calls when nobody changed anything.
const LOOK: Duration = Duration::from_secs(10);
/// What a kill may take beyond the grace period, on a machine under load.
const KILL_MARGIN: Duration = Duration::from_secs(30);

/// `setns` by process and `close_range`: 5.8 and 5.9. What replicas need beside them is older.
const LEAST_KERNEL: (u32, u32) = (5, 9);
/// Whoever reaches one of these is the machine's root.
const SOCKETS: [&str; 4] =
    ["/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"];

/// Names that are the machine's, not the project's: two daemons on one machine need different ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Prefix of links, at most 5 characters.
    pub links: String,
    /// The nftables table.
    pub table: String,
    /// The control group below which all of ours are.
    pub cgroup: String,
}

impl Default for Names {
    /// `msm…`, `mainstay`, `mainstay`. The third letter is no hexadecimal digit: names made of hashes never begin so.
    fn default() -> Self {
        Self { links: "msm".into(), table: "mainstay".into(), cgroup: "mainstay".into() }
    }
}

/// What the engine works with.
#[derive(Clone)]
pub struct Settings {
    /// Its folders.
    pub layout: Layout,
    /// Where the shim's executable is kept: a folder on a disk that runs programs.
    pub programs: PathBuf,
    /// Paths that no replica may see, beside the engine's own folders and Docker's sockets: the state folder.
    pub hidden: Vec<PathBuf>,
    /// The folder of an unpacked bundle.
    pub bundle: Arc<dyn Fn(&BundleId) -> PathBuf + Send + Sync>,
    /// The machine's names.
    pub names: Names,
}

/// Runs replicas as processes of this machine.
pub struct ProcessEngine {
    machine: Machine,
    executable: Executable,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    watches: Arc<Watches>,
    rules: Arc<Rules>,
    turns: Mutex<Turns>,
}

type Turns = BTreeMap<(StackId, ReplicaId), Arc<tokio::sync::Mutex<()>>>;

#[derive(Default)]
struct Watches {
    exits: Changes,
    watched: Mutex<BTreeSet<(StackId, ReplicaId)>>,
}

impl ProcessEngine {
    /// Opens the engine and adopts every replica that an earlier daemon left running.
    ///
    /// Errors: [`Error::NotRoot`]; folders that cannot be made.
    pub async fn open(settings: Settings, tasks: Tasks, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        new_enough(&rustix::system::uname().release().to_string_lossy())?;
        let Settings { layout, programs, mut hidden, bundle, names } = settings;
        hidden.extend([&layout.run, &layout.scratch, &layout.volumes, &layout.logs, &programs].map(Clone::clone));
        hidden.extend(SOCKETS.map(PathBuf::from));
        let kernel = |source| Error::Kernel { doing: "find the control groups", source };
        let folders = [layout.run.clone(), layout.scratch.clone(), layout.volumes.clone(), layout.logs.clone()];
        let executable = tasks
            .blocking("open the process engine", move || {
                for dir in folders.iter().chain([&programs]) {
                    std::fs::create_dir_all(dir).map_err(crate::error::file("make", dir))?;
                }
                Executable::install(&programs)
            })
            .await??;
        let networks = Networks::new(layout.clone(), names.links.clone());
        let hierarchy = cgroup::find().map_err(kernel)?;
        let machine = Machine {
            layout,
            networks,
            hierarchy,
            names,
            hidden,
            bundle,
            parents: Arc::default(),
            places: Arc::default(),
        };
        let scope = Scope { table: machine.names.table.clone(), links: machine.names.links.clone(), duty: Duty::Whole };
        let networks = machine.networks.clone();
        let list = Arc::new(move || networks.walls());
        let rules = Arc::new(Rules::new(scope, list, Arc::clone(&clock), tasks.clone()));
        let engine =
            Self { machine, executable, clock, tasks, watches: Arc::default(), rules, turns: Mutex::default() };
        engine.on_machine("clear away what a boot left", Machine::sweep).await?;
        engine.adopt().await?;
        engine.watch_machine();
        Ok(engine)
    }

    async fn adopt(&self) -> Result<(), Error> {
        let machine = self.machine.clone();
        let kernel = |source| Error::Kernel { doing: "find running replicas", source };
        let living = self.tasks.blocking("adopt replicas", move || machine.living()).await?.map_err(kernel)?;
        for (stack, id) in living {
            self.watch(&stack, &id);
        }
        Ok(())
    }

    /// Has lost packet rules noticed, so that the reconciler mends them, and replicas told of new name servers.
    fn watch_machine(&self) {
        let (rules, watches) = (Arc::clone(&self.rules), Arc::clone(&self.watches));
        let (machine, clock) = (self.machine.clone(), Arc::clone(&self.clock));
        let tasks = self.tasks.clone();
        self.tasks.spawn("watch the machine", OnError::Log, move |stop| async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = clock.sleep(LOOK) => {}
                }
                let renewing = machine.clone();
                let renew = move || machine::resolv().map_or(Ok(()), |text| renewing.renew_resolv(&text));
                if let Ok(Err(error)) = tasks.blocking("renew name servers", renew).await {
                    tracing::warn!(error = runtime::tasks::chain(&error), "replicas keep old name servers");
                }
                match rules.hold().await {
                    Ok(true) => {}
                    Ok(false) => machine.networked().into_iter().for_each(|stack| watches.exits.note(stack)),
                    Err(error) => {
                        tracing::warn!(error = runtime::tasks::chain(&error), "the packet rules cannot be read")
                    }
                }
            }
        });
    }

    /// Has the replica watched until it ends, unless it is already.
    fn watch(&self, stack: &StackId, id: &ReplicaId) {
        let key = (stack.clone(), id.clone());
        if !self.watches.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return;
        }
        let (watches, clock) = (Arc::clone(&self.watches), Arc::clone(&self.clock));
        let dir = self.machine.layout.replica(stack, id);
        self.tasks.spawn(&format!("watch {stack}/{id}"), OnError::Log, move |stop| async move {
            let ended = async {
                if let Err(error) = until_end(&dir).await {
                    // The reconciler looks again; without a pause the two would spin.
                    tracing::warn!(dir = %dir.display(), %error, "a replica cannot be watched");
                    clock.sleep(UNREACHABLE).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = ended => {
                    watches.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                    watches.exits.note(key.0);
                }
            }
        });
    }

    async fn on_machine<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&Machine) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let machine = self.machine.clone();
        self.tasks.blocking(what, move || work(&machine)).await?
    }

    async fn act(&self, stack: &StackId, action: &Action) -> Result<(), Error> {
        let owner = stack.clone();
        match action.clone() {
            Action::EnsureNetwork { name, state, .. } => {
                let work = move |machine: &Machine| machine.ensure_network(&owner, &name, &state);
                self.on_machine("ensure a network", work).await?;
                Ok(self.rules.settle().await?)
            }
            Action::RemoveNetwork { name } => {
                self.on_machine("remove a network", move |machine| machine.remove_network(&owner, &name)).await?;
                Ok(self.rules.settle().await?)
            }
            Action::EnsureVolume { name, .. } => {
                self.on_machine("ensure a volume", move |machine| machine.ensure_volume(&owner, &name)).await
            }
            Action::RemoveVolume { name } => {
                self.on_machine("remove a volume", move |machine| machine.remove_volume(&owner, &name)).await
            }
            Action::Start(start) => self.start(stack, *start).await,
            Action::Stop { id, signal, grace } => self.stop(stack, &id, signal, grace).await,
            Action::Remove { id } => {
                self.on_machine("remove a replica", move |machine| machine.remove(&owner, &id)).await
            }
        }
    }

    async fn start(&self, stack: &StackId, start: Start) -> Result<(), Error> {
        let program = self.program(&start.template).await?;
        let (owner, id) = (stack.clone(), start.id.clone());
        let turn = self.turn(stack, &id).lock_owned().await;
        // Whoever gives up waiting leaves the work going on: the turn is over once that is.
        let work = move |machine: &Machine| machine.prepare(&owner, &start, &program).map(|found| (found, turn));
        let (prepared, _turn) = self.on_machine("prepare a replica", work).await?;
        match prepared {
            Prepared::Runs => {}
            Prepared::Ready(spec) => self.executable.launch(&*self.clock, &spec).await?,
        }
        self.watch(stack, &id);
        Ok(())
    }

    /// Held while a replica is being started: one start of it after the other.
    fn turn(&self, stack: &StackId, id: &ReplicaId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody else has are over.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry((stack.clone(), id.clone())).or_default())
    }

    /// What a template runs as on this machine.
    async fn program(&self, template: &Template) -> Result<Program, Error> {
        match &template.runs {
            Runs::Process { command, .. } => Ok(Program::plain(command.clone())),
            Runs::Image { image, entrypoint, command, .. } => {
                let installed = match catalogue::entry(image) {
                    Some(entry) => programs::installed(&*self.clock, entry).await,
                    None => Vec::new(),
                };
                let (entrypoint, command) = (entrypoint.as_deref(), command.as_deref());
                Ok(catalogue::resolve(image, entrypoint, command, template, &installed)?)
            }
            Runs::Static { .. } => Err(Error::Static),
            Runs::Build { .. } => Err(Error::BuildOnly),
        }
    }

    async fn stop(&self, stack: &StackId, id: &ReplicaId, signal: i32, grace: Duration) -> Result<(), Error> {
        let dir = self.machine.layout.replica(stack, id);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let ended = async {
            let mut talk = Conversation::open(&dir, &Request::Stop { signal, grace_ms }, &[]).await?;
            while talk.next().await?.is_some_and(|answer| !is_final(&answer)) {}
            io::Result::Ok(())
        };
        let limit = grace.saturating_add(KILL_MARGIN);
        match runtime::clock::timeout(&*self.clock, limit, ended).await {
            Ok(Ok(())) => Ok(()),
            // Nobody there to be asked, or gone while we asked: that is what was wanted.
            Ok(Err(error)) => match self.machine.is_held(stack, id)? {
                true => Err(Error::Control(error)),
                false => Ok(()),
            },
            Err(_) => Err(Error::Control(io::Error::new(io::ErrorKind::TimedOut, format!("no end within {limit:?}")))),
        }
    }

    async fn run(&self, stack: &StackId, id: &ReplicaId, exec: Exec) -> Result<ExecExit, Error> {
        let (owner, replica) = (stack.clone(), id.clone());
        let (base, gid) = self.on_machine("read labels", move |machine| machine.owner(&owner, &replica)).await?;
        let user = exec.user.map(|user| Ok::<_, Error>((spec::outside(base, user)?, gid))).transpose()?;
        let request = Request::Exec(shim::control::Exec {
            argv: exec.argv,
            env: exec.environment.into_iter().collect(),
            cwd: exec.working_dir,
            user,
            tty: exec.tty,
        });
        let dir = self.machine.layout.replica(stack, id);
        let ended = async {
            let mut talk = Conversation::open(&dir, &request, &exec.stdio).await?;
            // Ours are copies: the program's end must be the end of its output.
            drop(exec.stdio);
            talk.next().await
        };
        let answer = match exec.timeout {
            // Leaving the conversation has the shim end the program.
            Some(limit) => match runtime::clock::timeout(&*self.clock, limit, ended).await {
                Ok(answer) => answer,
                Err(_) => return Ok(ExecExit::TimedOut),
            },
            None => ended.await,
        };
        match answer.map_err(not_running)? {
            Some(Answer::Ended { code: Some(code), .. }) => Ok(ExecExit::Code(code)),
            Some(Answer::Ended { signal: Some(signal), .. }) => Ok(ExecExit::Signal(signal)),
            Some(Answer::NotStarted { not_found: true, .. }) => Ok(ExecExit::NotFound),
            Some(Answer::NotStarted { message, .. } | Answer::Refused { message }) => Err(Error::Refused(message)),
            Some(_) => Err(Error::Refused("it answered something else".into())),
            None => Err(Error::NotRunning),
        }
    }

    async fn shortcomings(&self, template: &Template) -> Vec<Shortcoming> {
        let fatal = |what: String, cure: &str| Shortcoming { fatal: true, what, cure: cure.to_owned() };
        let mut found = Vec::new();
        match self.program(template).await {
            Ok(_) | Err(Error::Static) => {}
            Err(Error::Image { refusal }) => found.push(fatal(refusal.to_string(), &refusal.cure())),
            Err(Error::BuildOnly) => found.push(fatal(
                "it has a `build` only, which the process engine cannot run".into(),
                "Write under `processes:` of mainstay.yaml how it runs without a container, or use the docker engine",
            )),
            Err(error) => found.push(fatal(error.to_string(), "See the cause above")),
        }
        found.extend(missing_program(template));
        if let Err(error) = spec::capabilities(template) {
            found.push(fatal(error.to_string(), "Remove it from `cap_add`, or use the docker engine"));
        }
        let (machine, mounts) = (self.machine.clone(), template.clone());
        match self.tasks.blocking("look where mounts lead", move || machine.refuse_hidden(&mounts)).await {
            Ok(Err(error)) => found.push(fatal(error.to_string(), "Mount a folder that is the application's own")),
            Ok(Ok(())) => {}
            Err(failure) => found.push(fatal(failure.to_string(), "See the cause above")),
        }
        for user in template.user.iter().flat_map(|user| [user.uid, user.gid]) {
            if let Err(error) = spec::outside(0, user) {
                found.push(fatal(error.to_string(), "Write a smaller number for `user`"));
            }
        }
        for name in capability::without_effect(&template.cap_add) {
            let what = format!("capability `{name}` has no effect: a replica here never runs as root");
            found.push(Shortcoming { fatal: false, what, cure: "Remove it, or use the docker engine".into() });
        }
        if machine::resolv().is_none() {
            let what = "names outside the project cannot be looked up: every name server of /etc/resolv.conf is a \
                loopback address, which inside a replica is the replica itself";
            let cure = "Name a server that can be reached in /etc/resolv.conf, or ignore this if nothing calls out";
            found.push(Shortcoming { fatal: false, what: what.into(), cure: cure.into() });
        }
        for what in self.machine.hierarchy.not_enforced(&template.limits) {
            let cure = "Mount that control group, or remove the limit".into();
            found.push(Shortcoming { fatal: false, what, cure });
        }
        found
    }
}

/// The kernel's release as `uname -r` prints it; one that reads otherwise is believed to be new.
fn new_enough(release: &str) -> Result<(), Error> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|text| text.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    match version {
        Some(version) if version < LEAST_KERNEL => Err(Error::OldKernel(release.to_owned())),
        _ => Ok(()),
    }
}

/// A bare name can come from the machine only: what the bundle brings has a path.
fn missing_program(template: &Template) -> Option<Shortcoming> {
    let Runs::Process { command, artifacts } = &template.runs else { return None };
    let program = command.first().filter(|program| !program.contains('/'))?;
    let suffix = format!("/{program}");
    let path = template.environment.get("PATH").map(|path| path.reveal_text().into_owned());
    let path = path.as_deref().unwrap_or(catalogue::PATH);
    if artifacts.iter().any(|artifact| artifact.target.ends_with(&suffix)) || programs::is_in_path(program, path) {
        return None;
    }
    // Folders of the path may themselves come from the bundle.
    let brings_folder = path.split(':').any(|dir| artifacts.iter().any(|a| dir.starts_with(a.target.as_str())));
    let what = format!("`{program}` is not installed on this machine (looked in {path})");
    let cure = format!("Install `{program}`, or name it among the `artifacts` of the service");
    (!brings_folder).then_some(Shortcoming { fatal: true, what, cure })
}

/// Waits until the replica in `dir` has ended, or its shim.
async fn until_end(dir: &std::path::Path) -> io::Result<()> {
    let mut talk = match Conversation::open(dir, &Request::Watch, &[]).await {
        Err(error) if is_nobody(&error) => return Ok(()),
        result => result?,
    };
    while talk.next().await?.is_some_and(|answer| !is_final(&answer)) {}
    Ok(())
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn not_running(error: io::Error) -> Error {
    if is_nobody(&error) { Error::NotRunning } else { Error::Control(error) }
}

fn is_final(answer: &Answer) -> bool {
    matches!(answer, Answer::Status(status) if status.state.is_final())
}

/// An action in words, as the end of "could not …".
fn doing(stack: &StackId, action: &Action) -> String {
    match action {
        Action::EnsureNetwork { name, .. } => format!("make network `{name}` of {stack}"),
        Action::RemoveNetwork { name } => format!("remove network `{name}` of {stack}"),
        Action::EnsureVolume { name, .. } => format!("make volume `{name}` of {stack}"),
        Action::RemoveVolume { name } => format!("remove volume `{name}` of {stack}"),
        Action::Start(start) => format!("start `{}` of {stack}", start.id),
        Action::Stop { id, .. } => format!("stop `{id}` of {stack}"),
        Action::Remove { id } => format!("remove `{id}` of {stack}"),
    }
}

fn wrap(doing: String) -> impl FnOnce(Error) -> EngineError {
    move |error| EngineError { engine: EngineKind::Process, doing, retry: error.retry(), source: error.into() }
}

#[async_trait]
impl Engine for ProcessEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Process
    }

    async fn observe(&self, stack: &StackId) -> Result<Placed, EngineError> {
        let (owner, now) = (stack.clone(), self.clock.now());
        let placed = self.on_machine("observe", move |machine| machine.observe(&owner, now)).await;
        let mut placed = placed.map_err(wrap(format!("observe {stack}")))?;
        let hold = async || Ok(self.rules.hold().await?);
        if !placed.networks.is_empty() && !hold().await.map_err(wrap(format!("observe {stack}")))? {
            placed.networks.values_mut().for_each(crate::network::open);
        }
        for (id, replica) in &placed.replicas {
            if matches!(replica.phase, Phase::Running { .. }) {
                self.watch(stack, id);
            }
        }
        Ok(placed)
    }

    async fn perform(&self, stack: &StackId, action: &Action) -> Result<(), EngineError> {
        self.act(stack, action).await.map_err(wrap(doing(stack, action)))
    }

    async fn stacks(&self) -> Result<Vec<StackId>, EngineError> {
        let kernel = |source| Error::Kernel { doing: "list the folders", source };
        let stacks = self.on_machine("list stacks", move |machine| machine.stacks().map_err(kernel)).await;
        stacks.map_err(wrap("list stacks".into()))
    }

    async fn changed(&self) -> StackId {
        self.watches.exits.next().await
    }

    async fn subnets_in_use(&self) -> Result<Vec<ipnet::Ipv4Net>, EngineError> {
        let kernel = |source| Error::Kernel { doing: "read the routes", source };
        let work = move |machine: &Machine| network::subnets_in_use(&machine.names.links).map_err(kernel);
        self.on_machine("list subnets", work).await.map_err(wrap("find subnets in use".into()))
    }

    async fn check(&self, template: &Template) -> Vec<Shortcoming> {
        self.shortcomings(template).await
    }

    fn log_path(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.machine.layout.log(stack, id)
    }

    async fn exec(&self, stack: &StackId, id: &ReplicaId, exec: Exec) -> Result<ExecExit, EngineError> {
        self.run(stack, id, exec).await.map_err(wrap(format!("run a command in `{id}` of {stack}")))
    }

    async fn usage(&self, stack: &StackId) -> Result<BTreeMap<ReplicaId, Known<Usage>>, EngineError> {
        let owner = stack.clone();
        let readings = self.on_machine("read usage", move |machine| machine.usage(&owner)).await;
        let readings = readings.map_err(wrap(format!("read what {stack} uses")))?;
        let usage = |reading: cgroup::Reading| Usage { cpu: reading.cpu, memory: reading.memory, pids: reading.pids };
        let known = |reading| match reading {
            Known::Is(reading) => Known::Is(usage(reading)),
            Known::Unknown(why) => Known::Unknown(why),
        };
        Ok(readings.into_iter().map(|(id, reading)| (id, known(reading))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::new_enough;

    #[test]
    fn an_old_kernel_is_told_before_anything_fails() {
        let check = |release: &str, is_enough| assert_eq!(new_enough(release).is_ok(), is_enough, "{release}");
        check("5.8.0-63-generic", false);
        check("4.19.0", false);
        check("5.9.0-rc1", true);
        check("5.10.0-30-amd64", true);
        check("6.18.44-fc-v782", true);
        check("strange", true);
    }
}
