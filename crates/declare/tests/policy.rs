//! What is said of the keys of mainstay.yaml is true: examples load, defaults are what they are called, the JSON Schema
//! takes what we take and refuses what we refuse, and the documentation is what the table says.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]

mod support;

use mainstay_declare::declaration::without_places;
use mainstay_declare::keys::Standing;
use mainstay_declare::keys::policy::{Default, KEYS, Key, LATER, Takes};
use mainstay_declare::schema;
use std::fmt::Write;
use std::path::Path;
use support::{Case, diagnostics};

/// What runs in the examples.
const COMPOSE: &str = "
services:
  api: { build: ., expose: [\"3000\"], command: [./api] }
  web: { build: ., expose: [\"80\"], command: [./web] }
  db: { image: \"postgres:15\", volumes: [\"data:/var/lib/postgresql/data\"], environment: { POSTGRES_PASSWORD: x } }
volumes: { data: {} }
";

fn case(policy: &str) -> Case {
    Case::parse(&format!("environment: production\n==> compose.yaml\n{COMPOSE}\n==> mainstay.yaml\n{policy}\n"))
}

/// The names in an example for those that the user chooses.
fn named(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('.') {
        let (name, items) = part.split_once('[').map_or((part, 0), |(name, rest)| (name, rest.matches(']').count()));
        let before = parts.last().map_or("", |part| part.as_str());
        parts.push(match (name, before) {
            ("*", "environments") => "production".into(),
            ("*", "paths") => "/".into(),
            ("*", "artifacts") => "common".into(),
            ("*", _) => "api".into(),
            (name, _) => name.into(),
        });
        parts.extend((0..items).map(|_| "[]".to_owned()));
    }
    parts
}

/// A file that says `value` at the key, and beside it what it needs.
fn file(key: &Key, value: Option<&str>) -> String {
    let mut parts = named(key.path);
    let last = parts.pop().expect("a path has a name");
    let beside = key.beside.trim_start_matches('{').trim_end_matches('}').trim();
    let said = value.map(|value| if last == "[]" { value.to_owned() } else { format!("{}: {value}", quoted(&last)) });
    let all: Vec<&str> = [beside, said.as_deref().unwrap_or_default()].into_iter().filter(|t| !t.is_empty()).collect();
    let inner = if last == "[]" { format!("[{}]", all.join(", ")) } else { format!("{{ {} }}", all.join(", ")) };
    if key.path.starts_with("routes[].paths.") {
        return format!("{{ routes: [{{ host: a.example, paths: {inner} }}] }}");
    }
    parts.iter().rev().fold(inner, |inner, part| match part.as_str() {
        "[]" => format!("[{inner}]"),
        part => format!("{{ {}: {inner} }}", quoted(part)),
    })
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft7::new(&schema::policy()).expect("the schema is one")
}

fn as_json(yaml: &str) -> serde_json::Value {
    let mut found = mainstay_declare::findings::Findings::default();
    let tree = mainstay_declare::syntax::build::parse(model::span::FileId(0), yaml, &mut found);
    let tree = tree.unwrap_or_else(|| panic!("{yaml}: {:#?}", found.into_sorted()));
    serde_json::from_str(&mainstay_declare::syntax::emit::json(&tree)).expect("JSON")
}

#[test]
fn every_example_loads_and_fits_the_schema() {
    let validator = validator();
    for key in KEYS.iter().filter(|key| !key.example.is_empty()) {
        let text = file(key, Some(key.example));
        let loaded = case(&text).load();
        assert!(!loaded.diagnostics.iter().any(model::Diagnostic::is_error), "{text}\n{}", diagnostics(&loaded));
        let errors: Vec<String> = validator.iter_errors(&as_json(&text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{text}\n{errors:#?}");
    }
}

#[test]
fn every_default_is_what_it_is_called() {
    let mut n = 0;
    for key in KEYS {
        let Default::Value(value) = key.default else { continue };
        n += 1;
        let project = |text: &str| {
            let loaded = case(text).load();
            let declared = loaded.declared.as_ref().unwrap_or_else(|| panic!("{text}\n{}", diagnostics(&loaded)));
            without_places(declared.project.clone())
        };
        let without = project(&file(key, None));
        assert_eq!(without, project(&file(key, Some(value))), "{}", key.path);
        assert_ne!(without, project(&file(key, Some(key.example))), "{} has no effect", key.path);
    }
    assert!(n >= 4, "the defaults are not where they should be");
}

#[test]
fn what_is_of_another_kind_is_refused_by_both() {
    let validator = validator();
    for key in KEYS {
        let wrong: &[&str] = match key.takes {
            Takes::Mapping | Takes::Settings => &["text", "5", "true"],
            Takes::List => &["text", "{ a: b }"],
            Takes::Text | Takes::Path => &["[a]", "{ a: b }", "5", "null"],
            Takes::Project => &["\"Not Legal\"", "[a]", "\"\""],
            Takes::Engine => &["podman", "[process]"],
            Takes::Balance => &["sessions", "[requests]"],
            Takes::Number(_, most) => match most {
                65535 => &["0", "65536", "x", "-1", "1.5", "[1]"],
                10_000 => &["10001", "x", "-1", "1.5", "[1]"],
                _ => &["0", "1000001", "x", "-1", "1.5", "[1]"],
            },
            Takes::Boolean => &["maybe", "[true]", "\"\""],
            Takes::Duration => &["5", "5x", "\"\"", "s", "[1s]", "-1s", "1s 2s"],
            Takes::Command => &["[]", "{ a: b }", "\"\"", "[[a]]"],
            Takes::HttpPath => &["ready", "[a]", "\"/a b\"", "5"],
            Takes::Routed => &["\"@nothing\"", "\"api:x\"", "[a]", "\"\""],
            Takes::OneOf(_) | Takes::Artifact => &["5", "[[a]]"],
        };
        // A build may be a list or a line, and a number is no line.
        for value in wrong {
            let text = file(key, Some(value));
            let loaded = case(&text).load();
            assert!(loaded.diagnostics.iter().any(model::Diagnostic::is_error), "we take {text}");
            assert!(!validator.is_valid(&as_json(&text)), "the schema takes {text}");
        }
        if !key.path.ends_with(['*', ']']) && key.path.contains('.') {
            let typo = Key { path: Box::leak(format!("{}q", key.path).into_boxed_str()), ..*key };
            let text = file(&typo, Some("x"));
            let is_open = key.path.contains("variables");
            assert!(is_open || !validator.is_valid(&as_json(&text)), "the schema takes {text}");
        }
    }
}

#[test]
fn a_list_of_another_kind_than_its_items_is_no_item() {
    let validator = validator();
    for text in ["routes: [{ host: a.example }]", "routes: [{ paths: { /: web } }]", "routes: [text]", "projekt: x"] {
        assert!(!validator.is_valid(&as_json(text)), "the schema takes {text}");
        assert!(case(text).load().declared.is_none(), "we take {text}");
    }
}

/// Every mainstay.yaml of ours that loads fits the schema, variables and all.
#[test]
fn what_we_take_the_schema_takes() {
    let validator = validator();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut n = 0;
    for entry in std::fs::read_dir(&folder).expect("tests/data exists") {
        let text = std::fs::read_to_string(entry.expect("readable").path()).expect("UTF-8");
        let Some((input, outcome)) = text.split_once("\n----\n") else { continue };
        let Some((_, policy)) = input.split_once("==> mainstay.yaml\n") else { continue };
        if outcome.lines().any(|line| line.starts_with("error")) {
            continue;
        }
        n += 1;
        let policy = policy.split("\n==> ").next().unwrap_or_default();
        // Tags say how values are laid over others; a schema does not know them.
        let policy = policy.replace("!override ", "").replace("!reset ", "");
        let errors: Vec<String> = validator.iter_errors(&as_json(&policy)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{policy}\n{errors:#?}");
    }
    assert!(n >= 3, "the golden files are not where they should be");
    let shop = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/mainstay.yaml");
    assert!(validator.is_valid(&as_json(&std::fs::read_to_string(shop).expect("the shop has a policy"))));
}

#[test]
fn a_key_is_found_by_its_way() {
    let check = |path: &str, want: Option<&str>| {
        assert_eq!(mainstay_declare::keys::policy::about(path).map(|key| key.path), want, "{path}");
    };
    check("routes", Some("routes"));
    check("routes[3].host", Some("routes[].host"));
    check("probes.api.ready.interval", Some("probes.*.ready.interval"));
    check("probes.api.live.interval", Some("probes.*.ready.interval"));
    check("environments.production.probes.api.live.tcp", Some("probes.*.ready.tcp"));
    check("environments.production.routes[0].host", Some("routes[].host"));
    check("services.api.image", None);
    check("nothing", None);
}

fn takes(takes: Takes) -> String {
    match takes {
        Takes::Mapping => "mapping".into(),
        Takes::List => "list".into(),
        Takes::OneOf(all) => all.iter().map(|one| self::takes(*one)).collect::<Vec<_>>().join(" or "),
        Takes::Settings => "mapping or list of `NAME=value`".into(),
        Takes::Text => "text".into(),
        Takes::Project => "name".into(),
        Takes::Engine => "name of an engine".into(),
        Takes::Balance => "`requests` or `connections`".into(),
        Takes::Number(least, most) => format!("{least} to {most}"),
        Takes::Boolean => "`true` or `false`".into(),
        Takes::Duration => "duration".into(),
        Takes::Command => "list of words, or a line".into(),
        Takes::Path => "path in the project".into(),
        Takes::HttpPath => "path of a request".into(),
        Takes::Routed => "`service:port`, `@health`, `@ready`".into(),
        Takes::Artifact => "path in the project, or `@group`".into(),
    }
}

fn written() -> String {
    let mut out = include_str!("data/mainstay-yaml.head.md").to_owned();
    let mut section = "";
    for key in KEYS {
        let top = key.path.split(['.', '[']).next().unwrap_or_default();
        if top != section {
            section = top;
            write!(out, "\n## `{top}`\n\n").expect("text takes text");
            if let Some(example) = EXAMPLES.iter().find(|(name, _)| *name == top) {
                write!(out, "```yaml\n{}\n```\n\n", example.1.trim()).expect("text takes text");
            }
            out.push_str("| key | takes | when left out | example | meaning |\n|---|---|---|---|---|\n");
        }
        let default = match key.default {
            Default::Required => "must be there".to_owned(),
            Default::Value(value) => format!("`{value}`"),
            Default::Words("") => "empty".into(),
            Default::Words(words) => words.to_owned(),
        };
        let example = if key.example.is_empty() { String::new() } else { format!("`{}`", key.example) };
        let path = key.path.replace('*', "\\*");
        writeln!(out, "| **{path}** | {} | {default} | {example} | {} |", takes(key.takes), key.about)
            .expect("text takes text");
    }
    out.push_str(
        "\n## Names that are kept\n\nThese keys will mean something; until then they say what to do instead.\n\n",
    );
    out.push_str("| key | today | instead |\n|---|---|---|\n");
    for (path, standing) in LATER {
        let (today, instead) = match standing {
            Standing::Harmless(what) => ("a warning: it has no effect", *what),
            Standing::NotYet(cure) => ("refused", *cure),
            other => panic!("{path} is {other:?}"),
        };
        writeln!(out, "| **{}** | {today} | {instead} |", path.replace('*', "\\*")).expect("text takes text");
    }
    out
}

/// What each section looks like.
const EXAMPLES: &[(&str, &str)] = &[
    ("project", "project: shop"),
    (
        "environments",
        "
environments:
  development: {}
  production:
    engine: process
    variables: { DOMAIN: shop.example, LOG_LEVEL: warn }
    replicas: { api: 3 }
    probes: { api: { ready: { interval: 10s } } }   # laid over the `probes` below
probes:
  api: { ready: { http: /ready, port: 3000, interval: 1s } }
",
    ),
    (
        "routes",
        "
routes:
  - host: \"${DOMAIN:-shop.localhost}\"
    paths: { /api: \"api:3000\", /health: \"@health\", /: \"web:80\" }
  - host: \"*.shop.example\"
    paths: { /: \"web:80\" }
",
    ),
    (
        "artifacts",
        "
artifacts:
  common: [config/base.toml, { from: certs, to: /etc/app/certs }]
processes:
  api: { artifacts: [bin/api, \"@common\"], command: [bin/api] }
",
    ),
    (
        "processes",
        "
processes:
  api:
    build: cargo build --release
    artifacts:
      - { from: target/release/api, to: /app/api }
    command: [/app/api]
  web: { build: npm run build, static: web/dist, spa: true }
",
    ),
    (
        "probes",
        "
probes:
  api:
    ready: { http: /ready, port: 3000, interval: 1s, start_period: 30s }
    live: { http: /live, port: 3000, interval: 5s, retries: 5 }
  db:
    ready: { command: [pg_isready], interval: 2s }
",
    ),
    ("services", "services:\n  db: { direct: true, ready_within: 5m }\n  api: { balance: connections }"),
];

#[test]
fn the_documentation_says_what_the_table_says() {
    let validator = validator();
    let sections: Vec<&str> = KEYS.iter().filter(|key| !key.path.contains(['.', '['])).map(|key| key.path).collect();
    assert_eq!(sections, EXAMPLES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "a section lacks its example");
    for (name, text) in EXAMPLES {
        let loaded = case(text).load();
        assert!(loaded.declared.is_some(), "{name}:\n{}", diagnostics(&loaded));
        assert!(validator.is_valid(&as_json(text)), "{name}");
    }
    support::same_as_page("mainstay-yaml.md", &written());
}
