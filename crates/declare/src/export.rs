//! The Compose part of a project as the reference implementation writes it: `docker compose config --format json`.
//!
//! Owns that form: which keys are written and which left out, what is a number and what is text. Tools that read the
//! reference's output read this; and the two can be compared. What a key means to Mainstay is no business of it.

mod fields;
pub(crate) mod units;

use crate::syntax::scalar::Meaning;
use crate::syntax::{Entry, Map, Node, Value};
use fields::{Field, Kind};
use serde_json::{Map as Object, Value as Json};

/// The project as the reference writes it. `model` is the resolved tree of all active services; what is written is let go
/// of, so that a large one is not held twice.
pub(crate) fn json(model: Node, name: &str) -> Json {
    let mut out = Object::new();
    out.insert("name".into(), name.into());
    out.insert("services".into(), Json::Object(Object::new()));
    let Value::Map(top) = model.value else { return Json::Object(out) };
    for entry in top.entries {
        let fields = match &*entry.key {
            "services" | "jobs" => fields::SERVICE,
            "networks" => fields::NETWORK,
            "volumes" => fields::VOLUME,
            "secrets" => fields::SECRET,
            "configs" => fields::CONFIG,
            key if key.starts_with("x-") => {
                out.insert(key.to_owned(), any(&entry.value));
                continue;
            }
            _ => continue,
        };
        let Value::Map(map) = entry.value.value else { continue };
        let objects: Object<String, Json> = map.entries.into_iter().map(|entry| named_object(&entry, fields)).collect();
        if !objects.is_empty() {
            out.insert(entry.key.to_string(), Json::Object(objects));
        }
    }
    Json::Object(out)
}

fn named_object(entry: &Entry, fields: &[Field]) -> (String, Json) {
    let value = if entry.value.is_null() { Json::Null } else { object(entry.value.as_map(), fields) };
    (entry.key.to_string(), value)
}

/// A mapping of names to objects; none when there are none.
fn named(map: Option<&Map>, fields: &[Field]) -> Option<Json> {
    let map = map.filter(|map| !map.entries.is_empty())?;
    Some(Json::Object(map.entries.iter().map(|entry| named_object(entry, fields)).collect()))
}

fn object(map: Option<&Map>, fields: &[Field]) -> Json {
    let mut out = Object::new();
    for (key, kind) in fields {
        // The reference writes some keys as its own code calls them.
        let written = if key.starts_with(char::is_uppercase) { &*key.to_ascii_lowercase() } else { *key };
        if let Some(value) = value(map.and_then(|map| map.get(written)), *kind) {
            out.insert((*key).to_owned(), value);
        }
    }
    Json::Object(out)
}

/// The value of a key; none when it is left out.
fn value(node: Option<&Node>, kind: Kind) -> Option<Json> {
    let written = node.filter(|node| !node.is_null());
    match kind {
        Kind::Text => written.map(text).filter(|text| !text.is_empty()).map(Json::from),
        Kind::AnyText => Some(written.map(text).unwrap_or_default().into()),
        Kind::Flag => written.map(flag).filter(|is_on| *is_on).map(Json::from),
        Kind::OffFlag => written.map(flag).filter(|is_on| !*is_on).map(Json::from),
        Kind::SetFlag => written.map(|node| flag(node).into()),
        Kind::Required => Some(written.is_none_or(flag).into()),
        Kind::Int => written.map(int).filter(|number| *number != 0).map(Json::from),
        Kind::AnyInt => Some(written.map_or(0, int).into()),
        Kind::SetInt => written.map(|node| int(node).into()),
        Kind::Float => written.map(float).filter(|number| *number != 0.0).map(number),
        Kind::Bytes => written.map(bytes).filter(|size| *size != 0).map(|size| size.to_string().into()),
        Kind::SetBytes => Some(written.map_or(0, bytes).to_string().into()),
        Kind::Duration => written.map(duration).filter(|text| text != "0s").map(Json::from),
        Kind::SetDuration => written.map(|node| duration(node).into()),
        Kind::Words => Some(written.map_or(Json::Null, texts)),
        Kind::Texts => written.map(texts).filter(|list| list.as_array().is_some_and(|items| !items.is_empty())),
        Kind::Settings => some(written.map(|node| settings(node, |_| Some("".into())))),
        Kind::Variables => some(written.map(|node| settings(node, |_| Some(Json::Null)))),
        Kind::Options => some(written.map(options)),
        Kind::Hosts => written.map(hosts).filter(|lines| lines.as_array().is_some_and(|lines| !lines.is_empty())),
        Kind::Mode => written.map(|node| units::mode(&text(node), is_text(node)).into()),
        Kind::Limits => some(written.map(limits)),
        Kind::Count => written.map(|node| units::count(&text(node))).filter(|count| *count != 0).map(Json::from),
        Kind::Ssh => written.map(ssh),
        Kind::Struct(fields) => node.filter(|node| node.as_map().is_some()).map(|node| object(node.as_map(), fields)),
        Kind::Always(fields) => Some(object(node.and_then(Node::as_map), fields)),
        Kind::List(fields) => {
            let items = written?.as_list()?;
            let list: Vec<Json> = items.iter().map(|item| object(item.as_map(), fields)).collect();
            (!list.is_empty()).then_some(Json::Array(list))
        }
        Kind::Containers => value(node, Kind::List(fields::SERVICE)),
        Kind::Named(fields) => named(written?.as_map(), fields),
    }
}

fn some(object: Option<Json>) -> Option<Json> {
    object.filter(|object| object.as_object().is_some_and(|map| !map.is_empty()))
}

fn text(node: &Node) -> String {
    node.as_scalar().map(|scalar| scalar.to_text()).unwrap_or_default()
}

fn flag(node: &Node) -> bool {
    matches!(text(node).to_ascii_lowercase().as_str(), "true" | "yes" | "y" | "on" | "1" | "t")
}

fn int(node: &Node) -> i64 {
    let text = text(node);
    text.parse().unwrap_or_else(|_| text.parse::<f64>().map_or(0, |number| number as i64))
}

fn is_text(node: &Node) -> bool {
    node.as_scalar().is_some_and(|scalar| scalar.meaning() == Meaning::Text)
}

fn float(node: &Node) -> f64 {
    text(node).parse().unwrap_or_default()
}

/// Without a fraction where there is none, as the reference writes it; in the precision it reads.
fn number(value: f64) -> Json {
    let short: f64 = (value as f32).to_string().parse().unwrap_or(value);
    whole(short)
}

fn whole(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() < 9e15 { Json::from(value as i64) } else { Json::from(value) }
}

/// A number with a fraction says nothing here: the reference loses it.
fn bytes(node: &Node) -> i64 {
    match node.as_scalar().map(|scalar| scalar.meaning()) {
        Some(Meaning::Float(_)) => 0,
        _ => units::bytes(&text(node)).unwrap_or_default(),
    }
}

fn duration(node: &Node) -> String {
    units::duration(&text(node)).unwrap_or_default()
}

fn texts(node: &Node) -> Json {
    match node.as_list() {
        Some(items) => items.iter().map(text).collect(),
        None => vec![text(node)].into(),
    }
}

/// A mapping of texts; `bare` is the value of a name without one.
fn settings(node: &Node, bare: fn(&str) -> Option<Json>) -> Json {
    let entries = node.as_map().map_or(&[][..], |map| &map.entries).iter();
    let pairs = entries.filter_map(|entry| {
        let value = if entry.value.is_null() { bare(&entry.key)? } else { text(&entry.value).into() };
        Some((entry.key.to_string(), value))
    });
    Json::Object(pairs.collect())
}

/// Options of a provider: each a list of texts.
fn options(node: &Node) -> Json {
    let entries = node.as_map().map_or(&[][..], |map| &map.entries).iter();
    Json::Object(entries.map(|entry| (entry.key.to_string(), texts(&entry.value))).collect())
}

/// Sorted lines `host=address`.
fn hosts(node: &Node) -> Json {
    let mut lines: Vec<String> = Vec::new();
    for entry in node.as_map().map_or(&[][..], |map| &map.entries) {
        let addresses = match entry.value.as_list() {
            Some(items) => items.iter().map(text).collect(),
            None => vec![text(&entry.value)],
        };
        let bare = |address: &String| {
            let inner =
                address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|inner| !inner.is_empty());
            inner.unwrap_or(address).to_owned()
        };
        lines.extend(addresses.iter().map(|address| format!("{}={}", entry.key, bare(address))));
    }
    lines.sort();
    lines.into()
}

/// Limits by name: one number where it was written so, else both.
fn limits(node: &Node) -> Json {
    let entries = node.as_map().map_or(&[][..], |map| &map.entries).iter();
    let limit = |node: &Node| match node.as_map() {
        Some(map) => object(Some(map), &[("soft", Kind::Int), ("hard", Kind::Int)]),
        None if int(node) == 0 => Json::Object(Object::new()),
        None => int(node).into(),
    };
    Json::Object(entries.map(|entry| (entry.key.to_string(), limit(&entry.value))).collect())
}

fn ssh(node: &Node) -> Json {
    let entries = node.as_map().map_or(&[][..], |map| &map.entries).iter();
    let key = |entry: &Entry| {
        if entry.value.is_null() { entry.key.to_string() } else { format!("{}: {}", entry.key, text(&entry.value)) }
    };
    entries.map(key).collect()
}

/// A value as it was written.
fn any(node: &Node) -> Json {
    match &node.value {
        Value::Map(map) => Json::Object(map.entries.iter().map(|e| (e.key.to_string(), any(&e.value))).collect()),
        Value::List(items) => items.iter().map(any).collect(),
        Value::Scalar(scalar) => match scalar.meaning() {
            Meaning::Null => Json::Null,
            Meaning::Bool(value) => value.into(),
            Meaning::Int(value) => value.into(),
            Meaning::Float(value) => scalar.text.parse::<u64>().map_or_else(|_| whole(value), Json::from),
            Meaning::Text => Json::from(&*scalar.text),
        },
    }
}
