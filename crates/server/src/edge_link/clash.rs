//! What a stack wants of the machine that somebody else has.
//!
//! Pure: told from declarations alone, so that a plan can say it before anything is touched. That a stranger's process
//! has a port is found when the port is opened.

use super::table::{Ground, addresses};
use model::stack::Stack;
use model::{ServiceName, StackId};
use std::net::SocketAddr;

/// Why a stack cannot be served beside the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// Another stack publishes there.
    #[error("`{service}` publishes {address}, which `{owner}` has already")]
    Taken {
        /// Where.
        address: SocketAddr,
        /// Who wants it.
        service: ServiceName,
        /// Who has it.
        owner: StackId,
    },
    /// A second service of the stack publishes there.
    #[error("`{service}` and `{other}` both publish {address}")]
    Twice {
        /// Where.
        address: SocketAddr,
        /// The one.
        service: ServiceName,
        /// The other.
        other: ServiceName,
    },
    /// A service publishes the port that routes are served on.
    #[error("`{service}` of `{stack}` publishes {address}, where the routes of `{routes}` are served")]
    RoutesPort {
        /// Where.
        address: SocketAddr,
        /// Who publishes.
        service: ServiceName,
        /// Its stack.
        stack: StackId,
        /// The stack that has routes.
        routes: StackId,
    },
    /// Another stack has the route.
    #[error("`{host}{prefix}` is already routed by `{owner}`")]
    Routed {
        /// The host.
        host: String,
        /// The path.
        prefix: String,
        /// Who has it.
        owner: StackId,
    },
}

impl Clash {
    /// What to do about it, one imperative sentence.
    pub fn cure(&self) -> String {
        match self {
            Self::Taken { owner, .. } => format!("publish another port, or take `{owner}` down"),
            Self::Twice { .. } => "publish each on a port of its own".into(),
            Self::RoutesPort { service, .. } => format!(
                "publish another port for `{service}`, reach it by a route instead, or serve routes elsewhere with `mainstay serve --http-port`"
            ),
            Self::Routed { owner, .. } => format!("route another host or path, or take `{owner}` down"),
        }
    }
}

/// What stands against serving `wanted` beside the `others`, which are served already.
pub fn clash(wanted: &Stack, others: &[(&StackId, &Stack)], ground: &Ground) -> Option<Clash> {
    let mine = published(wanted, ground);
    twice(&mine)
        .or_else(|| on_routes_port(wanted, others, ground))
        .or_else(|| others.iter().find_map(|(id, other)| against(wanted, &mine, id, other, ground)))
}

/// Whether two sockets cannot be had by two owners: `0.0.0.0` stands for every IPv4 address.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_anywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (one.ip() == other.ip() || (is_anywhere && one.is_ipv4() == other.is_ipv4()))
}

type Published = Vec<(SocketAddr, ServiceName)>;

fn published(stack: &Stack, ground: &Ground) -> Published {
    let mut all = Published::new();
    for (name, target) in stack.services.iter().filter(|(_, target)| target.role == model::project::Role::Service) {
        for port in &target.published {
            let Some(number) = port.published else { continue };
            let host = port.host.map_or_else(|| addresses(target.direct, ground), |host| vec![host]);
            all.extend(host.into_iter().map(|ip| (SocketAddr::new(ip, number), name.clone())));
        }
    }
    all
}

fn twice(mine: &[(SocketAddr, ServiceName)]) -> Option<Clash> {
    mine.iter().enumerate().find_map(|(at, (address, service))| {
        let (_, other) = mine[at + 1..].iter().find(|(other, _)| overlap(*address, *other))?;
        Some(Clash::Twice { address: *address, service: service.clone(), other: other.clone() })
    })
}

/// Whoever has routes needs their port, and so does everybody who publishes it.
fn on_routes_port(wanted: &Stack, others: &[(&StackId, &Stack)], ground: &Ground) -> Option<Clash> {
    let everybody = || [(&wanted.id, wanted)].into_iter().chain(others.iter().copied());
    let (routes, _) = everybody().find(|(_, stack)| !stack.routes.is_empty())?;
    let mut concerned = everybody().filter(|(id, _)| !wanted.routes.is_empty() || **id == wanted.id);
    concerned.find_map(|(id, stack)| {
        let all = published(stack, ground);
        let (address, service) = all.iter().find(|(address, _)| ground.http().any(|http| overlap(*address, http)))?;
        let (service, stack, routes) = (service.clone(), id.clone(), routes.clone());
        Some(Clash::RoutesPort { address: *address, service, stack, routes })
    })
}

fn against(
    wanted: &Stack,
    mine: &[(SocketAddr, ServiceName)],
    id: &StackId,
    other: &Stack,
    ground: &Ground,
) -> Option<Clash> {
    let theirs = published(other, ground);
    let taken = mine.iter().find(|(address, _)| theirs.iter().any(|(there, _)| overlap(*address, *there)));
    if let Some((address, service)) = taken {
        return Some(Clash::Taken { address: *address, service: service.clone(), owner: id.clone() });
    }
    wanted.routes.iter().find_map(|route| {
        let same_host = || other.routes.iter().filter(|there| there.host == route.host);
        let is_there = |prefix: &str| same_host().flat_map(|there| &there.paths).any(|path| path.prefix == prefix);
        let path = route.paths.iter().find(|path| is_there(&path.prefix))?;
        Some(Clash::Routed { host: route.host.clone(), prefix: path.prefix.clone(), owner: id.clone() })
    })
}
