//! The routing table as workers read it: names resolved, hosts hashed, answers ready-made.
//!
//! Owns the compiled table and the refusal of a table that cannot be served. It is built once per change, on the control
//! thread, and shared as an `Arc`; nothing in it ever changes. Start with [`Snapshot::compile`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::control::{self, ListenerTarget, Protocol, Refusal, Table, Target};
use crate::routes::{PathRule, Routes};
use crate::statics::Dir;

/// A table in the form that requests are looked up in.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The table it was made from.
    pub table: Table,
    /// Hosts and paths.
    pub routes: Routes,
    /// Listeners by the id of their socket.
    pub listeners: BTreeMap<String, Arc<ListenerRule>>,
    /// Pools; a [`Destination::Pool`] is an index into it. An unchanged pool keeps its `Arc` from table to table, which
    /// tells a worker cheaply that it has nothing to rebuild.
    pub pools: Vec<Arc<control::Pool>>,
    /// Whom requests are counted for; destinations hold indices into it. The first one is for requests without a route.
    pub services: Vec<ServiceLabel>,
}

/// What a listener does with a connection.
#[derive(Debug)]
pub(crate) struct ListenerRule {
    pub protocol: Protocol,
    pub target: RuleTarget,
    pub trust_forwarded: bool,
}

/// Who answers on a listener.
#[derive(Debug)]
pub(crate) enum RuleTarget {
    Routes,
    One(Arc<PathRule>),
}

/// Who answers a request.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    Pool(usize),
    Static { dir: Arc<Dir>, spa: bool },
    Fixed(Arc<Answer>),
}

/// A ready-made answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: Bytes,
    pub retry_after: Option<HeaderValue>,
}

/// Whom requests are counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServiceLabel {
    pub project: Arc<str>,
    pub service: Arc<str>,
}

/// What the edge has to serve a table with.
pub(crate) struct Holdings<'a> {
    pub listeners: BTreeSet<&'a str>,
    pub dirs: &'a HashMap<String, Arc<Dir>>,
}

impl Snapshot {
    /// The table before the first one: nothing.
    pub(crate) fn empty() -> Self {
        Self {
            table: Table::default(),
            routes: Routes::default(),
            listeners: BTreeMap::new(),
            pools: Vec::new(),
            services: vec![ServiceLabel::none()],
        }
    }

    /// Makes `table` servable, or says what it names that is not there.
    pub(crate) fn compile(table: Table, before: &Snapshot, holdings: &Holdings<'_>) -> Result<Self, Refusal> {
        if table.version < before.table.version {
            return Err(Refusal::StaleTable { offered: table.version, current: before.table.version });
        }
        let mut compiler = Compiler::new(&table, before, holdings);
        let mut listeners = BTreeMap::new();
        for listener in &table.listeners {
            let rule = compiler.listener(listener)?;
            if listeners.insert(listener.id.clone(), Arc::new(rule)).is_some() {
                return Err(Refusal::DuplicateListener { listener: listener.id.clone() });
            }
        }
        let mut routes = Routes::default();
        for host in &table.hosts {
            for path in &host.paths {
                let rule = compiler.path(host, path)?;
                routes.add(&host.host, rule)?;
            }
        }
        routes.finish();
        let Compiler { pools, services, .. } = compiler;
        Ok(Self { routes, listeners, pools, services: services.in_order(), table })
    }

    /// The directories that the table names.
    pub(crate) fn dirs(&self) -> BTreeSet<&str> {
        let of_listeners = self.table.listeners.iter().filter_map(|listener| match &listener.target {
            ListenerTarget::Target(target) => Some(target),
            ListenerTarget::Routes => None,
        });
        let of_routes = self.table.hosts.iter().flat_map(|host| host.paths.iter().map(|path| &path.target));
        of_listeners
            .chain(of_routes)
            .filter_map(|target| match target {
                Target::Static { dir, .. } => Some(dir.as_str()),
                _ => None,
            })
            .collect()
    }
}

impl ServiceLabel {
    fn none() -> Self {
        Self { project: Arc::from(""), service: Arc::from("") }
    }
}

struct Compiler<'a> {
    table: &'a Table,
    holdings: &'a Holdings<'a>,
    pools: Vec<Arc<control::Pool>>,
    pool_numbers: HashMap<&'a str, usize>,
    services: Services,
}

#[derive(Default)]
struct Services {
    numbers: HashMap<ServiceLabel, usize>,
}

impl Services {
    fn number(&mut self, project: &str, service: &str) -> usize {
        let label = ServiceLabel { project: Arc::from(project), service: Arc::from(service) };
        let next = self.numbers.len();
        *self.numbers.entry(label).or_insert(next)
    }

    fn in_order(self) -> Vec<ServiceLabel> {
        let mut all: Vec<_> = self.numbers.into_iter().collect();
        all.sort_unstable_by_key(|(_, number)| *number);
        all.into_iter().map(|(label, _)| label).collect()
    }
}

impl<'a> Compiler<'a> {
    fn new(table: &'a Table, before: &Snapshot, holdings: &'a Holdings<'a>) -> Self {
        let known: HashMap<&str, &Arc<control::Pool>> =
            before.table.pools.keys().map(String::as_str).zip(&before.pools).collect();
        let pools = table
            .pools
            .iter()
            .map(|(name, pool)| match known.get(name.as_str()) {
                Some(same) if ***same == *pool => (*same).clone(),
                _ => Arc::new(pool.clone()),
            })
            .collect();
        let pool_numbers = table.pools.keys().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
        let mut services = Services::default();
        services.number("", "");
        Self { table, holdings, pools, pool_numbers, services }
    }

    fn listener(&mut self, listener: &control::Listener) -> Result<ListenerRule, Refusal> {
        if !self.holdings.listeners.contains(listener.id.as_str()) {
            return Err(Refusal::UnknownListener { listener: listener.id.clone() });
        }
        let place = || format!("listener {}", listener.id);
        let (target, speaks_tcp) = match &listener.target {
            ListenerTarget::Routes => (RuleTarget::Routes, false),
            ListenerTarget::Target(target) => {
                let rule = self.rule(&listener.project, target, "/", false, place)?;
                (RuleTarget::One(Arc::new(rule)), matches!(target, Target::Pool(_)))
            }
        };
        if listener.protocol == Protocol::Tcp && !speaks_tcp {
            return Err(bad(place(), "tcp", "needs a pool as target; files and routes are served over http"));
        }
        // Only a pool can take bytes that are not HTTP.
        let protocol = if speaks_tcp { listener.protocol } else { Protocol::Http };
        Ok(ListenerRule { protocol, target, trust_forwarded: listener.trust_forwarded })
    }

    fn path(&mut self, host: &control::Host, path: &control::PathRoute) -> Result<PathRule, Refusal> {
        let place = || format!("route {}{}", host.host, path.prefix);
        if !path.prefix.starts_with('/') {
            return Err(bad(place(), &path.prefix, "is no path prefix; start it with `/`"));
        }
        self.rule(&host.project, &path.target, &path.prefix, path.strip_prefix, place)
    }

    fn rule(
        &mut self,
        project: &str,
        target: &Target,
        prefix: &str,
        strip: bool,
        place: impl Fn() -> String,
    ) -> Result<PathRule, Refusal> {
        let (destination, service) = match target {
            Target::Pool(name) => {
                let Some(number) = self.pool_numbers.get(name.as_str()) else {
                    return Err(Refusal::UnknownPool { pool: name.clone(), used_by: place() });
                };
                (Destination::Pool(*number), self.services.number(project, &self.table.pools[name].service))
            }
            Target::Static { dir, spa, service } => {
                let Some(found) = self.holdings.dirs.get(dir) else {
                    return Err(Refusal::UnknownDir { dir: dir.clone(), used_by: place() });
                };
                let destination = Destination::Static { dir: found.clone(), spa: *spa };
                (destination, self.services.number(project, service))
            }
            Target::Fixed(fixed) => {
                (Destination::Fixed(Arc::new(answer(fixed, place)?)), self.services.number(project, "fixed"))
            }
        };
        Ok(PathRule::new(prefix, strip, destination, service))
    }
}

fn answer(fixed: &control::Fixed, place: impl Fn() -> String) -> Result<Answer, Refusal> {
    let status = StatusCode::from_u16(fixed.status)
        .ok()
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| bad(place(), &fixed.status.to_string(), "is no final status; use 200 to 599"))?;
    let content_type = HeaderValue::from_str(&fixed.content_type)
        .map_err(|_| bad(place(), &fixed.content_type, "is no header value"))?;
    Ok(Answer {
        status,
        content_type,
        body: Bytes::from(fixed.body.clone()),
        retry_after: fixed.retry_after.map(HeaderValue::from),
    })
}

fn bad(place: String, value: &str, problem: &str) -> Refusal {
    Refusal::BadValue { place, value: value.to_owned(), problem: problem.to_owned() }
}
