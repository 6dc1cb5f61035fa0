//! What loading gives: the project, what the client builds, and the declaration that travels in the bundle.
//!
//! The declaration is the resolved tree, so the daemon reads it with the same code as the client:
//! `from_canonical(to_canonical(x))` is `x.project`, places aside.

use crate::assemble::Title;
use crate::carried::{BuildContext, Carried};
use crate::compose::Beside;
use crate::findings::{Findings, error};
use crate::policy::{Invocation, Policy};
use crate::resolved::Resolved;
use crate::syntax::{Map, Node, build, emit};
use crate::{assemble, codes, compose, consistency, keys, policy};
use model::diagnostic::Diagnostic;
use model::name::{EnvironmentName, ProjectName};
use model::policy::EngineKind;
use model::project::{MountSource, Project, Runs};
use model::span::{FileId, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The version of the declaration's form; a daemon refuses others.
const VERSION: &str = "1";

/// A declared project.
pub struct Declared {
    /// What runs.
    pub project: Project,
    /// What the client runs first, so that the artifacts exist.
    pub builds: Vec<Build>,
    /// Files and folders of the project that the bundle must carry, relative to the project's folder.
    pub bundle_paths: BTreeSet<String>,
    /// Folders of this machine that images are built of; the bundle must carry them as well.
    pub contexts: Vec<BuildContext>,
    /// What the files say.
    pub resolved: Arc<Resolved>,
    /// The Compose tree that travels, where it is another one than that which is shown.
    carried: Option<Node>,
}

/// A command that makes artifacts; run in the project's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The services that use what it makes.
    pub services: Vec<String>,
    /// What is run.
    pub invocation: Invocation,
}

impl Build {
    /// The builds of a policy, each once although several services may name it.
    pub(crate) fn of_policy(policy: &Policy) -> Vec<Build> {
        let mut builds: BTreeMap<&Invocation, Vec<String>> = BTreeMap::new();
        for (service, recipe) in &policy.recipes {
            if let Some(invocation) = &recipe.value.build {
                builds.entry(invocation).or_default().push(service.clone());
            }
        }
        let build = |(invocation, services): (&Invocation, _)| Build { services, invocation: invocation.clone() };
        builds.into_iter().map(build).collect()
    }
}

impl Declared {
    pub(crate) fn new(project: Project, builds: Vec<Build>, carried: Carried, resolved: Arc<Resolved>) -> Self {
        let bundle_paths = bundle_paths(&project);
        // Recipes that the engine has no use for need no build either.
        let runs = |name: &String| {
            let service = project.services.get(name.as_str());
            service.is_some_and(|s| matches!(s.template.runs, Runs::Process { .. } | Runs::Static { .. }))
        };
        let builds = builds.into_iter().filter(|build| build.services.iter().any(runs)).collect();
        let Carried { compose: carried, contexts } = carried;
        Self { project, builds, bundle_paths, contexts, resolved, carried }
    }
}

fn bundle_paths(project: &Project) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for service in project.services.values() {
        match &service.template.runs {
            Runs::Process { artifacts, .. } => paths.extend(artifacts.iter().map(|artifact| artifact.source.clone())),
            Runs::Static { root, .. } => {
                paths.insert(root.clone());
            }
            Runs::Image { .. } | Runs::Build { .. } => {}
        }
        for mount in &service.template.mounts {
            if let MountSource::Bundle(path) = &mount.source {
                paths.insert(path.clone());
            }
        }
    }
    paths
}

/// The declaration as JSON: what a bundle carries. Holds secrets.
pub fn to_canonical(declared: &Declared) -> String {
    let mut compose = declared.carried.as_ref().unwrap_or(&declared.resolved.compose).clone();
    let mut policy = declared.resolved.policy.clone();
    // The content of a secret is no key of the specification, so it is put aside.
    let secrets = compose.as_map_mut().and_then(|map| map.remove("secrets"));
    let configs = compose.as_map_mut().and_then(|map| map.remove("configs"));
    let engine = declared.resolved.engine.kind;
    keys::compose::table(engine).expect("it was declared").prune(&mut compose);
    if engine != EngineKind::Docker {
        forget_builds(&mut compose);
    }
    keys::policy::TABLE.prune(&mut policy);
    if let Some(map) = compose.as_map_mut() {
        map.entries.extend([secrets, configs].into_iter().flatten());
        map.remove("name");
    }
    if let Some(map) = policy.as_map_mut() {
        map.remove("project");
        // The engine that was chosen travels at the top, whoever named it.
        let environments = map.get_mut("environments").and_then(Node::as_map_mut);
        for environment in environments.into_iter().flat_map(|map| &mut map.entries) {
            environment.value.as_map_mut().and_then(|map| map.remove("engine"));
        }
        if let Some(recipes) = map.get_mut("processes").and_then(Node::as_map_mut) {
            for recipe in recipes.entries.iter_mut().filter_map(|entry| entry.value.as_map_mut()) {
                // Only the client builds; another way to build the same is the same release.
                recipe.remove("build");
            }
        }
    }
    let span = compose.span;
    let mut root = Map::default();
    root.push("mainstay", Node::plain(VERSION, span));
    root.push("project", Node::text(declared.project.name.as_str(), span));
    root.push("environment", Node::text(declared.project.environment.as_str(), span));
    root.push("engine", Node::text(engine.as_str(), span));
    root.push("compose", compose);
    root.push("policy", policy);
    emit::json(&Node::map(root, span))
}

/// Of what nothing is built of it matters only that it is there.
fn forget_builds(compose: &mut Node) {
    let services = compose.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut);
    for service in services.into_iter().flat_map(|map| &mut map.entries) {
        let build = service.value.as_map_mut().and_then(|map| map.get_mut("build"));
        if let Some(build) = build.filter(|build| !build.is_null()) {
            let mut context = Map::default();
            context.push("context", Node::text(".", build.span));
            *build = Node::map(context, build.span);
        }
    }
}

/// The project of a declaration.
///
/// Errors: what does not fit; a declaration that [`to_canonical`] wrote has none.
pub fn from_canonical(text: &str) -> Result<Project, Vec<Diagnostic>> {
    let mut found = Findings::default();
    let project = read(text, &mut found);
    match project {
        Some(project) if !found.has_errors() => Ok(project),
        _ => Err(found.into_sorted()),
    }
}

fn read(text: &str, found: &mut Findings) -> Option<Project> {
    let file = FileId(0);
    let nowhere = Span { file, start: 0, end: 0 };
    let wrong = |found: &mut Findings, message: String| {
        let help = "send the bundle again with this version of mainstay";
        found.push(error(codes::DECLARATION, message).at(nowhere, "").help(help));
    };
    let tree = build::parse(file, text, found)?;
    let field = |key: &str| tree.as_map().and_then(|map| map.get(key));
    let scalar = |key: &str| field(key).and_then(Node::as_scalar).map(|scalar| scalar.text.to_string());
    let version = scalar("mainstay").unwrap_or_default();
    if version != VERSION {
        wrong(found, format!("this declaration has the form `{version}`, known is `{VERSION}`"));
        return None;
    }
    let name = scalar("project").and_then(|text| text.parse::<ProjectName>().ok());
    let environment = scalar("environment").and_then(|text| text.parse::<EnvironmentName>().ok());
    let (Some(name), Some(environment), Some(compose), Some(policy)) =
        (name, environment, field("compose"), field("policy"))
    else {
        wrong(found, "this declaration lacks a part".into());
        return None;
    };
    let rules = policy::read(policy, environment.as_str(), found);
    let engine = match scalar("engine").map(|text| text.parse::<EngineKind>()) {
        Some(Ok(engine)) => engine,
        Some(Err(problem)) => {
            wrong(found, problem.to_string());
            return None;
        }
        // One that was made when there was a single engine.
        None => rules.engine.as_ref().map_or(EngineKind::Process, |engine| engine.value),
    };
    if keys::compose::table(engine).is_none() {
        wrong(found, format!("this declaration is for the engine `{engine}`, which is not supported yet"));
        return None;
    }
    let beside = Beside { recipes: rules.runnable(engine), engine: Some(engine), ..Beside::default() };
    compose::check(compose, &beside, found);
    let assembled = assemble::project(compose, &rules, Title { name, environment, engine }, found);
    consistency::check(&assembled, compose, found);
    Some(assembled.project)
}

/// The same project with every place forgotten, so that projects from different texts can be compared.
pub fn without_places(mut project: Project) -> Project {
    let nowhere = Span { file: FileId(0), start: 0, end: 0 };
    for service in project.services.values_mut() {
        service.at = nowhere;
        service.depends_on.values_mut().for_each(|dependency| dependency.at = nowhere);
        service.published.iter_mut().for_each(|port| port.at = nowhere);
    }
    for route in &mut project.routes {
        route.at = nowhere;
        route.paths.iter_mut().for_each(|path| path.at = nowhere);
    }
    project
}
