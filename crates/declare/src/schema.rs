//! The JSON Schema of mainstay.yaml, for editors and other tools: written from the table of its keys.
//!
//! A schema knows shapes, not names that are declared elsewhere: what it takes may still be wrong, what it refuses is.

use crate::keys::policy::{Default, KEYS, Key, SAME, Takes};
use crate::syntax::{build, emit};
use model::policy::{Balancing, EngineKind};
use serde_json::{Map, Value, json};

/// A variable may stand in any text.
const VARIABLE: &str = r"\$";

/// The schema, of draft 7: the one that editors know best.
pub fn policy() -> Value {
    let mut schema = object("", &mut Vec::new());
    let more = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "mainstay.yaml",
        "description": "How a project is operated. All of it is optional; compose.yaml says what runs.",
    });
    let schema_map = schema.as_object_mut().expect("a mapping's schema is one");
    let Value::Object(more) = more else { unreachable!("written above") };
    let rest = std::mem::take(schema_map);
    schema_map.extend(more);
    schema_map.extend(rest);
    schema
}

/// The keys directly below a path, with their own names.
fn below(path: &str) -> impl Iterator<Item = (&'static Key, &'static str)> + '_ {
    KEYS.iter().filter_map(move |key| {
        let rest = match path {
            "" => key.path,
            _ => key.path.strip_prefix(path)?.strip_prefix('.')?,
        };
        (!rest.contains(['.', '['])).then_some((key, rest))
    })
}

fn object(path: &str, way: &mut Vec<&'static str>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut others = json!(false);
    let same = SAME.iter().filter_map(|(to, from)| {
        let name = match path {
            "" => *to,
            _ => to.strip_prefix(path)?.strip_prefix('.')?,
        };
        (!name.contains(['.', '['])).then_some((name, *from))
    });
    for (key, name) in below(path) {
        match name {
            "*" => others = one(key, key.path, way),
            _ => drop(properties.insert(name.to_owned(), one(key, key.path, way))),
        }
        if key.default == Default::Required && name != "*" {
            required.push(name);
        }
    }
    for (name, from) in same {
        let key = KEYS.iter().find(|key| key.path == from).expect("what is the same as a key is that of a key");
        properties.insert(name.to_owned(), one(key, from, way));
    }
    let is_open = others != json!(false);
    let mut schema = json!({ "type": ["object", "null"] });
    let map = schema.as_object_mut().expect("written above");
    if !properties.is_empty() {
        map.insert("properties".into(), properties.into());
    }
    if !required.is_empty() {
        map.insert("required".into(), json!(required));
    }
    if !is_open {
        map.insert("patternProperties".into(), json!({ "^x-": {} }));
    }
    map.insert("additionalProperties".into(), others);
    schema
}

fn one(key: &'static Key, path: &'static str, way: &mut Vec<&'static str>) -> Value {
    assert!(!way.contains(&path), "the table of keys leads back to {path}");
    way.push(path);
    let mut schema = takes(key.takes, path, way);
    way.pop();
    let map = schema.as_object_mut().expect("a schema is a mapping");
    let default = match key.default {
        Default::Words(words) if !words.is_empty() => format!(" Default: {words}."),
        _ => String::new(),
    };
    map.insert("description".into(), format!("{}{default}", key.about).into());
    if let Default::Value(value) = key.default {
        map.insert("default".into(), parsed(value));
    }
    if !key.example.is_empty() {
        map.insert("examples".into(), json!([parsed(key.example)]));
    }
    schema
}

/// A value of YAML on one line as JSON.
fn parsed(yaml: &str) -> Value {
    let mut found = crate::findings::Findings::default();
    let tree = build::parse(model::span::FileId(0), yaml, &mut found).expect("the table's values are legal YAML");
    serde_json::from_str(&emit::json(&tree)).expect("what is written as JSON is JSON")
}

fn takes(takes: Takes, path: &'static str, way: &mut Vec<&'static str>) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": format!("{pattern}|{VARIABLE}") });
    let single = json!({ "type": ["string", "number", "boolean", "null"] });
    match takes {
        Takes::Mapping => object(path, way),
        Takes::List => {
            let item = KEYS.iter().find(|key| key.path.strip_suffix("[]") == Some(path));
            let item = item.map(|key| one(key, key.path, way));
            json!({ "type": ["array", "null"], "items": item.unwrap_or_else(|| json!({})) })
        }
        Takes::OneOf(all) => {
            let all: Vec<Value> = all.iter().map(|one| self::takes(*one, path, way)).collect();
            json!({ "anyOf": all })
        }
        Takes::Settings => json!({ "anyOf": [
            { "type": ["object", "null"], "additionalProperties": single },
            { "type": "array", "items": { "type": "string" } },
        ] }),
        Takes::Text | Takes::Path | Takes::Artifact => json!({ "type": "string", "minLength": 1 }),
        Takes::Project => text("^[a-z0-9][a-z0-9_-]{0,62}$"),
        Takes::Engine => {
            let names: Vec<&str> = EngineKind::ALL.iter().map(|engine| engine.as_str()).collect();
            json!({ "anyOf": [{ "enum": names }, { "type": "string", "pattern": VARIABLE }] })
        }
        Takes::Balance => {
            let names: Vec<&str> = Balancing::ALL.iter().map(|balancing| balancing.as_str()).collect();
            json!({ "anyOf": [{ "enum": names }, { "type": "string", "pattern": VARIABLE }] })
        }
        Takes::Number(least, most) => json!({ "anyOf": [
            { "type": "integer", "minimum": least, "maximum": most }, text("^[0-9]+$"),
        ] }),
        Takes::Boolean => json!({ "anyOf": [{ "type": "boolean" }, text("^([Tt]rue|[Ff]alse|yes|no|on|off)$")] }),
        Takes::Duration => {
            json!({ "anyOf": [{ "const": 0 }, text("^([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h|d))+$|^0$")] })
        }
        Takes::Command => json!({ "anyOf": [
            { "type": "string", "minLength": 1 }, { "type": "array", "items": single, "minItems": 1 },
        ] }),
        Takes::HttpPath => text("^/[^\\s]*$"),
        Takes::Routed => text("^(@health|@ready|[a-zA-Z0-9][a-zA-Z0-9._-]*(:[0-9]+)?)$"),
    }
}
