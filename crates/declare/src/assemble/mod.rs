//! Puts the resolved Compose tree and the policy together into the typed project.
//!
//! Reads long forms only and looks at nothing but its arguments, so that the declaration of a bundle gives the
//! same project on another machine. References are collected here and judged in [`crate::consistency`].

mod build;
mod command;
mod container;
pub(crate) mod datastore;
mod files;
pub use files::to_hex;
mod mounts;
mod network;
pub mod read;
mod route;
mod service;
mod signal;
mod template;

use crate::codes;
use crate::findings::Findings;
use crate::policy::Policy;
use crate::syntax::{Map, Node};
use model::name::{EnvironmentName, ProjectName, VolumeName};
use model::policy::EngineKind;
use model::project::{Project, Volume};
use model::span::Span;
use read::Reader;
use std::collections::BTreeMap;

/// More replicas of one service are refused: a mistyped number must not fill a machine.
pub const MAX_REPLICAS: u64 = 10_000;

/// A name in one place that must be declared in another.
#[derive(Debug, Clone)]
pub struct Reference {
    /// What is referred to.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Where it is referred to.
    pub at: Span,
}

/// What can be referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A service.
    Service,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// A secret.
    Secret,
    /// A config.
    Config,
}

impl Kind {
    /// The key it is declared under.
    pub fn key(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Network => "networks",
            Self::Volume => "volumes",
            Self::Secret => "secrets",
            Self::Config => "configs",
        }
    }

    /// One of it, for people.
    pub fn one(self) -> &'static str {
        self.key().trim_end_matches('s')
    }
}

/// A project and what it refers to.
pub struct Assembled {
    /// The project; whole only if nothing was found wrong.
    pub project: Project,
    /// All references, in the order they were read.
    pub references: Vec<Reference>,
}

/// What bears the project's name beside its files.
#[derive(Debug, Clone)]
pub struct Title {
    /// The project's name.
    pub name: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The engine that the files are read for.
    pub engine: EngineKind,
}

/// Networks and volumes that are not the project's: what they are called here, and on the engine.
#[derive(Default)]
pub struct Outside {
    networks: BTreeMap<String, String>,
    volumes: BTreeMap<String, String>,
}

/// The project of a resolved declaration.
pub fn project(compose: &Node, policy: &Policy, title: Title, found: &mut Findings) -> Assembled {
    let Title { name, environment, engine } = title;
    let mut read = Reader { found };
    let empty = Map::default();
    let top = read.map(compose, "compose.yaml").unwrap_or(&empty);
    let contents = files::contents(top, &mut read);
    let outside = outside(top, engine, &mut read);
    let mut references = Vec::new();
    let completed = service::completed(top);
    let mut services = BTreeMap::new();
    for entry in section(top, "services", &mut read) {
        let Some(name) = parse_name(entry, &mut read) else { continue };
        let mut reader = service::ServiceReader {
            read: Reader { found: read.found },
            engine,
            policy,
            contents: &contents,
            outside: &outside,
            references: &mut references,
            completed: &completed,
        };
        if let Some(service) = reader.service(entry) {
            services.insert(name, service);
        }
    }
    let networks = network::networks(top, engine, &services, &mut read);
    let volumes = volumes(top, engine, &mut read);
    let routes = route::routes(policy, &mut services, &mut references, &mut read);
    network::default_probe_ports(policy, &mut services, &mut read);
    for (names, kind) in [
        (policy.recipes.iter().map(|(n, v)| (n, v.span)).collect::<Vec<_>>(), Kind::Service),
        (policy.probes.iter().map(|(n, v)| (n, v.span)).collect(), Kind::Service),
        (policy.services.iter().map(|(n, v)| (n, v.span)).collect(), Kind::Service),
        (policy.replicas.iter().map(|(n, v)| (n, v.span)).collect(), Kind::Service),
    ] {
        references.extend(names.into_iter().map(|(name, at)| Reference { kind, name: name.clone(), at }));
    }
    let engine = Some(engine);
    Assembled { project: Project { name, environment, engine, services, networks, volumes, routes }, references }
}

/// The entries of a section of the Compose file.
fn section<'n>(top: &'n Map, key: &str, read: &mut Reader<'_>) -> &'n [crate::syntax::Entry] {
    top.get(key).and_then(|node| read.map(node, key)).map_or(&[], |map| &map.entries)
}

fn parse_name<T: std::str::FromStr<Err = model::name::NameError>>(
    entry: &crate::syntax::Entry,
    read: &mut Reader<'_>,
) -> Option<T> {
    match entry.key.parse() {
        Ok(name) => Some(name),
        Err(problem) => {
            read.found.push(
                crate::findings::error(codes::NAME, problem.to_string()).at(entry.key_span, "").help("rename it"),
            );
            None
        }
    }
}

/// What is external; the process engine's table refuses it.
fn outside(top: &Map, engine: EngineKind, read: &mut Reader<'_>) -> Outside {
    let mut of = |key: &str| -> BTreeMap<String, String> {
        let entries = if engine == EngineKind::Docker { section(top, key, read) } else { &[] };
        let named = entries.iter().filter_map(|entry| {
            let map = entry.value.as_map().filter(|map| is_external(map))?;
            Some((entry.key.to_string(), own_name(map, read).unwrap_or_else(|| entry.key.to_string())))
        });
        named.collect()
    };
    Outside { networks: of("networks"), volumes: of("volumes") }
}

fn is_external(map: &Map) -> bool {
    let external = map.get("external").and_then(Node::as_scalar);
    external.is_some_and(|scalar| scalar.text.eq_ignore_ascii_case("true"))
}

/// What a network or volume is called on the engine, when that is written.
fn own_name(map: &Map, read: &mut Reader<'_>) -> Option<String> {
    let node = map.get("name").filter(|node| !node.is_null())?;
    read.scalar(node, "name").filter(|name| !name.is_empty())
}

fn volumes(top: &Map, engine: EngineKind, read: &mut Reader<'_>) -> BTreeMap<VolumeName, Volume> {
    let is_docker = engine == EngineKind::Docker;
    let mut volumes = BTreeMap::new();
    for entry in section(top, "volumes", read) {
        let Some(name) = parse_name(entry, read) else { continue };
        let Some(map) = read.map(&entry.value, &entry.key) else { continue };
        if is_docker && is_external(map) {
            continue;
        }
        if let Some(driver) = map.get("driver").filter(|node| !node.is_null()) {
            read.word(driver, "driver", &[("local", ())]);
        }
        let mut volume = Volume::default();
        if is_docker {
            volume.name = own_name(map, read);
            volume.labels = service::texts_of(map, "labels", read);
            volume.driver_opts = service::texts_of(map, "driver_opts", read);
        }
        volumes.insert(name, volume);
    }
    volumes
}
