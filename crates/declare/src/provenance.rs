//! Where each value of a resolved project comes from: the file that set it, what it replaced, the variables in it.
//!
//! Reads the places that every value keeps; looks at no file.

use crate::findings::nearest;
use crate::interpolate::template;
use crate::resolved::{Resolved, mask};
use crate::syntax::{Entry, Node, Value, emit};
use crate::variables::Origin;
use model::span::{Sources, Span};

/// One value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Its key, such as `services.api.environment.LOG_LEVEL`.
    pub key: String,
    /// The value on one line; `***` where it may be secret.
    pub value: String,
    /// How it came to be.
    pub how: How,
    /// What other files said before, the nearest first: place and value.
    pub before: Vec<(Span, String)>,
    /// The variables in it, and where each was set; none for one that is not.
    pub variables: Vec<(String, Option<Origin>)>,
}

/// How a value came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It stands there.
    Written(Span),
    /// It follows from what stands there.
    Implied(Span),
}

/// A key that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSuchKey {
    /// The nearest key that is there, if it is near.
    pub nearest: Option<String>,
}

/// The values at and below `key`, in the order they are shown; an empty key is all of them.
///
/// A key is a way of names with dots between them, an item of a list is `[0]`; names may have dots themselves. What
/// stands in both files is found in both, unless `compose.` or `policy.` says which is meant.
///
/// Errors: nothing stands there.
pub fn explain(resolved: &Resolved, sources: &Sources, key: &str, reveal: bool) -> Result<Vec<Provenance>, NoSuchKey> {
    let (compose, policy) = resolved.shown(reveal);
    let mut layers = resolved.layers.compose.clone();
    if !reveal {
        layers.iter_mut().for_each(|layer| mask(layer, &resolved.expanded));
    }
    let trees = [("compose", &compose, &layers), ("policy", &policy, &resolved.layers.policy)];
    let named = trees.iter().find_map(|tree| Some((key.strip_prefix(tree.0)?.strip_prefix('.')?, tree)));
    let mut all = Vec::new();
    let mut tell = |(_, tree, layers): &(&str, &Node, &Vec<Node>), key: &str| {
        let mut at = At { resolved, sources, layers, all: &mut all, way: Vec::new(), keys: Vec::new() };
        at.find(tree, key.trim_matches('.'))
    };
    let is_there = match named {
        Some((key, tree)) => tell(tree, key),
        None => {
            // Each of them tells, whether another one has or not.
            let told: Vec<bool> = trees.iter().map(|tree| tell(tree, key)).collect();
            told.contains(&true)
        }
    };
    if is_there {
        return Ok(all);
    }
    let (key, trees) = match named {
        Some((key, tree)) => (key, vec![tree.1]),
        None => (key, trees.iter().map(|tree| tree.1).collect()),
    };
    Err(NoSuchKey { nearest: trees.into_iter().find_map(|tree| near(tree, key, "")) })
}

/// Where the value at a key of the Compose files stands; none where nothing does.
pub fn place(resolved: &Resolved, key: &str) -> Option<Span> {
    fn find<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
        if key.is_empty() {
            return Some(node);
        }
        node.as_map()?.entries.iter().find_map(|entry| find(&entry.value, below(&entry.key, key)?))
    }
    find(&resolved.compose, key).map(|node| node.span)
}

/// The key with its first unknown name replaced by a known one.
fn near(node: &Node, key: &str, before: &str) -> Option<String> {
    let entries = &node.as_map()?.entries;
    for entry in entries {
        if let Some(rest) = below(&entry.key, key) {
            return near(&entry.value, rest, &format!("{before}{}.", entry.key));
        }
    }
    let (name, rest) = key.split_once('.').map_or((key, String::new()), |(name, rest)| (name, format!(".{rest}")));
    let name = nearest(name, entries.iter().map(|entry| &*entry.key))?;
    Some(format!("{before}{name}{rest}"))
}

/// What of `key` is left behind a name.
fn below<'k>(name: &str, key: &'k str) -> Option<&'k str> {
    let rest = key.strip_prefix(name)?;
    if rest.is_empty() || rest.starts_with('[') { Some(rest) } else { rest.strip_prefix('.') }
}

/// A step of the way to a value.
#[derive(Clone)]
enum Step {
    Key(std::sync::Arc<str>),
    Item(usize),
}

struct At<'a> {
    resolved: &'a Resolved,
    sources: &'a Sources,
    layers: &'a [Node],
    all: &'a mut Vec<Provenance>,
    way: Vec<Step>,
    /// Where the names on the way stand.
    keys: Vec<Span>,
}

impl At<'_> {
    /// Goes down to what `key` names; whether it is there.
    fn find(&mut self, node: &Node, key: &str) -> bool {
        if key.is_empty() {
            self.tell(node);
            return true;
        }
        match &node.value {
            Value::Map(map) => map.entries.iter().any(|entry| {
                below(&entry.key, key).is_some_and(|rest| self.within(entry, |at, node| at.find(node, rest)))
            }),
            Value::List(items) => {
                let Some((index, rest)) = key.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
                    return false;
                };
                let Some((index, item)) = index.parse().ok().and_then(|at: usize| Some((at, items.get(at)?))) else {
                    return false;
                };
                self.way.push(Step::Item(index));
                let is_there = self.find(item, rest.trim_start_matches('.'));
                self.way.pop();
                is_there
            }
            Value::Scalar(_) => false,
        }
    }

    fn within<T>(&mut self, entry: &Entry, then: impl FnOnce(&mut Self, &Node) -> T) -> T {
        self.way.push(Step::Key(entry.key.clone()));
        self.keys.push(entry.key_span);
        let done = then(self, &entry.value);
        self.way.pop();
        self.keys.pop();
        done
    }

    /// Tells of every value below a node.
    fn tell(&mut self, node: &Node) {
        match &node.value {
            Value::Map(map) if !map.entries.is_empty() => {
                map.entries.iter().for_each(|entry| self.within(entry, Self::tell));
            }
            Value::List(items) if !items.is_empty() => {
                for (at, item) in items.iter().enumerate() {
                    self.way.push(Step::Item(at));
                    self.tell(item);
                    self.way.pop();
                }
            }
            _ => {
                let told = Provenance {
                    key: self.key(),
                    value: emit::line(node),
                    how: self.how(node),
                    before: self.before(node),
                    variables: self.variables(node),
                };
                self.all.push(told);
            }
        }
    }

    fn key(&self) -> String {
        let mut key = String::new();
        for step in &self.way {
            match step {
                Step::Key(name) if key.is_empty() => key.push_str(name),
                Step::Key(name) => key.extend([".", name]),
                Step::Item(at) => key.push_str(&format!("[{at}]")),
            }
        }
        key
    }

    /// A value that nobody wrote has the place of the service or object that it follows from.
    fn how(&self, node: &Node) -> How {
        let follows = self.keys.len() > 2 && self.keys[..2].contains(&node.span);
        if follows { How::Implied(node.span) } else { How::Written(node.span) }
    }

    fn before(&self, node: &Node) -> Vec<(Span, String)> {
        let mut all: Vec<(Span, String)> = Vec::new();
        for layer in self.layers.iter().rev() {
            let there = self.way.iter().try_fold(layer, |node, step| match step {
                Step::Key(name) => node.as_map()?.get(name),
                // Items of two lists are not the same because they have the same number.
                Step::Item(_) => None,
            });
            let Some(there) = there.filter(|there| there.span != node.span && !there.is_null()) else { continue };
            if all.iter().all(|(span, _)| *span != there.span) {
                all.push((there.span, emit::line(there)));
            }
        }
        all
    }

    fn variables(&self, node: &Node) -> Vec<(String, Option<Origin>)> {
        let known = &self.resolved.variables;
        let origin = |name: &str| known.variable(name).map(|variable| variable.origin);
        // A name without a value stands for the variable of that name.
        if let (Some(Step::Key(name)), Some(key)) = (self.way.last(), self.keys.last())
            && *key == node.span
            && known.get(name).is_some()
        {
            return vec![(name.to_string(), origin(name))];
        }
        if !self.resolved.expanded.contains(&node.span) {
            return Vec::new();
        }
        let text = &self.sources.get(node.span.file).text;
        let written = text.get(node.span.start as usize..node.span.end as usize).unwrap_or_default();
        let names = std::cell::RefCell::new(Vec::<String>::new());
        let lookup = |name: &str| {
            let mut names = names.borrow_mut();
            if names.iter().all(|known| known != name) {
                names.push(name.to_owned());
            }
            known.get(name).map(str::to_owned)
        };
        template::expand(written, &lookup, &mut usize::MAX.clone(), &mut |_| {});
        names.into_inner().into_iter().map(|name| (name.clone(), origin(&name))).collect()
    }
}
