//! From a project and what was given out to it to the stack that shall run.

use super::Allocation;
use model::fingerprint::{ContentDigest, HashKey, of_template};
use model::policy::RouteTarget;
use model::probe::{Check, Probe, Probes};
use model::project::{Made, Project, PublishedPort, Role, Runs, Service};
use model::stack::{Makes, Stack, Target};
use model::{BundleId, ReleaseNumber, ServiceName, StackId};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// What a stack is settled with beside the project and its allocation.
#[derive(Clone)]
pub struct Terms {
    /// The release.
    pub release: ReleaseNumber,
    /// What it runs from.
    pub bundle: BundleId,
    /// The start of the stack's block of user numbers.
    pub uid_base: u32,
    /// The key of hashes.
    pub key: HashKey,
}

/// A file or folder that the declaration names is not in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("service `{service}` uses `{path}`, which is not in the bundle")]
pub struct NotInBundle {
    /// The service.
    pub service: ServiceName,
    /// The path within the bundle.
    pub path: String,
}

/// The stack that follows from a project; `content` tells the digest of a file or folder of the bundle.
pub fn settle_stack(
    project: &Project,
    allocation: &Allocation,
    terms: &Terms,
    content: &dyn Fn(&str) -> Option<ContentDigest>,
) -> Result<Stack, NotInBundle> {
    let mut services = BTreeMap::new();
    let routed = routed_ports(project);
    for (name, service) in &project.services {
        let hash = of_template(&terms.key, &service.template, content);
        let hash = hash.map_err(|path| NotInBundle { service: name.clone(), path })?;
        let target = Target {
            template: service.template.clone(),
            hash,
            role: service.role,
            replicas: service.replicas,
            depends_on: service.depends_on.clone(),
            published: published(name, service, allocation),
            ports: service.ports.clone(),
            probes: probes(routed.get(name).copied(), service),
            restart: service.restart,
            update: service.update.clone(),
            direct: service.direct,
            balance: service.balance,
            addresses: allocation.addresses.get(name).cloned().unwrap_or_default(),
        };
        services.insert(name.clone(), target);
    }
    Ok(Stack {
        id: StackId { project: project.name.clone(), environment: project.environment.clone() },
        release: terms.release,
        bundle: terms.bundle.clone(),
        uid_base: terms.uid_base,
        services,
        networks: allocation.networks.clone(),
        volumes: project.volumes.keys().cloned().collect(),
        makes: makes(project),
        routes: project.routes.clone(),
        any_port: false,
    })
}

fn makes(project: &Project) -> Makes {
    let unusual = |made: &Made| *made != Made::default();
    let networks = project.networks.iter().map(|(name, network)| (name.clone(), Made::from(network)));
    let volumes = project.volumes.iter().map(|(name, volume)| (name.clone(), Made::from(volume)));
    Makes {
        networks: networks.filter(|(_, made)| unusual(made)).collect(),
        volumes: volumes.filter(|(_, made)| unusual(made)).collect(),
    }
}

fn published(name: &ServiceName, service: &Service, allocation: &Allocation) -> Vec<PublishedPort> {
    let given = |target: u16| allocation.ports.get(name)?.get(&target).copied();
    let settled = |port: &PublishedPort| PublishedPort {
        published: port.published.or_else(|| given(port.target)),
        ..port.clone()
    };
    service.published.iter().map(settled).collect()
}

/// The declared probes; without one for readiness, a service that traffic is led to is asked whether it listens:
/// "started" is not "ready", and a replica that is routed before it listens drops requests.
fn probes(routed: Option<u16>, service: &Service) -> Probes {
    let mut probes = service.probes.clone();
    if probes.ready.is_none() && service.role == Role::Service && !matches!(service.template.runs, Runs::Static { .. })
    {
        // The first port that traffic is led to: a route's, else a published one.
        let port = routed.or_else(|| service.published.first().map(|port| port.target));
        probes.ready = port.map(listens_on);
    }
    probes
}

/// The port that the first route to each service leads to.
fn routed_ports(project: &Project) -> BTreeMap<&ServiceName, u16> {
    let mut ports = BTreeMap::new();
    for path in project.routes.iter().flat_map(|route| &route.paths) {
        if let RouteTarget::Service { service, port } = &path.target {
            ports.entry(service).or_insert(*port);
        }
    }
    ports
}

fn listens_on(port: u16) -> Probe {
    Probe {
        check: Check::Tcp { port },
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        retries: NonZeroU32::MIN.saturating_add(2),
        start_period: Duration::from_secs(60),
        start_interval: Duration::from_millis(100),
    }
}
