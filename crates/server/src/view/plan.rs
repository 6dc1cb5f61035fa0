//! Plans as clients see them, and what changes per service.

use crate::api::plan::{NoteView, ServiceChange, StepView};
use model::project::{Limits, Runs, Template};
use model::stack::{Stack, Target};
use model::units::format_duration;
use model::{ReplicaId, ServiceName};
use plan::action::{Action, edge, object, replica};
use plan::{Plan, Step, StepId};
use std::collections::{BTreeMap, BTreeSet};

/// The steps of a plan in order of their numbers.
pub fn steps(plan: &Plan) -> Vec<StepView> {
    plan.steps.iter().map(|(id, step)| self::step(*id, step)).collect()
}

/// The notes of a plan.
pub fn notes(plan: &Plan) -> Vec<NoteView> {
    plan.notes.iter().map(|note| NoteView { subject: note.subject.clone(), text: note.text.clone() }).collect()
}

struct Words {
    action: &'static str,
    subject: String,
    service: Option<ServiceName>,
    detail: String,
}

/// One step.
pub fn step(id: StepId, step: &Step) -> StepView {
    let Words { action, subject, service, detail } = words(&step.action);
    StepView {
        id: id.0,
        after: step.after.iter().map(|id| id.0).collect(),
        action: action.into(),
        subject,
        service: service.map(|name| name.to_string()),
        detail,
        why: step.why.to_string(),
    }
}

fn words(action: &Action) -> Words {
    let thing = |action, subject: &dyn ToString, detail: String| Words {
        action,
        subject: subject.to_string(),
        service: None,
        detail,
    };
    let of = |action, id: &ReplicaId, detail: String| Words {
        action,
        subject: id.to_string(),
        service: Some(id.service.clone()),
        detail,
    };
    match action {
        Action::Replica(replica::Action::EnsureNetwork { name, state, .. }) => {
            let kind = if state.subnet.internal { ", internal" } else { "" };
            thing("network", name, format!("{}{kind}", state.subnet.net))
        }
        Action::Replica(replica::Action::RemoveNetwork { name }) => thing("remove network", name, String::new()),
        Action::Replica(replica::Action::EnsureVolume { name, .. }) => thing("volume", name, String::new()),
        Action::Replica(replica::Action::RemoveVolume { name }) => {
            thing("remove volume", name, "with all it holds".into())
        }
        Action::Replica(replica::Action::Start(start)) => {
            let at: Vec<_> = start.addresses.values().map(ToString::to_string).collect();
            of("start", &start.id, format!("release {} at {}", start.release, at.join(", ")))
        }
        Action::Replica(replica::Action::Stop { id, grace, .. }) => {
            of("stop", id, format!("within {}", format_duration(*grace)))
        }
        Action::Replica(replica::Action::Remove { id }) => of("remove", id, String::new()),
        Action::Probe(wait) => of("await", &wait.id, format!("ready within {}", format_duration(wait.deadline))),
        Action::Job(job) => of("complete", &job.id, "exits with code 0".into()),
        Action::Edge(edge::Change::Open) => thing("open", &"listeners", String::new()),
        Action::Edge(edge::Change::Route { id }) => of("route", id, String::new()),
        Action::Edge(edge::Change::Drain { id, grace }) => {
            of("drain", id, format!("within {}", format_duration(*grace)))
        }
        Action::Edge(edge::Change::Settle { .. }) => thing("settle", &"routes", String::new()),
        Action::Object(object::Action::Apply { id, .. }) => thing("apply", &id.name, id.kind.to_string()),
        Action::Object(object::Action::Watch { id, .. }) => thing("watch", &id.name, id.kind.to_string()),
        Action::Object(object::Action::Delete { id }) => thing("delete", &id.name, id.kind.to_string()),
    }
}

/// What differs per service between what runs and what is wanted; names of keys only, never values.
pub fn changes(now: Option<&Stack>, wanted: &Stack) -> BTreeMap<String, ServiceChange> {
    let empty = BTreeMap::new();
    let now = now.map_or(&empty, |stack| &stack.services);
    let names: BTreeSet<_> = now.keys().chain(wanted.services.keys()).collect();
    let change = |name: &ServiceName| match (now.get(name), wanted.services.get(name)) {
        (None, _) => ServiceChange { kind: "new".into(), differs: Vec::new() },
        (Some(_), None) => ServiceChange { kind: "removed".into(), differs: Vec::new() },
        (Some(now), Some(wanted)) => changed(now, wanted),
    };
    names.into_iter().map(|name| (name.to_string(), change(name))).collect()
}

fn changed(now: &Target, wanted: &Target) -> ServiceChange {
    let mut differs = template(&now.template, &wanted.template);
    if now.hash != wanted.hash && differs.is_empty() {
        differs.push("artifacts".into());
    }
    let replaced = now.hash != wanted.hash;
    let settings = [
        ("replicas", now.replicas != wanted.replicas),
        ("ports", now.published != wanted.published || now.ports != wanted.ports),
        ("healthcheck", now.probes != wanted.probes),
        ("restart", now.restart != wanted.restart),
        ("depends_on", now.depends_on.keys().ne(wanted.depends_on.keys())),
    ];
    differs.extend(settings.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()));
    let kind = match (replaced, differs.as_slice()) {
        (true, _) => "changed",
        (false, []) => "unchanged",
        (false, [only]) if only == "replicas" => "scaled",
        (false, _) => "adjusted",
    };
    ServiceChange { kind: kind.into(), differs }
}

fn template(now: &Template, wanted: &Template) -> Vec<String> {
    let mut differs = Vec::new();
    match (&now.runs, &wanted.runs) {
        (Runs::Image { image: a, .. }, Runs::Image { image: b, .. }) if a != b => {
            differs.push(format!("image ({a} → {b})"))
        }
        (Runs::Build { build: a, pin: x, .. }, Runs::Build { build: b, pin: y, .. }) if a != b || x != y => {
            differs.push("build".into())
        }
        (Runs::Image { pin: a, .. }, Runs::Image { pin: b, .. }) if a != b => differs.push("image".into()),
        (a, b) if a != b => differs.push("command".into()),
        _ => {}
    }
    let names: BTreeSet<_> = now.environment.keys().chain(wanted.environment.keys()).collect();
    let variables = names.into_iter().filter(|name| now.environment.get(*name) != wanted.environment.get(*name));
    differs.extend(variables.map(|name| format!("environment.{name}")));
    let parts = [
        ("working_dir", now.working_dir != wanted.working_dir),
        ("user", now.user != wanted.user),
        ("hostname", now.hostname != wanted.hostname),
        ("container", now.container != wanted.container),
        ("volumes", now.mounts != wanted.mounts),
        ("secrets or configs", now.files != wanted.files),
        ("networks", now.networks != wanted.networks),
        ("extra_hosts", now.extra_hosts != wanted.extra_hosts),
        ("cap_add", now.cap_add != wanted.cap_add),
        ("cap_drop", now.cap_drop != wanted.cap_drop),
        ("read_only", now.read_only != wanted.read_only),
        ("stop_signal", now.stop_signal != wanted.stop_signal),
        ("stop_grace_period", now.stop_grace != wanted.stop_grace),
        ("labels", now.labels != wanted.labels),
    ];
    differs.extend(parts.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()));
    differs.extend(limits(&now.limits, &wanted.limits).into_iter().map(|name| format!("limits.{name}")));
    differs
}

fn limits(now: &Limits, wanted: &Limits) -> Vec<&'static str> {
    let parts = [
        ("cpus", now.cpus != wanted.cpus),
        ("memory", now.memory != wanted.memory),
        ("pids", now.pids != wanted.pids),
        ("shm_size", now.shm != wanted.shm),
        ("ulimits", now.ulimits != wanted.ulimits),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
