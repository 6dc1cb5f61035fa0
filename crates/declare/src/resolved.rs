//! The project as its files say, before any engine is asked: what `config` shows.
//!
//! Owns what may be shown of it. Where each value comes from is told in [`crate::provenance`].

use crate::load::Input;
use crate::policy::Policy;
use crate::syntax::{Map, Node, Value, emit};
use crate::variables::Variables;
use model::name::{EnvironmentName, ProjectName};
use model::policy::EngineKind;
use model::span::Span;
use std::collections::BTreeSet;
use std::fmt;

pub(crate) const HIDDEN: &str = "***";

/// The two files, each as one tree: files laid over each other, variables put in, everything in long forms.
pub struct Resolved {
    /// The project's name.
    pub name: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The engine that the files were read for.
    pub engine: Chosen,
    pub(crate) compose: Node,
    pub(crate) policy: Node,
    /// The places where variables were put in.
    pub(crate) expanded: BTreeSet<Span>,
    pub(crate) variables: Variables,
    /// The files one by one, the first lowest; empty unless they were asked for.
    pub(crate) layers: Layers,
}

/// The engine, and why it is that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub kind: EngineKind,
    /// Why.
    pub because: Because,
}

/// Why an engine is the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// It was said outside the files, which wins.
    Said,
    /// The environment names it here.
    Written(Span),
    /// Nobody said anything: the machine offers it.
    Offered,
}

impl Chosen {
    pub(crate) fn of(input: &Input<'_>, policy: &Policy) -> Self {
        match (input.engine, &policy.engine) {
            (Some(kind), _) => Self { kind, because: Because::Said },
            (None, Some(written)) => Self { kind: written.value, because: Because::Written(written.span) },
            (None, None) => Self { kind: input.default_engine, because: Because::Offered },
        }
    }
}

/// Files in the order they are laid over each other, the lowest first.
#[derive(Default)]
pub(crate) struct Layers {
    pub(crate) compose: Vec<Node>,
    pub(crate) policy: Vec<Node>,
}

/// Without the trees: they hold secrets.
impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("name", &self.name)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

impl Resolved {
    /// The whole for people, as YAML. What may be secret only if `reveal`: environment values, the contents of secrets
    /// and configs, notes (`x-`), and lines that variables were put into.
    ///
    /// `engine_from` says in words why the engine is the one that it is.
    pub fn to_yaml(&self, reveal: bool, engine_from: Option<&str>) -> String {
        let (compose, mut policy) = self.shown(reveal);
        let span = compose.span;
        let mut root = Map::default();
        root.push("project", Node::text(self.name.as_str(), span));
        root.push("environment", Node::text(self.environment.as_str(), span));
        root.push("engine", Node::text(self.engine.kind.as_str(), span));
        if let Some(words) = engine_from {
            root.push("engine_from", Node::text(words, span));
        }
        root.push("compose", compose);
        if let Some(map) = policy.as_map_mut() {
            map.remove("project");
        }
        root.push("policy", policy);
        emit::yaml(&Node::map(root, span))
    }

    /// The two trees as they may be shown.
    pub(crate) fn shown(&self, reveal: bool) -> (Node, Node) {
        let (mut compose, mut policy) = (self.compose.clone(), self.policy.clone());
        if !reveal {
            mask(&mut compose, &self.expanded);
            mask_expanded(&mut policy, false, &self.expanded);
        }
        (compose, policy)
    }
}

/// Hides what may be secret in a Compose tree.
pub(crate) fn mask(compose: &mut Node, expanded: &BTreeSet<Span>) {
    let Some(top) = compose.as_map_mut() else { return };
    for service in objects(top, "services") {
        hide_all(service.get_mut("environment"));
        hide_all(service.get_mut("build").and_then(Node::as_map_mut).and_then(|build| build.get_mut("args")));
    }
    // A config may have an environment value in it, so it is not shown either.
    for section in ["secrets", "configs"] {
        for object in objects(top, section) {
            for key in ["content", "content_hex"] {
                if let Some(node) = object.get_mut(key) {
                    *node = Node::text(HIDDEN, node.span);
                }
            }
        }
    }
    mask_expanded(compose, false, expanded);
}

/// The keys below which a variable's value is free text, where passwords get to.
const LINES: &[&str] = &["command", "entrypoint", "test", "labels", "annotations", "build", "options"];

/// Hides notes, where values of the environment are often shared, and below [`LINES`] what variables were put into.
fn mask_expanded(node: &mut Node, is_line: bool, expanded: &BTreeSet<Span>) {
    match &mut node.value {
        Value::Map(map) => {
            for entry in &mut map.entries {
                if entry.key.starts_with("x-") {
                    entry.value = Node::text(HIDDEN, entry.value.span);
                }
                mask_expanded(&mut entry.value, is_line || LINES.contains(&&*entry.key), expanded);
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| mask_expanded(item, is_line, expanded)),
        Value::Scalar(_) if is_line && expanded.contains(&node.span) => *node = Node::text(HIDDEN, node.span),
        Value::Scalar(_) => {}
    }
}

fn objects<'a>(top: &'a mut Map, key: &str) -> impl Iterator<Item = &'a mut Map> {
    let map = top.get_mut(key).and_then(Node::as_map_mut);
    map.into_iter().flat_map(|map| &mut map.entries).filter_map(|entry| entry.value.as_map_mut())
}

fn hide_all(node: Option<&mut Node>) {
    if let Some(Value::Map(map)) = node.map(|node| &mut node.value) {
        for entry in &mut map.entries {
            entry.value = Node::text(HIDDEN, entry.value.span);
        }
    }
}
