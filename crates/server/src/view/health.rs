//! The aggregated health and readiness documents.
//!
//! Health says whether all is as wanted, readiness whether traffic can be served: a stack that has lost one replica of
//! two is degraded and ready.

use crate::api::status::{HealthDocument, ServiceHealth};
use jiff::Timestamp;
use model::policy::RouteTarget;
use model::project::Role;
use model::stack::{Stack, Target};
use model::{ReplicaId, ServiceName};
use plan::Observed;
use plan::observed::{Exit, Health, Phase, Replica};
use std::collections::{BTreeMap, BTreeSet};

/// The health document of one stack.
pub fn document(stack: &Stack, have: &Observed, since: Option<Timestamp>, now: Timestamp) -> HealthDocument {
    let services: BTreeMap<_, _> =
        stack.services.iter().map(|(name, target)| (name.to_string(), service(name, target, have))).collect();
    let good = services.values().all(|service| is_good(&service.status));
    let status = if good { "ok" } else { "degraded" }.into();
    HealthDocument { status, timestamp: now.to_string(), uptime_seconds: seconds(since, now), services }
}

/// The readiness of one stack: whether every service that gets traffic has a replica that takes it.
pub fn readiness(stack: &Stack, have: &Observed, since: Option<Timestamp>, now: Timestamp) -> HealthDocument {
    let reached = reached(stack);
    let counted = stack.services.iter().filter(|(name, target)| {
        let runs = target.role == Role::Service && target.replicas > 0 && target.has_replicas();
        runs && (reached.is_empty() || reached.contains(name))
    });
    let services: BTreeMap<_, _> = counted
        .map(|(name, target)| {
            let health = service(name, target, have);
            let status = if health.ready > 0 { "ready" } else { "down" };
            (name.to_string(), ServiceHealth { status: status.into(), ..health })
        })
        .collect();
    let good = services.values().all(|service| service.status == "ready");
    let status = if good { "ready" } else { "unready" }.into();
    HealthDocument { status, timestamp: now.to_string(), uptime_seconds: seconds(since, now), services }
}

/// The services that routes or ports of the machine lead to.
fn reached(stack: &Stack) -> BTreeSet<&ServiceName> {
    let routed = stack.routes.iter().flat_map(|route| &route.paths).filter_map(|path| match &path.target {
        RouteTarget::Service { service, .. } => Some(service),
        RouteTarget::Health | RouteTarget::Ready => None,
    });
    let published = stack.services.iter().filter(|(_, target)| !target.published.is_empty()).map(|(name, _)| name);
    routed.chain(published).collect()
}

/// A document for everybody on the internet: how many there are, and nothing that a replica says.
pub fn public(document: HealthDocument) -> HealthDocument {
    let bare = |(name, service)| (name, ServiceHealth { detail: None, ..service });
    HealthDocument { services: document.services.into_iter().map(bare).collect(), ..document }
}

/// Whether a document says that all is well.
pub fn is_well(document: &HealthDocument) -> bool {
    matches!(document.status.as_str(), "ok" | "ready")
}

/// Whether a service is as it shall be; a job that has not run yet, or runs, is.
pub fn is_good(status: &str) -> bool {
    matches!(status, "ok" | "completed" | "pending")
}

fn seconds(since: Option<Timestamp>, now: Timestamp) -> u64 {
    since.map_or(0, |since| now.duration_since(since).as_secs().max(0)).unsigned_abs()
}

/// One document of several: `bad` when one of them is, services named `stack/service`.
pub fn merge(documents: Vec<(String, HealthDocument)>, [good, bad]: [&str; 2], now: Timestamp) -> HealthDocument {
    let well = documents.iter().all(|(_, document)| is_well(document));
    let uptime_seconds = documents.iter().map(|(_, document)| document.uptime_seconds).max().unwrap_or(0);
    let services = documents.into_iter().flat_map(|(stack, document)| {
        document.services.into_iter().map(move |(name, health)| (format!("{stack}/{name}"), health))
    });
    HealthDocument {
        status: if well { good } else { bad }.into(),
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
        (Role::Job, _) if mine().any(|(_, replica)| has_failed(replica)) => "failed",
        (Role::Job, _) => "pending",
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

fn has_failed(replica: &Replica) -> bool {
    matches!(replica.phase, Phase::Failed { .. } | Phase::Exited { .. }) && !is_completed(replica)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, replica};
    use model::policy::{Route, RoutePath};
    use testkit::project::{NOWHERE, name, project, with};

    /// A routed `api` of two, a `worker` nobody reaches, a job; `said` are their replicas with exit code or health.
    fn check(said: &[(&str, Result<Health, i32>)], health: (&str, &str), ready: &str) {
        let project = with(with(project(), "api", |api| api.replicas = 2), "worker", |_| {});
        let mut project = with(project, "migrate", |migrate| migrate.role = Role::Job);
        let target = RouteTarget::Service { service: name("api"), port: 80 };
        let paths = vec![RoutePath { prefix: "/".into(), target, at: NOWHERE }];
        project.routes = vec![Route { host: "*".into(), paths, at: NOWHERE }];
        let stack = testing::stack(&project);
        let mut have = Observed::default();
        for (id, how) in said {
            let id: ReplicaId = name(id);
            let role = if id.service.as_str() == "migrate" { Role::Job } else { Role::Service };
            let exited = |code: &i32| Phase::Exited {
                since: Timestamp::UNIX_EPOCH,
                at: Timestamp::UNIX_EPOCH,
                how: Exit::Code(*code),
            };
            let phase = how.as_ref().map_or_else(exited, |_| Phase::Running { since: Timestamp::UNIX_EPOCH });
            have.placed.replicas.insert(id.clone(), replica(role, phase));
            have.health.extend(how.clone().ok().map(|health| (id, health)));
        }
        let found = document(&stack, &have, None, Timestamp::UNIX_EPOCH);
        assert_eq!((found.status.as_str(), found.services["migrate"].status.as_str()), health);
        let found = readiness(&stack, &have, None, Timestamp::UNIX_EPOCH);
        assert_eq!(found.status, ready);
        assert_eq!(found.services.keys().collect::<Vec<_>>(), ["api"]);
    }

    #[test]
    fn a_crashed_replica_degrades_and_takes_nothing_out_while_another_serves() {
        use Health::{Ready, Starting};
        let up = [("api.1", Ok(Ready)), ("api.2", Ok(Ready)), ("worker.1", Ok(Ready))];
        let and = |more: (&'static str, Result<Health, i32>)| [&up[..], &[more]].concat();
        check(&and(("migrate.1", Err(0))), ("ok", "completed"), "ready");
        // A migration that a release waits for.
        check(&and(("migrate.1", Ok(Starting))), ("ok", "pending"), "ready");
        check(&up, ("ok", "pending"), "ready");
        check(&and(("migrate.1", Err(3))), ("degraded", "failed"), "ready");
        check(&[("api.1", Ok(Ready)), ("api.2", Err(1))], ("degraded", "pending"), "ready");
        check(
            &[("api.1", Ok(Starting)), ("api.2", Err(1)), ("worker.1", Ok(Ready))],
            ("degraded", "pending"),
            "unready",
        );
    }

    #[test]
    fn the_public_document_says_nothing_that_a_replica_said() {
        let stack = testing::stack(&with(project(), "api", |_| {}));
        let mut have = Observed::default();
        have.placed
            .replicas
            .insert(name("api.1"), replica(Role::Service, Phase::Running { since: Timestamp::UNIX_EPOCH }));
        have.health.insert(name("api.1"), Health::Unready("PASSWORD is wrong".into()));
        let document = document(&stack, &have, None, Timestamp::UNIX_EPOCH);
        assert!(format!("{document:?}").contains("PASSWORD"));
        let public = public(document);
        assert!(!format!("{public:?}").contains("PASSWORD"));
        assert_eq!(public.services["api"].status, "down");
    }
}
