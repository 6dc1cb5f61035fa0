//! What must fit together in a resolved model, whatever engine runs it.

mod cycles;
mod values;

use crate::codes::{self, Code};
use crate::export::units;
use crate::findings::{Findings, error};
use crate::resolve::Inactive;
use crate::syntax::{Entry, Map, Node};
use model::policy::EngineKind;
use model::span::Span;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What is known of a model beside what it says.
#[derive(Default)]
pub(crate) struct Beside {
    /// The services whose profiles are not active.
    pub(crate) inactive: Inactive,
    /// The services that mainstay.yaml says how to run, so that they need no image.
    pub(crate) recipes: BTreeSet<String>,
    /// The engine, where one is asked.
    pub(crate) engine: Option<EngineKind>,
}

/// Judges the values of every service, whether its profile is active or not.
pub(crate) fn check_values(model: &Node, found: &mut Findings) {
    each_service(model, |service| {
        values::check(service, found);
        values::repeated(service, found);
        list(service, "pre_start").iter().filter_map(Node::as_map).for_each(|hook| values::check(hook, found));
    });
}

/// Says what stands twice in a list of one file whose items must differ.
pub(super) fn repeated(file: &Node, found: &mut Findings) {
    each_service(file, |service| values::repeated(service, found));
}

fn each_service(model: &Node, judge: impl FnMut(&Map)) {
    let sections = ["services", "jobs"].into_iter();
    let entries = sections.flat_map(|key| model.as_map().map_or(&[][..], |top| section(top, key)));
    entries.filter_map(|entry| entry.value.as_map()).for_each(judge);
}

/// Judges a model that [`super::complete`] has completed.
pub(crate) fn check(model: &Node, beside: &Beside, found: &mut Findings) {
    let Some(top) = model.as_map() else { return };
    // A file whose parts cannot be read is empty for that reason.
    if top.entries.is_empty() && !found.has_errors() {
        found.push(error(codes::MISSING, "the Compose file is empty").help("begin it with `services:`"));
    }
    let sections = ["services", "jobs", "networks", "volumes", "secrets", "configs", "models"];
    let names = sections.iter().flat_map(|key| section(top, key).iter().map(|entry| (*key, &*entry.key)));
    let check = Check { top, declared: names.collect(), services: section(top, "services"), beside };
    for entry in check.services {
        if let Some(service) = entry.value.as_map() {
            check.service(entry, service, found);
        }
    }
    check.names(found);
    check.jobs(found);
    cycles::check(check.services, found);
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

/// Says what is wrong, so that nobody says of the same value that it cannot be read.
fn wrong(found: &mut Findings, code: Code, span: Span, message: String, help: &str) {
    found.push(error(code, message).at(span, "").help(help));
    found.spoil(span);
}

struct Check<'a> {
    top: &'a Map,
    /// What is declared: the section, and the name in it.
    declared: HashSet<(&'static str, &'a str)>,
    services: &'a [Entry],
    beside: &'a Beside,
}

impl Check<'_> {
    fn has(&self, key: &'static str, name: &str) -> bool {
        self.declared.contains(&(key, name))
    }

    fn service(&self, entry: &Entry, service: &Map, found: &mut Findings) {
        let at = entry.key_span;
        let build = service.get("build").and_then(Node::as_map);
        // What extends something else has been reported if that gave it no image.
        let is_lent = service.get("provider").is_some() || service.get("extends").is_some();
        let runs_otherwise = is_lent || self.beside.recipes.contains(&*entry.key);
        if build.is_none() && !runs_otherwise && text(service, "image").is_none_or(str::is_empty) {
            let message = format!("`{}` has neither `image` nor `build`", entry.key);
            let help = match self.beside.engine {
                Some(EngineKind::Docker) => "write an `image` or a `build`".to_owned(),
                _ => format!("write an `image`, a `build`, or `processes.{}` in mainstay.yaml", entry.key),
            };
            // An image that is empty because its variable is missing has been reported.
            let span = service.get("image").filter(|node| !node.is_null()).map_or(at, |node| node.span);
            found.push(error(codes::MISSING, message).at(span, "").help(help));
        }
        if let Some(build) = build {
            self.build(service, build, at, found);
        }
        self.references(service, found);
        self.dependencies(service, found);
        if let (Some(mode), Some(networks)) = (service.get("network_mode"), service.get("networks"))
            && !text_of(mode).is_empty()
            && !section(service, "networks").is_empty()
        {
            let message = "`network_mode` and `networks` exclude each other".into();
            contradict(found, message, mode, networks, "keep one of them");
        }
        let health = service.get("healthcheck").and_then(Node::as_map).map_or(&[][..], |health| list(health, "test"));
        if let Some(first) = health.first().filter(|first| !matches!(text_of(first), "CMD" | "CMD-SHELL" | "NONE")) {
            let message = format!("a health check begins with `CMD`, `CMD-SHELL` or `NONE`, not `{}`", text_of(first));
            wrong(
                found,
                codes::HEALTHCHECK,
                first.span,
                message,
                "write `[\"CMD\", \"program\", …]` or `[\"CMD-SHELL\", \"line\"]`",
            );
        }
        amounts(service, found);
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
            if self.beside.inactive.contains_key(name) {
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
                let help = found.did_you_mean(name, known.clone(), || declare_it(key, known));
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
            let profiles = self.beside.inactive.get(&entry.key);
            if self.has("services", &entry.key) || is_optional && profiles.is_some() {
                continue;
            }
            let (code, message, help) = match profiles {
                Some(profiles) => (
                    codes::INACTIVE,
                    format!("this depends on `{}`, whose profile is not active", entry.key),
                    format!("activate one of its profiles ({}), or write `required: false`", profiles.join(", ")),
                ),
                None => {
                    let names = self.services.iter().map(|entry| &*entry.key);
                    let help = found.did_you_mean(&entry.key, names, || "declare it under `services`".into());
                    (codes::REFERENCE, format!("there is no service `{}`", entry.key), help)
                }
            };
            found.push(error(code, message).at(entry.key_span, "").help(help));
            found.spoil(entry.key_span);
        }
    }

    /// Jobs share their names with services, and may wait for either.
    fn jobs(&self, found: &mut Findings) {
        for entry in section(self.top, "jobs") {
            let Some(job) = entry.value.as_map() else { continue };
            if self.has("services", &entry.key)
                && let Some(service) = self.services.iter().find(|service| service.key == entry.key)
            {
                let message = format!("`{}` is a service and a job", entry.key);
                let diagnostic =
                    error(codes::CONFLICT, message).at(entry.key_span, "").at(service.key_span, "and here");
                found.push(diagnostic.help("give one of them another name"));
            }
            let triggers = job.get("triggers").and_then(Node::as_map);
            if triggers.is_some_and(|map| map.get("manual").is_none() && map.get("schedule").is_none()) {
                let message = format!("nothing triggers the job `{}`", entry.key);
                wrong(found, codes::MISSING, entry.key_span, message, "write `manual: true`, or a `schedule`");
            }
            for other in section(job, "depends_on") {
                if !self.has("services", &other.key) && !self.has("jobs", &other.key) {
                    let message = format!("there is no service or job `{}`", other.key);
                    wrong(found, codes::REFERENCE, other.key_span, message, "declare it, or remove the dependency");
                }
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
}

/// What to do about a name that nobody declares, and the names that somebody does.
fn declare_it<'n>(key: &str, known: impl Iterator<Item = &'n str>) -> String {
    const MOST: usize = 4;
    let known: Vec<String> = known.take(MOST + 1).map(|name| format!("`{name}`")).collect();
    let more = if known.len() > MOST { ", …" } else { "" };
    match known.is_empty() {
        true => format!("declare it under `{key}`"),
        false => format!("declare it under `{key}`; declared are {}{more}", known[..known.len().min(MOST)].join(", ")),
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
fn amounts(service: &Map, found: &mut Findings) {
    let at = |way: &[&str]| values::at(service, way);
    let of = |node: &Node| node.as_scalar().map(|scalar| scalar.to_text()).unwrap_or_default();
    let (scale, replicas) = (at(&["scale"]), at(&["deploy", "replicas"]));
    if let (Some(scale), Some(replicas)) = (scale, replicas)
        && of(scale) != of(replicas)
    {
        let message = format!("`scale` says {} and `deploy.replicas` says {}", of(scale), of(replicas));
        contradict(found, message, scale, replicas, "keep `deploy.replicas`");
    }
    let wanted = scale.or(replicas).and_then(|node| Some((node, of(node).parse::<i64>().ok()?)));
    if let Some((node, ..0)) = wanted {
        wrong(found, codes::VALUE, node.span, "a number of replicas is not negative".into(), "write 0 or more");
    }
    let name = at(&["container_name"]).filter(|node| !text_of(node).is_empty());
    if let (Some((node, 2..)), Some(name)) = (wanted, name) {
        let message = "one `container_name` cannot be that of several replicas".into();
        contradict(found, message, name, node, "remove `container_name`");
    }
    let float = |node: &Node| of(node).parse::<f32>().unwrap_or_default();
    let size = |node: &Node| units::bytes(&of(node)).unwrap_or_default();
    let whole = |node: &Node| of(node).parse::<i64>().unwrap_or_default();
    let mut twice = |key: &str, part: &str, of: &str, differ: &dyn Fn(&Node, &Node) -> bool| {
        let Some(own) = at(&[key]) else { return };
        // A section that lacks the key says 0 to the reference.
        let nothing = Node::null(own.span);
        let deployed = at(&["deploy", "resources", part, of]);
        if at(&["deploy", "resources", part]).is_some() && differ(own, deployed.unwrap_or(&nothing)) {
            let message = match deployed {
                Some(_) => format!("`{key}` and `deploy.resources.{part}.{of}` say different things"),
                None => format!("`{key}` stands beside `deploy.resources.{part}`, which says nothing of it"),
            };
            let help = format!("write it as `deploy.resources.{part}.{of}` only");
            contradict(found, message, own, deployed.unwrap_or(&nothing), &help);
        }
    };
    twice("cpus", "limits", "cpus", &|a, b| float(a) != 0.0 && float(a) != float(b));
    twice("mem_limit", "limits", "memory", &|a, b| size(a) != 0 && size(a) != size(b));
    twice("pids_limit", "limits", "pids", &|a, b| whole(a) != 0 && whole(a) != whole(b));
    twice("mem_reservation", "reservations", "memory", &|a, b| size(a) != 0 && size(a) != size(b));
}

/// Two values that contradict each other.
fn contradict(found: &mut Findings, message: String, a: &Node, b: &Node, help: &str) {
    let diagnostic = error(codes::CONFLICT, message).at(a.span, "");
    let diagnostic = if a.span == b.span { diagnostic } else { diagnostic.at(b.span, "and here") };
    found.push(diagnostic.help(help));
    found.spoil(a.span);
}

fn mounts(service: &Map, found: &mut Findings) {
    let mut taken: BTreeMap<&str, Span> = BTreeMap::new();
    let tmpfs =
        list(service, "tmpfs").iter().map(|node| (text_of(node).split(':').next().unwrap_or_default(), node.span));
    let volumes = list(service, "volumes").iter().filter_map(|item| Some((text(item.as_map()?, "target")?, item.span)));
    for (target, span) in tmpfs.chain(volumes) {
        if let Some(before) = taken.insert(target, span) {
            let message = format!("two things are mounted at `{target}`");
            let help = "remove one of them, or give it another target";
            found.push(error(codes::CONFLICT, message).at(span, "").at(before, "the other one").help(help));
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
            let written: Vec<&str> = sources.iter().copied().filter(|source| map.get(source).is_some()).collect();
            let is_external = text(map, "external") == Some("true");
            let is_elsewhere = if key == "secrets" { is_external } else { map.get("external").is_some() };
            // What a bundle carries has its content inside.
            let is_inside = ["content", "content_hex"].iter().any(|key| map.get(key).is_some());
            if written.len() > 1 {
                let message = format!("`{}` has more than one content: {}", entry.key, written.join(" and "));
                wrong(found, codes::CONTENT_SOURCE, entry.key_span, message, "keep one of them");
            } else if written.is_empty() && !is_elsewhere && !is_inside {
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
