//! What `mainstay.yaml` adds: routes and the engine of an environment.

use crate::name::ServiceName;
use crate::span::Span;
use std::fmt;
use std::str::FromStr;

/// The kind of place an environment runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineKind {
    /// Native processes on this machine.
    Process,
    /// A Docker Engine.
    Docker,
    /// A Docker Swarm.
    Swarm,
    /// A Kubernetes cluster.
    Kubernetes,
    /// AWS ECS.
    Ecs,
}

impl EngineKind {
    /// All kinds in the order they are listed to people.
    pub const ALL: [EngineKind; 5] = [Self::Process, Self::Docker, Self::Swarm, Self::Kubernetes, Self::Ecs];

    /// The name as written in `mainstay.yaml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Swarm => "swarm",
            Self::Kubernetes => "kubernetes",
            Self::Ecs => "ecs",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no engine, write one of `process`, `docker`, `swarm`, `kubernetes`, `ecs`")]
pub struct UnknownEngine(pub String);

impl FromStr for EngineKind {
    type Err = UnknownEngine;
    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownEngine(text.to_owned()))
    }
}

/// What of the calls to a service is spread over its replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Balancing {
    /// Each request, by the edge: one that a replica refuses goes to another, and all are counted.
    #[default]
    Requests,
    /// Each connection, by the machine's packet rules: nothing stands between, and nothing is seen.
    Connections,
}

impl Balancing {
    /// Both, in the order they are listed to people.
    pub const ALL: [Balancing; 2] = [Self::Requests, Self::Connections];

    /// The name as written in `mainstay.yaml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Connections => "connections",
        }
    }
}

/// A text that names nothing that could be spread.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be spread over replicas, write one of `requests`, `connections`")]
pub struct UnknownBalancing(pub String);

impl FromStr for Balancing {
    type Err = UnknownBalancing;
    fn from_str(text: &str) -> Result<Self, UnknownBalancing> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownBalancing(text.to_owned()))
    }
}

/// Requests of one host and where their paths lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Host name in lower case, `*.example.org` for all names one level below, `*` for every host.
    pub host: String,
    /// Path prefixes; the longest that matches on segment borders wins.
    pub paths: Vec<RoutePath>,
    /// Where it was written.
    pub at: Span,
}

/// One path prefix of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePath {
    /// Begins with `/`; `/` matches everything.
    pub prefix: String,
    /// Where it leads.
    pub target: RouteTarget,
    /// Where it was written.
    pub at: Span,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// A port of a service.
    Service {
        /// The service.
        service: ServiceName,
        /// The port its replicas listen on.
        port: u16,
    },
    /// The stack's aggregated health document, written `@health`.
    Health,
    /// The stack's aggregated readiness, written `@ready`.
    Ready,
}
