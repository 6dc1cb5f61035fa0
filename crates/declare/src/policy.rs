//! Reads mainstay.yaml into the policy of one environment. The words of services, not yet their meaning:
//! [`crate::assemble`] puts the two files together.

use crate::assemble::read::Reader;
use crate::canonical::{self, words};
use crate::codes;
use crate::findings::{Findings, error};
use crate::keys::policy::OVERLAID;
use crate::merge;
use crate::resolved::{Because, Chosen};
use crate::syntax::{Entry, Map, Node, Value};
use model::RemoteHost;
use model::policy::{Balancing, EngineKind};
use model::span::{Span, Spanned};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

/// What mainstay.yaml says for one environment.
#[derive(Debug, Default)]
pub struct Policy {
    /// The engine of the environment.
    pub engine: Option<Spanned<EngineKind>>,
    /// Replicas by service, over what the Compose file says.
    pub replicas: BTreeMap<String, Spanned<u32>>,
    /// The routes.
    pub routes: Vec<RouteRule>,
    /// How services run without a container.
    pub recipes: BTreeMap<String, Spanned<Recipe>>,
    /// The probes by service.
    pub probes: BTreeMap<String, Spanned<ProbeRules>>,
    /// How services are carried, whatever runs them.
    pub services: BTreeMap<String, Spanned<ServiceRules>>,
}

/// How a service is carried. What is none is decided by what it is.
#[derive(Debug, Clone, Copy)]
pub struct ServiceRules {
    /// Its name leads to its replica itself, or must not.
    pub direct: Option<bool>,
    /// What is spread over its replicas.
    pub balance: Option<Balancing>,
    /// How long a new replica may take to become ready.
    pub ready_within: Option<Duration>,
}

/// A route as written.
#[derive(Debug)]
pub struct RouteRule {
    /// The host.
    pub host: Spanned<String>,
    /// Prefix and target.
    pub paths: Vec<(Spanned<String>, Spanned<String>)>,
}

/// How a service runs without a container.
#[derive(Debug)]
pub struct Recipe {
    /// What makes its artifacts.
    pub build: Option<Invocation>,
    /// What runs then.
    pub runs: RecipeRuns,
}

/// What a recipe runs.
#[derive(Debug)]
pub enum RecipeRuns {
    /// A program.
    Process {
        /// Program and arguments; the Compose file's when none.
        command: Option<Vec<String>>,
        /// What of the project it sees.
        artifacts: Vec<ArtifactRule>,
        /// Where it runs.
        working_dir: Option<String>,
    },
    /// A folder that the edge serves.
    Static {
        /// The folder.
        root: Spanned<String>,
        /// Unknown paths answer with `index.html`.
        spa: bool,
    },
}

/// A file or folder of the project for a replica.
#[derive(Debug, Clone)]
pub struct ArtifactRule {
    /// Path in the project.
    pub from: Spanned<String>,
    /// Path in the replica; beside the working directory when none.
    pub to: Option<String>,
}

/// A command that the client runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invocation {
    /// Program and arguments.
    Argv(Vec<String>),
    /// A line for `sh -c`, because it asks for more than words.
    Shell(String),
}

/// The probes of a service as written.
#[derive(Debug, Default)]
pub struct ProbeRules {
    /// Traffic.
    pub ready: Option<Spanned<ProbeRule>>,
    /// Life.
    pub live: Option<Spanned<ProbeRule>>,
}

/// A probe as written.
#[derive(Debug)]
pub struct ProbeRule {
    /// What is asked.
    pub asks: Asks,
    /// From one to the next.
    pub interval: Option<Duration>,
    /// For one.
    pub timeout: Option<Duration>,
    /// Failures in a row.
    pub retries: Option<NonZeroU32>,
    /// After the start.
    pub start_period: Option<Duration>,
    /// During the start period.
    pub start_interval: Option<Duration>,
}

/// What a probe asks.
#[derive(Debug)]
pub enum Asks {
    /// A path, on a port or the service's only one.
    Http(String, Option<u16>),
    /// A port.
    Tcp(u16),
    /// A command.
    Command(Vec<String>),
}

/// So many other environments are judged with what they lay over: each needs a copy of the whole.
const MAX_OTHERS: usize = 20;

/// Reads the policy for `environment`.
pub fn read(root: &Node, environment: &str, found: &mut Findings) -> Policy {
    let mut reader = PolicyReader { read: Reader { found }, groups: BTreeMap::new() };
    let Some(top) = reader.read.map(root, "mainstay.yaml") else { return Policy::default() };
    reader.groups(top);
    let mut policy = Policy { routes: reader.routes(top), ..Policy::default() };
    policy.recipes = reader.by_service(top, "processes", PolicyReader::recipe);
    policy.probes = reader.by_service(top, "probes", PolicyReader::probes);
    policy.services = reader.by_service(top, "services", PolicyReader::service);
    let environments = top.get("environments").and_then(|node| reader.read.map(node, "environments"));
    if let Some(map) =
        environments.and_then(|map| map.get(environment)).and_then(|node| reader.read.map(node, environment))
    {
        (policy.engine, policy.replicas) = reader.environment(map);
    }
    policy
}

impl Policy {
    /// The services that an engine runs by what is said here, so that they need no image.
    pub fn runnable(&self, engine: EngineKind) -> BTreeSet<String> {
        let runs = |recipe: &Recipe| engine == EngineKind::Process || matches!(recipe.runs, RecipeRuns::Static { .. });
        self.recipes.iter().filter(|(_, recipe)| runs(&recipe.value)).map(|(name, _)| name.clone()).collect()
    }
}

/// Says that there is no such engine yet.
pub fn refuse_engine(engine: &Chosen, found: &mut Findings) {
    let message = format!("the engine `{}` is not supported yet", engine.kind);
    let diagnostic = error(codes::NOT_YET, message);
    found.push(match engine.because {
        Because::Written(span) => diagnostic.at(span, "").help("write `docker` or `process`, or leave it out"),
        Because::Said | Because::Offered => diagnostic.help("name `docker` or `process`"),
    });
}

/// Judges the environments beside `chosen` as far as that needs no variables, so that a mistake there does not wait
/// for the day it is chosen.
pub fn check_others(root: &Node, chosen: &str, found: &mut Findings) {
    let mut reader = PolicyReader { read: Reader { found }, groups: BTreeMap::new() };
    let environments = root.as_map().and_then(|map| map.get("environments")).and_then(Node::as_map);
    for entry in environments.map_or(&[][..], |map| &map.entries).iter().filter(|entry| &*entry.key != chosen) {
        let mut node = entry.value.clone();
        drop_expressions(&mut node);
        let Some(map) = reader.read.map(&node, &entry.key) else { continue };
        reader.environment(map);
        if let Some(node) = map.get("variables") {
            variables(node.clone(), reader.read.found);
        }
    }
    let lays_over = |entry: &&Entry| {
        let map = entry.value.as_map();
        &*entry.key != chosen && map.is_some_and(|map| OVERLAID.iter().any(|section| map.get(section).is_some()))
    };
    for entry in environments.map_or(&[][..], |map| &map.entries).iter().filter(lays_over).take(MAX_OTHERS) {
        let mut whole = root.clone();
        choose(&mut whole, &entry.key);
        drop_unknown(&mut whole);
        read(&whole, &entry.key, found);
    }
}

/// Takes out what depends on variables, which only the chosen environment has.
fn drop_unknown(root: &mut Node) {
    fn asks(node: &Node) -> bool {
        match &node.value {
            Value::Scalar(scalar) => scalar.text.contains('$'),
            Value::List(items) => items.iter().any(asks),
            Value::Map(map) => map.entries.iter().any(|entry| asks(&entry.value)),
        }
    }
    for section in root.as_map_mut().map_or(&mut [][..], |map| &mut map.entries) {
        match &mut section.value.value {
            // A group that is not known must not make those that name it wrong.
            Value::Map(map) if &*section.key == "artifacts" => {
                map.entries.iter_mut().filter(|entry| asks(&entry.value)).for_each(|entry| {
                    entry.value = Node::list(Vec::new(), entry.value.span);
                });
            }
            Value::Map(map) => map.entries.retain(|entry| !asks(&entry.value)),
            Value::List(items) => items.retain(|item| !asks(item)),
            Value::Scalar(_) => {}
        }
    }
}

fn drop_expressions(node: &mut Node) {
    let asks = |node: &Node| node.as_scalar().is_some_and(|scalar| scalar.text.contains('$'));
    match &mut node.value {
        Value::Map(map) => {
            map.entries.retain(|entry| !asks(&entry.value));
            map.entries.iter_mut().for_each(|entry| drop_expressions(&mut entry.value));
        }
        Value::List(items) => {
            items.retain(|item| !asks(item));
            items.iter_mut().for_each(drop_expressions);
        }
        Value::Scalar(_) => {}
    }
}

/// Takes all environments but `environment` out, lays what that one says over what is said for all, and gives its
/// variables.
pub fn choose(root: &mut Node, environment: &str) -> Option<Node> {
    let environments = root.as_map_mut()?.get_mut("environments")?.as_map_mut()?;
    environments.entries.retain(|entry| &*entry.key == environment);
    let chosen = environments.entries.first_mut()?.value.as_map_mut()?;
    let variables = chosen.remove("variables").map(|entry| entry.value);
    let over = Map { entries: OVERLAID.iter().filter_map(|section| chosen.remove(section)).collect() };
    let span = root.span;
    let base = std::mem::replace(root, Node::null(span));
    *root = merge::policy(base, Node::map(over, span));
    variables
}

/// What one environment lays over what is said for all.
pub fn overlay(root: &Node, environment: &str) -> Option<Node> {
    let environments = root.as_map()?.get("environments")?.as_map()?;
    environments.get(environment).filter(|node| node.as_map().is_some()).cloned()
}

/// The entries of `variables`: a mapping, or a list of `NAME=value`. Nothing is expanded yet.
pub fn variables(mut node: Node, found: &mut Findings) -> Vec<Entry> {
    canonical::environment(&mut node, found);
    let mut read = Reader { found };
    let Some(map) = read.map(&node, "variables") else { return Vec::new() };
    let legal = |entry: &&Entry| entry.value.is_null() || read.scalar(&entry.value, &entry.key).is_some();
    map.entries.iter().filter(legal).cloned().collect()
}

struct PolicyReader<'a> {
    read: Reader<'a>,
    groups: BTreeMap<String, Vec<ArtifactRule>>,
}

impl PolicyReader<'_> {
    /// Engine and replicas of one environment.
    fn environment(&mut self, map: &Map) -> (Option<Spanned<EngineKind>>, BTreeMap<String, Spanned<u32>>) {
        let engine = map
            .get("engine")
            .and_then(|node| Some(Spanned::new(self.read.parse(codes::VALUE, node, "engine")?, node.span)));
        // Read before everything else, by `load::hosts`; here a mistake is shown with all the others.
        if let Some(node) = map.get("host") {
            self.read.parse::<RemoteHost>(codes::VALUE, node, "host");
        }
        let replicas = self.by_service(map, "replicas", |reader, node| {
            reader.read.number(node, "replicas", 0, crate::assemble::MAX_REPLICAS).map(|n| n as u32)
        });
        (engine, replicas)
    }

    fn by_service<T>(
        &mut self,
        top: &Map,
        key: &str,
        item: impl Fn(&mut Self, &Node) -> Option<T>,
    ) -> BTreeMap<String, Spanned<T>> {
        let Some(map) = top.get(key).and_then(|node| self.read.map(node, key)) else { return BTreeMap::new() };
        let mut all = BTreeMap::new();
        for entry in &map.entries {
            if let Some(value) = item(self, &entry.value) {
                all.insert(entry.key.to_string(), Spanned::new(value, entry.key_span));
            }
        }
        all
    }

    fn service(&mut self, node: &Node) -> Option<ServiceRules> {
        let map = self.read.map(node, "services")?;
        let direct = map.get("direct").and_then(|node| self.read.boolean(node, "direct"));
        let balance = map.get("balance");
        if let (Some(true), Some(node)) = (direct, balance) {
            let message = "`balance` has no meaning for a `direct` service: its name is its one replica's".to_owned();
            self.read.wrong(codes::VALUE, node, message, "remove `balance`, or write `direct: false`");
        }
        Some(ServiceRules {
            direct,
            balance: balance.and_then(|node| self.read.parse(codes::VALUE, node, "balance")),
            ready_within: map.get("ready_within").and_then(|node| self.ready_within(node)),
        })
    }

    fn ready_within(&mut self, node: &Node) -> Option<Duration> {
        let time = self.read.duration(node, "ready_within")?;
        if time.is_zero() {
            let message = "`ready_within` must be more than 0: nothing is ready before it starts".to_owned();
            self.read.wrong(codes::VALUE, node, message, "write how long a start may take, for example `30s`");
            return None;
        }
        Some(time)
    }

    fn routes(&mut self, top: &Map) -> Vec<RouteRule> {
        let Some(node) = top.get("routes") else { return Vec::new() };
        let items = self.read.list(node, "routes");
        items.iter().filter_map(|item| self.route(item)).collect()
    }

    fn route(&mut self, node: &Node) -> Option<RouteRule> {
        let map = self.read.map(node, "routes")?;
        let host = map.get("host").map(|node| (node, self.read.text(node, "host")));
        let Some((host_node, Some(host))) = host else {
            if host.is_none() {
                self.missing(
                    codes::ROUTE,
                    node.span,
                    "a route needs a `host`",
                    "write `host: example.org`, or `host: \"*\"`",
                );
            }
            return None;
        };
        let paths = map.get("paths").and_then(|node| self.read.map(node, "paths"));
        let Some(paths) = paths.filter(|paths| !paths.entries.is_empty()) else {
            if map.get("paths").is_none() || paths.is_some() {
                self.missing(
                    codes::ROUTE,
                    node.span,
                    "a route needs `paths`",
                    "write `paths: { /: \"service:port\" }`",
                );
            }
            return None;
        };
        let mut rules = Vec::new();
        for entry in &paths.entries {
            if let Some(target) = self.read.text(&entry.value, &entry.key) {
                let prefix = Spanned::new(entry.key.to_string(), entry.key_span);
                rules.push((prefix, Spanned::new(target, entry.value.span)));
            }
        }
        Some(RouteRule { host: Spanned::new(host, host_node.span), paths: rules })
    }

    fn missing(&mut self, code: codes::Code, span: Span, message: &str, help: &str) {
        self.read.found.push(error(code, message).at(span, "").help(help));
    }

    fn groups(&mut self, top: &Map) {
        let Some(map) = top.get("artifacts").and_then(|node| self.read.map(node, "artifacts")) else { return };
        for entry in &map.entries {
            let rules = self.artifacts(&entry.value);
            self.groups.insert(entry.key.to_string(), rules);
        }
    }

    fn artifacts(&mut self, node: &Node) -> Vec<ArtifactRule> {
        let mut rules = Vec::new();
        for item in self.read.list(node, "artifacts") {
            match &item.value {
                Value::Map(map) => rules.extend(self.artifact(item, map)),
                _ => {
                    let Some(from) = self.read.text(item, "artifacts") else { continue };
                    match from.strip_prefix('@') {
                        Some(group) => rules.extend(self.group(group, item)),
                        None => rules.push(ArtifactRule { from: Spanned::new(from, item.span), to: None }),
                    }
                }
            }
        }
        rules
    }

    fn artifact(&mut self, item: &Node, map: &Map) -> Option<ArtifactRule> {
        let Some(from) = map.get("from") else {
            self.missing(codes::PROCESS, item.span, "an artifact needs `from`", "write the file's path in the project");
            return None;
        };
        let to = map.get("to").and_then(|node| self.read.text(node, "to"));
        let path = self.read.text(from, "from")?;
        Some(ArtifactRule { from: Spanned::new(path, from.span), to })
    }

    fn group(&mut self, name: &str, at: &Node) -> Vec<ArtifactRule> {
        if let Some(rules) = self.groups.get(name) {
            return rules.clone();
        }
        let known = self.groups.keys().map(String::as_str);
        let help = self.read.found.did_you_mean(name, known, || "declare it under `artifacts`".into());
        self.read.wrong(codes::REFERENCE, at, format!("`@{name}` is no group of `artifacts`"), help);
        Vec::new()
    }

    fn recipe(&mut self, node: &Node) -> Option<Recipe> {
        let map = self.read.map(node, "processes")?;
        let build = map.get("build").and_then(|node| self.invocation(node));
        let runs = match map.get("static") {
            Some(folder) => self.static_recipe(folder, map)?,
            None => self.process_recipe(map),
        };
        Some(Recipe { build, runs })
    }

    fn static_recipe(&mut self, folder: &Node, map: &Map) -> Option<RecipeRuns> {
        for key in ["command", "artifacts", "working_dir"] {
            if let Some(entry) = map.entry(key) {
                self.read.found.push(
                    error(codes::STATIC, format!("`{key}` has no meaning beside `static`"))
                        .at(entry.key_span, "")
                        .at(folder.span, "the edge serves this folder itself")
                        .help(format!("remove `static` or `{key}`")),
                );
            }
        }
        let root = Spanned::new(self.read.text(folder, "static")?, folder.span);
        let spa = map.get("spa").and_then(|node| self.read.boolean(node, "spa")).unwrap_or(false);
        Some(RecipeRuns::Static { root, spa })
    }

    fn process_recipe(&mut self, map: &Map) -> RecipeRuns {
        if let Some(entry) = map.entry("spa") {
            self.read.found.push(
                error(codes::PROCESS, "`spa` has a meaning beside `static` only")
                    .at(entry.key_span, "")
                    .help("write `static: <folder>`, or remove `spa`"),
            );
        }
        RecipeRuns::Process {
            command: map.get("command").and_then(|node| self.argv(node, "command")),
            artifacts: map.get("artifacts").map(|node| self.artifacts(node)).unwrap_or_default(),
            working_dir: map.get("working_dir").and_then(|node| self.read.target(node, "working_dir")),
        }
    }

    /// A list of words, or a line that is split into words.
    fn argv(&mut self, node: &Node, key: &str) -> Option<Vec<String>> {
        let argv = match &node.value {
            Value::List(_) => self.read.scalars(node, key),
            _ => {
                let line = self.read.text(node, key)?;
                match words::split(&line) {
                    Ok(words) => words,
                    Err(problem) => {
                        let help = "close the quote, or write the command as a list";
                        self.read.wrong(codes::WORDS, node, format!("`{key}`: {problem}"), help);
                        return None;
                    }
                }
            }
        };
        if argv.is_empty() {
            self.read.wrong(codes::PROCESS, node, format!("`{key}` is empty"), "write a program and its arguments");
            return None;
        }
        Some(argv)
    }

    fn invocation(&mut self, node: &Node) -> Option<Invocation> {
        match node.as_scalar() {
            Some(line) if words::needs_shell(&line.text) => Some(Invocation::Shell(line.text.to_string())),
            _ => self.argv(node, "build").map(Invocation::Argv),
        }
    }

    fn probes(&mut self, node: &Node) -> Option<ProbeRules> {
        let map = self.read.map(node, "probes")?;
        let mut probe = |key: &str| {
            let entry = map.entry(key)?;
            Some(Spanned::new(self.probe(&entry.value)?, entry.key_span))
        };
        Some(ProbeRules { ready: probe("ready"), live: probe("live") })
    }

    fn probe(&mut self, node: &Node) -> Option<ProbeRule> {
        let map = self.read.map(node, "probe")?;
        let asks: BTreeSet<&str> =
            ["http", "tcp", "command"].into_iter().filter(|key| map.get(key).is_some()).collect();
        if asks.len() != 1 {
            let message = "a probe asks exactly one of `http`, `tcp` and `command`";
            self.missing(codes::PROBE, node.span, message, "write for example `http: /ready`");
            return None;
        }
        let port = map.get("port").and_then(|node| self.read.number(node, "port", 1, 65535)).map(|n| n as u16);
        let asks = if let Some(path) = map.get("http") {
            let text = self.read.text(path, "http")?;
            if !text.starts_with('/') || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
                let message = format!("`{text}` is no path of a request");
                self.read.wrong(codes::PROBE, path, message, "begin it with `/`, without blanks");
                return None;
            }
            Asks::Http(text, port)
        } else if let Some(port) = map.get("tcp") {
            Asks::Tcp(self.read.number(port, "tcp", 1, 65535)? as u16)
        } else {
            Asks::Command(map.get("command").and_then(|node| self.argv(node, "command"))?)
        };
        let mut time = |key: &str| map.get(key).and_then(|node| self.read.duration(node, key));
        let (interval, timeout) = (time("interval"), time("timeout"));
        let (start_period, start_interval) = (time("start_period"), time("start_interval"));
        let retries = map.get("retries").and_then(|node| self.read.number(node, "retries", 1, 1_000_000));
        let retries = retries.and_then(|n| NonZeroU32::new(n as u32));
        Some(ProbeRule { asks, interval, timeout, retries, start_period, start_interval })
    }
}
