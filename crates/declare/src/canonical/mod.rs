//! Short forms to long forms, file by file, so that merging and reading know one form only.
//!
//! Runs before files are merged: a list and a mapping of the same key merge by key once both are mappings, and
//! paths of an included file can later be resolved where that file is known. Values tagged `!reset` and empty
//! values stay as they are. Running it twice changes nothing.

mod mounts;
pub(crate) mod ports;
pub mod words;

use crate::codes;
use crate::findings::{Findings, error, warning};
use crate::syntax::{Map, Node, Tag, Value};
use model::span::Span;

/// More ports than this in one file are refused: two numbers of a range can stand for 65,535 entries.
const MAX_PORTS: usize = 100_000;

/// Brings a Compose file into long forms.
pub fn compose(root: &mut Node, found: &mut Findings) {
    let mut forms = Forms { found, ports: 0 };
    let Some(top) = root.as_map_mut() else { return };
    for entry in &mut top.entries {
        let objects = matches!(&*entry.key, "services" | "jobs" | "networks" | "volumes" | "secrets" | "configs");
        let Some(map) = entry.value.as_map_mut().filter(|_| objects) else { continue };
        for object in &mut map.entries {
            if matches!(&*entry.key, "services" | "jobs") {
                forms.service(&mut object.value);
            } else {
                forms.at(&mut object.value, "labels", Forms::labels);
                external(&mut object.value, forms.found);
            }
        }
    }
}

/// Brings variables into a mapping: a list of `NAME=value` or a mapping, where a bare name has no value.
pub fn environment(node: &mut Node, found: &mut Findings) {
    Forms { found, ports: 0 }.environment(node);
}

struct Forms<'a> {
    found: &'a mut Findings,
    ports: usize,
}

impl Forms<'_> {
    fn service(&mut self, node: &mut Node) {
        let Some(map) = node.as_map_mut() else { return };
        for entry in &mut map.entries {
            let value = &mut entry.value;
            if value.is_null() || value.tag == Tag::Reset {
                continue;
            }
            match &*entry.key {
                "build" => self.build(value),
                "command" | "entrypoint" => self.command(value),
                "environment" => self.environment(value),
                "labels" | "annotations" | "sysctls" => self.labels(value),
                "models" => self.attachments(value, "models"),
                "devices" => self.devices(value),
                "gpus" => self.gpus(value),
                "develop" => self.watches(value),
                "pre_start" => items(value).for_each(|hook| {
                    bound(hook);
                    self.service(hook);
                }),
                "post_start" | "pre_stop" => items(value).for_each(|hook| self.hook(hook)),
                "triggers" => self.at(value, "schedule", |_, node| {
                    items(node).for_each(|item| name_to_map(item, "cron"));
                }),
                "env_file" => self.env_file(value),
                "depends_on" => self.depends_on(value),
                "networks" => self.attachments(value, "networks"),
                "ports" => self.ports(value),
                "volumes" => self.mounts(value),
                "secrets" | "configs" => self.grants(value),
                "healthcheck" => self.at(value, "test", Self::health_test),
                "extra_hosts" => self.extra_hosts(value),
                "deploy" => self.deploy(value),
                "tmpfs" | "dns" | "dns_search" | "dns_opt" | "label_file" => one_to_list(value),
                _ => {}
            }
        }
    }

    /// Applies a form to one key of a mapping.
    fn at(&mut self, node: &mut Node, key: &str, form: fn(&mut Self, &mut Node)) {
        if let Some(value) = node.as_map_mut().and_then(|map| map.get_mut(key))
            && !value.is_null()
            && value.tag != Tag::Reset
        {
            form(self, value);
        }
    }

    fn build(&mut self, node: &mut Node) {
        if node.as_scalar().is_some() {
            let context = std::mem::replace(node, Node::null(node.span));
            let (span, tag) = (context.span, context.tag);
            *node = Node::map(one("context", Node { tag: Tag::None, ..context }), span).tagged(tag);
        }
        self.at(node, "args", Self::environment);
        self.at(node, "labels", Self::labels);
        self.at(node, "additional_contexts", |forms, node| {
            for item in node.as_list().unwrap_or_default() {
                let has_sign = item.as_scalar().is_none_or(|scalar| scalar.text.contains('='));
                if !has_sign {
                    let message = "a context has a name and a place";
                    forms.found.push(error(codes::VALUE, message).at(item.span, "").help("write `name=./folder`"));
                }
            }
            forms.labels(node);
        });
        self.at(node, "ssh", Self::environment);
        self.at(node, "extra_hosts", Self::extra_hosts);
        self.at(node, "secrets", Self::grants);
        self.at(node, "no_cache_filter", |_, node| one_to_list(node));
        for key in ["provenance", "sbom"] {
            self.at(node, key, |_, node| {
                if let Some(scalar) = node.as_scalar() {
                    *node = Node::text(scalar.to_text(), node.span).tagged(node.tag);
                }
            });
        }
    }

    fn deploy(&mut self, node: &mut Node) {
        self.at(node, "labels", Self::labels);
        let mut below = Some(node);
        for key in ["resources", "reservations", "devices"] {
            below = below.and_then(Node::as_map_mut).and_then(|map| map.get_mut(key));
        }
        if let Some(Value::List(devices)) = below.map(|node| &mut node.value) {
            devices.iter_mut().for_each(|device| self.at(device, "options", Self::labels));
        }
    }

    fn hook(&mut self, hook: &mut Node) {
        self.at(hook, "command", Self::command);
        self.at(hook, "environment", Self::environment);
    }

    /// `gpus: all` is a request for every device.
    fn gpus(&mut self, node: &mut Node) {
        if node.as_scalar().is_some_and(|scalar| &*scalar.text == "all") {
            let count = one("count", Node::plain("-1", node.span));
            node.value = Value::List(vec![Node::map(count, node.span)]);
        }
        if let Value::List(devices) = &mut node.value {
            devices.iter_mut().for_each(|device| self.at(device, "options", Self::labels));
        }
    }

    fn watches(&mut self, node: &mut Node) {
        let Some(watch) = node.as_map_mut().and_then(|develop| develop.get_mut("watch")) else { return };
        let Value::List(items) = &mut watch.value else { return };
        for item in items {
            for key in ["ignore", "include"] {
                self.at(item, key, |_, node| one_to_list(node));
            }
            self.at(item, "exec", Self::hook);
        }
    }

    /// `source[:target[:permissions]]`.
    fn devices(&mut self, node: &mut Node) {
        let Value::List(items) = &mut node.value else { return };
        for item in items {
            let Some(scalar) = item.as_scalar().filter(|scalar| !scalar.is_null()) else { continue };
            let parts: Vec<&str> = scalar.text.split(':').collect();
            if parts.len() > 3 {
                let message = format!("`{}` is no device: it has more than three parts between colons", scalar.text);
                let help = "write `source:target:rwm`";
                self.found.push(error(codes::VALUE, message).at(item.span, "").help(help));
            }
            let target = parts.get(1).filter(|target| !target.is_empty()).unwrap_or(&parts[0]);
            let mut map = one("source", Node::text(parts[0], item.span));
            map.push("target", Node::text(*target, item.span));
            map.push("permissions", Node::text(parts.get(2).copied().unwrap_or("rwm"), item.span));
            item.value = Value::Map(map);
        }
    }

    fn command(&mut self, node: &mut Node) {
        let Some(scalar) = node.as_scalar() else { return };
        match words::command(&scalar.text) {
            Ok((words, end)) => {
                if let Some(mark) = end {
                    let message = format!("what follows `{mark}` has no effect: a command is no line for a shell");
                    let help = "write `sh -c '…'` if a shell shall run it";
                    self.found.push(warning(codes::IGNORED, message).at(node.span, "").help(help));
                }
                let items = words.into_iter().map(|word| Node::text(word, node.span)).collect();
                node.value = Value::List(items);
            }
            Err(problem) => {
                self.found.push(
                    error(codes::WORDS, format!("this command line cannot be split into words: {problem}"))
                        .at(node.span, "")
                        .help("close the quote, or write the command as a list"),
                );
                node.value = Value::List(Vec::new());
            }
        }
    }

    /// A list of `NAME=value` or a mapping; a bare name has no value.
    fn environment(&mut self, node: &mut Node) {
        for item in node.as_list().unwrap_or_default() {
            let name = item.as_scalar().map(|scalar| scalar.text.split('=').next().unwrap_or_default());
            if name.is_some_and(|name| name.ends_with(char::is_whitespace)) {
                let message = "a variable's name ends with a blank";
                self.found
                    .push(error(codes::VALUE, message).at(item.span, "").help("write `NAME=value` without blanks"));
            }
        }
        self.settings(node, "=", Node::null);
    }

    /// The same for labels, where a bare name has the empty value.
    fn labels(&mut self, node: &mut Node) {
        self.settings(node, "=", |span| Node::text("", span));
    }

    fn settings(&mut self, node: &mut Node, sign: &str, bare: fn(Span) -> Node) {
        self.list_to_map(node, |text, span| match text.split_once(sign) {
            Some((name, value)) => (name.to_owned(), Node::text(value, span)),
            None => (text.to_owned(), bare(span)),
        });
        let Some(map) = node.as_map_mut() else { return };
        for entry in &mut map.entries {
            let span = entry.value.span;
            let Some(scalar) = entry.value.as_scalar() else { continue };
            let text = if scalar.is_null() { bare(span) } else { Node::text(scalar.to_text(), span) };
            entry.value = text.tagged(entry.value.tag);
        }
    }

    /// A list of texts becomes a mapping; of entries with the same name the last one counts.
    fn list_to_map(&mut self, node: &mut Node, entry: impl Fn(&str, Span) -> (String, Node)) {
        let Value::List(items) = &node.value else { return };
        let mut map = Map::default();
        let mut index = std::collections::HashMap::new();
        for item in items {
            let Some(scalar) = item.as_scalar().filter(|s| !s.is_null()) else {
                self.found.push(
                    error(codes::TYPE, format!("an entry of this list must be text, this is {}", item.kind()))
                        .at(item.span, "")
                        .help("write `name=value`, or make the whole a mapping"),
                );
                continue;
            };
            let (name, value) = entry(&scalar.to_text(), item.span);
            match index.get(&name) {
                Some(&at) => {
                    let old: &mut crate::syntax::Entry = &mut map.entries[at];
                    old.value = value;
                }
                None => {
                    index.insert(name.clone(), map.entries.len());
                    map.push(name, value);
                }
            }
        }
        node.value = Value::Map(map);
    }

    /// Reports what is written twice in a list that becomes a mapping.
    fn unique(&mut self, node: &Node, key: &str) {
        let mut seen = std::collections::BTreeSet::new();
        for item in node.as_list().unwrap_or_default() {
            let Some(scalar) = item.as_scalar() else { continue };
            if !seen.insert(&*scalar.text) {
                let message = format!("`{}` is written twice under `{key}`", scalar.text);
                self.found.push(error(codes::VALUE, message).at(item.span, "").help("keep one of the two"));
            }
        }
    }

    fn env_file(&mut self, node: &mut Node) {
        one_to_list(node);
        if let Value::List(items) = &mut node.value {
            items.iter_mut().for_each(|item| name_to_map(item, "path"));
        }
    }

    fn depends_on(&mut self, node: &mut Node) {
        self.unique(node, "depends_on");
        let started = |span| Node::map(one("condition", Node::text("service_started", span)), span);
        self.list_to_map(node, |name, span| (name.to_owned(), started(span)));
        let Some(map) = node.as_map_mut() else { return };
        for entry in &mut map.entries {
            let span = entry.value.span;
            let Some(dependency) = entry.value.as_map_mut() else { continue };
            if dependency.get("required").is_none() {
                dependency.push("required", Node::plain("true", span));
            }
        }
    }

    fn attachments(&mut self, node: &mut Node, key: &str) {
        self.unique(node, key);
        self.list_to_map(node, |name, span| (name.to_owned(), Node::null(span)));
    }

    fn grants(&mut self, node: &mut Node) {
        if let Value::List(items) = &mut node.value {
            items.iter_mut().for_each(|item| name_to_map(item, "source"));
        }
    }

    fn health_test(&mut self, node: &mut Node) {
        if node.as_scalar().is_some() {
            let span = node.span;
            let test = Node { tag: Tag::None, ..node.clone() };
            node.value = Value::List(vec![Node::text("CMD-SHELL", span), test]);
        }
    }

    fn extra_hosts(&mut self, node: &mut Node) {
        if node.as_list().is_none() {
            let Some(map) = node.as_map_mut() else { return };
            map.entries.iter_mut().for_each(|entry| one_to_list(&mut entry.value));
            return;
        };
        self.unique(node, "extra_hosts");
        let Value::List(items) = &node.value else { return };
        let mut map = Map::default();
        for item in items {
            let Some(scalar) = item.as_scalar().filter(|scalar| !scalar.is_null()) else { continue };
            let text = scalar.to_text();
            let split = text.split_once('=').or_else(|| text.split_once(':'));
            let Some((host, addresses)) = split.filter(|(host, _)| !host.is_empty() && !host.contains([':', '=']))
            else {
                let message = format!("`{text}` is no host with an address");
                let help = "write `name=address`, for example `db=10.0.0.5`";
                self.found.push(error(codes::VALUE, message).at(item.span, "").help(help));
                continue;
            };
            let addresses = addresses.split(',').map(|address| Node::text(address, item.span));
            match map.get_mut(host).map(|node| &mut node.value) {
                Some(Value::List(known)) => known.extend(addresses),
                _ => map.push(host, Node::list(addresses.collect(), item.span)),
            }
        }
        node.value = Value::Map(map);
    }
}

fn items(node: &mut Node) -> impl Iterator<Item = &mut Node> {
    let items = match &mut node.value {
        Value::List(items) => items.as_mut_slice(),
        _ => &mut [],
    };
    items.iter_mut()
}

/// What a hook binds in the long form it does not make, unless it says so.
fn bound(hook: &mut Node) {
    let volumes = hook.as_map_mut().and_then(|hook| hook.get_mut("volumes"));
    let mounts = volumes.into_iter().flat_map(items).filter_map(Node::as_map_mut);
    for bind in mounts.filter_map(|mount| mount.get_mut("bind")) {
        let span = bind.span;
        if let Some(map) = bind.as_map_mut().filter(|map| map.get("create_host_path").is_none()) {
            map.push("create_host_path", Node::plain("false", span));
        }
    }
}

fn one(key: &str, value: Node) -> Map {
    let mut map = Map::default();
    map.push(key, value);
    map
}

/// `external: {name: x}`, the old form of `external: true` with a name.
fn external(node: &mut Node, found: &mut Findings) {
    let Some(object) = node.as_map_mut() else { return };
    let Some(old) = object.get_mut("external") else { return };
    let span = old.span;
    let Value::Map(map) = &old.value else { return };
    let map = map.clone();
    *old = Node::plain("true", span).tagged(old.tag);
    let Some(name) = map.get("name") else { return };
    let text = |node: &Node| node.as_scalar().map(|scalar| scalar.to_text());
    match object.get("name") {
        None => object.push("name", name.clone()),
        Some(own) if text(own) != text(name) => {
            let message = "`name` and `external.name` say different things";
            found.push(error(codes::CONFLICT, message).at(name.span, "").help("keep `name`"));
        }
        Some(_) => {}
    }
}

/// A single value becomes a list of one.
fn one_to_list(node: &mut Node) {
    if node.as_scalar().is_some_and(|scalar| !scalar.is_null()) {
        let item = Node { tag: Tag::None, ..node.clone() };
        node.value = Value::List(vec![item]);
    }
}

/// A bare name becomes a mapping with that name under `key`.
fn name_to_map(node: &mut Node, key: &str) {
    if node.as_scalar().is_some_and(|scalar| !scalar.is_null()) {
        let name = Node { tag: Tag::None, ..node.clone() };
        node.value = Value::Map(one(key, name));
    }
}

#[cfg(test)]
mod tests;
