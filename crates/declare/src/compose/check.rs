//! What must fit together in a resolved model, whatever engine runs it.

mod values;

use crate::codes::{self, Code};
use crate::export::units;
use crate::findings::{Findings, error};
use crate::syntax::{Entry, Map, Node};
use model::span::Span;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Judges a model: `inactive` are the services whose profiles are not active.
pub(crate) fn check(model: &Node, inactive: &BTreeSet<Arc<str>>, found: &mut Findings) {
    let Some(top) = model.as_map() else { return };
    if top.entries.is_empty() {
        found.push(error(codes::MISSING, "the Compose file is empty").help("begin it with `services:`"));
    }
    let sections = ["services", "networks", "volumes", "secrets", "configs", "models"];
    let names = sections.iter().flat_map(|key| section(top, key).iter().map(|entry| (*key, &*entry.key)));
    let check = Check { top, declared: names.collect(), services: section(top, "services"), inactive };
    for entry in check.services {
        if let Some(service) = entry.value.as_map() {
            check.service(entry, service, found);
        }
    }
    check.names(found);
    check.cycle(found);
    objects(top, found);
}

fn section<'m>(map: &'m Map, key: &str) -> &'m [Entry] {
    map.get(key).and_then(Node::as_map).map_or(&[], |map| &map.entries)
}

fn text<'m>(map: &'m Map, key: &str) -> Option<&'m str> {
    map.get(key).and_then(Node::as_scalar).filter(|scalar| !scalar.is_null()).map(|scalar| &*scalar.text)
}

fn list<'m>(map: &'m Map, key: &str) -> &'m [Node] {
    map.get(key).and_then(Node::as_list).unwrap_or_default()
}

fn wrong(found: &mut Findings, code: Code, span: Span, message: String, help: &str) {
    found.push(error(code, message).at(span, "").help(help));
}

struct Check<'a> {
    top: &'a Map,
    /// What is declared: the section, and the name in it.
    declared: HashSet<(&'static str, &'a str)>,
    services: &'a [Entry],
    inactive: &'a BTreeSet<Arc<str>>,
}

impl Check<'_> {
    fn has(&self, key: &'static str, name: &str) -> bool {
        self.declared.contains(&(key, name))
    }

    fn service(&self, entry: &Entry, service: &Map, found: &mut Findings) {
        let at = entry.key_span;
        let build = service.get("build").and_then(Node::as_map);
        if build.is_none() && service.get("provider").is_none() && text(service, "image").is_none_or(str::is_empty) {
            let message = format!("`{}` has neither `image` nor `build`", entry.key);
            wrong(found, codes::MISSING, at, message, "write an `image` or a `build`");
        }
        if let Some(build) = build {
            self.build(service, build, at, found);
        }
        self.references(service, found);
        self.dependencies(service, found);
        if service.get("network_mode").is_some_and(|node| !text_of(node).is_empty())
            && !section(service, "networks").is_empty()
        {
            let message = "`network_mode` and `networks` exclude each other".into();
            wrong(found, codes::CONFLICT, at, message, "keep one of them");
        }
        let health = service.get("healthcheck").and_then(Node::as_map).map_or(&[][..], |health| list(health, "test"));
        if let Some(first) = health.first().filter(|first| !matches!(text_of(first), "CMD" | "CMD-SHELL" | "NONE")) {
            let message = "a list under `test` begins with `CMD`, `CMD-SHELL` or `NONE`".into();
            wrong(found, codes::HEALTHCHECK, first.span, message, "begin it with `CMD`");
        }
        amounts(entry, service, found);
        values::check(service, found);
        mounts(service, found);
        for watch in service.get("develop").and_then(Node::as_map).map_or(&[][..], |develop| list(develop, "watch")) {
            let Some(map) = watch.as_map() else { continue };
            if text(map, "path") == Some("") {
                wrong(found, codes::VALUE, watch.span, "`path` is empty".into(), "write the path to watch");
            }
            let needs = !matches!(text(map, "action"), Some("rebuild" | "restart"));
            if needs && text(map, "target").is_none_or(str::is_empty) {
                wrong(found, codes::MISSING, watch.span, "this action needs a `target`".into(), "write where files go");
            }
        }
        for (key, devices) in [("gpus", list(service, "gpus")), ("devices", reserved(service))] {
            for device in devices {
                let is_there = |key: &str| device.as_map().is_some_and(|map| map.get(key).is_some());
                if is_there("count") && is_there("device_ids") {
                    let message = format!("an entry of `{key}` has both `count` and `device_ids`");
                    wrong(found, codes::CONFLICT, device.span, message, "keep one of them");
                }
            }
        }
    }

    fn build(&self, service: &Map, build: &Map, at: Span, found: &mut Findings) {
        let is_set = |key: &str| text(build, key).is_some_and(|text| !text.is_empty());
        if is_set("dockerfile") && is_set("dockerfile_inline") {
            let message = "`dockerfile` and `dockerfile_inline` exclude each other".into();
            wrong(found, codes::CONFLICT, at, message, "keep one of them");
        }
        for entry in section(build, "additional_contexts") {
            let Some(name) = text_of(&entry.value).strip_prefix("service:") else { continue };
            if self.inactive.contains(name) {
                continue;
            }
            let other = self.services.iter().find(|entry| &*entry.key == name);
            if other.is_none_or(|other| other.value.as_map().is_none_or(|map| map.get("build").is_none())) {
                let message = format!("there is no service `{name}` that is built");
                wrong(found, codes::REFERENCE, entry.key_span, message, "name a service with a `build`");
            }
        }
        let platforms = list(build, "platforms");
        if let Some(platform) = text(service, "platform").filter(|platform| !platform.is_empty())
            && !platforms.is_empty()
            && !platforms.iter().any(|one| text_of(one) == platform)
        {
            let message = format!("`build.platforms` lacks `{platform}`, the service's own platform");
            wrong(found, codes::CONFLICT, at, message, "add it");
        }
    }

    fn references(&self, service: &Map, found: &mut Findings) {
        let mut missing = |what: &str, key: &'static str, name: &str, span: Span| {
            if !self.has(key, name) {
                let known = section(self.top, key).iter().map(|entry| &*entry.key);
                let help = found.did_you_mean(name, known, || format!("declare it under `{key}`"));
                found.push(error(codes::REFERENCE, format!("there is no {what} `{name}`")).at(span, "").help(help));
            }
        };
        for entry in section(service, "networks") {
            missing("network", "networks", &entry.key, entry.key_span);
        }
        for entry in section(service, "models") {
            missing("model", "models", &entry.key, entry.key_span);
        }
        let build = service.get("build").and_then(Node::as_map);
        let grants = [("secret", "secrets", service), ("config", "configs", service)];
        for (what, key, map) in grants.into_iter().chain(build.map(|build| ("secret", "secrets", build))) {
            for item in list(map, key) {
                let source = item.as_map().and_then(|map| text(map, "source")).unwrap_or_default();
                missing(what, key, source, item.span);
            }
        }
        for item in list(service, "volumes") {
            let Some(map) = item.as_map() else { continue };
            let source = text(map, "source").filter(|source| !source.is_empty());
            if let (Some("volume"), Some(source)) = (text(map, "type"), source) {
                missing("volume", "volumes", source, item.span);
            }
        }
    }

    fn dependencies(&self, service: &Map, found: &mut Findings) {
        for entry in section(service, "depends_on") {
            let is_optional = entry.value.as_map().and_then(|map| text(map, "required")) == Some("false");
            let is_there = self.has("services", &entry.key);
            if !(is_there || is_optional && self.inactive.contains(&entry.key)) {
                let names = self.services.iter().map(|entry| &*entry.key);
                let help = found.did_you_mean(&entry.key, names, || "declare it, or remove the dependency".into());
                let message = match self.inactive.contains(&entry.key) {
                    true => format!("this depends on `{}`, whose profile is not active", entry.key),
                    false => format!("there is no service `{}`", entry.key),
                };
                found.push(error(codes::REFERENCE, message).at(entry.key_span, "").help(help));
            }
        }
    }

    fn names(&self, found: &mut Findings) {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for entry in self.services {
            let Some(node) = entry.value.as_map().and_then(|map| map.get("container_name")) else { continue };
            let name = text_of(node);
            if !name.is_empty() && !taken.insert(name) {
                let message = format!("the container name `{name}` is used twice");
                wrong(found, codes::CONFLICT, node.span, message, "give each its own name, or none");
            }
        }
    }

    fn cycle(&self, found: &mut Findings) {
        let index: BTreeMap<&str, usize> = self.services.iter().zip(0..).map(|(entry, at)| (&*entry.key, at)).collect();
        let needs = |at: usize| {
            let map = self.services[at].value.as_map();
            map.map_or(&[][..], |map| section(map, "depends_on"))
                .iter()
                .filter_map(|entry| index.get(&*entry.key).copied())
        };
        // Those that wait for nobody left are taken away until only cycles remain.
        let mut waits: Vec<usize> = (0..self.services.len()).map(|at| needs(at).count()).collect();
        let mut dependents = vec![Vec::new(); self.services.len()];
        for at in 0..self.services.len() {
            needs(at).for_each(|other| dependents[other].push(at));
        }
        let mut free: Vec<usize> = (0..waits.len()).filter(|at| waits[*at] == 0).collect();
        while let Some(at) = free.pop() {
            for dependent in &dependents[at] {
                waits[*dependent] -= 1;
                if waits[*dependent] == 0 {
                    free.push(*dependent);
                }
            }
        }
        let stuck: Vec<&Entry> = (0..waits.len()).filter(|at| waits[*at] > 0).map(|at| &self.services[at]).collect();
        if let Some(first) = stuck.first() {
            let names: Vec<String> = stuck.iter().map(|entry| format!("`{}`", entry.key)).collect();
            let message = format!("services wait for each other: {}", names.join(", "));
            wrong(found, codes::CYCLE, first.key_span, message, "remove one of the dependencies");
        }
    }
}

fn text_of(node: &Node) -> &str {
    node.as_scalar().map_or("", |scalar| &*scalar.text)
}

fn reserved(service: &Map) -> &[Node] {
    let deploy = service.get("deploy").and_then(Node::as_map);
    let resources = deploy.and_then(|map| map.get("resources")).and_then(Node::as_map);
    resources.and_then(|map| map.get("reservations")).and_then(Node::as_map).map_or(&[], |map| list(map, "devices"))
}

/// Numbers that are said twice, and those that cannot be.
fn amounts(entry: &Entry, service: &Map, found: &mut Findings) {
    let deploy = service.get("deploy").and_then(Node::as_map);
    let number = |map: Option<&Map>, key: &str| map.and_then(|map| text(map, key)).map(str::to_owned);
    let (scale, replicas) = (number(Some(service), "scale"), number(deploy, "replicas"));
    let at = entry.key_span;
    if let (Some(scale), Some(replicas)) = (&scale, &replicas)
        && scale != replicas
    {
        let message = format!("`scale` says {scale}, `deploy.replicas` {replicas}");
        wrong(found, codes::CONFLICT, at, message, "keep one of them");
    }
    let wanted = scale.or(replicas).and_then(|text| text.parse::<i64>().ok());
    if wanted.is_some_and(|wanted| wanted < 0) {
        wrong(found, codes::VALUE, at, "a number of replicas is not negative".into(), "write 0 or more");
    }
    if wanted.is_some_and(|wanted| wanted > 1) && text(service, "container_name").is_some_and(|name| !name.is_empty()) {
        let message = "one `container_name` cannot be that of several replicas".into();
        wrong(found, codes::CONFLICT, at, message, "remove `container_name`");
    }
    let resources = deploy.and_then(|map| map.get("resources")).and_then(Node::as_map);
    let section = |key: &str| resources.and_then(|map| map.get(key)).and_then(Node::as_map);
    let (limits, reservations) = (section("limits"), section("reservations"));
    let float = |text: Option<&str>| text.and_then(|text| text.parse::<f32>().ok()).unwrap_or_default();
    let size = |text: Option<&str>| text.and_then(units::bytes).unwrap_or_default();
    let whole = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
    let mut twice = |key: &str, of: &str, differs: bool| {
        if differs {
            let message = format!("`{key}` and `deploy.resources.{of}` say different things");
            wrong(found, codes::CONFLICT, at, message, "keep the one under `deploy.resources`");
        }
    };
    let own = |key: &str| text(service, key);
    if let Some(limits) = limits {
        let cpus = float(own("cpus"));
        twice("cpus", "limits.cpus", cpus != 0.0 && cpus != float(text(limits, "cpus")));
        let memory = size(own("mem_limit"));
        twice("mem_limit", "limits.memory", memory != 0 && memory != size(text(limits, "memory")));
        let pids = whole(own("pids_limit"));
        twice("pids_limit", "limits.pids", pids != 0 && pids != whole(text(limits, "pids")));
    }
    if let Some(reservations) = reservations {
        let memory = size(own("mem_reservation"));
        twice("mem_reservation", "reservations.memory", memory != 0 && memory != size(text(reservations, "memory")));
    }
}

fn mounts(service: &Map, found: &mut Findings) {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let tmpfs =
        list(service, "tmpfs").iter().map(|node| (text_of(node).split(':').next().unwrap_or_default(), node.span));
    let volumes = list(service, "volumes").iter().filter_map(|item| Some((text(item.as_map()?, "target")?, item.span)));
    for (target, span) in tmpfs.chain(volumes) {
        if !taken.insert(target) {
            let message = format!("two things are mounted at `{target}`");
            wrong(found, codes::CONFLICT, span, message, "remove one of them");
        }
    }
    for item in list(service, "volumes").iter().filter_map(|item| Some((item.as_map()?, item.span))) {
        if text(item.0, "type") == Some("bind") && item.0.get("source").is_none() {
            wrong(
                found,
                codes::MISSING,
                item.1,
                "a bind mount needs a `source`".into(),
                "write the path of this machine",
            );
        }
    }
    for port in list(service, "ports") {
        let Some(host) = port.as_map().and_then(|map| map.get("host_ip")) else { continue };
        if text_of(host).parse::<std::net::IpAddr>().is_err() {
            let message = format!("`{}` is no address", text_of(host));
            wrong(found, codes::VALUE, host.span, message, "write for example `127.0.0.1`");
        }
    }
}

/// Where secrets and configs come from, and what an external volume may say.
fn objects(top: &Map, found: &mut Findings) {
    for (key, sources) in [("secrets", &["file", "environment"][..]), ("configs", &["file", "environment", "content"])]
    {
        for entry in section(top, key) {
            let Some(map) = entry.value.as_map() else { continue };
            let n = sources.iter().filter(|source| map.get(source).is_some()).count();
            let is_external = text(map, "external") == Some("true");
            let is_elsewhere = if key == "secrets" { is_external } else { map.get("external").is_some() };
            if n > 1 {
                let message = format!("`{}` has more than one content", entry.key);
                wrong(found, codes::CONTENT_SOURCE, entry.key_span, message, "keep one of them");
            } else if n == 0 && !is_elsewhere {
                let message = format!("`{}` has no content", entry.key);
                let help = format!("write one of {}", sources.join(", "));
                wrong(found, codes::CONTENT_SOURCE, entry.key_span, message, &help);
            }
        }
    }
    for entry in section(top, "volumes") {
        let Some(map) = entry.value.as_map().filter(|map| text(map, "external") == Some("true")) else { continue };
        let other = map.entries.iter().find(|e| !matches!(&*e.key, "name" | "external") && !e.key.starts_with("x-"));
        if let Some(other) = other {
            let message = format!("`{}` has no meaning for a volume that is external", other.key);
            wrong(found, codes::CONFLICT, other.key_span, message, "remove it, or `external`");
        }
    }
}
