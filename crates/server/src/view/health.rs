//! The aggregated health document.

use crate::api::status::{HealthDocument, ServiceHealth};
use jiff::Timestamp;
use model::project::Role;
use model::stack::{Stack, Target};
use model::{ReplicaId, ServiceName};
use plan::Observed;
use plan::observed::{Exit, Health, Phase, Replica};
use std::collections::BTreeMap;

/// The document of one stack.
pub fn document(stack: &Stack, have: &Observed, since: Option<Timestamp>, now: Timestamp) -> HealthDocument {
    let services: BTreeMap<_, _> =
        stack.services.iter().map(|(name, target)| (name.to_string(), service(name, target, have))).collect();
    let good = services.values().all(|service| matches!(service.status.as_str(), "ok" | "completed"));
    let uptime = since.map_or(0, |since| now.duration_since(since).as_secs().max(0));
    HealthDocument {
        status: if good { "ok" } else { "degraded" }.into(),
        timestamp: now.to_string(),
        uptime_seconds: uptime.unsigned_abs(),
        services,
    }
}

/// One document of several: the worst status, services named `stack/service`.
pub fn merge(documents: Vec<(String, HealthDocument)>, now: Timestamp) -> HealthDocument {
    let degraded = documents.iter().any(|(_, document)| document.status != "ok");
    let uptime_seconds = documents.iter().map(|(_, document)| document.uptime_seconds).max().unwrap_or(0);
    let services = documents.into_iter().flat_map(|(stack, document)| {
        document.services.into_iter().map(move |(name, health)| (format!("{stack}/{name}"), health))
    });
    HealthDocument {
        status: if degraded { "degraded" } else { "ok" }.into(),
        timestamp: now.to_string(),
        uptime_seconds,
        services: services.collect(),
    }
}

/// The health of one service.
pub fn service(name: &ServiceName, target: &Target, have: &Observed) -> ServiceHealth {
    if !target.has_replicas() {
        return ServiceHealth { status: "ok".into(), ready: 0, replicas: 0, detail: None };
    }
    let mine = || of_service(name, target, have);
    let ready = match target.role {
        Role::Job => mine().filter(|(_, replica)| is_completed(replica)).count(),
        Role::Service => mine().filter(|(id, _)| have.is_ready(id)).count(),
    };
    let known = if target.role == Role::Job { have.n_completed(name, target.hash, None) } else { 0 };
    let ready = u32::try_from(ready).unwrap_or(u32::MAX).max(known);
    let status = match (target.role, ready) {
        (Role::Job, ready) if ready >= target.replicas => "completed",
        (Role::Service, ready) if ready >= target.replicas => "ok",
        (_, 0) => "down",
        _ => "degraded",
    };
    let detail = match status {
        "ok" | "completed" => None,
        _ => mine().find_map(|(id, replica)| trouble(id, replica, have)).or_else(|| Some("no replica is there".into())),
    };
    ServiceHealth { status: status.into(), ready, replicas: target.replicas, detail }
}

/// The replicas of a service, without one-off runs.
pub fn of_service<'a>(
    name: &'a ServiceName,
    target: &'a Target,
    have: &'a Observed,
) -> impl Iterator<Item = (&'a ReplicaId, &'a Replica)> {
    let mine = have.placed.replicas.iter().filter(move |(id, _)| id.service == *name);
    mine.filter(move |(_, replica)| replica.role == target.role)
}

fn is_completed(replica: &Replica) -> bool {
    matches!(replica.phase, Phase::Exited { how: Exit::Code(0), .. })
}

fn trouble(id: &ReplicaId, replica: &Replica, have: &Observed) -> Option<String> {
    let why = detail(id, replica, have);
    let fine = have.is_ready(id) || why.is_empty();
    (!fine).then(|| format!("{id}: {why}"))
}

/// Why a replica is as it is, in words; empty when there is nothing to say.
pub fn detail(id: &ReplicaId, replica: &Replica, have: &Observed) -> String {
    match &replica.phase {
        Phase::Half => "its start was cut short".into(),
        Phase::Exited { how, .. } => how.to_string(),
        Phase::Failed { why, .. } => why.clone(),
        Phase::Unknown(why) => format!("unknown: {why}"),
        Phase::Running { .. } => match have.health.get(id) {
            Some(Health::Ready) => String::new(),
            Some(Health::Unready(why) | Health::Dead(why)) => why.clone(),
            Some(Health::Starting) | None => "not ready yet".into(),
        },
    }
}
