//! Status of a stack as clients see it.

use super::health;
use crate::api::status::{ReplicaStatus, ServiceStatus};
use engine::Usage;
use model::project::{Role, Runs};
use model::stack::{Stack, Target};
use model::{ReplicaId, ServiceName};
use plan::Observed;
use plan::observed::{Health, Known, Phase, Replica};
use std::collections::BTreeMap;

/// What replicas use, where it is known.
pub type Usages = BTreeMap<ReplicaId, Known<Usage>>;

/// Every service of the stack, and every service that still has replicas.
pub fn services(stack: &Stack, have: &Observed, usage: &Usages) -> Vec<ServiceStatus> {
    stack.services.iter().map(|(name, target)| service(name, target, have, usage)).collect()
}

fn service(name: &ServiceName, target: &Target, have: &Observed, usage: &Usages) -> ServiceStatus {
    let health = health::service(name, target, have);
    let role = match (target.has_replicas(), target.role) {
        (false, _) => "static",
        (true, Role::Job) => "job",
        (true, Role::Service) => "service",
    };
    let addresses =
        target.addresses.values().flat_map(|address| target.ports.iter().map(move |port| format!("{address}:{port}")));
    let published = target.published.iter().map(|port| {
        let host = port.host.map(|host| format!("{host}:")).unwrap_or_default();
        format!("{host}{}→{}", port.published.unwrap_or(0), port.target)
    });
    let instances = have.placed.replicas.iter().filter(|(id, _)| id.service == *name);
    ServiceStatus {
        name: name.to_string(),
        role: role.into(),
        state: health.status,
        runs: runs(&target.template.runs),
        ready: health.ready,
        replicas: health.replicas,
        addresses: addresses.collect(),
        published: published.collect(),
        instances: instances.map(|(id, seen)| replica(id, seen, have, usage.get(id))).collect(),
    }
}

/// What a service runs, in words.
pub fn runs(runs: &Runs) -> String {
    match runs {
        Runs::Image { image, .. } => image.to_string(),
        Runs::Process { command, .. } => probe::shown(command),
        Runs::Static { root, .. } => format!("static files of {root}"),
        Runs::Build { build, .. } => {
            build.names.first().map_or_else(|| "an image of its own".into(), ToString::to_string)
        }
    }
}

fn replica(id: &ReplicaId, seen: &Replica, have: &Observed, usage: Option<&Known<Usage>>) -> ReplicaStatus {
    let (phase, since) = match &seen.phase {
        Phase::Half => ("half", None),
        Phase::Running { since } => ("running", Some(since)),
        Phase::Exited { at, .. } => ("exited", Some(at)),
        Phase::Failed { at, .. } => ("failed", Some(at)),
        Phase::Unknown(_) => ("unknown", None),
    };
    let health = match (&seen.phase, have.health.get(id)) {
        (Phase::Running { .. }, Some(Health::Ready)) => "ready",
        (Phase::Running { .. }, Some(Health::Unready(_))) => "unready",
        (Phase::Running { .. }, Some(Health::Dead(_))) => "dead",
        (Phase::Running { .. }, _) => "starting",
        _ => "none",
    };
    let usage = match usage {
        Some(Known::Is(usage)) => Some(usage),
        _ => None,
    };
    ReplicaStatus {
        id: id.to_string(),
        release: seen.release.0,
        phase: phase.into(),
        health: health.into(),
        detail: health::detail(id, seen, have),
        routed: have.is_routed(id),
        since: since.map(ToString::to_string),
        failures: seen.failures,
        addresses: seen.addresses.iter().map(|(name, address)| (name.to_string(), address.to_string())).collect(),
        cpu_millis: usage.map(|usage| u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX)),
        memory: usage.map(|usage| usage.memory),
        pids: usage.map(|usage| usage.pids),
    }
}
