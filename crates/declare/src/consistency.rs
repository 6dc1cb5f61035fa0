//! What must fit together: names that are referred to, order of start, ports, routes.
//!
//! Judges an assembled project; says all that is wrong, changes nothing.

use crate::assemble::{Assembled, Kind, Reference};
use crate::codes;
use crate::findings::{Findings, error, warning};
use crate::syntax::Node;
use model::name::ServiceName;
use model::policy::RouteTarget;
use model::probe::{Check, Probe};
use model::project::{Condition, Project, RestartPolicy, Runs, Service};
use model::span::Span;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Checks a project; `compose` is the tree it was made of, for the names that are declared.
pub fn check(assembled: &Assembled, compose: &Node, found: &mut Findings) {
    let project = &assembled.project;
    references(&assembled.references, compose, found);
    dependencies(project, found);
    ports(project, found);
    routes(project, found);
    apart(project, found);
    targets(project, found);
    let Some(top) = compose.as_map().filter(|map| !map.entries.is_empty()) else { return };
    let services = top.entry("services");
    if services.is_none_or(|entry| is_empty(&entry.value)) {
        let at = services.map_or(compose.span, |entry| entry.key_span);
        found.push(
            error(codes::NO_SERVICES, "no service is declared, or none of an active profile")
                .at(at, "")
                .help("declare one under `services`, or activate a profile with `--profile`"),
        );
    }
}

fn is_empty(node: &Node) -> bool {
    node.is_null() || node.as_map().is_some_and(|map| map.entries.is_empty())
}

fn references(references: &[Reference], compose: &Node, found: &mut Findings) {
    let mut declared: HashMap<Kind, BTreeSet<&str>> = HashMap::new();
    for kind in [Kind::Service, Kind::Network, Kind::Volume, Kind::Secret, Kind::Config] {
        let map = compose.as_map().and_then(|map| map.get(kind.key())).and_then(Node::as_map);
        let mut names: BTreeSet<&str> = map.map_or(&[][..], |map| &map.entries).iter().map(|e| &*e.key).collect();
        if kind == Kind::Network {
            names.insert("default");
        }
        declared.insert(kind, names);
    }
    for Reference { kind, name, at } in references {
        let names = &declared[kind];
        if !names.contains(name.as_str()) {
            let message = format!("there is no {} `{name}`", kind.one());
            let help = found.did_you_mean(name, names.iter().copied(), || format!("declare it under `{}`", kind.key()));
            found.push(error(codes::REFERENCE, message).at(*at, "").help(help));
        }
    }
}

fn dependencies(project: &Project, found: &mut Findings) {
    for (name, service) in &project.services {
        if let (Runs::Static { .. }, Some(dependency)) = (&service.template.runs, service.depends_on.values().next()) {
            found.push(
                warning(codes::STATIC, format!("`{name}` is served by the edge at once: it waits for nothing"))
                    .at(dependency.at, "")
                    .help("remove `depends_on`"),
            );
        }
        for (on, dependency) in &service.depends_on {
            if let Some(other) = project.services.get(on) {
                satisfiable(on, other, dependency.condition, dependency.at, found);
            }
        }
    }
}

fn satisfiable(on: &ServiceName, other: &Service, condition: Condition, at: Span, found: &mut Findings) {
    let is_static = matches!(other.template.runs, Runs::Static { .. });
    match condition {
        Condition::Healthy if other.probes.ready.is_none() && !is_static => {
            let message = format!("this waits until `{on}` is healthy, but nothing tells whether it is");
            let help = format!("give `{on}` a `healthcheck`, or a probe in mainstay.yaml");
            // An image may bring a check of its own; a program does not.
            let from_image = matches!(other.template.runs, Runs::Image { .. } | Runs::Build { .. });
            let make = if from_image { warning } else { error };
            found.push(make(codes::NEVER_HEALTHY, message).at(at, "").at(other.at, "no health check").help(help));
        }
        Condition::Completed if is_static || other.restart == RestartPolicy::Always => {
            let reason = if is_static { "the edge serves its files" } else { "it is restarted whenever it ends" };
            found.push(
                error(codes::NEVER_HEALTHY, format!("this waits until `{on}` has ended, but {reason}"))
                    .at(at, "")
                    .at(other.at, "")
                    .help(format!("write `restart: \"no\"` for `{on}`, or wait for another condition")),
            );
        }
        _ => {}
    }
}

fn ports(project: &Project, found: &mut Findings) {
    type Publisher<'a> = (&'a ServiceName, Span);
    // By port and address, where none means every address; one on every address clashes with all others.
    let mut seen: HashMap<u16, BTreeMap<Option<IpAddr>, Publisher<'_>>> = HashMap::new();
    for (name, service) in &project.services {
        for port in &service.published {
            let Some(number) = port.published else { continue };
            let others = seen.entry(number).or_default();
            let host = port.host.filter(|host| !host.is_unspecified());
            let clash = match host {
                None => others.values().next(),
                Some(_) => others.get(&host).or_else(|| others.get(&None)),
            };
            if let Some((other, at)) = clash {
                found.push(
                    error(codes::PORT_TWICE, format!("port {number} is published twice"))
                        .at(port.at, format!("by `{name}`"))
                        .at(*at, format!("by `{other}`"))
                        .help("publish one of them on another port"),
                );
            }
            others.entry(host).or_insert((name, port.at));
        }
    }
}

fn routes(project: &Project, found: &mut Findings) {
    let mut seen: HashMap<(&str, &str), Span> = HashMap::new();
    for route in &project.routes {
        for path in &route.paths {
            if let Some(first) = seen.insert((&route.host, &path.prefix), path.at) {
                found.push(
                    error(codes::ROUTE_TWICE, format!("`{}{}` is routed twice", route.host, path.prefix))
                        .at(path.at, "again here")
                        .at(first, "first here")
                        .help("keep one of them"),
                );
            }
        }
    }
}

/// Services on no network of the project have no address that a request could be sent to.
fn apart(project: &Project, found: &mut Findings) {
    let mode = |service: &Service| service.template.container.namespaces.network.clone();
    for path in project.routes.iter().flat_map(|route| &route.paths) {
        let RouteTarget::Service { service: name, .. } = &path.target else { continue };
        if let Some(mode) = project.services.get(name).and_then(mode) {
            let message = format!("this route cannot lead to `{name}`: it has `network_mode: {mode}`");
            let help = "remove `network_mode`, or let a proxy of the project lead there";
            found.push(error(codes::NOT_YET, message).at(path.at, "").help(help));
        }
    }
    for (name, service) in &project.services {
        let probes = [&service.probes.ready, &service.probes.live].into_iter().flatten();
        let asks = |probe: &Probe| !matches!(probe.check, Check::Command { .. });
        if let (Some(mode), true) = (mode(service), probes.into_iter().any(asks)) {
            let message = format!("`{name}` cannot be probed at a port: it has `network_mode: {mode}`");
            let help = format!("write `probes.{name}` with a `command`");
            found.push(error(codes::NOT_YET, message).at(service.at, "").help(help));
        }
    }
}

/// What a replica gets at the same place, where one would hide the other.
fn targets(project: &Project, found: &mut Findings) {
    for (name, service) in &project.services {
        let template = &service.template;
        let artifacts: BTreeSet<(&str, &str)> = match &template.runs {
            Runs::Process { artifacts, .. } => artifacts.iter().map(|a| (&*a.target, &*a.source)).collect(),
            _ => BTreeSet::new(),
        };
        let mounts = template.mounts.iter().map(|mount| &*mount.target);
        let files = template.files.iter().map(|file| &*file.target);
        let mut seen = BTreeSet::new();
        for target in artifacts.iter().map(|(target, _)| *target).chain(mounts).chain(files) {
            if !seen.insert(target) {
                found.push(
                    error(codes::TARGET_TWICE, format!("two things lie at `{target}` in `{name}`"))
                        .at(service.at, "")
                        .help("give one of the volumes, artifacts, secrets and configs another target"),
                );
            }
        }
    }
}
