//! Puts the resolved Compose tree and the policy together into the typed project.
//!
//! Reads long forms only and looks at nothing but its arguments, so that the declaration of a bundle gives the
//! same project on another machine. References are collected here and judged in [`crate::consistency`].

mod command;
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

/// The project of a resolved declaration.
pub fn project(
    compose: &Node,
    policy: &Policy,
    name: ProjectName,
    environment: EnvironmentName,
    found: &mut Findings,
) -> Assembled {
    let mut read = Reader { found };
    let empty = Map::default();
    let top = read.map(compose, "compose.yaml").unwrap_or(&empty);
    let contents = files::contents(top, &mut read);
    let mut references = Vec::new();
    let completed = service::completed(top);
    let mut services = BTreeMap::new();
    for entry in section(top, "services", &mut read) {
        let Some(name) = parse_name(entry, &mut read) else { continue };
        let mut reader = service::ServiceReader {
            read: Reader { found: read.found },
            policy,
            contents: &contents,
            references: &mut references,
            completed: &completed,
        };
        if let Some(service) = reader.service(entry) {
            services.insert(name, service);
        }
    }
    let networks = network::networks(top, &services, &mut read);
    let volumes = volumes(top, &mut read);
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
    let engine = policy.engine.as_ref().map(|engine| engine.value);
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

fn volumes(top: &Map, read: &mut Reader<'_>) -> BTreeMap<VolumeName, Volume> {
    let mut volumes = BTreeMap::new();
    for entry in section(top, "volumes", read) {
        let Some(name) = parse_name(entry, read) else { continue };
        let Some(map) = read.map(&entry.value, &entry.key) else { continue };
        if let Some(driver) = map.get("driver").filter(|node| !node.is_null()) {
            read.word(driver, "driver", &[("local", ())]);
        }
        volumes.insert(name, Volume::default());
    }
    volumes
}
