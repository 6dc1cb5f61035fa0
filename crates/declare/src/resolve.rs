//! Makes the merged tree independent of this machine: inactive services leave, environment files, secrets and
//! configs come inline, paths of bind mounts become paths of the bundle or absolute.
//!
//! What it leaves is what a bundle carries; [`crate::assemble`] reads nothing else.

use crate::assemble::read::Reader;
use crate::codes;
use crate::dotenv::{self, Format};
use crate::files::{FileError, absolute, within};
use crate::findings::{error, warning};
use crate::load::Loader;
use crate::syntax::{Entry, Map, Node, Value};
use model::policy::EngineKind;
use model::span::Span;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The largest content of a secret or config: the limit that Swarm and Kubernetes have too.
const MAX_CONTENT: u64 = 500 << 10;

/// Services left out, with the profiles that would bring them back.
pub type Inactive = BTreeMap<Arc<str>, Vec<String>>;

/// Takes the services and jobs out whose profiles are not active; gives the services.
pub fn inactive(root: &mut Node, loader: &mut Loader<'_>) -> Inactive {
    let mut resolver = Resolver { loader, env_files: HashMap::new(), keeps_unset: false };
    let mut section = |key: &str| {
        let map = root.as_map_mut()?.get_mut(key)?.as_map_mut()?;
        Some(resolver.profiles(map))
    };
    section("jobs");
    section("services").unwrap_or_default()
}

fn services(root: &mut Node) -> Option<&mut Map> {
    root.as_map_mut()?.get_mut("services")?.as_map_mut()
}

/// Resolves the Compose tree of active services in place.
pub fn compose(root: &mut Node, engine: EngineKind, loader: &mut Loader<'_>) {
    let mut resolver = Resolver { loader, env_files: HashMap::new(), keeps_unset: false };
    let Some(top) = root.as_map_mut() else { return };
    let Some(services) = top.get_mut("services").and_then(Node::as_map_mut) else { return };
    let known: BTreeSet<Arc<str>> = services.entries.iter().map(|entry| entry.key.clone()).collect();
    for service in services.entries.iter_mut().filter_map(|entry| entry.value.as_map_mut()) {
        service.remove("profiles");
        if let Some(map) = service.get_mut("depends_on").and_then(Node::as_map_mut) {
            map.entries.retain(|entry| known.contains(&entry.key));
        }
        resolver.environment(service);
        resolver.labels(service);
        service.remove("label_file");
        resolver.mounts(service);
    }
    link_aliases(services);
    let mut secrets = granted(services.entries.iter().filter_map(|entry| entry.value.as_map()), "secrets");
    if engine == EngineKind::Docker {
        let builds = services.entries.iter().filter_map(|entry| entry.value.as_map()?.get("build")?.as_map());
        secrets.extend(granted(builds, "secrets"));
    }
    let configs = granted(services.entries.iter().filter_map(|entry| entry.value.as_map()), "configs");
    for (key, used) in [("secrets", secrets), ("configs", configs)] {
        if let Some(map) = top.get_mut(key).and_then(Node::as_map_mut) {
            // What no service gets is not read: its file may well not exist here.
            map.entries.retain(|entry| used.contains(&*entry.key));
            map.entries.iter_mut().for_each(|entry| resolver.content(entry, key));
        }
    }
}

/// Resolves only what the reference implementation resolves when it shows a project: variables and labels of files come
/// inline.
pub fn shown(root: &mut Node, loader: &mut Loader<'_>) {
    let mut resolver = Resolver { loader, env_files: HashMap::new(), keeps_unset: true };
    let Some(services) = services(root) else { return };
    for service in services.entries.iter_mut().filter_map(|entry| entry.value.as_map_mut()) {
        resolver.environment(service);
        resolver.labels(service);
    }
}

/// Takes out of the policy what speaks of inactive services.
pub fn policy(root: &mut Node, inactive: &Inactive, loader: &mut Loader<'_>) {
    let Some(top) = root.as_map_mut() else { return };
    for key in ["processes", "probes", "services"] {
        forget_inactive(top.get_mut(key), inactive);
    }
    if let Some(environments) = top.get_mut("environments").and_then(Node::as_map_mut) {
        for map in environments.entries.iter_mut().filter_map(|entry| entry.value.as_map_mut()) {
            forget_inactive(map.get_mut("replicas"), inactive);
        }
    }
    let Some(Value::List(routes)) = top.get_mut("routes").map(|node| &mut node.value) else { return };
    routes.retain_mut(|route| {
        let Some(paths) = route.as_map_mut().and_then(|map| map.get_mut("paths")).and_then(Node::as_map_mut) else {
            return true;
        };
        let written = paths.entries.len();
        paths.entries.retain(|entry| {
            let Some(target) = entry.value.as_scalar() else { return true };
            let name = target.text.rsplit_once(':').map_or(&*target.text, |(name, _)| name);
            let Some(profiles) = inactive.get(name) else { return true };
            loader.found.push(
                warning(codes::INACTIVE, format!("this route has no effect: `{name}` is not active"))
                    .at(entry.value.span, "")
                    .help(format!("activate one of its profiles: {}", profiles.join(", "))),
            );
            false
        });
        written == 0 || !paths.entries.is_empty()
    });
}

fn forget_inactive(node: Option<&mut Node>, inactive: &Inactive) {
    if let Some(map) = node.and_then(Node::as_map_mut) {
        map.entries.retain(|entry| !inactive.contains_key(&entry.key));
    }
}

fn granted<'m>(maps: impl Iterator<Item = &'m Map>, key: &str) -> BTreeSet<String> {
    let lists = maps.filter_map(|map| map.get(key)?.as_list());
    let sources = lists.flatten().filter_map(|item| item.as_map()?.get("source")?.as_scalar());
    sources.map(|scalar| scalar.text.to_string()).collect()
}

/// Gives a linked service the names it is linked by, on all its networks.
fn link_aliases(services: &mut Map) {
    let mut wanted: BTreeMap<String, Vec<(String, Span)>> = BTreeMap::new();
    for entry in &services.entries {
        let links = entry.value.as_map().and_then(|map| map.get("links")).and_then(Node::as_list).unwrap_or_default();
        for item in links {
            let Some((name, alias)) = item.as_scalar().and_then(|scalar| scalar.text.split_once(':')) else { continue };
            wanted.entry(name.to_owned()).or_default().push((alias.to_owned(), item.span));
        }
    }
    for entry in &mut services.entries {
        let Some(service) = entry.value.as_map_mut() else { continue };
        service.remove("links");
        let Some(aliases) = wanted.remove(&*entry.key) else { continue };
        let span = entry.key_span;
        if service.get("networks").and_then(Node::as_map).is_none_or(|map| map.entries.is_empty()) {
            let mut networks = Map::default();
            networks.push("default", Node::null(span));
            service.set("networks", Node::map(networks, span));
        }
        let networks = service.get_mut("networks").and_then(Node::as_map_mut).expect("set above");
        for network in &mut networks.entries {
            if network.value.is_null() {
                network.value = Node::map(Map::default(), span);
            }
            let Some(options) = network.value.as_map_mut() else { continue };
            if options.get("aliases").is_none() {
                options.push("aliases", Node::list(Vec::new(), span));
            }
            if let Some(Value::List(items)) = options.get_mut("aliases").map(|node| &mut node.value) {
                items.extend(aliases.iter().map(|(alias, at)| Node::text(alias.as_str(), *at)));
            }
        }
    }
}

/// The entries of a mapping that have a value.
fn texts(node: &Node) -> impl Iterator<Item = (String, String)> {
    let entries = node.as_map().map_or(&[][..], |map| &map.entries).iter();
    entries.filter_map(|entry| {
        let scalar = entry.value.as_scalar().filter(|scalar| !scalar.is_null())?;
        Some((entry.key.to_string(), scalar.to_text()))
    })
}

/// The path within the home folder that `~` stands for; none without `~`.
pub fn home(path: &str, span: Span, loader: &mut Loader<'_>) -> Option<String> {
    let rest = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    match loader.variables.get("HOME") {
        Some(home) => Some(absolute("/", &format!("{home}{rest}"))),
        None => {
            let message = format!("`{path}` begins with your home folder, which is not known");
            let help = "set `HOME`, or write the path out";
            loader.found.push(error(codes::MOUNT, message).at(span, "").help(help));
            loader.found.spoil(span);
            Some(path.to_owned())
        }
    }
}

struct Resolver<'a, 'b> {
    loader: &'a mut Loader<'b>,
    /// Environment files by path, because many services share one.
    env_files: HashMap<(String, bool), Vec<dotenv::Setting>>,
    /// Whether a variable without a value stays.
    keeps_unset: bool,
}

impl Resolver<'_, '_> {
    fn profiles(&mut self, services: &mut Map) -> Inactive {
        let mut inactive = Inactive::new();
        for entry in &services.entries {
            let node = entry.value.as_map().and_then(|map| map.get("profiles"));
            let Some(node) = node else { continue };
            let profiles = Reader { found: &mut self.loader.found }.scalars(node, "profiles");
            let chosen = &self.loader.profiles;
            // Where none is chosen the reference chooses the one without a name.
            let active = |profile: &String| {
                chosen.contains(profile) || chosen.contains("*") || chosen.is_empty() && profile.is_empty()
            };
            if !profiles.is_empty() && !profiles.iter().any(active) {
                inactive.insert(entry.key.clone(), profiles);
            }
        }
        services.entries.retain(|entry| !inactive.contains_key(&entry.key));
        inactive
    }

    /// `env_file` below `environment`; a name without value gets it from the variables or leaves.
    fn environment(&mut self, service: &mut Map) {
        let files = service.remove("env_file");
        let own = service.remove("environment");
        if files.is_none() && own.is_none() {
            return;
        }
        let span = own.as_ref().or(files.as_ref()).map(|entry| entry.key_span).expect("one of them is there");
        let mut merged: BTreeMap<Arc<str>, Option<Entry>> = BTreeMap::new();
        // What a file may use beside the project's variables: `environment`, and the files before it.
        let mut beside: HashMap<String, String> = own.iter().flat_map(|entry| texts(&entry.value)).collect();
        let written: BTreeSet<String> = beside.keys().cloned().collect();
        let mut read = Reader { found: &mut self.loader.found };
        let files = files.map(|entry| read.list(&entry.value, "env_file").to_vec()).unwrap_or_default();
        for item in &files {
            for setting in self.env_file(item, &beside) {
                if let Some(value) = setting.value.clone().filter(|_| !written.contains(&setting.name)) {
                    beside.insert(setting.name.clone(), value);
                }
                let key: Arc<str> = setting.name.as_str().into();
                let entry = setting.value.as_deref().map(|value| Entry {
                    key: key.clone(),
                    key_span: setting.span,
                    value: Node::text(value, setting.span),
                });
                merged.insert(key, entry);
            }
        }
        if let Some(entry) = own {
            match entry.value.value {
                Value::Map(map) => {
                    for mut entry in map.entries {
                        let key = entry.key.clone();
                        if entry.value.is_null() {
                            let value = self.loader.variables.get(&key).map(str::to_owned);
                            let Some(value) = value else {
                                merged.insert(key, Some(entry).filter(|_| self.keeps_unset));
                                continue;
                            };
                            entry.value = Node::text(value, entry.key_span);
                            self.loader.expanded.insert(entry.key_span);
                        }
                        merged.insert(key, Some(entry));
                    }
                }
                _ if entry.value.is_null() => {}
                // Not a mapping: kept, so that reading it reports the type.
                _ => {
                    service.entries.push(entry);
                    return;
                }
            }
        }
        let entries = merged.into_values().flatten().collect();
        service.push("environment", Node::map(Map { entries }, span));
    }

    /// Labels of files below `labels`.
    fn labels(&mut self, service: &mut Map) {
        let Some(files) = service.entry("label_file").cloned() else { return };
        let mut all: BTreeMap<Arc<str>, Node> = BTreeMap::new();
        for item in files.value.as_list().unwrap_or_default() {
            let Some(scalar) = item.as_scalar() else { continue };
            let path = self.home(&scalar.text, item.span);
            let path = path.unwrap_or_else(|| absolute(self.loader.project_dir, &scalar.text));
            let Some((file, text)) = self.loader.read_text(&path, item.span, false) else { continue };
            let outside = |name: &str| all.get(name).and_then(Node::as_scalar).map(|scalar| scalar.text.to_string());
            let settings = dotenv::parse(file, &text, Format::Compose, &outside, &mut self.loader.found);
            let set = settings.into_iter().filter_map(|s| Some((s.name.into(), Node::text(s.value?, s.span))));
            all.extend(set.collect::<Vec<_>>());
        }
        let own = service.remove("labels").map(|entry| entry.value);
        for entry in own.as_ref().and_then(Node::as_map).map_or(&[][..], |map| &map.entries) {
            all.insert(entry.key.clone(), entry.value.clone());
        }
        let entry = |(key, value): (Arc<str>, Node)| Entry { key, key_span: value.span, value };
        let labels = Map { entries: all.into_iter().map(entry).collect() };
        service.push("labels", Node::map(labels, files.key_span));
    }

    fn env_file(&mut self, item: &Node, beside: &HashMap<String, String>) -> Vec<dotenv::Setting> {
        let mut read = Reader { found: &mut self.loader.found };
        let Some(map) = read.map(item, "env_file") else { return Vec::new() };
        let Some(node) = map.get("path") else {
            read.wrong(codes::MISSING, item, "an entry of `env_file` needs a `path`", "write the file's path");
            return Vec::new();
        };
        let Some(path) = read.text(node, "path") else { return Vec::new() };
        let required = map.get("required").and_then(|node| read.boolean(node, "required")).unwrap_or(true);
        let path = self.home(&path, node.span).unwrap_or_else(|| absolute(self.loader.project_dir, &path));
        // Of a file that need not be there and is not, nobody asks how it would be read.
        let format = map.get("format").filter(|node| !node.is_null() && self.loader.files.exists(&path));
        let mut read = Reader { found: &mut self.loader.found };
        let raw = format.and_then(|node| read.word(node, "format", &[("raw", true)])).unwrap_or(false);
        let cached = (path, raw);
        if let Some(settings) = self.env_files.get(&cached) {
            return settings.clone();
        }
        let format = if raw { Format::Raw } else { Format::Compose };
        let mut depends = Cell::new(false);
        let settings = match self.loader.read_text(&cached.0, node.span, !required) {
            Some((file, text)) => {
                let variables = std::mem::take(&mut self.loader.variables);
                let outside = |name: &str| {
                    let value = variables.get(name).or_else(|| beside.get(name).map(String::as_str));
                    depends.set(depends.get() || variables.get(name).is_none());
                    value.map(str::to_owned)
                };
                let settings = dotenv::parse(file, &text, format, &outside, &mut self.loader.found);
                self.loader.variables = variables;
                settings
            }
            None => Vec::new(),
        };
        // What asks for more than the project's variables may be something else in another service.
        if !*depends.get_mut() {
            self.env_files.insert(cached, settings.clone());
        }
        settings
    }

    fn home(&mut self, path: &str, span: Span) -> Option<String> {
        home(path, span, self.loader)
    }

    fn mounts(&mut self, service: &mut Map) {
        let Some(Value::List(items)) = service.get_mut("volumes").map(|node| &mut node.value) else { return };
        for item in items {
            let Some(map) = item.as_map_mut() else { continue };
            let is = |key: &str, wanted: &str| {
                map.get(key).and_then(Node::as_scalar).is_some_and(|scalar| scalar.text.eq_ignore_ascii_case(wanted))
            };
            if !is("type", "bind") {
                continue;
            }
            let read_only = is("read_only", "true");
            let Some(source) = map.get_mut("source").filter(|node| !node.is_null()) else { continue };
            let Some(scalar) = source.as_scalar() else { continue };
            let path = self.bind(&scalar.text.clone(), read_only, source.span);
            *source = Node::text(path, source.span);
        }
    }

    /// `./…` for what the bundle can carry, else an absolute path of the machine.
    fn bind(&mut self, path: &str, read_only: bool, span: Span) -> String {
        let full = self.home(path, span).unwrap_or_else(|| absolute(self.loader.project_dir, path));
        let relative = !path.starts_with(['/', '~']);
        let inside = within(self.loader.project_dir, &full).filter(|_| relative && read_only);
        if relative && !self.loader.files.exists(&full) {
            self.loader.found.push(
                warning(codes::NO_SUCH_PATH, format!("`{path}` does not exist"))
                    .at(span, "")
                    .help("create it before `mainstay up`, or correct the path"),
            );
        }
        match inside {
            Some(inside) if inside == "." => inside,
            Some(inside) => format!("./{inside}"),
            None => full,
        }
    }

    /// Puts the content of a secret or config inline.
    fn content(&mut self, entry: &mut Entry, section: &str) {
        let span = entry.key_span;
        if entry.value.is_null() {
            return;
        }
        let Some(map) = entry.value.as_map_mut() else { return };
        // Keys that come from elsewhere have been answered by the table of keys.
        let elsewhere = ["external", "driver"].iter().any(|key| {
            map.get(key).and_then(Node::as_scalar).is_none_or(|scalar| &*scalar.text != "false")
                && map.get(key).is_some()
        });
        let sources: Vec<&str> = ["file", "environment", "content"]
            .into_iter()
            .filter(|key| {
                (section == "configs" || *key != "content") && map.get(key).is_some_and(|node| !node.is_null())
            })
            .collect();
        let content = match sources.first() {
            _ if elsewhere => Some(Node::text("", span)),
            Some(&"file") => Some(self.file_content(map.get("file").expect("found above"))),
            Some(&"environment") => Some(self.variable_content(map.get("environment").expect("found above"))),
            _ => map.remove("content").map(|entry| entry.value),
        };
        map.entries.retain(|entry| !["file", "environment", "content", "content_hex"].contains(&&*entry.key));
        match content.map(|node| (node.tag, node)) {
            Some((_, Node { value: Value::Map(hex), .. })) => map.entries.extend(hex.entries),
            Some((_, node)) => map.push("content", node),
            None => {}
        }
    }

    fn file_content(&mut self, node: &Node) -> Node {
        let nothing = Node::text("", node.span);
        let Some(path) = Reader { found: &mut self.loader.found }.text(node, "file") else { return nothing };
        let full = self.home(&path, node.span).unwrap_or_else(|| absolute(self.loader.project_dir, &path));
        match self.loader.files.read(&full, MAX_CONTENT) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Node::text(text, node.span),
                Err(binary) => {
                    let mut map = Map::default();
                    let digits = crate::assemble::to_hex(binary.as_bytes());
                    map.push("content_hex", Node::text(digits, node.span));
                    Node::map(map, node.span)
                }
            },
            Err(problem) => {
                let (code, help) = match problem {
                    FileError::TooLarge { .. } => (codes::CONTENT_SIZE, "mount the file as a read-only volume instead"),
                    _ => (codes::FILE, "create the file, or correct the path"),
                };
                let message = format!("`{path}` cannot be read: {problem}");
                self.loader.found.push(error(code, message).at(node.span, "").help(help));
                nothing
            }
        }
    }

    fn variable_content(&mut self, node: &Node) -> Node {
        let nothing = Node::text("", node.span);
        let Some(name) = Reader { found: &mut self.loader.found }.text(node, "environment") else { return nothing };
        match self.loader.variables.get(&name) {
            Some(value) => Node::text(value, node.span),
            None => {
                let message = format!("the variable `{name}` must be set: it is the content of this");
                let help = format!("set `{name}` in `.env` or in the environment");
                self.loader.found.push(error(codes::REQUIRED, message).at(node.span, "").help(help));
                nothing
            }
        }
    }
}
