//! Holds a Compose file against the shape of every key of the specification.
//!
//! Owns which keys there are and what may stand behind them, whatever engine runs it. What a value means, and whether
//! this machine can do it, is said elsewhere. The rows are in [`table`], their notation in [`grammar`].

pub mod grammar;
pub mod table;

use crate::codes;
use crate::findings::{Findings, error};
use crate::syntax::scalar::Meaning;
use crate::syntax::{Entry, Node, Scalar, Tag, Value};
use grammar::{Fields, Shape};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

static SHAPES: LazyLock<BTreeMap<&'static str, Shape>> = LazyLock::new(|| grammar::read(table::TABLE));

/// Holds one file against the table. Keys that must be there may still come from another file: [`complete`] asks for
/// them.
pub fn check(file: &Node, found: &mut Findings) {
    Check { found, is_whole: false }.node(file, &SHAPES["file"], "the file".into());
}

/// Holds all files, laid over each other, against the table.
pub fn complete(merged: &Node, found: &mut Findings) {
    Check { found, is_whole: true }.node(merged, &SHAPES["file"], "the file".into());
}

/// Whether a key of a service is one of every container.
pub(crate) fn is_of_container(key: &str) -> bool {
    matches!(&SHAPES["container"], Shape::Map(fields) if fields.named.contains_key(key))
}

/// What a value is called: its key, or an entry of the list under it.
#[derive(Clone, Copy)]
struct Name<'k> {
    key: &'k str,
    is_entry: bool,
}

impl<'k> From<&'k str> for Name<'k> {
    fn from(key: &'k str) -> Self {
        Self { key, is_entry: false }
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}`{}`", if self.is_entry { "an entry of " } else { "" }, self.key)
    }
}

struct Check<'a> {
    found: &'a mut Findings,
    is_whole: bool,
}

/// The alternatives of a shape, definitions followed.
fn each<'s>(shape: &'s Shape, all: &mut Vec<&'s Shape>) {
    match shape {
        Shape::OneOf(shapes) => shapes.iter().for_each(|shape| each(shape, all)),
        Shape::Ref(name) => each(&SHAPES[name], all),
        other => all.push(other),
    }
}

impl Check<'_> {
    fn node(&mut self, node: &Node, shape: &'static Shape, key: Name<'_>) {
        if node.tag == Tag::Reset {
            return;
        }
        let mut all = Vec::new();
        each(shape, &mut all);
        if all.contains(&&Shape::Any) {
            return;
        }
        match &node.value {
            Value::List(items) => {
                let item = all.iter().find_map(|shape| match shape {
                    Shape::List(item) => Some(item),
                    _ => None,
                });
                match item {
                    Some(shape) => {
                        let key = Name { is_entry: true, ..key };
                        items.iter().for_each(|item| self.node(item, shape, key));
                    }
                    None => self.wrong(node, &all, key),
                }
            }
            Value::Map(map) => {
                let fields = all.iter().find_map(|shape| match shape {
                    Shape::Map(fields) => Some(fields),
                    _ => None,
                });
                match fields {
                    Some(fields) => self.map(node, &map.entries, fields, key),
                    None => self.wrong(node, &all, key),
                }
            }
            Value::Scalar(scalar) => self.scalar(node, scalar, &all, key),
        }
    }

    fn map(&mut self, node: &Node, entries: &[Entry], fields: &'static Fields, key: Name<'_>) {
        for entry in entries.iter().filter(|entry| entry.value.tag != Tag::Reset) {
            let name = &*entry.key;
            if let Some(shape) = fields.named.get(name) {
                self.node(&entry.value, shape, name.into());
            } else if let Some(shape) = fields.names.as_deref() {
                let is_legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                if name.is_empty() || !name.chars().all(is_legal) {
                    let message = format!("`{name}` is no legal name");
                    let help = "use letters, digits, `.`, `_` and `-`";
                    self.found.push(error(codes::NAME, message).at(entry.key_span, "").help(help));
                    self.found.spoil(entry.key_span);
                    continue;
                }
                self.node(&entry.value, shape, name.into());
            } else if let Some(shape) = fields.any.as_deref().filter(|_| self.is_whole || !name.is_empty()) {
                self.node(&entry.value, shape, name.into());
            } else if fields.is_strict || !name.starts_with("x-") {
                let known = fields.named.keys().copied();
                let help = self
                    .found
                    .did_you_mean(name, known, || "remove it, or begin its name with `x-` to keep it as a note".into());
                let message = format!("`{name}` is no known key");
                self.found.push(error(codes::UNKNOWN_KEY, message).at(entry.key_span, "").help(help));
            }
        }
        if self.is_whole {
            for required in fields.required.iter().filter(|name| entries.iter().all(|entry| &*entry.key != **name)) {
                let message = format!("{key} needs `{required}`");
                self.found.push(error(codes::MISSING, message).at(node.span, "").help(format!("add `{required}`")));
            }
        }
    }

    fn scalar(&mut self, node: &Node, scalar: &Scalar, all: &[&'static Shape], key: Name<'_>) {
        let has = |shape: &Shape| all.contains(&shape);
        let words: Vec<&str> = all
            .iter()
            .filter_map(|shape| match shape {
                Shape::Word(word) => Some(*word),
                _ => None,
            })
            .collect();
        let is_fine = match scalar.meaning() {
            // In one of several files an empty value says nothing; where nothing else is said it is no value.
            Meaning::Null => !self.is_whole || has(&Shape::Null),
            Meaning::Bool(_) => has(&Shape::Bool),
            Meaning::Int(_) => has(&Shape::Int) || has(&Shape::Exact) || has(&Shape::Number),
            Meaning::Float(number) if !number.is_finite() => has(&Shape::Any),
            Meaning::Float(number) => has(&Shape::Number) || (has(&Shape::Int) && number.fract() == 0.0),
            Meaning::Text => has(&Shape::Text) || words.contains(&&*scalar.text),
        };
        if is_fine {
            return;
        }
        if !words.is_empty() && scalar.meaning() == Meaning::Text {
            let known: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            let message = format!("`{}` is no `{}`, known are {}", scalar.text, key.key, known.join(", "));
            let help = self
                .found
                .did_you_mean(&scalar.text, words.iter().copied(), || format!("write {}", known.join(" or ")));
            self.found.push(error(codes::VALUE, message).at(node.span, "").help(help));
            self.found.spoil(node.span);
            return;
        }
        self.wrong(node, all, key);
    }

    fn wrong(&mut self, node: &Node, all: &[&'static Shape], key: Name<'_>) {
        let mut wanted: Vec<&str> = Vec::new();
        for shape in all {
            let words = match shape {
                Shape::Text | Shape::Word(_) => "text",
                Shape::Int | Shape::Exact => "a whole number",
                Shape::Number => "a number",
                Shape::Bool => "`true` or `false`",
                Shape::Null | Shape::Any | Shape::OneOf(_) | Shape::Ref(_) => continue,
                Shape::List(_) => "a list",
                Shape::Map(_) => "a mapping",
            };
            if !wanted.contains(&words) {
                wanted.push(words);
            }
        }
        let wanted = wanted.join(" or ");
        let message = format!("{key} must be {wanted}, this is {}", node.kind());
        let takes_text = wanted.split(" or ").any(|word| word == "text");
        let is_scalar = node.as_scalar().is_some_and(|scalar| !scalar.is_null());
        let help = if takes_text && is_scalar { "put it in quotes".to_owned() } else { format!("write {wanted}") };
        self.found.push(error(codes::TYPE, message).at(node.span, "").help(help));
        self.found.spoil(node.span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::build;
    use model::span::FileId;

    #[test]
    fn every_definition_is_there_and_used() {
        // Their keys are part of others.
        let mut used = std::collections::BTreeSet::from(["file", "container", "workload"]);
        fn refs(shape: &Shape, used: &mut std::collections::BTreeSet<&'static str>) {
            match shape {
                Shape::Ref(name) => {
                    used.insert(name);
                }
                Shape::List(item) => refs(item, used),
                Shape::OneOf(shapes) => shapes.iter().for_each(|shape| refs(shape, used)),
                Shape::Map(fields) => {
                    let more = fields.names.iter().chain(&fields.any).map(|shape| &**shape);
                    fields.named.values().chain(more).for_each(|shape| refs(shape, used));
                }
                _ => {}
            }
        }
        SHAPES.values().for_each(|shape| refs(shape, &mut used));
        assert_eq!(SHAPES.keys().copied().collect::<Vec<_>>(), used.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn what_has_another_shape_is_named() {
        let check = |keys: &str, want: &str| {
            let text = format!("services: {{a: {{{keys}}}}}");
            let mut found = Findings::default();
            let tree = build::parse(FileId(0), &text, &mut found).expect("the test's YAML is legal");
            complete(&tree, &mut found);
            let messages: Vec<String> = found.into_sorted().into_iter().map(|d| d.message).collect();
            assert_eq!(messages.join("; "), want, "{keys}");
        };
        check("image: x, command: [a], ports: [80, '1:2', {target: 3}], x-note: {a: b}", "");
        check("image: [x]", "`image` must be text, this is a list");
        check("user: 1000", "`user` must be text, this is a number");
        check("cap_add: X", "`cap_add` must be a list, this is text");
        check("privileged: 1", "`privileged` must be `true` or `false` or text, this is a number");
        check("imagee: x", "`imagee` is no known key");
        check("depends_on: {b: {restart: true}}", "`b` needs `condition`");
        check("depends_on: {b: {condition: ready}}", {
            "`ready` is no `condition`, known are `service_started`, `service_healthy`, `service_completed_successfully`"
        });
        check("volumes: [{type: bind, target: /x, bind: {recursive: no}}]", {
            "`no` is no `recursive`, known are `enabled`, `disabled`, `writable`, `readonly`"
        });
        check("healthcheck: {interval: 10}", "`interval` must be text, this is a number");
        check("networks: {'a b': }", "`a b` is no legal name");
    }
}
