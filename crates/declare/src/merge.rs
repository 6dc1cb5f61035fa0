//! Lays one Compose file over another, by Compose's rules, in long forms; and what mainstay.yaml says for one environment
//! over what it says for all.
//!
//! Mappings merge key by key, lists are appended, scalars are replaced. Exceptions are in [`special`]. `!reset` takes
//! a value back, `!override` replaces it.

use crate::syntax::{self, Map, Node, Tag, Value};
use model::span::Span;
use std::collections::HashMap;
use std::sync::Arc;

/// `over` laid over `base`.
pub fn merge(base: Node, over: Node) -> Node {
    let mut merged = at(base, over, &mut Vec::new());
    settle(&mut merged);
    merged
}

/// What a file says over what it includes; its tags stay, because they speak of earlier files too. What it takes back as
/// a whole is what earlier files said, not what it includes.
pub fn under(included: Node, mut over: Node) -> Node {
    for section in over.as_map_mut().map_or(&mut [][..], |map| &mut map.entries) {
        let Some(objects) = section.value.as_map_mut() else { continue };
        let Some(theirs) = included.as_map().and_then(|map| map.get(&section.key)).and_then(Node::as_map) else {
            continue;
        };
        objects.entries.retain(|entry| entry.value.tag != Tag::Reset || theirs.get(&entry.key).is_none());
    }
    at(included, over, &mut Vec::new())
}

/// A service over the one it extends; its tags stay.
pub fn service(mut base: Node, over: Node) -> Node {
    untag(&mut base);
    at(base, over, &mut vec!["services".into(), "".into()])
}

/// What mainstay.yaml says for one environment over what it says for all; of what excludes each other the later counts.
pub fn policy(mut base: Node, over: Node) -> Node {
    // The section, how deep below it the keys lie, and the keys of which one group excludes the others.
    const EITHER: &[(&str, usize, &[&[&str]])] = &[
        ("probes", 2, &[&["http", "port"], &["tcp"], &["command"]]),
        ("processes", 1, &[&["static", "spa"], &["command", "artifacts", "working_dir"]]),
    ];
    fn forget(base: &mut Node, over: &Node, depth: usize, groups: &[&[&str]]) {
        let (Some(base), Some(over)) = (base.as_map_mut(), over.as_map()) else { return };
        if depth > 0 {
            for entry in &mut base.entries {
                let Some(over) = over.get(&entry.key) else { continue };
                forget(&mut entry.value, over, depth - 1, groups);
            }
            return;
        }
        let Some(said) = groups.iter().find(|keys| keys.iter().any(|key| over.get(key).is_some())) else { return };
        let others = groups.iter().filter(|keys| *keys != said).copied().flatten();
        others.for_each(|key| drop(base.remove(key)));
    }
    for (section, depth, groups) in EITHER {
        let base = base.as_map_mut().and_then(|map| map.get_mut(section));
        if let (Some(base), Some(over)) = (base, over.as_map().and_then(|map| map.get(section))) {
            forget(base, over, *depth, groups);
        }
    }
    merge(base, over)
}

/// Takes tags away, which have done their work, and what is to be reset.
fn untag(node: &mut Node) {
    node.tag = Tag::None;
    match &mut node.value {
        Value::Map(map) => {
            map.entries.retain(|entry| entry.value.tag != Tag::Reset);
            map.entries.iter_mut().for_each(|entry| untag(&mut entry.value));
        }
        Value::List(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            items.iter_mut().for_each(untag);
        }
        Value::Scalar(_) => {}
    }
}

/// A tree without tags: what is to be reset is taken out, and of items that are the same the last one stays.
pub fn settle(node: &mut Node) {
    untag(node);
    each_once(node, &mut Vec::new());
}

/// Of items that are the same the last one stays.
fn each_once(node: &mut Node, path: &mut Vec<Arc<str>>) {
    match &mut node.value {
        Value::Map(map) => {
            for entry in &mut map.entries {
                path.push(entry.key.clone());
                each_once(&mut entry.value, path);
                path.pop();
            }
        }
        Value::List(items) => {
            if let Rule::Unique(identity) = rule(path) {
                *items = unique(std::mem::take(items), identity);
            }
            path.push("[]".into());
            items.iter_mut().for_each(|item| each_once(item, path));
            path.pop();
        }
        Value::Scalar(_) => {}
    }
}

/// The places of items of one file that another one below, which says something else, stands in the place of, each with
/// the place of that one.
pub fn hidden(file: &Node) -> Vec<(Span, Span)> {
    let mut all = Vec::new();
    hidden_at(file, &mut Vec::new(), &mut all);
    all
}

fn hidden_at(node: &Node, path: &mut Vec<Arc<str>>, all: &mut Vec<(Span, Span)>) {
    match &node.value {
        Value::Map(map) => {
            for entry in &map.entries {
                path.push(entry.key.clone());
                hidden_at(&entry.value, path, all);
                path.pop();
            }
        }
        Value::List(items) => {
            let Rule::Unique(identity) = rule(path) else { return };
            let mut last: HashMap<String, &Node> = HashMap::new();
            for item in items {
                let is_other = |before: &&Node| before.as_scalar().is_none() || text(before) != text(item);
                let before = last.insert(identity(item), item).filter(is_other).filter(|before| !same(before, item));
                all.extend(before.map(|before| (before.span, item.span)));
            }
        }
        Value::Scalar(_) => {}
    }
}

/// How two values of the same key become one.
#[derive(Clone, Copy)]
enum Rule {
    /// Mappings by key, scalars replaced, lists one after the other without what is there already.
    Deep,
    /// The later one counts.
    Replace,
    /// Lists one after the other; of items with the same identity the later one counts.
    Unique(fn(&Node) -> String),
    /// The later list; an item takes what it does not say from one before it with the same identity.
    Refine(fn(&Node) -> String),
    /// Lists one after the other; an item is laid over one before it with the same identity.
    Unite(fn(&Node) -> String),
}

fn rule(path: &[Arc<str>]) -> Rule {
    syntax::ask(path, special).unwrap_or(Rule::Deep)
}

/// The exceptions.
fn special(path: &[&str]) -> Option<Rule> {
    Some(match path {
        ["jobs", name, rest @ ..] => return special(&[&["services", *name], rest].concat()),
        ["services", _, "command" | "entrypoint"] | ["services", _, "healthcheck", "test"] => Rule::Replace,
        ["services", _, "ports"] => Rule::Unique(port),
        ["services", _, "volumes"] => Rule::Unique(|node| field(node, "target")),
        ["services", _, "devices"] => Rule::Unique(|node| field(node, "target")),
        ["services", _, "secrets"] => Rule::Unique(|node| grant(node, "/run/secrets")),
        ["services", _, "configs"] => Rule::Unique(|node| grant(node, "")),
        ["services", _, "env_file"] => Rule::Unique(|node| field(node, "path")),
        ["services", _, "expose"] => Rule::Unique(text),
        ["services", _, "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search" | "tmpfs" | "profiles" | "links"]
        | ["services", _, "build", "tags"]
        | ["services", _, "networks", _, "aliases" | "link_local_ips"] => Rule::Unique(name),
        ["networks", _, "ipam", "config"] => Rule::Refine(|node| field(node, "subnet")),
        // Those of mainstay.yaml.
        ["processes", _, "command" | "build"] | ["probes", _, _, "command"] => Rule::Replace,
        ["routes"] => Rule::Unite(|node| field(node, "host")),
        _ => return None,
    })
}

/// What stands before `=`, or the whole.
fn name(node: &Node) -> String {
    let text = text(node);
    text.split_once('=').map_or(text.clone(), |(name, _)| name.to_owned())
}

fn text(node: &Node) -> String {
    node.as_scalar().map(|scalar| scalar.to_text()).unwrap_or_default()
}

fn field(node: &Node, key: &str) -> String {
    node.as_map().and_then(|map| map.get(key)).map(text).unwrap_or_default()
}

fn port(node: &Node) -> String {
    let or = |key: &str, otherwise: &str| match node.as_map().and_then(|map| map.get(key)) {
        Some(node) => text(node),
        None => otherwise.to_owned(),
    };
    // A port written as a number is never the same as one written as text, and one not written neither.
    let published = node.as_map().and_then(|map| map.get("published"));
    let kind = published.and_then(Node::as_scalar).map_or("none", |scalar| scalar.kind());
    [&or("host_ip", "0.0.0.0"), kind, &or("published", ""), &or("target", ""), &or("protocol", "tcp")]
        .map(|s| s.to_owned())
        .join(" ")
}

fn grant(node: &Node, folder: &str) -> String {
    match node.as_map().and_then(|map| map.get("target")) {
        Some(target) => text(target),
        None => format!("{folder}/{}", field(node, "source")),
    }
}

fn at(base: Node, over: Node, path: &mut Vec<Arc<str>>) -> Node {
    if over.tag != Tag::None {
        return over;
    }
    let rule = rule(path);
    if matches!(rule, Rule::Replace) {
        return over;
    }
    // An empty value says nothing, except where the key alone says something (`environment: {A: }`).
    let keeps_null = path.len() >= 4 && matches!(&*path[2], "environment" | "labels" | "annotations" | "sysctls")
        || path.len() == 5 && matches!((&*path[2], &*path[3]), ("build", "args"));
    if over.is_null() && !keeps_null {
        return base;
    }
    let (span, tag) = (over.span, base.tag);
    match (base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => Node { value: Value::Map(maps(base, over, path)), span, tag },
        (Value::List(items), Value::List(more)) => {
            Node { value: Value::List(lists(items, more, rule, path)), span, tag }
        }
        (_, value) => Node { value, span, tag: Tag::None },
    }
}

fn lists(mut items: Vec<Node>, more: Vec<Node>, rule: Rule, path: &mut Vec<Arc<str>>) -> Vec<Node> {
    match rule {
        Rule::Unique(identity) => {
            items.extend(more);
            unique(items, identity)
        }
        Rule::Refine(identity) => more
            .into_iter()
            .map(|item| match items.iter().find(|old| identity(old) == identity(&item)) {
                Some(old) => at(old.clone(), item, path),
                None => item,
            })
            .collect(),
        Rule::Unite(identity) => {
            for item in more {
                match items.iter().position(|old| identity(old) == identity(&item)) {
                    Some(place) => items[place] = at(items[place].clone(), item, path),
                    None => items.push(item),
                }
            }
            items
        }
        Rule::Deep | Rule::Replace => {
            for item in more {
                if !items.iter().any(|old| same(old, &item)) {
                    items.push(item);
                }
            }
            items
        }
    }
}

/// Whether two values say the same, wherever they stand.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar(a), Value::Scalar(b)) => a.meaning() == b.meaning() && a.to_text() == b.to_text(),
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            let has = |entry: &crate::syntax::Entry| b.get(&entry.key).is_some_and(|other| same(&entry.value, other));
            a.entries.len() == b.entries.len() && a.entries.iter().all(has)
        }
        _ => false,
    }
}

fn maps(mut base: Map, over: Map, path: &mut Vec<Arc<str>>) -> Map {
    // A logging driver's options mean nothing to another driver.
    if path.last().is_some_and(|key| &**key == "logging") && changes(&base, &over, "driver") {
        return over;
    }
    let index: HashMap<Arc<str>, usize> =
        base.entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
    for entry in over.entries {
        match index.get(&entry.key) {
            None => base.entries.push(entry),
            Some(&place) => {
                let old = &mut base.entries[place];
                let span = old.value.span;
                let before = std::mem::replace(&mut old.value, Node::null(span));
                path.push(entry.key.clone());
                old.value = at(before, entry.value, path);
                path.pop();
                old.key_span = entry.key_span;
            }
        }
    }
    base
}

fn changes(base: &Map, over: &Map, key: &str) -> bool {
    match (base.get(key), over.get(key)) {
        (Some(a), Some(b)) => text(a) != text(b),
        _ => false,
    }
}

/// The items in order, where of two with the same identity the later stands at the earlier's place.
fn unique(items: Vec<Node>, identity: fn(&Node) -> String) -> Vec<Node> {
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<Node> = Vec::with_capacity(items.len());
    for item in items {
        let id = identity(&item);
        match index.get(&id) {
            Some(&place) => kept[place] = item,
            None => {
                index.insert(id, kept.len());
                kept.push(item);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical;
    use crate::findings::Findings;
    use crate::syntax::{build, emit};
    use model::span::FileId;

    /// Two bodies of a service, merged, as one line of JSON.
    fn check(base: &str, over: &str, want: &str) {
        let mut found = Findings::default();
        let mut tree = |keys: &str| {
            let text = format!("services: {{a: {{{keys}}}}}");
            let mut tree = build::parse(FileId(0), &text, &mut found).expect("the test's YAML is legal");
            canonical::compose(&mut tree, &mut found);
            tree
        };
        let merged = merge(tree(base), tree(over));
        let got = emit::json(&merged).split_whitespace().collect::<Vec<_>>().join(" ");
        let got = got.strip_prefix(r#"{ "services": { "a": "#).and_then(|g| g.strip_suffix(" } }"));
        assert_eq!(got, Some(want), "{base} + {over}");
        assert!(!found.has_errors());
    }

    #[test]
    fn files_merge_by_composes_rules() {
        check("image: x", "image: y", r#"{ "image": "y" }"#);
        check("command: a b", "command: c", r#"{ "command": ["c"] }"#);
        check("environment: [A=1, B=2]", "environment: {B: 3}", r#"{ "environment": { "A": "1", "B": "3" } }"#);
        check("environment: [A=1]", "environment: {A: }", r#"{ "environment": { "A": null } }"#);
        check("expose: [1]", "expose: [1, 2]", r#"{ "expose": [1, 2] }"#);
        check("volumes: ['db:/d']", "volumes: ['other:/d']", {
            r#"{ "volumes": [{ "type": "volume", "source": "other", "target": "/d", "volume": {} }] }"#
        });
        check("ports: ['1:1']", "ports: ['1:1', '2:2']", {
            r#"{ "ports": [{ "target": 1, "published": "1", "protocol": "tcp" }, { "target": 2, "published": "2", "protocol": "tcp" }] }"#
        });
        check("security_opt: [a]", "security_opt: [b, a]", r#"{ "security_opt": ["a", "b"] }"#);
        check("command: a", "command: ", r#"{ "command": null }"#);
        check("image: x, ports: [1]", "ports: !reset []", r#"{ "image": "x" }"#);
        check("expose: [1]", "expose: !override [2]", r#"{ "expose": [2] }"#);
        check("healthcheck: {test: a, interval: 1s}", "healthcheck: {test: b}", {
            r#"{ "healthcheck": { "test": ["CMD-SHELL", "b"], "interval": "1s" } }"#
        });
        check("logging: {driver: a, options: {x: 1}}", "logging: {driver: b}", r#"{ "logging": { "driver": "b" } }"#);
        check("image: x", "image: ", r#"{ "image": "x" }"#);
    }
}
