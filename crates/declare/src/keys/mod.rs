//! What we say about every key: one table per file format, and the check that holds a tree against it.
//!
//! A key of the Compose Specification that is in no row fails a test, so nothing is ignored in silence.
//! The rows are in [`compose`], with a column per engine, and in [`policy`].

pub mod compose;
pub mod policy;

use crate::codes;
use crate::findings::{Findings, error, note, warning};
use crate::syntax::{Entry, Node, Value};
use std::collections::BTreeMap;

/// What we say about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It means what the specification says.
    Honoured,
    /// It means what the specification says, within the limits that the text says; a value beyond them is refused.
    Within(&'static str),
    /// Judged with all below it where the rest of the service is known; the text says how.
    Elsewhere(&'static str),
    /// Its purpose is reached in another way, which the text says.
    Emulated(&'static str),
    /// Not supported yet; without it the same runs, so it is a warning. The text says what follows.
    Harmless(&'static str),
    /// Not supported yet, and without it something else would run: an error. The text is the cure.
    NotYet(&'static str),
    /// Never supported: the reason and the cure.
    Refused(&'static str, &'static str),
}

impl Standing {
    /// Whether the keys below are judged one by one.
    fn goes_on(self) -> bool {
        matches!(self, Self::Honoured | Self::Within(_))
    }

    /// Whether what runs depends on it.
    fn has_effect(self) -> bool {
        matches!(self, Self::Honoured | Self::Within(_) | Self::Elsewhere(_) | Self::Emulated(_))
    }
}

/// As `docs/conformance.md` says it.
impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Honoured => f.write_str("honoured"),
            Self::Within(limits) => write!(f, "within limits: {limits}"),
            Self::Elsewhere(how) => f.write_str(how),
            Self::Emulated(how) => write!(f, "emulated: {how}"),
            Self::Harmless(why) => write!(f, "no effect: {why}"),
            Self::NotYet(cure) => write!(f, "refused, not supported yet: {cure}"),
            Self::Refused(why, cure) => write!(f, "refused: {why}; {cure}"),
        }
    }
}

/// One row: a path of keys, where `*` is any name and `[]` an item of a list.
pub type Row = (&'static str, Standing);

/// A table as a tree of keys.
#[derive(Debug, Default)]
pub struct Table {
    standing: Option<Standing>,
    below: BTreeMap<&'static str, Table>,
}

impl Table {
    /// The tree of these rows.
    pub fn new(rows: impl IntoIterator<Item = Row>) -> Self {
        let mut root = Table::default();
        for (path, standing) in rows {
            let mut at = &mut root;
            for part in path.split('.') {
                let (name, item) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
                at = at.below.entry(name).or_default();
                if item {
                    at = at.below.entry("[]").or_default();
                }
            }
            at.standing = Some(standing);
        }
        root
    }

    /// What the table says about a path: its own row, or the row above that settles all below it.
    pub fn standing(&self, path: &str) -> Option<Standing> {
        let mut at = self;
        for part in path.replace("[]", ".[]").split('.') {
            if let Some(standing) = at.standing.filter(|standing| !standing.goes_on()) {
                return Some(standing);
            }
            at = at.child(part)?;
        }
        at.standing
    }

    fn child(&self, key: &str) -> Option<&Table> {
        self.below.get(key).or_else(|| self.below.get("*"))
    }

    /// Whether its keys are names that the user chooses.
    fn is_open(&self) -> bool {
        self.below.contains_key("*")
    }

    /// Holds a tree against the table.
    pub fn check(&self, node: &Node, found: &mut Findings) {
        self.check_below(node, "", found);
    }

    /// `above` is the key that the node stands under, empty under a name that the user chose: of `limits.memory` and
    /// `reservations.memory` the last word alone would say little.
    fn check_below(&self, node: &Node, above: &str, found: &mut Findings) {
        match &node.value {
            Value::List(items) => {
                if let Some(item) = self.below.get("[]") {
                    items.iter().for_each(|node| item.check_below(node, above, found));
                }
            }
            Value::Map(map) => {
                let keyed = self.below.keys().any(|key| *key != "[]");
                if keyed {
                    map.entries.iter().for_each(|entry| self.check_entry(entry, above, found));
                }
            }
            Value::Scalar(_) => {}
        }
    }

    fn check_entry(&self, entry: &Entry, above: &str, found: &mut Findings) {
        let key = &*entry.key;
        if key.starts_with("x-") && !self.is_open() {
            return;
        }
        let Some(row) = self.child(key) else {
            let known = self.below.keys().copied().filter(|key| *key != "[]");
            let help =
                found.did_you_mean(key, known, || "remove it, or begin its name with `x-` to keep it as a note".into());
            found.push(error(codes::UNKNOWN_KEY, format!("`{key}` is no known key")).at(entry.key_span, "").help(help));
            return;
        };
        let span = entry.key_span;
        match row.standing {
            Some(Standing::Elsewhere(_)) => {}
            Some(standing) if !standing.goes_on() => {
                if !is_off(&entry.value) {
                    let name = if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
                    found.push(said(&name, standing).at(span, ""));
                }
            }
            _ => row.check_below(&entry.value, if self.is_open() { "" } else { key }, found),
        }
    }

    /// Takes out what has no effect, so that it does not change what a bundle is called.
    pub fn prune(&self, node: &mut Node) {
        match &mut node.value {
            Value::List(items) => {
                if let Some(item) = self.below.get("[]") {
                    items.iter_mut().for_each(|node| item.prune(node));
                }
            }
            Value::Map(map) if self.below.keys().any(|key| *key != "[]") => {
                map.entries.retain_mut(|entry| {
                    let Some(row) = self.child(&entry.key) else { return false };
                    row.prune(&mut entry.value);
                    row.standing.is_none_or(Standing::has_effect)
                });
            }
            _ => {}
        }
    }
}

fn said(key: &str, standing: Standing) -> model::Diagnostic {
    match standing {
        Standing::Honoured | Standing::Within(_) | Standing::Elsewhere(_) => {
            note(codes::EMULATED, format!("`{key}` is honoured"))
        }
        Standing::Emulated(how) => note(codes::EMULATED, format!("`{key}` works differently: {how}")),
        Standing::Harmless(what) => warning(codes::IGNORED, format!("`{key}` has no effect: {what}"))
            .help("remove it, or keep it for other tools"),
        Standing::NotYet(cure) => error(codes::NOT_YET, format!("`{key}` is not supported yet")).help(cure),
        Standing::Refused(reason, cure) => error(codes::REFUSED, format!("`{key}` is refused: {reason}")).help(cure),
    }
}

/// Whether a value asks for nothing, so that a key we lack does not matter.
fn is_off(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => scalar.is_null() || matches!(&*scalar.text, "false" | ""),
        Value::List(items) => items.is_empty(),
        Value::Map(map) => map.entries.is_empty(),
    }
}
