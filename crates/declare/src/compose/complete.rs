//! What the specification says without anybody writing it: the default network, names, implied dependencies, defaults.
//!
//! Runs once all files are laid over each other. What it adds is what the reference implementation shows.

use super::paths;
use crate::files::{absolute, clean};
use crate::syntax::{Entry, Map, Node, Value};
use crate::variables::Variables;
use crate::{merge, shape};
use model::span::Span;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Writes out what follows from what is written.
pub(crate) fn complete(model: &mut Node, variables: &Variables) {
    let Some(top) = model.as_map_mut() else { return };
    let mut uses_default = false;
    for entry in services(top) {
        let span = entry.key_span;
        let Some(service) = entry.value.as_map_mut() else { continue };
        uses_default |= default_network(service, span);
        workload(service, span);
        arguments(service, variables);
        dependencies(service, span);
        pre_start(service, variables);
    }
    for job in section_of(top, "jobs").filter_map(|entry| entry.value.as_map_mut()) {
        taken_over(job, variables);
    }
    let has_default =
        top.get("networks").and_then(Node::as_map).is_some_and(|networks| networks.get("default").is_some());
    if uses_default && !has_default {
        let span = top.entries.first().map_or(Span { file: model::span::FileId(0), start: 0, end: 0 }, |e| e.key_span);
        section(top, "networks", span).push("default", Node::null(span));
    }
}

/// Writes every path from the root.
pub(crate) fn absolute_paths(model: &mut Node, project_dir: &str, variables: &Variables) {
    let home = variables.get("HOME");
    paths::each(model, &mut |node| {
        let Some(scalar) = node.as_scalar() else { return };
        let text = match (scalar.text.strip_prefix('~'), home) {
            (Some(rest), Some(home)) => {
                format!("{home}/{}", rest.trim_start_matches('/')).trim_end_matches('/').to_owned()
            }
            _ => scalar.text.to_string(),
        };
        let is_windows = text.as_bytes().get(1) == Some(&b':') && matches!(text.as_bytes().get(2), Some(b'/' | b'\\'));
        if !text.starts_with('/') && !is_windows && !text.starts_with(r"\\") {
            *node = Node::text(absolute(project_dir, &text), node.span);
        } else if text != *scalar.text {
            *node = Node::text(text, node.span);
        }
    });
}

/// Takes out the objects that no service uses, and names the others after the project.
pub(crate) fn name_used(model: &mut Node, project: &str) {
    let Some(top) = model.as_map_mut() else { return };
    forget_unused(top);
    for key in ["networks", "volumes", "configs", "secrets"] {
        let Some(objects) = top.get_mut(key).and_then(Node::as_map_mut) else { continue };
        objects.entries.iter_mut().for_each(|entry| named(entry, project));
    }
}

fn section_of<'m>(top: &'m mut Map, key: &str) -> impl Iterator<Item = &'m mut Entry> {
    top.get_mut(key).and_then(Node::as_map_mut).into_iter().flat_map(|map| &mut map.entries)
}

/// Variables without a value get that of the same name, where there is one.
fn taken_over(container: &mut Map, variables: &Variables) {
    let environment = container.get_mut("environment").and_then(Node::as_map_mut);
    for entry in environment.into_iter().flat_map(|map| &mut map.entries).filter(|entry| entry.value.is_null()) {
        if let Some(value) = variables.get(&entry.key) {
            entry.value = Node::text(value, entry.key_span);
        }
    }
}

/// Services and jobs.
fn services(top: &mut Map) -> impl Iterator<Item = &mut Entry> {
    let sections = top.entries.iter_mut().filter(|entry| matches!(&*entry.key, "services" | "jobs"));
    sections.filter_map(|entry| entry.value.as_map_mut()).flat_map(|map| &mut map.entries)
}

/// A hook that runs before the start is a container of its own: it has from the service what it does not say itself,
/// volumes aside.
fn pre_start(service: &mut Map, variables: &Variables) {
    if service.get("pre_start").is_none() {
        return;
    }
    let is_lent = |key: &str| key != "volumes" && shape::is_of_container(key);
    let mut base = Map { entries: service.entries.iter().filter(|entry| is_lent(&entry.key)).cloned().collect() };
    taken_over(&mut base, variables);
    let hooks = service.get_mut("pre_start").map(|node| &mut node.value);
    let Some(Value::List(hooks)) = hooks else { return };
    for hook in hooks.iter_mut().filter(|hook| hook.as_map().is_some()) {
        let own = std::mem::replace(hook, Node::null(hook.span));
        let span = own.span;
        *hook = merge::service(Node::map(base.clone(), span), own);
    }
}

/// The mapping of a key, made where there is none.
fn section<'m>(map: &'m mut Map, key: &str, span: Span) -> &'m mut Map {
    if map.get(key).and_then(Node::as_map).is_none() {
        map.set(key, Node::map(Map::default(), span));
    }
    map.get_mut(key).and_then(Node::as_map_mut).expect("set above")
}

/// Attaches a service to the default network where it names none; whether it is attached to it.
fn default_network(service: &mut Map, span: Span) -> bool {
    if service.get("provider").is_some() || service.get("network_mode").is_some() {
        return false;
    }
    let networks = section(service, "networks", span);
    if networks.entries.is_empty() {
        networks.push("default", Node::null(span));
    }
    networks.get("default").is_some()
}

fn workload(service: &mut Map, span: Span) {
    let word = |map: &Map, key: &str| map.get(key).and_then(Node::as_scalar).map(|scalar| scalar.text.to_string());
    if word(service, "pull_policy").as_deref() == Some("if_not_present") {
        service.set("pull_policy", Node::text("missing", span));
    }
    if let Some(Value::List(servers)) = service.get_mut("dns").map(|node| &mut node.value) {
        servers.retain(|server| server.as_scalar().is_none_or(|scalar| !scalar.text.is_empty()));
    }
    if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) {
        if build.get("context").is_none_or(Node::is_null) {
            build.set("context", Node::text(".", span));
        }
        if build.get("dockerfile").is_none() && build.get("dockerfile_inline").is_none() {
            build.push("dockerfile", Node::text("Dockerfile", span));
        }
    }
    for port in items(service.get_mut("ports")) {
        default(port, "protocol", || Node::text("tcp", span));
        default(port, "mode", || Node::text("ingress", span));
    }
    for secret in items(service.get_mut("secrets")) {
        let source = word(secret, "source").unwrap_or_default();
        default(secret, "target", || Node::text(format!("/run/secrets/{source}"), span));
    }
    for mount in items(service.get_mut("volumes")) {
        if let Some(target) = mount.get_mut("target")
            && let Some(scalar) = target.as_scalar()
        {
            *target = Node::text(clean(&scalar.text), target.span);
        }
    }
    let reserved = ["deploy", "resources", "reservations"]
        .iter()
        .try_fold(&mut *service, |map, key| map.get_mut(key).and_then(Node::as_map_mut));
    let all = |device: &mut Map| {
        if device.get("device_ids").is_none() {
            default(device, "count", || Node::plain("-1", span));
        }
    };
    items(reserved.and_then(|map| map.get_mut("devices"))).for_each(all);
    items(service.get_mut("gpus")).for_each(all);
    let scale = service.get("scale").filter(|node| !node.is_null()).cloned();
    if let (Some(scale), Some(deploy)) = (scale, service.get_mut("deploy").and_then(Node::as_map_mut)) {
        default(deploy, "replicas", || scale);
    }
}

/// Arguments of a build without a value get it from the variables, or leave.
fn arguments(service: &mut Map, variables: &Variables) {
    let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) else { return };
    let Some(args) = build.get_mut("args").and_then(Node::as_map_mut) else { return };
    args.entries.retain_mut(|entry| {
        if entry.value.is_null() {
            let Some(value) = variables.get(&entry.key) else { return false };
            entry.value = Node::text(value, entry.key_span);
        }
        true
    });
}

fn default(map: &mut Map, key: &str, value: impl FnOnce() -> Node) {
    if map.get(key).is_none_or(Node::is_null) {
        map.set(key, value());
    }
}

/// Services that are named elsewhere than under `depends_on` come before as well.
fn dependencies(service: &mut Map, span: Span) {
    let mut implied: Vec<(String, bool)> = Vec::new();
    let texts = |key: &str| -> Vec<String> {
        let items = service.get(key).and_then(Node::as_list).unwrap_or_default().iter();
        items.filter_map(|item| Some(item.as_scalar()?.text.to_string())).collect()
    };
    for link in texts("links") {
        let parts: Vec<&str> = link.split(':').collect();
        implied.push((if parts.len() == 2 { parts[0].to_owned() } else { link.clone() }, true));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let shared = service.get(key).and_then(Node::as_scalar).and_then(|scalar| scalar.text.strip_prefix("service:"));
        implied.extend(shared.map(|name| (name.to_owned(), true)));
    }
    for from in texts("volumes_from").iter().filter(|from| !from.starts_with("container:")) {
        implied.push((from.split(':').next().unwrap_or_default().to_owned(), false));
    }
    if implied.is_empty() {
        return;
    }
    let depends_on = section(service, "depends_on", span);
    for (name, restarts) in implied {
        if depends_on.get(&name).is_none() {
            let mut dependency = Map::default();
            dependency.push("condition", Node::text("service_started", span));
            if restarts {
                dependency.push("restart", Node::plain("true", span));
            }
            dependency.push("required", Node::plain("true", span));
            depends_on.push(name, Node::map(dependency, span));
        }
    }
}

/// An object without a name of its own is called after its project.
fn named(entry: &mut Entry, project: &str) {
    let span = entry.key_span;
    if entry.value.is_null() {
        entry.value = Node::map(Map::default(), span);
    }
    let key = entry.key.clone();
    let Some(object) = entry.value.as_map_mut() else { return };
    let is_external =
        object.get("external").and_then(Node::as_scalar).is_some_and(|scalar| scalar.text.eq_ignore_ascii_case("true"));
    default(object, "name", || {
        Node::text(if is_external { key.to_string() } else { format!("{project}_{key}") }, span)
    });
}

/// Takes out the objects that no service uses.
fn forget_unused(top: &mut Map) {
    let mut used: BTreeSet<(&'static str, Arc<str>)> = BTreeSet::new();
    for entry in section_of(top, "services") {
        let Some(service) = entry.value.as_map() else { continue };
        let networks = service.get("networks").and_then(Node::as_map).map_or(&[][..], |map| &map.entries);
        used.extend(networks.iter().map(|entry| ("networks", entry.key.clone())));
        let sources = |map: &Map, key: &str| -> Vec<Arc<str>> {
            let items = map.get(key).and_then(Node::as_list).unwrap_or_default().iter().filter_map(Node::as_map);
            items.filter_map(|item| Some(item.get("source")?.as_scalar()?.text.clone())).collect()
        };
        let named = |map: &Map, key: &'static str| sources(map, key).into_iter().map(move |name| (key, name));
        used.extend(["secrets", "configs"].into_iter().flat_map(|key| named(service, key).collect::<Vec<_>>()));
        if let Some(build) = service.get("build").and_then(Node::as_map) {
            used.extend(named(build, "secrets"));
        }
        for mount in service.get("volumes").and_then(Node::as_list).unwrap_or_default() {
            let text = |key: &str| Some(mount.as_map()?.get(key)?.as_scalar()?.text.clone());
            if text("type").as_deref() == Some("volume") {
                used.extend(text("source").map(|source| ("volumes", source)));
            }
        }
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        if let Some(objects) = top.get_mut(section).and_then(Node::as_map_mut) {
            objects.entries.retain(|entry| used.contains(&(section, entry.key.clone())));
        }
    }
}

fn items(node: Option<&mut Node>) -> impl Iterator<Item = &mut Map> {
    let list = node.and_then(|node| match &mut node.value {
        Value::List(items) => Some(items),
        _ => None,
    });
    list.into_iter().flatten().filter_map(Node::as_map_mut)
}
