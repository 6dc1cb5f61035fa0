//! Short forms to long forms, file by file, so that merging and reading know one form only.
//!
//! Runs before files are merged: a list and a mapping of the same key merge by key once both are mappings, and
//! paths of an included file can later be resolved where that file is known. Values tagged `!reset` and empty
//! values stay as they are. Running it twice changes nothing.

mod mounts;
mod ports;
pub mod words;

use crate::codes;
use crate::findings::{Findings, error};
use crate::syntax::{Map, Node, Tag, Value};
use model::span::Span;

/// More ports than this in one file are refused: two numbers of a range can stand for 65,535 entries.
const MAX_PORTS: usize = 100_000;

/// Brings a Compose file into long forms.
pub fn compose(root: &mut Node, found: &mut Findings) {
    let mut forms = Forms { found, ports: 0 };
    let Some(top) = root.as_map_mut() else { return };
    for entry in &mut top.entries {
        let objects = matches!(&*entry.key, "services" | "networks" | "volumes" | "secrets" | "configs");
        let Some(map) = entry.value.as_map_mut().filter(|_| objects) else { continue };
        for object in &mut map.entries {
            if &*entry.key == "services" {
                forms.service(&mut object.value);
            } else {
                forms.at(&mut object.value, "labels", Forms::labels);
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
                "env_file" => self.env_file(value),
                "depends_on" => self.depends_on(value),
                "networks" => self.attachments(value),
                "ports" => self.ports(value),
                "expose" => self.expose(value),
                "volumes" => self.mounts(value),
                "secrets" | "configs" => self.grants(value),
                "healthcheck" => self.at(value, "test", Self::health_test),
                "ulimits" => self.ulimits(value),
                "extra_hosts" => self.extra_hosts(value),
                "deploy" => self.at(value, "labels", Self::labels),
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
    }

    fn command(&mut self, node: &mut Node) {
        let Some(scalar) = node.as_scalar() else { return };
        match words::split(&scalar.text) {
            Ok(words) => {
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

    fn env_file(&mut self, node: &mut Node) {
        one_to_list(node);
        if let Value::List(items) = &mut node.value {
            items.iter_mut().for_each(|item| name_to_map(item, "path"));
        }
    }

    fn depends_on(&mut self, node: &mut Node) {
        self.list_to_map(node, |name, span| (name.to_owned(), Node::map(Map::default(), span)));
        let Some(map) = node.as_map_mut() else { return };
        for entry in &mut map.entries {
            let span = entry.value.span;
            if entry.value.is_null() {
                entry.value = Node::map(Map::default(), span);
            }
            let Some(dependency) = entry.value.as_map_mut() else { continue };
            if dependency.get("condition").is_none() {
                dependency.push("condition", Node::text("service_started", span));
            }
            if dependency.get("required").is_none() {
                dependency.push("required", Node::plain("true", span));
            }
        }
    }

    fn attachments(&mut self, node: &mut Node) {
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

    fn ulimits(&mut self, node: &mut Node) {
        let Some(map) = node.as_map_mut() else { return };
        for entry in &mut map.entries {
            if entry.value.as_scalar().is_some_and(|scalar| !scalar.is_null()) {
                let limit = Node { tag: Tag::None, ..entry.value.clone() };
                let mut both = one("soft", limit.clone());
                both.push("hard", limit);
                entry.value.value = Value::Map(both);
            }
        }
    }

    fn extra_hosts(&mut self, node: &mut Node) {
        self.list_to_map(node, |text, span| {
            let split = text.split_once('=').or_else(|| text.split_once(':'));
            match split {
                Some((host, address)) => (host.to_owned(), Node::text(address, span)),
                None => (text.to_owned(), Node::text("", span)),
            }
        });
        let Some(map) = node.as_map_mut() else { return };
        map.entries.iter_mut().for_each(|entry| one_to_list(&mut entry.value));
    }
}

fn one(key: &str, value: Node) -> Map {
    let mut map = Map::default();
    map.push(key, value);
    map
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
