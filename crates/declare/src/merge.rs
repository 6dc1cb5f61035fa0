//! Lays one Compose file over another, by Compose's rules, in long forms.
//!
//! Mappings merge key by key, lists are appended, scalars are replaced. Exceptions are in [`rule`]. `!reset` takes
//! a value back, `!override` replaces it.

use crate::syntax::{Map, Node, Tag, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// `over` laid over `base`.
pub fn merge(base: Node, over: Node) -> Node {
    let mut merged = at(base, over, &mut Vec::new());
    settle(&mut merged);
    merged
}

/// A tree without tags: what is to be reset is taken out.
pub fn settle(node: &mut Node) {
    node.tag = Tag::None;
    match &mut node.value {
        Value::Map(map) => {
            map.entries.retain(|entry| entry.value.tag != Tag::Reset);
            map.entries.iter_mut().for_each(|entry| settle(&mut entry.value));
        }
        Value::List(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            items.iter_mut().for_each(settle);
        }
        Value::Scalar(_) => {}
    }
}

/// How two values of the same key become one.
#[derive(Clone, Copy)]
enum Rule {
    /// Mappings by key, lists one after the other, scalars replaced.
    Deep,
    /// The later one counts.
    Replace,
    /// Lists one after the other; of items with the same identity the later one counts.
    Unique(fn(&Node) -> String),
}

fn rule(path: &[Arc<str>]) -> Rule {
    let parts: Vec<&str> = path.iter().map(|part| &**part).collect();
    match parts[..] {
        ["services", _, "command" | "entrypoint"] => Rule::Replace,
        ["services", _, "healthcheck", "test"] => Rule::Replace,
        ["services", _, "ports"] => Rule::Unique(port),
        ["services", _, "volumes" | "devices"] => Rule::Unique(|node| field(node, "target")),
        ["services", _, "secrets" | "configs"] => Rule::Unique(grant),
        ["services", _, "env_file"] => Rule::Unique(|node| field(node, "path")),
        [
            "services",
            _,
            "expose" | "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search" | "tmpfs" | "profiles"
            | "security_opt" | "group_add" | "links" | "external_links" | "label_file",
        ] => Rule::Unique(text),
        ["services", _, "extra_hosts", _] => Rule::Unique(text),
        ["networks", _, "ipam", "config"] => Rule::Unique(|node| field(node, "subnet")),
        _ => Rule::Deep,
    }
}

fn text(node: &Node) -> String {
    node.as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default()
}

fn field(node: &Node, key: &str) -> String {
    node.as_map().and_then(|map| map.get(key)).map(text).unwrap_or_default()
}

fn port(node: &Node) -> String {
    ["host_ip", "target", "published", "protocol"].map(|key| field(node, key)).join(":")
}

fn grant(node: &Node) -> String {
    let target = field(node, "target");
    if target.is_empty() { field(node, "source") } else { target }
}

fn at(base: Node, over: Node, path: &mut Vec<Arc<str>>) -> Node {
    if over.tag != Tag::None {
        return over;
    }
    // An empty value says nothing, except where the key alone says something (`environment: {A: }`).
    let keeps_null = path.len() == 4 && &*path[2] == "environment";
    if over.is_null() && !keeps_null {
        return base;
    }
    if matches!(rule(path), Rule::Replace) {
        return over;
    }
    let (span, tag) = (over.span, base.tag);
    match (base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => Node { value: Value::Map(maps(base, over, path)), span, tag },
        (Value::List(mut items), Value::List(more)) => {
            items.extend(more);
            if let Rule::Unique(identity) = rule(path) {
                items = unique(items, identity);
            }
            Node { value: Value::List(items), span, tag }
        }
        (_, value) => Node { value, span, tag: Tag::None },
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
        match index.get(&id).filter(|_| !id.is_empty()) {
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
        check("volumes: ['d:/d']", "volumes: ['e:/d']", {
            r#"{ "volumes": [{ "type": "volume", "source": "e", "target": "/d" }] }"#
        });
        check("ports: ['1:1']", "ports: ['1:1', '2:2']", {
            r#"{ "ports": [{ "target": 1, "published": 1, "protocol": "tcp" }, { "target": 2, "published": 2, "protocol": "tcp" }] }"#
        });
        check("image: x, ports: [1]", "ports: !reset []", r#"{ "image": "x" }"#);
        check("expose: [1]", "expose: !override [2]", r#"{ "expose": [2] }"#);
        check("healthcheck: {test: a, interval: 1s}", "healthcheck: {test: b}", {
            r#"{ "healthcheck": { "test": ["CMD-SHELL", "b"], "interval": "1s" } }"#
        });
        check("logging: {driver: a, options: {x: 1}}", "logging: {driver: b}", r#"{ "logging": { "driver": "b" } }"#);
        check("image: x", "image: ", r#"{ "image": "x" }"#);
    }
}
