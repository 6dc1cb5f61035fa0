//! One service: from its long form and its part of the policy to [`Service`].

use super::files::Contents;
use super::read::Reader;
use super::{Kind, MAX_REPLICAS, Outside, Reference, command, datastore, network};
use crate::codes;
use crate::findings::{error, note, warning};
use crate::policy::{ArtifactRule, Policy, Recipe, RecipeRuns};
use crate::syntax::{Entry, Map, Node};
use model::container::{Build, Pull};
use model::image::ImageRef;
use model::name::ServiceName;
use model::policy::EngineKind;
use model::probe::Probes;
use model::project::{
    Artifact, Condition, Dependency, MountSource, Order, RestartPolicy, Role, Runs, Service, Template, Update,
};
use model::span::Spanned;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Where a program of the project runs and where its artifacts lie, if nothing is said.
pub const WORKING_DIR: &str = "/app";

/// The services that some other waits for to be completed: they run once.
pub fn completed(top: &Map) -> BTreeSet<String> {
    let services = top.get("services").and_then(Node::as_map).map_or(&[][..], |map| &map.entries);
    let dependencies = services
        .iter()
        .filter_map(|entry| entry.value.as_map()?.get("depends_on")?.as_map())
        .flat_map(|map| &map.entries);
    let waited = dependencies.filter(|entry| {
        let condition = entry.value.as_map().and_then(|map| map.get("condition")).and_then(Node::as_scalar);
        condition.is_some_and(|scalar| &*scalar.text == "service_completed_successfully")
    });
    waited.map(|entry| entry.key.to_string()).collect()
}

/// A mapping of texts.
pub fn text_map(node: &Node, key: &str, read: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Some(map) = read.map(node, key) else { return BTreeMap::new() };
    let mut texts = BTreeMap::new();
    for entry in &map.entries {
        if let Some(scalar) = entry.value.as_scalar() {
            texts.insert(entry.key.to_string(), scalar.to_text());
        } else {
            read.scalar(&entry.value, &entry.key);
        }
    }
    texts
}

/// The texts of a mapping below a key; none where there is no such key.
pub fn texts_of(map: &Map, key: &str, read: &mut Reader<'_>) -> BTreeMap<String, String> {
    map.get(key).map(|node| text_map(node, key, read)).unwrap_or_default()
}

/// Reads one service.
pub struct ServiceReader<'a> {
    /// Reads values.
    pub read: Reader<'a>,
    /// The engine that it is read for.
    pub engine: EngineKind,
    /// What mainstay.yaml says.
    pub policy: &'a Policy,
    /// The contents of secrets and configs.
    pub contents: &'a Contents,
    /// Networks and volumes that are not the project's.
    pub outside: &'a Outside,
    /// Where references are collected.
    pub references: &'a mut Vec<Reference>,
    /// The services that run once because others wait for that.
    pub completed: &'a BTreeSet<String>,
}

/// What `deploy.mode` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Replicated,
    Global,
    Job,
    GlobalJob,
}

impl<'a> ServiceReader<'a> {
    /// The service, or none if it is no mapping or nothing can be run; problems go to the findings.
    pub fn service(&mut self, entry: &Entry) -> Option<Service> {
        let name = &*entry.key;
        if entry.value.is_null() {
            return None;
        }
        let map = self.read.map(&entry.value, name)?;
        let deploy = self.below(map, "deploy");
        let image = map.get("image").filter(|node| !node.is_null());
        let image: Option<ImageRef> = image.and_then(|node| {
            self.read.text(node, "image")?;
            self.read.parse(codes::VALUE, node, "image")
        });
        let is_store = image.as_ref().is_some_and(datastore::is_store);
        let recipe = self.recipe(name, map);
        // Where nothing can be run that has been reported; the rest is still worth reading.
        let runs = self.runs(entry, map, image.clone(), recipe).unwrap_or_else(|| build_of(None, None));
        let mode = self.mode(deploy);
        let replicas = self.replicas(name, map, deploy, mode);
        let rules = self.policy.services.get(name);
        let direct = rules.and_then(|rules| rules.value.direct);
        let is_static = matches!(runs, Runs::Static { .. });
        let direct = !is_static && direct.unwrap_or(is_store && replicas == 1 && recipe.is_none());
        let once = matches!(mode, Mode::Job | Mode::GlobalJob) || self.completed.contains(name);
        let role = if once { Role::Job } else { Role::Service };
        let mut published = network::published(map, is_store && recipe.is_none(), &mut self.read);
        let probes = self.probes(name, map);
        let mut ports: BTreeSet<u16> = published.iter().map(|port| port.target).collect();
        if let Some(node) = map.get("expose") {
            ports.extend(network::exposed(node, &mut self.read));
        }
        if recipe.is_none() {
            ports.extend(image.as_ref().and_then(datastore::port));
        }
        ports.extend([&probes.ready, &probes.live].into_iter().flatten().filter_map(|probe| match probe.check {
            model::probe::Check::Http { port, .. } | model::probe::Check::Tcp { port } => Some(port).filter(|p| *p > 0),
            model::probe::Check::Command { .. } => None,
        }));
        let apart = self.apart(map);
        if apart.is_some() && !published.is_empty() {
            self.say_discarded(map);
            published.clear();
        }
        // Two of them would want the same ports of the machine.
        let direct = direct || apart == Some("host") && !is_static;
        let balance = rules.and_then(|rules| rules.value.balance).unwrap_or_default();
        let ready_within = rules.and_then(|rules| rules.value.ready_within);
        let mut update = self.update(deploy, &probes, replicas, direct);
        update.deadline = ready_within.unwrap_or(update.deadline);
        let depends_on = self.depends_on(map);
        let restart = self.restart(map, deploy);
        let template = Arc::new(self.template(map, deploy, runs, recipe));
        self.judge_build(entry, map, image.as_ref(), recipe);
        // A job that runs once, such as a dump, takes the store's image for its tools.
        if role == Role::Service {
            self.judge_data(entry, &template);
        }
        let at = entry.key_span;
        Some(Service {
            template,
            role,
            replicas,
            depends_on,
            published,
            ports,
            probes,
            restart,
            update,
            direct,
            balance,
            at,
        })
    }

    /// Whether the engine is one that runs containers.
    pub(super) fn is_docker(&self) -> bool {
        self.engine == EngineKind::Docker
    }

    /// Ports of a replica that has no address of its own are not published, as the reference has it.
    fn say_discarded(&mut self, map: &Map) {
        let Some(ports) = map.entry("ports") else { return };
        self.read.found.push(
            warning(codes::IGNORED, "`ports` has no effect: the service is on no network of the project")
                .at(ports.key_span, "")
                .help("remove it, or remove `network_mode`"),
        );
    }

    /// The process engine builds no images: says so where a recipe does not stand in.
    fn judge_build(&mut self, entry: &Entry, map: &Map, image: Option<&ImageRef>, recipe: Option<&Recipe>) {
        if self.is_docker() {
            return;
        }
        let Some(build) = map.entry("build").filter(|build| recipe.is_none() && !build.value.is_null()) else { return };
        let help = format!(
            "have Docker build and run it (`--engine docker`), or write `processes.{}` in mainstay.yaml: what is built and run \
             without an image",
            entry.key
        );
        match image.filter(|image| datastore::is_known(image)) {
            // The catalogue's program would run in place of what is to be built.
            Some(image) => self.read.found.push(
                error(codes::NOT_YET, format!("`build` is not supported yet, and `{image}` would run without it"))
                    .at(build.key_span, "")
                    .help(format!("{help}; or remove `build`")),
            ),
            None => self.read.found.push(
                warning(codes::NOT_YET, format!("`build` is not supported yet, so nothing runs as `{}`", entry.key))
                    .at(build.key_span, "")
                    .help(help),
            ),
        }
    }

    /// The data of a store without a volume lie in one without a name, which nobody finds and `down --volumes` takes.
    fn judge_data(&mut self, entry: &Entry, template: &Template) {
        let Runs::Image { image, .. } = &template.runs else { return };
        let Some(data) = datastore::data(image) else { return };
        let below = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        let keeps = template.mounts.iter().any(|mount| {
            let covers = below(data, &mount.target) || below(&mount.target, data);
            covers && !matches!(mount.source, MountSource::Anonymous)
        });
        if !keeps {
            self.read.found.push(
                warning(
                    codes::NO_VOLUME,
                    format!("the data of `{}` lie in a volume without a name: none is mounted at `{data}`", entry.key),
                )
                .at(entry.key_span, "")
                .help(format!("mount a named volume there, or write `tmpfs: {data}` if that is what you mean")),
            );
        }
    }

    pub(super) fn below<'n>(&mut self, map: &'n Map, key: &str) -> Option<&'n Map> {
        map.get(key).and_then(|node| self.read.map(node, key))
    }

    /// How it runs without a container. A container engine has no use for that, but for a folder of a service that
    /// has no image.
    fn recipe(&self, name: &str, map: &Map) -> Option<&'a Recipe> {
        let recipe = self.policy.recipes.get(name).map(|recipe| &recipe.value)?;
        let has_image = ["image", "build"].iter().any(|key| map.get(key).is_some_and(|node| !node.is_null()));
        let is_static = matches!(recipe.runs, RecipeRuns::Static { .. });
        (!self.is_docker() || is_static && !has_image).then_some(recipe)
    }

    fn runs(&mut self, entry: &Entry, map: &Map, image: Option<ImageRef>, recipe: Option<&Recipe>) -> Option<Runs> {
        let entrypoint = command::words(map, "entrypoint", &mut self.read);
        let command = command::words(map, "command", &mut self.read);
        if let Some(recipe) = recipe {
            return self.recipe_runs(entry, map, recipe, entrypoint, command);
        }
        let build = map.get("build").filter(|node| !node.is_null());
        if let (Some(node), true) = (build, self.is_docker()) {
            let build = Box::new(self.build(map, node, image));
            return Some(Runs::Build { build, pin: None, entrypoint, command });
        }
        match image {
            Some(image) => {
                let pull = if self.is_docker() { self.pull(map, false) } else { Pull::default() };
                Some(Runs::Image { image, pull, pin: None, entrypoint, command })
            }
            None if build.is_some() => Some(build_of(entrypoint, command)),
            // Reported with what a service must have.
            None => None,
        }
    }

    fn recipe_runs(
        &mut self,
        entry: &Entry,
        map: &Map,
        recipe: &Recipe,
        entrypoint: Option<Vec<String>>,
        command: Option<Vec<String>>,
    ) -> Option<Runs> {
        match &recipe.runs {
            RecipeRuns::Static { root, spa } => {
                let root = self.inside(root)?;
                Some(Runs::Static { root, spa: *spa })
            }
            RecipeRuns::Process { command: own, artifacts, .. } => {
                let compose = [entrypoint.unwrap_or_default(), command.unwrap_or_default()].concat();
                let command = own.clone().unwrap_or(compose);
                let working_dir = self.working_dir(map, Some(recipe)).unwrap_or_else(|| WORKING_DIR.to_owned());
                let artifacts = artifacts.iter().filter_map(|rule| self.artifact(rule, &working_dir)).collect();
                if command.is_empty() {
                    let span = self.policy.recipes[&*entry.key].span;
                    self.read.found.push(
                        error(codes::PROCESS, format!("nothing says what `{}` runs", entry.key))
                            .at(span, "")
                            .help("write a `command`, or `static` with a folder"),
                    );
                    return None;
                }
                Some(Runs::Process { command, artifacts })
            }
        }
    }

    /// A path of the project, refused where it leaves it.
    fn inside(&mut self, path: &Spanned<String>) -> Option<String> {
        const ROOT: &str = "/project";
        let escapes = path.starts_with('/') || {
            let mut depth = 0i64;
            path.split('/').any(|part| {
                depth += match part {
                    "" | "." => 0,
                    ".." => -1,
                    _ => 1,
                };
                depth < 0
            })
        };
        if escapes {
            self.read.found.push(
                error(codes::ESCAPE, format!("`{}` lies outside of the project", path.value))
                    .at(path.span, "")
                    .help("write a path relative to the project's folder, and copy the file into it"),
            );
            return None;
        }
        crate::files::within(ROOT, &crate::files::absolute(ROOT, path))
    }

    fn artifact(&mut self, rule: &ArtifactRule, working_dir: &str) -> Option<Artifact> {
        let source = self.inside(&rule.from)?;
        let name = source.rsplit('/').next().unwrap_or(&source);
        let target = match rule.to.as_deref() {
            // Into a folder, under its own name: a file over `/app` would hide all that is in it.
            Some(folder) if folder.ends_with('/') => format!("{folder}{name}"),
            Some(target) => target.to_owned(),
            None => name.to_owned(),
        };
        let target = crate::files::absolute(working_dir, &target);
        Some(Artifact { source, target })
    }

    pub(super) fn working_dir(&mut self, map: &Map, recipe: Option<&Recipe>) -> Option<String> {
        if let Some(RecipeRuns::Process { working_dir: Some(folder), .. }) = recipe.map(|recipe| &recipe.runs) {
            return Some(folder.clone());
        }
        let node = map.get("working_dir").filter(|node| !node.is_null())?;
        self.read.target(node, "working_dir")
    }

    fn mode(&mut self, deploy: Option<&Map>) -> Mode {
        const MODES: &[(&str, Mode)] = &[
            ("replicated", Mode::Replicated),
            ("global", Mode::Global),
            ("replicated-job", Mode::Job),
            ("global-job", Mode::GlobalJob),
        ];
        let node = deploy.and_then(|map| map.get("mode")).filter(|node| !node.is_null());
        let Some(mode) = node.and_then(|node| self.read.word(node, "mode", MODES)) else { return Mode::Replicated };
        if let (Mode::Global | Mode::GlobalJob, Some(node)) = (mode, node) {
            let message = "`global` means one replica: there is one machine";
            self.read.found.push(note(codes::EMULATED, message).at(node.span, ""));
        }
        mode
    }

    fn replicas(&mut self, name: &str, map: &Map, deploy: Option<&Map>, mode: Mode) -> u32 {
        let count = |read: &mut Reader<'_>, map: &Map, key: &str| {
            let node = map.get(key).filter(|node| !node.is_null())?;
            Some(read.number(node, key, 0, MAX_REPLICAS)? as u32)
        };
        let scale = count(&mut self.read, map, "scale");
        let deployed = deploy.and_then(|deploy| count(&mut self.read, deploy, "replicas"));
        if matches!(mode, Mode::Global | Mode::GlobalJob) {
            return 1;
        }
        let declared = self.policy.replicas.get(name).map(|replicas| replicas.value);
        declared.or(deployed).or(scale).unwrap_or(1)
    }

    fn probes(&mut self, name: &str, map: &Map) -> Probes {
        let ready = command::healthcheck(map, &mut self.read);
        let mut probes = Probes { ready, live: None, disabled: command::is_disabled(map) };
        if let Some(rules) = self.policy.probes.get(name) {
            if let Some(rule) = &rules.value.ready {
                probes.ready = Some(command::probe(&rule.value));
            }
            probes.live = rules.value.live.as_ref().map(|rule| command::probe(&rule.value));
        }
        probes
    }

    fn update(&mut self, deploy: Option<&Map>, probes: &Probes, replicas: u32, direct: bool) -> Update {
        const ORDERS: &[(&str, Order)] = &[("start-first", Order::StartFirst), ("stop-first", Order::StopFirst)];
        let mut update = Update::default();
        let config = deploy.and_then(|map| self.below(map, "update_config"));
        if let Some(map) = config {
            let parallelism = map.get("parallelism").filter(|node| !node.is_null());
            if let Some(count) = parallelism.and_then(|node| self.read.number(node, "parallelism", 0, MAX_REPLICAS)) {
                // Compose's 0 means all at once.
                let count = if count == 0 { replicas.max(1) } else { count as u32 };
                update.parallelism = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
            }
            let order = map.get("order").filter(|node| !node.is_null());
            if let Some(order) = order.and_then(|node| self.read.word(node, "order", ORDERS)) {
                update.order = order;
                if let (true, Order::StartFirst, Some(node)) = (direct, order, map.get("order")) {
                    self.read.found.push(
                        warning(codes::IGNORED, "a data store with one replica is replaced stop-first")
                            .at(node.span, "")
                            .help("write `services.<name>.direct: false` in mainstay.yaml if two may run at once"),
                    );
                }
            }
        }
        if direct {
            update.order = Order::StopFirst;
        }
        if let Some(probe) = &probes.ready {
            // A probe that is allowed to fail longer than the default must not lose a release for it.
            let allowed = probe.start_period + (probe.interval + probe.timeout) * probe.retries.get();
            update.deadline = update.deadline.max(allowed);
        }
        update
    }

    fn depends_on(&mut self, map: &Map) -> BTreeMap<ServiceName, Dependency> {
        const CONDITIONS: &[(&str, Condition)] = &[
            ("service_started", Condition::Started),
            ("service_healthy", Condition::Healthy),
            ("service_completed_successfully", Condition::Completed),
        ];
        let mut dependencies = BTreeMap::new();
        for entry in self.below(map, "depends_on").map_or(&[][..], |map| &map.entries) {
            self.references.push(Reference { kind: Kind::Service, name: entry.key.to_string(), at: entry.key_span });
            let condition = self.read.map(&entry.value, "depends_on").and_then(|map| map.get("condition"));
            let condition = condition.map(|node| self.read.word(node, "condition", CONDITIONS));
            if let (Some(condition), Ok(name)) = (condition.unwrap_or(Some(Condition::Started)), entry.key.parse()) {
                dependencies.insert(name, Dependency { condition, at: entry.key_span });
            }
        }
        dependencies
    }

    fn restart(&mut self, map: &Map, deploy: Option<&Map>) -> RestartPolicy {
        if let Some(policy) = deploy.and_then(|map| self.below(map, "restart_policy")) {
            const CONDITIONS: &[(&str, u8)] = &[("none", 0), ("on-failure", 1), ("any", 2)];
            let node = policy.get("condition").filter(|node| !node.is_null());
            let condition = node.and_then(|node| self.read.word(node, "condition", CONDITIONS)).unwrap_or(2);
            let attempts = policy.get("max_attempts").filter(|node| !node.is_null());
            let max = attempts.and_then(|node| self.read.number(node, "max_attempts", 0, u32::MAX.into()));
            return match condition {
                0 => RestartPolicy::No,
                1 => RestartPolicy::OnFailure { max: max.and_then(|n| NonZeroU32::new(n as u32)) },
                _ => {
                    if let (Some(node), Some(1..)) = (attempts, max) {
                        let message = "`max_attempts` has no effect: it limits restarts `on-failure` only";
                        let help = "write `condition: on-failure`, or remove it";
                        self.read.found.push(warning(codes::IGNORED, message).at(node.span, "").help(help));
                    }
                    RestartPolicy::Always
                }
            };
        }
        let Some(node) = map.get("restart").filter(|node| !node.is_null()) else { return RestartPolicy::No };
        let Some(text) = self.read.scalar(node, "restart") else { return RestartPolicy::No };
        match text.split_once(':').unwrap_or((&text, "")) {
            ("no" | "false", "") => RestartPolicy::No,
            ("always" | "unless-stopped", "") => RestartPolicy::Always,
            ("on-failure", "") => RestartPolicy::OnFailure { max: None },
            ("on-failure", count) if count.parse::<u32>().is_ok() => {
                RestartPolicy::OnFailure { max: count.parse().ok().and_then(NonZeroU32::new) }
            }
            _ => {
                let help =
                    self.read.found.did_you_mean(&text, ["no", "always", "on-failure", "unless-stopped"], || {
                        "write `no`, `always`, `on-failure[:times]` or `unless-stopped`".into()
                    });
                self.read.wrong(codes::VALUE, node, format!("`{text}` is no `restart` policy"), help);
                RestartPolicy::No
            }
        }
    }
}

fn build_of(entrypoint: Option<Vec<String>>, command: Option<Vec<String>>) -> Runs {
    Runs::Build { build: Box::new(Build::default()), pin: None, entrypoint, command }
}
