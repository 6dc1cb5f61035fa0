//! The adapter between the plan's actions and the Engine: [`DockerEngine`].
//!
//! Each call asks the Engine anew; nothing that runs is remembered here. An Engine that is away is an error that may
//! pass, and what it tells when it is back wakes the reconciler.

use crate::docker::{Address, Connection};
use crate::error::Error;
use crate::images::{Error as ImageError, ImageStore};
use crate::labels::{self, StartedWith};
use crate::layout::Layout;
use crate::logs::Followers;
use crate::names::Names;
use crate::start::is_running;
use crate::takeover::ledger::Ledgers;
use crate::{container, network, phase, versions, watch};
use ::network::{Duty, Rules, Scope, Wall};
use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use engine::images::{Facts, Images, Prepared, Progress, Wanted};
use engine::takeover::Takeover;
use engine::{Changes, Engine, EngineError, Exec, ExecExit, Shortcoming, Unusable, Usage};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use model::container::ImageId;
use model::policy::EngineKind;
use model::project::{MountSource, Template};
use model::{BundleId, ReplicaId, StackId};
use plan::action::replica::Action;
use plan::observed::{Known, Phase, Placed, Replica};
use runtime::{Clock, Tasks};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So many questions are with the Engine at once.
const WIDTH: usize = 16;
/// How long the last lines of a replica that has ended are waited for before its end is told.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Whoever reaches one of these is the machine's root.
const SOCKETS: [&str; 3] = ["/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock"];

/// What the engine works with.
#[derive(Clone)]
pub struct Settings {
    /// Where the Engine listens.
    pub address: Address,
    /// Its folders.
    pub layout: Layout,
    /// Paths that no replica may see: the state folder and the run folder.
    pub hidden: Vec<PathBuf>,
    /// The folder of an unpacked bundle.
    pub bundle: Arc<dyn Fn(&BundleId) -> PathBuf + Send + Sync>,
    /// The machine's names.
    pub names: Names,
}

/// Runs replicas as containers of a Docker Engine on this machine.
pub struct DockerEngine {
    inner: Arc<Inner>,
}

/// What the engine's own tasks share with it.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) connection: Connection,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) changes: Changes,
    pub(crate) followers: Followers,
    pub(crate) ledgers: Ledgers,
    rules: Rules,
    /// The networks that the rules were last told of.
    walls: Arc<Mutex<Vec<Wall>>>,
    turns: Mutex<Turns>,
    /// The places of replicas that are being started: no container shows them yet.
    pub(crate) places: tokio::sync::Mutex<BTreeMap<(StackId, ReplicaId), u32>>,
    /// Made when it is first needed, and anew after the Engine was away.
    images: Mutex<Option<Arc<ImageStore>>>,
    /// How this Engine keeps output unless it is told otherwise: a setting that it reads when it starts.
    pub(crate) usual_driver: Mutex<Option<String>>,
    /// The control groups of containers that are not where the Engine usually has them.
    pub(crate) groups: Mutex<HashMap<String, String>>,
}

type Turns = BTreeMap<(StackId, ReplicaId), Arc<tokio::sync::Mutex<()>>>;

impl DockerEngine {
    /// An engine over the Engine at that address, which need not answer yet.
    pub fn open(settings: Settings, tasks: Tasks, clock: Arc<dyn Clock>) -> Self {
        let walls: Arc<Mutex<Vec<Wall>>> = Arc::default();
        let told = Arc::clone(&walls);
        let list = Arc::new(move || Ok(told.lock().unwrap_or_else(PoisonError::into_inner).clone()));
        let names = &settings.names;
        let scope = Scope { table: names.table.clone(), links: names.links.clone(), duty: Duty::Input };
        let inner = Arc::new(Inner {
            rules: Rules::new(scope, list, Arc::clone(&clock), tasks.clone()),
            walls,
            connection: Connection::new(settings.address.clone()),
            ledgers: Ledgers::read(&settings.layout),
            settings,
            clock,
            tasks,
            changes: Changes::default(),
            followers: Followers::default(),
            turns: Mutex::default(),
            places: tokio::sync::Mutex::default(),
            images: Mutex::default(),
            usual_driver: Mutex::default(),
            groups: Mutex::default(),
        });
        watch::spawn(&inner);
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Inner {
    pub(crate) async fn docker(&self) -> Result<Docker, Error> {
        self.connection.get().await
    }

    pub(crate) fn refused(&self, error: bollard::errors::Error) -> Error {
        self.connection.error(error)
    }

    /// Forgets what was learnt of an Engine that has been away: it may be another version by now.
    pub(crate) fn forget(&self) {
        self.connection.forget();
        *self.images.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.usual_driver.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn images(&self) -> Result<Arc<ImageStore>, Error> {
        let docker = self.docker().await?;
        let mut kept = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let Settings { address, bundle, .. } = &self.settings;
        let new = || ImageStore::new(docker, address.path(), self.clock.clone(), self.tasks.clone(), bundle.clone());
        Ok(Arc::clone(kept.get_or_insert_with(|| Arc::new(new()))))
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.settings.layout
    }

    /// All containers of a stack, or of all stacks.
    pub(crate) async fn containers(&self, stack: Option<&StackId>) -> Result<Vec<ContainerSummary>, Error> {
        let filters = labels::filter(&self.settings.names, stack);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let docker = self.docker().await?;
        let mut all = docker.list_containers(Some(options)).await.map_err(|error| self.refused(error))?;
        all.extend(self.taken(&docker, stack).await?);
        Ok(all)
    }

    /// The container of a replica; none when there is none of ours.
    pub(crate) async fn container(
        &self,
        stack: &StackId,
        id: &ReplicaId,
    ) -> Result<Option<ContainerInspectResponse>, Error> {
        let mut filters = labels::filter(&self.settings.names, Some(stack));
        filters.entry("label".into()).or_default().push(format!("{}={id}", labels::ID));
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let docker = self.docker().await?;
        let found = docker.list_containers(Some(options)).await.map_err(|error| self.refused(error))?;
        let taken = self.ledgers.of(stack)?;
        let own = found.into_iter().find_map(|container| container.id);
        match own.as_deref().or_else(|| taken.container_of(id)) {
            Some(container) => self.inspect(&docker, container).await,
            None => Ok(None),
        }
    }

    pub(crate) async fn inspect(&self, docker: &Docker, id: &str) -> Result<Option<ContainerInspectResponse>, Error> {
        let found = docker.inspect_container(id, None::<InspectContainerOptions>).await;
        match found.map_err(|error| self.refused(error)) {
            Ok(mut found) => {
                self.dress(&mut found)?;
                Ok(Some(found))
            }
            // Removed since it was listed.
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Held while a replica is being started: one start of it after the other.
    pub(crate) fn turn(&self, stack: &StackId, id: &ReplicaId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody else has are over.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry((stack.clone(), id.clone())).or_default())
    }

    /// Whether the rules around our networks are in force.
    pub(crate) async fn rules_hold(&self) -> Result<bool, Error> {
        self.tell_walls().await?;
        Ok(self.rules.hold().await?)
    }

    /// Brings the rules in line with the networks that exist.
    pub(crate) async fn settle_rules(&self) -> Result<(), Error> {
        self.tell_walls().await?;
        match self.rules.settle().await {
            // The Engine sees to what passes through; without `nft` stable addresses are reached by whoever has a route.
            Err(::network::Error::NoNft) => Ok(()),
            result => Ok(result?),
        }
    }

    async fn tell_walls(&self) -> Result<(), Error> {
        let walls = self.walls().await?;
        *self.walls.lock().unwrap_or_else(PoisonError::into_inner) = walls;
        Ok(())
    }

    async fn observe(self: &Arc<Self>, stack: &StackId) -> Result<Placed, Error> {
        let docker = self.docker().await?;
        let (listed, mut networks, volumes) =
            tokio::try_join!(self.containers(Some(stack)), self.networks(stack), self.volumes(stack))?;
        let ids = listed.into_iter().filter_map(|container| container.id);
        let inspected = stream::iter(ids).map(|id| {
            let docker = &docker;
            async move { self.inspect(docker, &id).await }
        });
        let inspected: Vec<_> = inspected.buffer_unordered(WIDTH).try_collect().await?;
        let mut replicas = BTreeMap::new();
        for container in inspected.into_iter().flatten() {
            self.follow(stack, &container);
            if let (Some(id), false) = (&container.id, is_running(&container)) {
                // Whoever is told of its end may read why.
                self.followers.finished(id, &*self.clock, LAST_LINES).await;
            }
            replicas.extend(replica(&container));
        }
        if !networks.is_empty() && !self.rules_hold().await? {
            networks.values_mut().for_each(network::open);
        }
        Ok(Placed { replicas, networks, volumes })
    }

    async fn act(self: &Arc<Self>, stack: &StackId, action: &Action) -> Result<(), Error> {
        match action {
            Action::EnsureNetwork { name, state, made } => self.ensure_network(stack, name, state, made).await,
            Action::RemoveNetwork { name } => self.remove_network(stack, name).await,
            Action::EnsureVolume { name, made } => self.ensure_volume(stack, name, made).await.map(drop),
            Action::RemoveVolume { name } => self.remove_volume(stack, name).await,
            Action::Start(start) => self.start(stack, start).await,
            Action::Stop { id, signal, grace } => self.stop(stack, id, *signal, *grace).await,
            Action::Remove { id } => self.remove(stack, id).await,
        }
    }

    pub(crate) async fn known_stacks(&self) -> Result<Vec<StackId>, Error> {
        let containers = self.containers(None).await?;
        let of_containers = containers.into_iter().filter_map(|container| container.labels);
        let docker = self.docker().await?;
        let filters = labels::filter(&self.settings.names, None);
        let options = bollard::query_parameters::ListNetworksOptionsBuilder::default().filters(&filters).build();
        let networks = docker.list_networks(Some(options)).await.map_err(|error| self.refused(error))?;
        let of_networks = networks.into_iter().filter_map(|network| network.labels);
        let volumes = self.list_volumes(filters).await?;
        let all = of_containers.chain(of_networks).chain(volumes.into_iter().map(|volume| volume.labels));
        let mut stacks: BTreeSet<StackId> = all.filter_map(|labels| labels.get(labels::STACK)?.parse().ok()).collect();
        stacks.extend(self.ledgers.all().into_keys());
        Ok(stacks.into_iter().collect())
    }

    fn shortcomings(&self, template: &Template) -> Vec<Shortcoming> {
        let mut found = Vec::new();
        match container::image(&template.runs) {
            Ok(_) | Err(Error::Static | Error::NotPinned) => {}
            Err(error) => found.push(Shortcoming {
                fatal: true,
                what: error.to_string(),
                cure: "Name an image or a build for it in the Compose file".into(),
            }),
        }
        for mount in &template.mounts {
            let MountSource::Host(path) = &mount.source else { continue };
            if self.is_hidden(Path::new(path)) {
                let what = Error::Hidden(path.into()).to_string();
                let cure = "Mount a folder that is the application's own".into();
                found.push(Shortcoming { fatal: true, what, cure });
            } else if SOCKETS.contains(&path.as_str()) {
                let what = format!("it gets `{path}`, and with it may do on this machine whatever root may");
                let cure = "Remove the mount unless it needs it".into();
                found.push(Shortcoming { fatal: false, what, cure });
            }
        }
        found
    }

    /// Whether a path lies within what no replica may see. One that holds it (`/`) may be mounted: monitoring does.
    pub(crate) fn is_hidden(&self, path: &Path) -> bool {
        // The Engine makes what is missing, at the end of links that are there.
        let real = path.ancestors().find_map(|there| {
            let missing = path.strip_prefix(there).ok()?;
            Some(runtime::files::canonical(there).ok()?.join(missing))
        });
        let real = real.unwrap_or_else(|| path.to_owned());
        self.settings.hidden.iter().any(|hidden| real.starts_with(hidden))
    }
}

/// A container as the plan sees it; none when its labels name no replica.
fn replica(container: &ContainerInspectResponse) -> Option<(ReplicaId, Replica)> {
    let labels = container.config.as_ref()?.labels.as_ref()?;
    let id: ReplicaId = labels.get(labels::ID)?.parse().ok()?;
    let created = container.created.as_ref().and_then(|text| text.to_string().parse::<Timestamp>().ok());
    let state = container.state.clone().unwrap_or_default();
    let phase = phase::phase(&state, created.unwrap_or(Timestamp::UNIX_EPOCH));
    let (meaning, phase) = match StartedWith::read(labels).and_then(|with| with.meaning()) {
        Ok(meaning) => (meaning, phase),
        Err(why) => (labels::Meaning::unknown(), Phase::Unknown(why)),
    };
    let labels::Meaning { role, hash, release, bundle, addresses, failures, stop_signal, stop_grace } = meaning;
    Some((id, Replica { role, hash, release, bundle, addresses, failures, stop_signal, stop_grace, phase }))
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

pub(crate) fn wrap(doing: String) -> impl FnOnce(Error) -> EngineError {
    move |error| EngineError { engine: EngineKind::Docker, doing, retry: error.retry(), source: error.into() }
}

#[async_trait]
impl Engine for DockerEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Docker
    }

    async fn observe(&self, stack: &StackId) -> Result<Placed, EngineError> {
        self.inner.observe(stack).await.map_err(wrap(format!("observe {stack}")))
    }

    async fn perform(&self, stack: &StackId, action: &Action) -> Result<(), EngineError> {
        self.inner.act(stack, action).await.map_err(wrap(doing(stack, action)))
    }

    async fn stacks(&self) -> Result<Vec<StackId>, EngineError> {
        self.inner.known_stacks().await.map_err(wrap("list stacks".into()))
    }

    async fn changed(&self) -> StackId {
        self.inner.changes.next().await
    }

    async fn usable(&self) -> Result<(), Unusable> {
        let Err(error) = self.inner.docker().await else { return Ok(()) };
        let address = &self.inner.settings.address;
        Err(match error {
            Error::Rootless { .. } => Unusable {
                why: format!("the one at {address} is rootless, and nothing outside its own network reaches its containers"),
                cure: "have the daemon use an Engine that runs as root (`DOCKER_HOST`), or run without: `--engine process`"
                    .into(),
                may_pass: false,
            },
            Error::Away { source, .. } => Unusable {
                why: format!("none answers at {address}: {}", runtime::tasks::chain(&source)),
                cure: "start it (`systemctl start docker`), or run without: `--engine process`".into(),
                may_pass: true,
            },
            error => Unusable {
                why: format!("the one at {address}: {}", runtime::tasks::chain(&error)),
                cure: "see Docker's own log, or run without: `--engine process`".into(),
                may_pass: true,
            },
        })
    }

    async fn subnets_in_use(&self) -> Result<Vec<ipnet::Ipv4Net>, EngineError> {
        let links = self.inner.settings.names.links.clone();
        let read = async {
            let doing = "list subnets";
            let listed = self.inner.tasks.blocking(doing, move || ::network::subnets_in_use(&links)).await?;
            listed.map_err(|source| Error::Rules(::network::Error::Kernel { doing: "read the routes", source }))
        };
        read.await.map_err(wrap("find subnets in use".into()))
    }

    async fn check(&self, template: &Template) -> Vec<Shortcoming> {
        let mut found = self.inner.shortcomings(template);
        // One that is away is told of when something is asked of it.
        if let Ok(docker) = self.inner.docker().await
            && let Err(error) = versions::check(template, &docker.client_version())
        {
            let cure = "Update Docker, or remove that key".into();
            found.push(Shortcoming { fatal: true, what: error.to_string(), cure });
        }
        found
    }

    fn log_path(&self, stack: &StackId, id: &ReplicaId) -> PathBuf {
        self.inner.layout().log(stack, id)
    }

    async fn exec(&self, stack: &StackId, id: &ReplicaId, exec: Exec) -> Result<ExecExit, EngineError> {
        self.inner.exec(stack, id, exec).await.map_err(wrap(format!("run a command in `{id}` of {stack}")))
    }

    async fn listens(&self, stack: &StackId, id: &ReplicaId) -> Result<Option<BTreeSet<u16>>, EngineError> {
        let found = self.inner.container(stack, id).await.map_err(wrap(format!("find `{id}`")))?;
        let pid = found.and_then(|container| u32::try_from(container.state?.pid?).ok()).filter(|pid| *pid > 0);
        let sockets = pid.and_then(runtime::sockets::listened_by);
        let ports = |sockets: BTreeSet<SocketAddr>| {
            // The Engine's own name server sits on a loopback address as well.
            sockets.into_iter().filter(|socket| !socket.ip().is_loopback()).map(|socket| socket.port()).collect()
        };
        Ok(sockets.map(ports))
    }

    async fn usage(&self, stack: &StackId) -> Result<BTreeMap<ReplicaId, Known<Usage>>, EngineError> {
        self.inner.usage(stack).await.map_err(wrap(format!("read what {stack} uses")))
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn takeover(&self) -> Option<&dyn Takeover> {
        Some(self)
    }
}

#[async_trait]
impl Images for DockerEngine {
    async fn prepare(&self, wanted: &Wanted<'_>, progress: &dyn Progress) -> Result<Prepared, EngineError> {
        let doing = || format!("have the image of `{}` of {}", wanted.service, wanted.stack);
        let store = self.inner.images().await.map_err(wrap(doing()))?;
        store.prepare(wanted, progress).await.map_err(of_images(doing()))
    }

    async fn inspect(&self, id: &ImageId) -> Result<Option<Facts>, EngineError> {
        let doing = || format!("look at image {}", id.short());
        let store = self.inner.images().await.map_err(wrap(doing()))?;
        store.inspect(id).await.map_err(of_images(doing()))
    }
}

fn of_images(doing: String) -> impl FnOnce(ImageError) -> EngineError {
    move |error| EngineError { engine: EngineKind::Docker, doing, retry: error.retry(), source: error.into() }
}
