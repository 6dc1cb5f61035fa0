//! Taking over the containers of a project that `docker compose` runs, as they run.
//!
//! ```text
//! offer     the ledger notes: web.1 ── container shop-web-1, volume data ── shop_data
//! start     web.1 has an offer: the container is connected to our networks and noted as taken over
//! after it  labels that it cannot bear are filled in from the ledger, wherever containers are listed
//! ```
//! A container that differs from what is wanted is taken over all the same, with a hash that nothing has: the planner
//! puts one of ours in its place by the rules of every release. Its published ports stay Docker's until it is removed.

mod differs;
pub(crate) mod ledger;

use crate::container::{self, Ground, Inputs, Request};
use crate::engine::{Inner, wrap};
use crate::error::Error;
use crate::labels::{self, StartedWith};
use crate::start::is_running;
use crate::{DockerEngine, phase};
use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerUpdateBody, EndpointIpamConfig, EndpointSettings,
    NetworkConnectRequest, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::ListContainersOptionsBuilder;
use differs::{differs, is_unnamed};
use engine::takeover::{Fate, Outlook, Prospect, Stray, Takeover, assign};
use engine::{EngineError, anonymous};
use ledger::Taken;
use model::project::Role;
use model::stack::{Stack, Target};
use model::{ReplicaId, StackId, VolumeName};
use plan::action::replica::Start;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const VOLUME: &str = "com.docker.compose.volume";

impl Inner {
    /// The containers of another tool's project, as they are.
    async fn strays(&self, project: &str) -> Result<Vec<ContainerInspectResponse>, Error> {
        let docker = self.docker().await?;
        let wanted = vec![format!("{PROJECT}={project}"), format!("{ONE_OFF}=False")];
        let filters = HashMap::from([("label".to_owned(), wanted)]);
        let listed = list(self, &docker, filters).await?;
        self.ledgers.check()?;
        let taken: BTreeSet<String> =
            self.ledgers.all().into_values().flat_map(|ledger| ledger.taken.into_keys()).collect();
        let mut found = Vec::new();
        for container in listed {
            let ours = container.labels.as_ref().is_some_and(|labels| labels.contains_key(labels::OWNER));
            let Some(id) = container.id.filter(|id| !ours && !taken.contains(id)) else { continue };
            found.extend(self.inspect(&docker, &id).await?);
        }
        Ok(found)
    }

    /// The containers that were taken over, as a listing shows them, labels and all; of one stack, or of all.
    pub(crate) async fn taken(&self, docker: &Docker, stack: Option<&StackId>) -> Result<Vec<ContainerSummary>, Error> {
        let ledgers = match stack {
            Some(stack) => BTreeMap::from([(stack.clone(), self.ledgers.of(stack)?)]),
            None => self.ledgers.all(),
        };
        let ids: Vec<String> = ledgers.values().flat_map(|ledger| ledger.taken.keys().cloned()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = list(self, docker, HashMap::from([("id".to_owned(), ids)])).await?;
        for container in &mut found {
            let id = container.id.clone().unwrap_or_default();
            let of = ledgers.iter().find_map(|(stack, ledger)| Some((stack, ledger.taken.get(&id)?)));
            if let Some((stack, taken)) = of {
                ledger::dress(container.labels.get_or_insert_default(), &self.settings.names, stack, taken);
            }
        }
        Ok(found)
    }

    /// The same of one that was inspected.
    pub(crate) fn dress(&self, container: &mut ContainerInspectResponse) -> Result<(), Error> {
        let Some(id) = container.id.as_deref() else { return Ok(()) };
        let Some(stack) = self.ledgers.stack_of(id) else { return Ok(()) };
        if let Some(taken) = self.ledgers.of(&stack)?.taken.get(id) {
            let labels = container.config.get_or_insert_default().labels.get_or_insert_default();
            ledger::dress(labels, &self.settings.names, &stack, taken);
        }
        Ok(())
    }

    /// What a network of the stack is called while containers are to be taken over; none where there are none.
    ///
    /// A container's way out, and with it its published ports, is the network whose name comes first (`libnetwork`
    /// orders a sandbox's endpoints so): one that came first when it is connected would move both, and cut them for a moment.
    pub(crate) async fn name_behind(&self, stack: &StackId, usual: &str) -> Result<Option<String>, Error> {
        let docker = self.docker().await?;
        let mut last = None;
        for container in self.ledgers.of(stack)?.offers.values() {
            let found = self.inspect(&docker, container).await?;
            let networks = found.and_then(|found| found.network_settings?.networks).unwrap_or_default();
            last = last.max(networks.into_keys().max());
        }
        let behind = |last: String| {
            let mut name = usual.to_owned();
            while name <= last && name.len() < usual.len() + last.len() {
                name.insert(0, 'z');
            }
            name
        };
        Ok(last.map(behind))
    }

    /// Takes over the container that was offered for a replica; false when there is none, or none that still runs.
    pub(crate) async fn take_over(&self, docker: &Docker, stack: &StackId, start: &Start) -> Result<bool, Error> {
        let ledger = self.ledgers.of(stack)?;
        let Some(container) = ledger.offers.get(&start.id.to_string()) else { return Ok(false) };
        let found = self.inspect(docker, container).await?;
        let Some(found) = found.filter(|found| is_running(found) || start.role == Role::Job) else {
            self.ledgers.change(self.layout(), stack, |ledger| drop(ledger.offers.remove(&start.id.to_string())))?;
            return Ok(false);
        };
        let ground = self.ground(stack, start).await?;
        let place = self.take_place(stack, &start.id, None).await?;
        let noted = self.note(docker, stack, start, &found, (place, &ground)).await;
        self.places.lock().await.remove(&(stack.clone(), start.id.clone()));
        noted.map(|()| true)
    }

    async fn note(
        &self,
        docker: &Docker,
        stack: &StackId,
        start: &Start,
        found: &ContainerInspectResponse,
        (place, ground): (u32, &Ground),
    ) -> Result<(), Error> {
        let container = found.id.clone().unwrap_or_default();
        let differs = self.differs(docker, stack, start, found, ground).await?;
        self.connect(docker, start, found, ground).await?;
        // Whether and when it is started again is decided by the planner.
        let policy = RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None };
        let update = ContainerUpdateBody { restart_policy: Some(policy), ..ContainerUpdateBody::default() };
        docker.update_container(&container, update).await.map_err(|error| self.refused(error))?;
        let signal = found.config.as_ref().and_then(|config| config.stop_signal.as_deref()).and_then(phase::signal);
        let signal = start.template.stop_signal.or(signal).unwrap_or(15);
        let mut with = self.started_with(stack, start, signal, place).await?;
        if !differs.is_empty() {
            tracing::info!(%stack, replica = %start.id, keys = differs.join(", "), "taken over, and differs");
            with.be_unknown();
        }
        let unnamed: Vec<(VolumeName, String)> = unnamed(found)
            .map(|(target, volume)| (anonymous::name(&start.id.service, place, &target), volume))
            .collect();
        let name = start.id.to_string();
        self.ledgers.change(self.layout(), stack, |ledger| {
            ledger.offers.remove(&name);
            ledger.taken.insert(container.clone(), Taken { replica: name.clone(), with });
            ledger.volumes.extend(unnamed.into_iter().map(|(name, volume)| (name.to_string(), volume)));
        })
    }

    /// Refuses to start on a volume that was taken over while a container has it that was not: two would write to it.
    pub(crate) async fn refuse_shared(&self, docker: &Docker, stack: &StackId, ground: &Ground) -> Result<(), Error> {
        let ledger = self.ledgers.of(stack)?;
        for (name, called) in ground.volumes.iter().filter(|(name, _)| ledger.volume(name).is_some()) {
            let filters = HashMap::from([
                ("volume".to_owned(), vec![called.clone()]),
                ("status".to_owned(), vec!["running".to_owned()]),
            ]);
            let strange = |container: &ContainerSummary| {
                let ours = container.labels.as_ref().is_some_and(|labels| labels.contains_key(labels::OWNER));
                !ours && !container.id.as_ref().is_some_and(|id| ledger.taken.contains_key(id))
            };
            if let Some(by) = list(self, docker, filters).await?.into_iter().find(strange) {
                let by = by.names.unwrap_or_default().concat().trim_start_matches('/').to_owned();
                return Err(Error::Shared { volume: name.clone(), by });
            }
        }
        Ok(())
    }

    /// Connects a container to the networks of a replica, beside those that it is on.
    async fn connect(
        &self,
        docker: &Docker,
        start: &Start,
        found: &ContainerInspectResponse,
        ground: &Ground,
    ) -> Result<(), Error> {
        let on = found.network_settings.as_ref().and_then(|settings| settings.networks.clone()).unwrap_or_default();
        for (network, ip) in start.addresses.iter() {
            let called = ground.networks.get(network).cloned().unwrap_or_default();
            if on.contains_key(&called) {
                continue;
            }
            let more = start.template.networks.get(network).cloned().unwrap_or_default().aliases;
            let aliases = std::iter::once(start.id.service.to_string()).chain(more).collect();
            let ipam = EndpointIpamConfig { ipv4_address: Some(ip.to_string()), ..EndpointIpamConfig::default() };
            let endpoint =
                EndpointSettings { ipam_config: Some(ipam), aliases: Some(aliases), ..EndpointSettings::default() };
            let container = found.id.clone().unwrap_or_default();
            let request = NetworkConnectRequest { container, endpoint_config: Some(endpoint) };
            docker.connect_network(&called, request).await.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// In which keys it differs from what a start would ask for.
    async fn differs(
        &self,
        docker: &Docker,
        stack: &StackId,
        start: &Start,
        found: &ContainerInspectResponse,
        ground: &Ground,
    ) -> Result<Vec<String>, Error> {
        let id = container::image(&start.template.runs)?;
        let image = match docker.inspect_image(id.as_str()).await.map_err(|error| self.refused(error)) {
            Err(error) if error.is_missing() => return Ok(vec!["image".into()]),
            image => image?.config.unwrap_or_default(),
        };
        let request = self.compared(stack, start)?;
        let volumes = ground.volumes.iter().map(|(name, called)| (name.to_string(), called.clone())).collect();
        Ok(differs(&request, &start.template, &image, &volumes, found))
    }

    /// What would be asked for, as far as it is compared.
    fn compared(&self, stack: &StackId, start: &Start) -> Result<Request, Error> {
        let with = StartedWith::new(start, String::new(), 15, 1);
        let files: Vec<PathBuf> = Vec::new();
        let names = start.addresses.keys().map(|name| (name.clone(), String::new())).collect();
        let volumes = BTreeMap::new();
        container::request(&Inputs {
            names: &self.settings.names,
            stack,
            start,
            with: &with,
            stop_signal: 15,
            bundle: Path::new("/"),
            hosts: None,
            files: &files,
            anonymous: &BTreeMap::new(),
            ground: &Ground { networks: names, volumes },
            usual_driver: "json-file",
        })
    }

    async fn weigh(&self, project: &str, stack: &Stack) -> Result<Outlook, Error> {
        let docker = self.docker().await?;
        let containers = self.strays(project).await?;
        let volumes = self.volumes_of(project, stack).await?;
        let strays: Vec<Stray> = containers.iter().filter_map(stray).collect();
        let taken = self.ledgers.of(&stack.id)?.replicas();
        let mut prospects = BTreeMap::new();
        for (name, target) in stack.services.iter().filter(|(_, target)| target.has_replicas()) {
            for (id, stray) in assign(&strays, name, target.role == Role::Job, &taken) {
                let fate = if id.slot.number() > target.replicas {
                    Fate::Surplus(id)
                } else {
                    let start = start_of(stack, target, &id);
                    let ground = Ground { networks: BTreeMap::new(), volumes: volumes.clone() };
                    let found = containers.iter().find(|found| name_of(found) == stray.name);
                    let found = found.expect("a stray is a container");
                    match self.differs(&docker, &stack.id, &start, found, &ground).await? {
                        keys if keys.is_empty() => Fate::Stays(id),
                        keys => Fate::Replaced(id, keys),
                    }
                };
                prospects.insert(stray.name, fate);
            }
        }
        let left = |stray: &Stray| match stack.services.keys().any(|name| name.as_str() == stray.service) {
            true if !stray.is_running => "it does not run".to_owned(),
            _ => "its service is not in the files".to_owned(),
        };
        let prospect = |stray: Stray| Prospect {
            fate: prospects.remove(&stray.name).unwrap_or_else(|| Fate::Left(left(&stray))),
            name: stray.name,
            service: stray.service,
        };
        Ok(Outlook { containers: strays.into_iter().map(prospect).collect(), volumes })
    }

    /// The volumes of another tool's project that the stack's would be, by our names.
    async fn volumes_of(&self, project: &str, stack: &Stack) -> Result<BTreeMap<VolumeName, String>, Error> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{PROJECT}={project}")])]);
        let listed = self.list_volumes(filters).await?;
        let ours = |volume: bollard::models::Volume| {
            let name: VolumeName = volume.labels.get(VOLUME)?.parse().ok()?;
            let is_free = !volume.labels.contains_key(labels::OWNER) && stack.volumes.contains(&name);
            is_free.then_some((name, volume.name))
        };
        Ok(listed.into_iter().filter_map(ours).collect())
    }

    async fn offer(&self, project: &str, stack: &Stack) -> Result<(), Error> {
        let containers = self.strays(project).await?;
        let volumes = self.volumes_of(project, stack).await?;
        let strays: Vec<Stray> = containers.iter().filter_map(stray).collect();
        let id_of =
            |name: &str| containers.iter().find(|found| name_of(found) == name).and_then(|found| found.id.clone());
        let taken = self.ledgers.of(&stack.id)?.replicas();
        let (mut offers, mut surplus) = (BTreeMap::new(), BTreeMap::new());
        for (name, target) in stack.services.iter().filter(|(_, target)| target.has_replicas()) {
            for (id, stray) in assign(&strays, name, target.role == Role::Job, &taken) {
                let Some(container) = id_of(&stray.name) else { continue };
                if id.slot.number() <= target.replicas {
                    offers.insert(id.to_string(), container);
                } else {
                    let mut with = StartedWith::new(&start_of(stack, target, &id), String::new(), 15, id.slot.number());
                    with.be_unknown();
                    surplus.insert(container, Taken { replica: id.to_string(), with });
                }
            }
        }
        self.ledgers.change(self.layout(), &stack.id, |ledger| {
            ledger.offers = offers;
            ledger.taken.extend(surplus);
            for (name, called) in volumes {
                ledger.volumes.entry(name.to_string()).or_insert(called);
            }
        })
    }

    async fn held(&self, stack: &StackId) -> Result<BTreeSet<SocketAddr>, Error> {
        let ledger = self.ledgers.of(stack)?;
        let docker = self.docker().await?;
        let mut held = BTreeSet::new();
        for id in ledger.offers.values().chain(ledger.taken.keys()) {
            if let Some(found) = self.inspect(&docker, id).await?.filter(is_running) {
                held.extend(holds(&found));
            }
        }
        Ok(held)
    }
}

async fn list(
    inner: &Inner,
    docker: &Docker,
    filters: HashMap<String, Vec<String>>,
) -> Result<Vec<ContainerSummary>, Error> {
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    docker.list_containers(Some(options)).await.map_err(|error| inner.refused(error))
}

/// What the planner would start, as far as it is compared.
fn start_of(stack: &Stack, target: &Target, id: &ReplicaId) -> Start {
    Start {
        id: id.clone(),
        role: target.role,
        template: target.template.clone(),
        hash: target.hash,
        release: stack.release,
        bundle: stack.bundle.clone(),
        uid_base: stack.uid_base,
        addresses: plan::Addresses::default(),
        failures: 0,
    }
}

fn stray(found: &ContainerInspectResponse) -> Option<Stray> {
    let config = found.config.as_ref()?;
    let labels = config.labels.as_ref()?;
    Some(Stray {
        service: labels.get(SERVICE)?.clone(),
        number: labels.get(NUMBER).and_then(|text| text.parse().ok()).unwrap_or(1),
        name: name_of(found),
        image: found.image.as_ref()?.parse().ok()?,
        image_name: config.image.clone().unwrap_or_default(),
        is_running: is_running(found),
        holds: if is_running(found) { holds(found) } else { BTreeSet::new() },
    })
}

fn name_of(found: &ContainerInspectResponse) -> String {
    found.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned()
}

/// The TCP sockets of the machine that the Engine listens on for a container.
fn holds(found: &ContainerInspectResponse) -> BTreeSet<SocketAddr> {
    let ports = found.network_settings.as_ref().and_then(|settings| settings.ports.clone()).unwrap_or_default();
    let tcp = ports.into_iter().filter(|(port, _)| port.ends_with("/tcp")).filter_map(|(_, bindings)| bindings);
    let socket = |binding: bollard::models::PortBinding| {
        let ip = binding.host_ip.filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
        Some(SocketAddr::new(ip.parse().ok()?, binding.host_port?.parse().ok()?))
    };
    tcp.flatten().filter_map(socket).collect()
}

/// Its volumes without a name, by where they are mounted.
fn unnamed(found: &ContainerInspectResponse) -> impl Iterator<Item = (String, String)> {
    let points = found.mounts.iter().flatten().filter(|point| is_unnamed(point));
    points.filter_map(|point| Some((point.destination.clone()?, point.name.clone()?)))
}

#[async_trait]
impl Takeover for DockerEngine {
    async fn find(&self, project: &str) -> Result<Vec<Stray>, EngineError> {
        let found = self.inner().strays(project).await.map_err(wrap(format!("look for containers of `{project}`")))?;
        Ok(found.iter().filter_map(stray).collect())
    }

    async fn weigh(&self, project: &str, stack: &Stack) -> Result<Outlook, EngineError> {
        let doing = || format!("compare the containers of `{project}` with {}", stack.id);
        self.inner().weigh(project, stack).await.map_err(wrap(doing()))
    }

    async fn offer(&self, project: &str, stack: &Stack) -> Result<(), EngineError> {
        let doing = || format!("note the containers of `{project}` for {}", stack.id);
        self.inner().offer(project, stack).await.map_err(wrap(doing()))
    }

    async fn withdraw(&self, stack: &StackId) -> Result<(), EngineError> {
        let inner = self.inner();
        let withdrawn = inner.ledgers.change(inner.layout(), stack, |ledger| ledger.offers.clear());
        withdrawn.map_err(wrap(format!("take back what was offered to {stack}")))
    }

    fn taken(&self, stack: &StackId) -> Result<BTreeSet<ReplicaId>, EngineError> {
        let ledger = self.inner().ledgers.of(stack).map_err(wrap(format!("see what was taken over for {stack}")))?;
        Ok(ledger.replicas().iter().filter_map(|id| id.parse().ok()).collect())
    }

    async fn held(&self, stack: &StackId) -> Result<BTreeSet<SocketAddr>, EngineError> {
        self.inner().held(stack).await.map_err(wrap(format!("see which ports containers of {stack} hold")))
    }
}

#[cfg(test)]
mod tests;
