//! What a container engine needs of this machine's files: folders that images are built of, Dockerfiles beside them,
//! profiles of seccomp.
//!
//! Owns where a build's folder lies in the bundle. What [`crate::resolve`] leaves is for people as well, so this works on
//! a copy; the files of the folders are collected by the client, which knows [`BuildContext::ignore`]'s rules.
//!
//! A context has a place of its own in the bundle, `.mainstay/contexts/<name>`, because it is not what lies at the same
//! path of the project: `.dockerignore` takes files out, and the folder may lie outside of the project.

use crate::codes;
use crate::compose::is_folder;
use crate::files::{absolute, clean, within};
use crate::findings::error;
use crate::load::Loader;
use crate::resolve::home;
use crate::syntax::{Map, Node, Value};
use model::ContentDigest;
use model::policy::EngineKind;
use model::span::Span;
use std::collections::{BTreeMap, BTreeSet};

/// The folder of the bundle that contexts lie in.
pub const CONTEXTS: &str = ".mainstay/contexts";

/// More is no Dockerfile and no profile.
const MAX_TEXT: u64 = 1 << 20;

/// A folder of this machine that an image is built of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildContext {
    /// Where it lies in the bundle.
    pub bundle: String,
    /// The folder, absolute.
    pub folder: String,
    /// The folder as people are shown it.
    pub shown: String,
    /// The file that says what is left out, absolute; none where there is none.
    pub ignore: Option<String>,
    /// Files of the folder that are sent whatever is left out, relative to it.
    pub kept: BTreeSet<String>,
    /// The services that are built of it.
    pub services: BTreeSet<String>,
}

/// What travels beside the files that are named.
#[derive(Debug, Default)]
pub struct Carried {
    /// The Compose tree that travels; none where it is the one that is shown.
    pub compose: Option<Node>,
    /// What the bundle must carry.
    pub contexts: Vec<BuildContext>,
}

/// Finds what travels with a resolved tree.
pub(crate) fn carry(compose: &Node, engine: EngineKind, loader: &mut Loader<'_>) -> Carried {
    if engine != EngineKind::Docker {
        return Carried::default();
    }
    let mut tree = compose.clone();
    let mut carrier = Carrier { loader, contexts: BTreeMap::new() };
    let Some(top) = tree.as_map_mut() else { return Carried::default() };
    for (name, service) in objects(top, "services") {
        if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) {
            carrier.build(&name, build);
        }
        carrier.profiles(service);
    }
    for (_, volume) in objects(top, "volumes") {
        carrier.device(volume);
    }
    Carried { compose: Some(tree), contexts: carrier.contexts.into_values().collect() }
}

fn objects<'m>(top: &'m mut Map, key: &str) -> impl Iterator<Item = (String, &'m mut Map)> {
    let map = top.get_mut(key).and_then(Node::as_map_mut);
    let entries = map.into_iter().flat_map(|map| &mut map.entries);
    entries.filter_map(|entry| Some((entry.key.to_string(), entry.value.as_map_mut()?)))
}

fn text(map: &Map, key: &str) -> Option<(String, Span)> {
    let node = map.get(key)?;
    let scalar = node.as_scalar().filter(|scalar| !scalar.is_null() && !scalar.text.is_empty())?;
    Some((scalar.text.to_string(), node.span))
}

struct Carrier<'a, 'b> {
    loader: &'a mut Loader<'b>,
    /// By their place in the bundle.
    contexts: BTreeMap<String, BuildContext>,
}

impl Carrier<'_, '_> {
    fn build(&mut self, service: &str, build: &mut Map) {
        let span = build.get("context").map_or_else(|| build.entries.first().map(|e| e.key_span), |n| Some(n.span));
        let Some(span) = span else { return };
        let (written, span) = text(build, "context").unwrap_or((".".to_owned(), span));
        if is_folder(&written) {
            let (folder, is_there) = self.folder(&written, span);
            let recipe = if is_there { self.recipe(build, &folder) } else { None };
            let place = self.place(service, &written, folder, recipe);
            build.set("context", Node::text(place, span));
        }
        let further = build.get_mut("additional_contexts").and_then(Node::as_map_mut);
        for entry in further.into_iter().flat_map(|map| &mut map.entries) {
            let span = entry.value.span;
            let Some(written) = entry.value.as_scalar().map(|scalar| scalar.to_text()) else { continue };
            if is_folder(&written) {
                let (folder, _) = self.folder(&written, span);
                entry.value = Node::text(self.place(service, &written, folder, None), span);
            }
        }
    }

    /// The folder of a context, and whether it is there.
    fn folder(&mut self, written: &str, span: Span) -> (String, bool) {
        let folder = home(written, span, self.loader).unwrap_or_else(|| absolute(self.loader.project_dir, written));
        let is_there = self.loader.files.exists(&folder);
        if !is_there {
            let message = format!("the folder `{written}` does not exist, and an image is built of it");
            let help = "create it, or correct `build.context`";
            self.loader.found.push(error(codes::FILE, message).at(span, "").help(help));
        }
        (folder, is_there)
    }

    /// The Dockerfile, absolute. One that lies outside of its context travels as text.
    fn recipe(&mut self, build: &mut Map, folder: &str) -> Option<String> {
        if text(build, "dockerfile_inline").is_some() {
            return None;
        }
        let at = build.get("context").or_else(|| build.get("dockerfile")).map(|node| node.span)?;
        let (written, span) = text(build, "dockerfile").unwrap_or(("Dockerfile".to_owned(), at));
        let path = absolute(folder, &written);
        if !self.loader.files.exists(&path) {
            let message = format!("there is no `{}`", self.loader.shown(&path));
            let help = "create it, or write its path, which begins at the context, as `build.dockerfile`";
            self.loader.found.push(error(codes::FILE, message).at(span, "").help(help));
            return None;
        }
        match within(folder, &path) {
            Some(inside) => build.set("dockerfile", Node::text(inside, span)),
            None => {
                let (_, content) = self.read(&path, span)?;
                build.remove("dockerfile");
                build.set("dockerfile_inline", Node::text(&*content, span));
            }
        }
        Some(path)
    }

    fn read(&mut self, path: &str, span: Span) -> Option<(String, String)> {
        let shown = self.loader.shown(path);
        let problem = match self.loader.files.read(path, MAX_TEXT).map(String::from_utf8) {
            Ok(Ok(text)) => return Some((shown, text)),
            Ok(Err(_)) => "it is no UTF-8 text".to_owned(),
            Err(problem) => problem.to_string(),
        };
        let message = format!("`{shown}` cannot be read: {problem}");
        self.loader.found.push(error(codes::FILE, message).at(span, "").help("correct the path"));
        None
    }

    /// Where a folder lies in the bundle: one place for all that are built of it and leave the same out.
    fn place(&mut self, service: &str, written: &str, folder: String, recipe: Option<String>) -> String {
        let exists = |path: &String| self.loader.files.exists(path);
        // One that lies beside the Dockerfile is for that Dockerfile alone.
        let own = recipe.as_ref().map(|recipe| format!("{recipe}.dockerignore")).filter(exists);
        let usual = || Some(absolute(&folder, ".dockerignore")).filter(exists);
        let rules = own.as_deref().map(|own| within(&folder, own).unwrap_or_else(|| self.loader.shown(own)));
        let bundle = place_of(&clean(written), rules.as_deref());
        let kept = [".dockerignore".to_owned()].into_iter();
        let kept: BTreeSet<String> = kept.chain(recipe.as_deref().and_then(|path| within(&folder, path))).collect();
        let ignore = own.clone().or_else(usual);
        let shown = self.loader.shown(&folder);
        let context = self.contexts.entry(bundle.clone()).or_insert_with(|| BuildContext {
            bundle: bundle.clone(),
            folder,
            shown,
            ignore,
            kept: BTreeSet::new(),
            services: BTreeSet::new(),
        });
        context.kept.extend(kept);
        context.services.insert(service.to_owned());
        bundle
    }

    /// A profile of seccomp that is named by its path goes along, as the reference's own client sends it.
    fn profiles(&mut self, service: &mut Map) {
        let Some(Value::List(items)) = service.get_mut("security_opt").map(|node| &mut node.value) else { return };
        for item in items {
            let span = item.span;
            let Some(path) = item.as_scalar().and_then(|scalar| profile(&scalar.text)).map(str::to_owned) else {
                continue;
            };
            let path = home(&path, span, self.loader).unwrap_or_else(|| absolute(self.loader.project_dir, &path));
            if let Some((_, profile)) = self.read(&path, span) {
                *item = Node::text(format!("seccomp={}", profile.trim()), span);
            }
        }
    }

    /// The folder that a volume of the `local` driver binds.
    fn device(&mut self, volume: &mut Map) {
        let Some(options) = volume.get_mut("driver_opts").and_then(Node::as_map_mut) else { return };
        let binds = text(options, "o").is_some_and(|(o, _)| o.split(',').any(|o| matches!(o, "bind" | "rbind")));
        if let Some((device, span)) = text(options, "device").filter(|_| binds) {
            let path = home(&device, span, self.loader);
            let path = path.unwrap_or_else(|| absolute(self.loader.project_dir, &device));
            options.set("device", Node::text(path, span));
        }
    }
}

/// The path of a profile, in an option that names one.
fn profile(option: &str) -> Option<&str> {
    let value = option.strip_prefix("seccomp").and_then(|rest| rest.strip_prefix(['=', ':']))?;
    let is_path = !matches!(value, "" | "unconfined" | "builtin") && !value.starts_with('{');
    is_path.then_some(value)
}

/// The same on every machine: what is written counts, not where the project lies.
fn place_of(written: &str, rules: Option<&str>) -> String {
    let last = written.rsplit('/').find(|part| !matches!(*part, "" | "." | "..")).unwrap_or("project");
    let name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' }).take(40).collect();
    let digest = ContentDigest::of(format!("{written}\n{}", rules.unwrap_or_default()).as_bytes()).to_string();
    format!("{CONTEXTS}/{name}-{}", &digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_has_a_place_of_its_own_on_every_machine() {
        assert_eq!(place_of(".", None), ".mainstay/contexts/project-43e5f357");
        assert_eq!(place_of("api", None), ".mainstay/contexts/api-0ac738b6");
        let [own, other, outside] =
            [("api", Some("b.dockerignore")), ("lib/api", None), ("../a b", None)].map(|(w, r)| place_of(w, r));
        assert!(own.starts_with(".mainstay/contexts/api-") && other.starts_with(".mainstay/contexts/api-"));
        assert!(own != other && own != place_of("api", None), "{own} {other}");
        assert!(outside.starts_with(".mainstay/contexts/a-b-"), "{outside}");
    }

    #[test]
    fn only_a_path_names_a_profile() {
        let check = |option: &str, want: Option<&str>| assert_eq!(profile(option), want, "{option}");
        check("seccomp=./p.json", Some("./p.json"));
        check("seccomp:p.json", Some("p.json"));
        check("seccomp=unconfined", None);
        check("seccomp={\"x\":1}", None);
        check("label=disable", None);
    }
}
