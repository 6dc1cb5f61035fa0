//! The life of a replica: started, asked to stop, removed; and the volumes it stands on.

use crate::container::{self, Ground, Inputs};
use crate::engine::Inner;
use crate::error::Error;
use crate::labels::{self, StartedWith};
use crate::{names, network, phase, versions};
use bollard::Docker;
use bollard::models::{ContainerInspectResponse, Volume, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectNetworkOptions, KillContainerOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptions, StartContainerOptions, WaitContainerOptions,
};
use engine::anonymous;
use futures_util::StreamExt as _;
use model::project::{Made, MountSource, Template};
use model::{ReplicaId, StackId, VolumeName};
use plan::action::replica::Start;
use plan::observed::Phase;
use runtime::OnError;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What a kill may take on a machine under load.
const KILL_MARGIN: Duration = Duration::from_secs(30);
/// How long the rest of a replica's output is waited for before its container goes.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The signal when nobody says otherwise.
const SIGTERM: i32 = 15;
/// The longest host name the kernel takes.
const MAX_HOSTNAME: usize = 63;

impl Inner {
    /// Starts a replica. Whoever gives up waiting leaves the work going on: half a container would be left otherwise.
    pub(crate) async fn start(self: &Arc<Self>, stack: &StackId, start: &Start) -> Result<(), Error> {
        let turn = self.turn(stack, &start.id).lock_owned().await;
        let (inner, stack, start) = (Arc::clone(self), stack.clone(), start.clone());
        let (tell, told) = tokio::sync::oneshot::channel();
        self.tasks.spawn(&format!("start {stack}/{}", start.id), OnError::Log, move |_| async move {
            let result = inner.start_now(&stack, &start).await;
            drop(turn);
            // Whoever asked may be gone; what was made is seen by the next look.
            let _ = tell.send(result);
        });
        told.await.unwrap_or_else(|_| Err(Error::NotStarted("the work on it ended without a word".into())))
    }

    async fn start_now(self: &Arc<Self>, stack: &StackId, start: &Start) -> Result<(), Error> {
        let docker = self.docker().await?;
        let found = self.container(stack, &start.id).await?;
        if let Some(found) = &found
            && is_running(found)
        {
            let with = found.config.as_ref().and_then(|config| StartedWith::read(config.labels.as_ref()?).ok());
            let is_same = with.and_then(|with| with.meaning().ok()).is_some_and(|with| with.hash == start.hash);
            self.follow(stack, found);
            return if is_same { Ok(()) } else { Err(Error::Busy(start.id.clone())) };
        }
        if found.is_none() && self.take_over(&docker, stack, start).await? {
            if let Some(found) = self.container(stack, &start.id).await? {
                self.follow(stack, &found);
            }
            return Ok(());
        }
        versions::check(&start.template, &docker.client_version())?;
        let ground = self.ground(stack, start).await?;
        self.refuse_shared(&docker, stack, &ground).await?;
        let place = self.take_place(stack, &start.id, found.as_ref().and_then(place_of)).await?;
        let made = self.make(&docker, stack, start, found, (place, ground)).await;
        self.places.lock().await.remove(&(stack.clone(), start.id.clone()));
        made
    }

    /// Makes the container of a replica in place of `found`, and starts it.
    async fn make(
        self: &Arc<Self>,
        docker: &Docker,
        stack: &StackId,
        start: &Start,
        found: Option<ContainerInspectResponse>,
        (place, ground): (u32, Ground),
    ) -> Result<(), Error> {
        let id = container::image(&start.template.runs)?;
        let image = match docker.inspect_image(id.as_str()).await.map_err(|error| self.refused(error)) {
            Err(error) if error.is_missing() => return Err(Error::NoImage(id.short().to_owned())),
            image => image?,
        };
        let config = image.config.unwrap_or_default();
        let asked = || config.stop_signal.as_deref().and_then(phase::signal);
        let stop_signal = start.template.stop_signal.or_else(asked).unwrap_or(SIGTERM);
        let wants: Vec<String> = config.volumes.unwrap_or_default().into_iter().collect();
        let with = self.started_with(stack, start, stop_signal, place).await?;
        let anonymous = self.anonymous(stack, start, &wants, place).await?;
        let files = self.lay_files(stack, start)?;
        let hosts = self.lay_hosts(stack, start, &with)?;
        if let Some(found) = found {
            match self.discard(stack, &start.id, &found).await {
                // It did not run when it was looked at.
                Err(Error::Running(id)) => return Err(Error::Overtaken(id)),
                result => result?,
            }
        }
        let usual_driver = self.usual_driver(docker).await?;
        let request = container::request(&Inputs {
            names: &self.settings.names,
            stack,
            start,
            with: &with,
            stop_signal,
            bundle: &(self.settings.bundle)(&start.bundle),
            hosts: hosts.as_deref(),
            files: &files,
            anonymous: &anonymous,
            ground: &ground,
            usual_driver: &usual_driver,
        })?;
        self.create(docker, stack, &start.id, request).await
    }

    async fn create(
        self: &Arc<Self>,
        docker: &Docker,
        stack: &StackId,
        id: &ReplicaId,
        request: container::Request,
    ) -> Result<(), Error> {
        let mut options = CreateContainerOptionsBuilder::default().name(&request.name);
        if let Some(platform) = &request.platform {
            options = options.platform(platform);
        }
        let created = docker.create_container(Some(options.build()), request.body).await;
        let container = match created.map_err(|error| self.refused(error)) {
            Ok(created) => created.id,
            Err(error) if error.is_conflict() && self.is_somebody_elses(docker, &request.name).await? => {
                return Err(Error::Taken { kind: "container", name: request.name });
            }
            Err(error) => return Err(error),
        };
        for (name, endpoint) in request.connect {
            let connection = bollard::models::NetworkConnectRequest {
                container: container.clone(),
                endpoint_config: Some(endpoint),
            };
            docker.connect_network(&name, connection).await.map_err(|error| self.refused(error))?;
        }
        match docker.start_container(&container, None::<StartContainerOptions>).await.map_err(|e| self.refused(e)) {
            // Not a network of it, which may be missing as well.
            Err(Error::Refused { status: 404, message }) if message.contains("No such container") => {
                Err(Error::Overtaken(id.clone()))
            }
            Err(Error::Refused { message, status }) if status != 304 => Err(Error::NotStarted(phase::plain(&message))),
            Err(error) if !error.is_no_change() => Err(error),
            _ => {
                if let Some(found) = self.container(stack, id).await? {
                    self.follow(stack, &found);
                }
                Ok(())
            }
        }
    }

    /// Whether a container of that name is there and not ours. One that is just being made is not there yet.
    async fn is_somebody_elses(&self, docker: &Docker, name: &str) -> Result<bool, Error> {
        let Some(found) = self.inspect(docker, name).await? else { return Ok(false) };
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        Ok(labels.get(labels::OWNER) != Some(&self.settings.names.owner))
    }

    /// Everything a replica stands on, by the Engine's names: it has to be there before anything is touched.
    pub(crate) async fn ground(&self, stack: &StackId, start: &Start) -> Result<Ground, Error> {
        let mut ground = Ground::default();
        for name in start.addresses.keys() {
            let found = self.network(stack, name).await?.ok_or_else(|| Error::NoNetwork(name.clone()))?;
            ground.networks.insert(name.clone(), found.name.unwrap_or_default());
        }
        let docker = self.docker().await?;
        for name in start.template.container.external_networks.keys() {
            match docker.inspect_network(name, None::<InspectNetworkOptions>).await.map_err(|e| self.refused(e)) {
                Err(error) if error.is_missing() => {
                    return Err(Error::NoExternal { kind: "network", name: name.clone() });
                }
                result => drop(result?),
            }
        }
        for mount in &start.template.mounts {
            match &mount.source {
                MountSource::Volume(name) => {
                    let found = self.volume(stack, name).await?.ok_or_else(|| Error::NoVolume(name.clone()))?;
                    ground.volumes.insert(name.clone(), found.name);
                }
                MountSource::External(name) => {
                    let missing = || Error::NoExternal { kind: "volume", name: name.clone() };
                    self.volume_called(&docker, name).await?.ok_or_else(missing)?;
                }
                MountSource::Host(path) if self.is_hidden(path.as_ref()) => return Err(Error::Hidden(path.into())),
                _ => {}
            }
        }
        Ok(ground)
    }

    pub(crate) async fn started_with(
        &self,
        stack: &StackId,
        start: &Start,
        stop_signal: i32,
        place: u32,
    ) -> Result<StartedWith, Error> {
        let template = &start.template;
        let own = || format!("{}-{}", start.id.service, start.id.slot.number());
        let mut hostname = template.hostname.clone().unwrap_or_else(own);
        hostname.truncate(MAX_HOSTNAME);
        let mut with = StartedWith::new(start, hostname, stop_signal, place);
        if !template.container.host_gateway.is_empty() {
            let gateway = self.gateway(stack, start).await?;
            let names = template.container.host_gateway.iter();
            with.extra_hosts
                .extend(gateway.into_iter().flat_map(|ip| names.clone().map(move |name| (name.clone(), ip))));
        }
        Ok(with)
    }

    /// The machine, as a replica reaches it: the gateway of its first network that is not internal, else of its first.
    async fn gateway(&self, stack: &StackId, start: &Start) -> Result<Option<IpAddr>, Error> {
        let mut found = None;
        for name in start.addresses.keys() {
            let Some(subnet) = self.network(stack, name).await?.and_then(|n| network::subnet(&n).ok()) else {
                continue;
            };
            if !subnet.internal {
                return Ok(Some(IpAddr::V4(subnet.gateway)));
            }
            found = found.or(Some(IpAddr::V4(subnet.gateway)));
        }
        Ok(found)
    }

    /// A place that no other replica of the service has, kept for this one until its container shows it.
    pub(crate) async fn take_place(&self, stack: &StackId, id: &ReplicaId, before: Option<u32>) -> Result<u32, Error> {
        let counts = |other: &ReplicaId| other.service == id.service && other != id && !anonymous::is_one_off(other);
        let mut kept = self.places.lock().await;
        let mut taken: BTreeSet<u32> =
            kept.iter().filter(|((of, other), _)| of == stack && counts(other)).map(|(_, place)| *place).collect();
        // After that: what was kept until now is there by now.
        let place = |labels: HashMap<String, String>| {
            let other: ReplicaId = labels.get(labels::ID)?.parse().ok()?;
            counts(&other).then(|| StartedWith::read(&labels).ok()).flatten().map(|with| with.place)
        };
        let containers = self.containers(Some(stack)).await?;
        taken.extend(containers.into_iter().filter_map(|container| container.labels).filter_map(place));
        let place = anonymous::place(before, &taken);
        kept.insert((stack.clone(), id.clone()), place);
        Ok(place)
    }

    /// The volumes without a name that a replica gets, by target: those it asks for, and those its image asks for.
    async fn anonymous(
        &self,
        stack: &StackId,
        start: &Start,
        wants: &[String],
        place: u32,
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut volumes = BTreeMap::new();
        for target in unnamed_targets(&start.template, wants) {
            if anonymous::is_one_off(&start.id) {
                volumes.insert(target, String::new());
                continue;
            }
            let name = anonymous::name(&start.id.service, place, &target);
            volumes.insert(target, self.ensure_volume(stack, &name, &Made::default()).await?);
        }
        Ok(volumes)
    }

    /// Writes secrets and configs where the container is to find them: in memory, for its user alone.
    fn lay_files(&self, stack: &StackId, start: &Start) -> Result<Vec<PathBuf>, Error> {
        let folder = self.layout().replica(stack, &start.id).join("files");
        runtime::files::remove_tree(&folder)?;
        if start.template.files.is_empty() {
            return Ok(Vec::new());
        }
        runtime::files::create_dir(&folder, 0o711)?;
        let own = start.template.user.as_ref();
        let mut paths = Vec::new();
        for (number, file) in start.template.files.iter().enumerate() {
            let path = folder.join(number.to_string());
            // Nobody may read it before it has its owner.
            runtime::files::write_in_place(&path, file.content.reveal(), 0o600)?;
            let uid = file.uid.or(own.map(|user| user.uid)).unwrap_or(0);
            let gid = file.gid.or(own.map(|user| user.gid)).unwrap_or(0);
            runtime::files::set_owner(&path, uid, gid)?;
            runtime::files::set_mode(&path, file.mode)?;
            paths.push(path);
        }
        Ok(paths)
    }

    fn lay_hosts(&self, stack: &StackId, start: &Start, with: &StartedWith) -> Result<Option<PathBuf>, Error> {
        if start.addresses.keys().next().is_none() {
            return Ok(None);
        }
        let path = self.layout().hosts(stack, &start.id);
        runtime::files::create_dir(&self.layout().replica(stack, &start.id), 0o711)?;
        // A new file: what an earlier container of this slot still has mounted is not ours to change.
        runtime::files::remove(&path)?;
        runtime::files::write_in_place(&path, self.hosts(stack, with).as_bytes(), 0o644)?;
        runtime::files::set_mode(&path, 0o644)?;
        Ok(Some(path))
    }

    async fn usual_driver(&self, docker: &Docker) -> Result<String, Error> {
        if let Some(known) = self.usual_driver.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(known);
        }
        let info = docker.info().await.map_err(|error| self.refused(error))?;
        let driver = info.logging_driver.unwrap_or_else(|| "json-file".into());
        *self.usual_driver.lock().unwrap_or_else(PoisonError::into_inner) = Some(driver.clone());
        Ok(driver)
    }

    /// Asks a replica to stop, and ends it after `grace`.
    pub(crate) async fn stop(
        &self,
        stack: &StackId,
        id: &ReplicaId,
        signal: i32,
        grace: Duration,
    ) -> Result<(), Error> {
        let docker = self.docker().await?;
        let Some(found) = self.container(stack, id).await?.filter(is_running) else { return Ok(()) };
        let container = found.id.unwrap_or_default();
        self.kill(&docker, &container, signal).await?;
        if self.ends_within(&docker, &container, grace).await? {
            return Ok(());
        }
        self.kill(&docker, &container, 9).await?;
        match self.ends_within(&docker, &container, KILL_MARGIN).await? {
            true => Ok(()),
            false => Err(Error::Deaf(KILL_MARGIN)),
        }
    }

    async fn kill(&self, docker: &Docker, container: &str, signal: i32) -> Result<(), Error> {
        let options = KillContainerOptionsBuilder::default().signal(&signal.to_string()).build();
        match docker.kill_container(container, Some(options)).await.map_err(|error| self.refused(error)) {
            // Gone, or ended while we asked: that is what was wanted.
            Err(error) if !error.is_missing() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    async fn ends_within(&self, docker: &Docker, container: &str, limit: Duration) -> Result<bool, Error> {
        let mut ends = docker.wait_container(container, None::<WaitContainerOptions>);
        match runtime::clock::timeout(&*self.clock, limit, ends.next()).await {
            Err(_) => Ok(false),
            // A code that is not 0 is an end as well.
            Ok(None | Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }))) => Ok(true),
            Ok(Some(Err(error))) => match self.refused(error) {
                error if error.is_missing() => Ok(true),
                error => Err(error),
            },
        }
    }

    /// Removes all that is left of a stopped replica, except its logs.
    pub(crate) async fn remove(self: &Arc<Self>, stack: &StackId, id: &ReplicaId) -> Result<(), Error> {
        if let Some(found) = self.container(stack, id).await? {
            if is_running(&found) {
                return Err(Error::Running(id.clone()));
            }
            self.discard(stack, id, &found).await?;
        }
        runtime::files::remove_tree(&self.layout().replica(stack, id))?;
        Ok(())
    }

    async fn discard(
        self: &Arc<Self>,
        stack: &StackId,
        id: &ReplicaId,
        found: &ContainerInspectResponse,
    ) -> Result<(), Error> {
        let container = found.id.clone().unwrap_or_default();
        self.follow(stack, found);
        self.followers.finished(&container, &*self.clock, LAST_WORDS).await;
        let docker = self.docker().await?;
        // Volumes without a name are those of one-off replicas only, and those of a container that was taken over: what
        // takes its place has them.
        let is_taken = self.ledgers.stack_of(&container).is_some();
        let options = RemoveContainerOptionsBuilder::default().v(!is_taken).build();
        match docker.remove_container(&container, Some(options)).await.map_err(|error| self.refused(error)) {
            Err(error) if error.is_conflict() && self.container(stack, id).await?.is_some_and(|c| is_running(&c)) => {
                Err(Error::Running(id.clone()))
            }
            Err(error) if !error.is_missing() => Err(error),
            _ => {
                self.followers.forget(&container);
                self.ledgers.change(self.layout(), stack, |ledger| drop(ledger.taken.remove(&container)))
            }
        }
    }

    /// Makes a volume be there; its name on the Engine.
    pub(crate) async fn ensure_volume(&self, stack: &StackId, name: &VolumeName, made: &Made) -> Result<String, Error> {
        if let Some(found) = self.volume(stack, name).await? {
            return Ok(found.name);
        }
        let docker = self.docker().await?;
        let full_name = made.name.clone().unwrap_or_else(|| names::volume(stack, name));
        if self.volume_called(&docker, &full_name).await?.is_some() {
            return Err(Error::Taken { kind: "volume", name: full_name });
        }
        let mut labels: HashMap<String, String> = made.labels.clone().into_iter().collect();
        labels.extend(labels::of_volume(&self.settings.names, stack, name));
        let request = VolumeCreateRequest {
            name: Some(full_name.clone()),
            driver_opts: Some(made.driver_opts.clone().into_iter().collect()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        docker.create_volume(request).await.map_err(|error| self.refused(error))?;
        // One that was taken over and then removed by hand is not waited for.
        self.ledgers.change(self.layout(), stack, |ledger| drop(ledger.volumes.remove(name.as_str())))?;
        Ok(full_name)
    }

    /// Removes a volume and what it holds.
    pub(crate) async fn remove_volume(&self, stack: &StackId, name: &VolumeName) -> Result<(), Error> {
        let Some(found) = self.volume(stack, name).await? else { return Ok(()) };
        let docker = self.docker().await?;
        let removed = docker.remove_volume(&found.name, None::<RemoveVolumeOptions>).await;
        match removed.map_err(|error| self.refused(error)) {
            Err(error) if !error.is_missing() => Err(error),
            _ => self.ledgers.change(self.layout(), stack, |ledger| drop(ledger.volumes.remove(name.as_str()))),
        }
    }

    /// A volume of a stack, whatever the Engine calls it.
    async fn volume(&self, stack: &StackId, name: &VolumeName) -> Result<Option<Volume>, Error> {
        if let Some(called) = self.ledgers.of(stack)?.volume(name) {
            return self.volume_called(&self.docker().await?, called).await;
        }
        let mut filters = labels::filter(&self.settings.names, Some(stack));
        filters.entry("label".into()).or_default().push(format!("{}={name}", labels::VOLUME));
        Ok(self.list_volumes(filters).await?.into_iter().next())
    }

    /// A volume by the Engine's name, whosever it is.
    async fn volume_called(&self, docker: &Docker, full_name: &str) -> Result<Option<Volume>, Error> {
        match docker.inspect_volume(full_name).await.map_err(|error| self.refused(error)) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn list_volumes(&self, filters: HashMap<String, Vec<String>>) -> Result<Vec<Volume>, Error> {
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let listed = self.docker().await?.list_volumes(Some(options)).await.map_err(|error| self.refused(error))?;
        let mut volumes = listed.volumes.unwrap_or_default();
        volumes.retain(|volume| labels::meet(Some(&volume.labels), &filters));
        Ok(volumes)
    }

    /// The volumes of a stack.
    pub(crate) async fn volumes(&self, stack: &StackId) -> Result<BTreeSet<VolumeName>, Error> {
        let found = self.list_volumes(labels::filter(&self.settings.names, Some(stack))).await?;
        let mut names: BTreeSet<VolumeName> =
            found.into_iter().filter_map(|volume| volume.labels.get(labels::VOLUME)?.parse().ok()).collect();
        for name in self.ledgers.of(stack)?.volumes.keys().filter_map(|name| name.parse().ok()) {
            if self.volume(stack, &name).await?.is_some() {
                names.insert(name);
            }
        }
        Ok(names)
    }
}

/// Whether a program runs in it.
pub(crate) fn is_running(container: &ContainerInspectResponse) -> bool {
    let state = container.state.clone().unwrap_or_default();
    matches!(phase::phase(&state, jiff::Timestamp::UNIX_EPOCH), Phase::Running { .. })
}

fn place_of(container: &ContainerInspectResponse) -> Option<u32> {
    StartedWith::read(container.config.as_ref()?.labels.as_ref()?).ok().map(|with| with.place)
}

/// Where volumes without a name are mounted: asked for, or wanted by the image and not mounted otherwise.
fn unnamed_targets(template: &Template, wants: &[String]) -> BTreeSet<String> {
    let plain = |path: &str| if path == "/" { path.to_owned() } else { path.trim_end_matches('/').to_owned() };
    let mounted: BTreeSet<String> = template.mounts.iter().map(|mount| plain(&mount.target)).collect();
    let asked = template.mounts.iter().filter(|mount| mount.source == MountSource::Anonymous);
    let wanted = wants.iter().map(|path| plain(path)).filter(|path| !mounted.contains(path));
    asked.map(|mount| plain(&mount.target)).chain(wanted).collect()
}
