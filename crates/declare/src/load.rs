//! The whole way: finds the files, runs the stages in order, gives the project and all diagnostics.
//!
//! syntax → compose (variables, shapes, long forms, include, extends, merge) → values → profiles → keys → what follows from
//! what is written → what must fit together → resolve → what is carried along → assemble → consistency → advice.

mod host;

pub use host::{Hosts, hosts};

use crate::assemble::Title;
use crate::compose::{Beside, Source};
use crate::declaration::{Build, Declared};
use crate::dotenv::{self, Format};
use crate::files::{FileError, Files, absolute, within};
use crate::findings::{Findings, error, warning};
use crate::interpolate::{Interpolation, MAX_EXPANDED_BYTES};
use crate::policy::Policy;
use crate::reference::Reference;
use crate::resolved::{Chosen, Layers, Resolved};
use crate::syntax::build::{self, MAX_FILE_BYTES};
use crate::syntax::{Map, Node};
use crate::variables::{Origin, Variables};
use crate::{advice, assemble, carried, codes, compose, consistency, export, keys, policy, resolve};
use model::diagnostic::Diagnostic;
use model::name::{EnvironmentName, ProjectName};
use model::policy::EngineKind;
use model::span::{FileId, Sources, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The environment when nobody names one.
const DEVELOPMENT: &str = "development";

pub(crate) const COMPOSE_NAMES: &[&str] = &["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
pub(crate) const OVERRIDE_NAMES: &[&str] =
    &["compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"];
const POLICY_NAMES: &[&str] = &["mainstay.yaml", "mainstay.yml"];

/// What is to be declared.
#[derive(Clone)]
pub struct Input<'a> {
    /// Where files are read.
    pub files: &'a dyn Files,
    /// The project's folder, absolute.
    pub project_dir: &'a str,
    /// The Compose files in order; found by name when none.
    pub compose: Option<Vec<String>>,
    /// The policy file; found by name when none.
    pub policy: Option<String>,
    /// The environment; `development`, or the only one declared, when none.
    pub environment: Option<String>,
    /// The active profiles; `*` means all.
    pub profiles: BTreeSet<String>,
    /// The environment of the command.
    pub process_env: BTreeMap<String, String>,
    /// The environment files, of which a later one wins; `.env` and `.env.<environment>` when none.
    pub env_files: Option<Vec<String>>,
    /// The engine, whatever the files say.
    pub engine: Option<EngineKind>,
    /// The engine of an environment that names none: what the machine offers.
    pub default_engine: EngineKind,
    /// Whether what each file says is kept, so that [`crate::provenance`] can tell what a value replaced.
    pub keeps_layers: bool,
}

/// What came of it.
pub struct Loaded {
    /// The project and what belongs to it; none when there is an error.
    pub declared: Option<Declared>,
    /// What the files say; none when they are wrong whatever engine is asked.
    pub resolved: Option<Arc<Resolved>>,
    /// All that was found, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that were read, for showing diagnostics; of environment files only the lines' lengths.
    pub sources: Sources,
}

/// Reads a project's files and gives its declaration.
pub fn load(input: &Input<'_>) -> Loaded {
    let mut loader = Loader::new(input);
    let (resolved, declared) = loader.run(input).unzip();
    let declared = declared.flatten().filter(|_| !loader.found.has_errors());
    let sources = without_texts(&loader.sources, &loader.private, &loader.open);
    Loaded { declared, resolved: resolved.flatten(), diagnostics: loader.found.into_sorted(), sources }
}

/// The Compose part of a project in the reference's form: see [`crate::reference`].
pub(crate) fn reference(input: &Input<'_>) -> Reference {
    let mut loader = Loader::new(input);
    let json = loader.run_reference(input).filter(|_| !loader.found.has_errors());
    let sources = without_texts(&loader.sources, &loader.private, &loader.open);
    Reference { json, diagnostics: loader.found.into_sorted(), sources }
}

/// What the files say before anything is made of it.
struct Read {
    policy: Node,
    environment: EnvironmentName,
    name: ProjectName,
    compose: Node,
}

/// The same files with blank lines in place of what is private, and stars in place of open secrets: passwords lie beside
/// what is wrong, and what is shown ends in other people's logs.
fn without_texts(sources: &Sources, private: &BTreeSet<FileId>, open: &[Span]) -> Sources {
    fn hide(text: &str, sign: &str, shown: &mut String) {
        text.chars()
            .for_each(|c| if c == '\n' { shown.push('\n') } else { shown.push_str(&sign.repeat(c.len_utf8())) });
    }
    let open: BTreeSet<&Span> = open.iter().collect();
    let mut all = Sources::default();
    for (file, source) in sources.iter() {
        let text = &*source.text;
        let mut spans = open.iter().filter(|span| span.file == file).peekable();
        if private.contains(&file) {
            let mut shown = String::with_capacity(text.len());
            hide(text, " ", &mut shown);
            all.add(&source.name, shown);
        } else if spans.peek().is_none() {
            all.add(&source.name, source.text.clone());
        } else {
            let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
            for span in spans {
                let (start, end) = (span.start as usize, span.end as usize);
                let Some((before, secret)) = text.get(done..start).zip(text.get(start..end)) else { continue };
                shown.push_str(before);
                hide(secret, "*", &mut shown);
                done = end;
            }
            shown.push_str(&text[done..]);
            all.add(&source.name, shown);
        }
    }
    all
}

/// A variable, its value and where it was set.
type Set = (String, String, Span);

/// The state that the stages share.
pub(crate) struct Loader<'a> {
    pub(crate) files: &'a dyn Files,
    pub(crate) project_dir: &'a str,
    pub(crate) variables: Variables,
    pub(crate) profiles: BTreeSet<String>,
    pub(crate) sources: Sources,
    /// Environment files, whose text is shown to nobody.
    private: BTreeSet<FileId>,
    /// The places of secrets in files for everybody; they are not shown once more.
    open: Vec<Span>,
    /// How much text variables may still expand to, over all files.
    pub(crate) room: usize,
    /// Files that others include or extend, by path; none for one that cannot be read.
    shared: BTreeMap<String, Option<Vec<Node>>>,
    /// How many files were included.
    pub(crate) n_included: usize,
    /// The places where variables were put in.
    pub(crate) expanded: BTreeSet<Span>,
    /// What each file says; empty unless `keeps_layers`.
    pub(crate) layers: Layers,
    pub(crate) keeps_layers: bool,
    pub(crate) found: Findings,
}

impl<'a> Loader<'a> {
    fn new(input: &Input<'a>) -> Self {
        Self {
            files: input.files,
            project_dir: input.project_dir,
            variables: Variables::of_process(&input.process_env),
            profiles: input.profiles.clone(),
            sources: Sources::default(),
            private: BTreeSet::new(),
            open: Vec::new(),
            room: MAX_EXPANDED_BYTES,
            shared: BTreeMap::new(),
            n_included: 0,
            expanded: BTreeSet::new(),
            layers: Layers::default(),
            keeps_layers: input.keeps_layers,
            found: Findings::default(),
        }
    }
}

impl Loader<'_> {
    fn run(&mut self, input: &Input<'_>) -> Option<(Option<Arc<Resolved>>, Option<Declared>)> {
        let Read { mut policy, environment, name, mut compose } = self.read(input)?;
        compose::check_values(&compose, &mut self.found);
        let inactive = resolve::inactive(&mut compose, self);
        resolve::policy(&mut policy, &inactive, self);
        let rules = policy::read(&policy, environment.as_str(), &mut self.found);
        // What an engine makes of the keys is said of them as they are written.
        let engine = Chosen::of(input, &rules);
        let table = keys::compose::table(engine.kind);
        let mut of_engine = Findings::default();
        match table {
            Some(table) => table.check(&compose, &mut of_engine),
            None => policy::refuse_engine(&engine, &mut of_engine),
        }
        compose::complete(&mut compose, &self.variables);
        let beside = Beside { inactive, recipes: rules.runnable(engine.kind), engine: Some(engine.kind) };
        compose::check(&compose, &beside, &mut self.found);
        resolve::compose(&mut compose, engine.kind, self);
        let is_sound = !self.found.has_errors();
        self.found.absorb(of_engine);
        let resolved = Arc::new(Resolved {
            name,
            environment,
            engine,
            compose,
            policy,
            expanded: std::mem::take(&mut self.expanded),
            variables: std::mem::take(&mut self.variables),
            layers: std::mem::take(&mut self.layers),
        });
        let declared = table.map(|_| self.declared(&resolved, &rules));
        Some((is_sound.then_some(resolved), declared))
    }

    /// What an engine that there is makes of the project.
    fn declared(&mut self, resolved: &Arc<Resolved>, rules: &Policy) -> Declared {
        let (name, environment) = (resolved.name.clone(), resolved.environment.clone());
        let title = Title { name, environment, engine: resolved.engine.kind };
        let carried = carried::carry(&resolved.compose, title.engine, self);
        let compose = carried.compose.as_ref().unwrap_or(&resolved.compose);
        let assembled = assemble::project(compose, rules, title, &mut self.found);
        consistency::check(&assembled, compose, &mut self.found);
        let found = &mut self.found;
        self.open = advice::advise(&assembled.project, compose, &resolved.expanded, &self.private, found);
        Declared::new(assembled.project, Build::of_policy(rules), carried, Arc::clone(resolved))
    }

    fn run_reference(&mut self, input: &Input<'_>) -> Option<serde_json::Value> {
        let Read { name, mut compose, .. } = self.read(input)?;
        compose::check_values(&compose, &mut self.found);
        let inactive = resolve::inactive(&mut compose, self);
        compose::complete(&mut compose, &self.variables);
        resolve::shown(&mut compose, self);
        compose::absolute_paths(&mut compose, self.project_dir, &self.variables);
        compose::check(&compose, &Beside { inactive, ..Beside::default() }, &mut self.found);
        compose::name_used(&mut compose, name.as_str());
        Some(export::json(compose, name.as_str()))
    }

    /// The files, and the Compose ones as one tree.
    fn read(&mut self, input: &Input<'_>) -> Option<Read> {
        let mut policy = self.policy_tree(input)?;
        let environment = self.environment(input, &policy)?;
        keys::policy::TABLE.check(&policy, &mut self.found);
        policy::check_others(&policy, environment.as_str(), &mut self.found);
        if self.keeps_layers {
            let over = policy::overlay(&policy, environment.as_str());
            self.layers.policy = [Some(policy.clone()), over].into_iter().flatten().collect();
        }
        let variables = policy::choose(&mut policy, environment.as_str());
        self.variables_of(variables, environment.as_str(), input.env_files.as_deref());
        let paths = self.compose_paths(input)?;
        let read: Vec<Option<Vec<Source>>> = paths.iter().map(|path| self.sources_of(path, None)).collect();
        // A file that is no YAML has been reported; judging the rest would only add what follows from that.
        let sources: Vec<Source> = read.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
        let name = self.name(&policy, &sources)?;
        self.variables.set("COMPOSE_PROJECT_NAME", name.to_string(), Origin::BuiltIn);
        self.expand(&mut policy);
        let compose = self.compose(sources);
        self.compose_profiles();
        Some(Read { policy, environment, name, compose })
    }

    /// Expands the variables of the policy.
    fn expand(&mut self, policy: &mut Node) {
        let variables = std::mem::take(&mut self.variables);
        let mut interpolation = Interpolation::new(&variables);
        interpolation.apply(policy, &self.sources, &mut self.found);
        self.expanded.extend(interpolation.finish(&mut self.found));
        self.variables = variables;
    }

    /// Profiles of a variable count where none is named.
    fn compose_profiles(&mut self) {
        if !self.profiles.is_empty() {
            return;
        }
        let more = self.variables.get("COMPOSE_PROFILES").unwrap_or_default().to_owned();
        self.profiles.extend(more.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned));
    }

    fn nowhere(file: FileId) -> Span {
        Span { file, start: 0, end: 0 }
    }

    /// A path as the user would write it.
    pub(crate) fn shown(&self, path: &str) -> String {
        within(self.project_dir, path).unwrap_or_else(|| path.to_owned())
    }

    /// The text of an environment file that is referred to at `from`; none when it cannot be read, which is reported.
    pub(crate) fn read_text(&mut self, path: &str, from: Span, optional: bool) -> Option<(FileId, Arc<str>)> {
        match self.files.read(path, MAX_FILE_BYTES) {
            Ok(bytes) => self.decoded_private(path, &bytes),
            Err(FileError::NotFound) if optional => None,
            Err(problem) => {
                let message = format!("`{}` cannot be read: {problem}", self.shown(path));
                let help = "create the file, or correct the path";
                self.found.push(error(codes::FILE, message).at(from, "").help(help));
                None
            }
        }
    }

    fn decoded_private(&mut self, path: &str, bytes: &[u8]) -> Option<(FileId, Arc<str>)> {
        let next = FileId(self.sources.iter().count() as u32);
        self.private.insert(next);
        self.decoded(path, bytes)
    }

    fn decoded(&mut self, path: &str, bytes: &[u8]) -> Option<(FileId, Arc<str>)> {
        let name = self.shown(path);
        match build::decode(bytes) {
            Ok(text) => {
                let file = self.sources.add(&name, text);
                Some((file, self.sources.get(file).text.clone()))
            }
            Err((at, what)) => {
                let file = self.sources.add(&name, &*String::from_utf8_lossy(bytes));
                let span = Span { file, start: at as u32, end: at as u32 };
                let message = format!("`{name}` is no UTF-8 text: {what}");
                self.found.push(error(codes::ENCODING, message).at(span, "").help("save the file as UTF-8"));
                None
            }
        }
    }

    /// The documents of a Compose file that is named at `from`; none when it cannot be read, which is reported.
    pub(crate) fn sources_of(&mut self, path: &str, from: Option<Span>) -> Option<Vec<Source>> {
        // A file that several include or extend is read once, and what is wrong with it is said once.
        let known = from.and_then(|_| self.shared.get(path).cloned());
        let trees = known.unwrap_or_else(|| self.trees(path, from));
        if from.is_some() {
            self.shared.insert(path.to_owned(), trees.clone());
        }
        Some(trees?.into_iter().map(|tree| Source { path: path.to_owned(), tree }).collect())
    }

    /// The tree of a file that must be there and has one document; an empty mapping for an empty file.
    fn tree(&mut self, path: &str, from: Option<Span>) -> Option<Node> {
        let mut trees = self.trees(path, from)?;
        if let Some(second) = trees.get(1) {
            self.found.push(
                error(codes::DOCUMENTS, "a second YAML document begins here")
                    .at(Span { end: second.span.start, ..second.span }, "second document")
                    .help("keep one document per file: give the other a file of its own"),
            );
            return None;
        }
        Some(trees.remove(0))
    }

    /// The documents of a file, at least one.
    fn trees(&mut self, path: &str, from: Option<Span>) -> Option<Vec<Node>> {
        let bytes = match self.files.read(path, MAX_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(problem) => {
                let message = format!("`{}` cannot be read: {problem}", self.shown(path));
                let code = if matches!(problem, FileError::TooLarge { .. }) { codes::TOO_LARGE } else { codes::FILE };
                let diagnostic = error(code, message).help("create the file, or name another one");
                self.found.push(match from {
                    Some(span) => diagnostic.at(span, ""),
                    None => diagnostic,
                });
                return None;
            }
        };
        let (file, text) = self.decoded(path, &bytes)?;
        drop(bytes);
        let mut found = Findings::default();
        let trees = build::documents(file, &text, &mut found);
        found.into_sorted().into_iter().for_each(|diagnostic| self.found.push(diagnostic));
        let mut trees = trees?;
        if trees.is_empty() {
            trees.push(Node::map(Map::default(), Self::nowhere(file)));
        }
        let is_one = trees.len() == 1;
        for tree in &mut trees {
            if tree.is_null() && is_one {
                *tree = Node::map(Map::default(), tree.span);
            }
            if tree.as_map().is_none() {
                self.found.push(
                    error(codes::TYPE, format!("`{}` must be a mapping, this is {}", self.shown(path), tree.kind()))
                        .at(tree.span, "")
                        .help("begin it with a key such as `services:`"),
                );
                return None;
            }
        }
        Some(trees)
    }

    /// The first of these names that exists; of the others that do it says that they have no effect.
    fn first_existing(&mut self, names: &[&str]) -> Option<String> {
        let files = self.files;
        let mut there = names.iter().filter(|name| files.exists(&absolute(self.project_dir, name)));
        let first = there.next()?;
        for other in there {
            let message = format!("`{other}` has no effect beside `{first}`");
            self.found.push(warning(codes::TWO_FILES, message).help("keep one of them"));
        }
        Some(absolute(self.project_dir, first))
    }

    /// The policy, empty where there is no file; none when the file cannot be read, which is reported.
    fn policy_tree(&mut self, input: &Input<'_>) -> Option<Node> {
        let named = input.policy.as_deref().map(|path| absolute(self.project_dir, path));
        match named.or_else(|| self.first_existing(POLICY_NAMES)) {
            Some(path) => self.tree(&path, None),
            None => Some(Node::map(Map::default(), Self::nowhere(FileId(0)))),
        }
    }

    fn compose_paths(&mut self, input: &Input<'_>) -> Option<Vec<String>> {
        let from_variable = || {
            let list = self.variables.get("COMPOSE_FILE").filter(|list| !list.is_empty())?;
            let separator = self.variables.get("COMPOSE_PATH_SEPARATOR").filter(|s| !s.is_empty()).unwrap_or(":");
            Some(list.split(separator).map(str::to_owned).collect())
        };
        if let Some(paths) = input.compose.clone().or_else(from_variable) {
            return Some(paths.iter().map(|path| absolute(self.project_dir, path)).collect());
        }
        let Some(base) = self.first_existing(COMPOSE_NAMES) else {
            self.found.push(
                error(codes::FILE, format!("there is no compose.yaml in `{}`", self.project_dir))
                    .help("go to the project's folder, name the file with `--file`, or begin with `mainstay init`"),
            );
            return None;
        };
        Some([Some(base), self.first_existing(OVERRIDE_NAMES)].into_iter().flatten().collect())
    }

    fn environment(&mut self, input: &Input<'_>, policy: &Node) -> Option<EnvironmentName> {
        let declared = policy.as_map().and_then(|map| map.entry("environments"));
        let entries = declared.and_then(|entry| entry.value.as_map()).map_or(&[][..], |map| &map.entries);
        let names: Vec<&str> = entries.iter().map(|entry| &*entry.key).collect();
        let wanted = match (&input.environment, &names[..], declared) {
            (Some(named), ..) => named.clone(),
            (None, [only], _) => (*only).to_owned(),
            // Another stack than any of those declared would be a surprise.
            (None, [_, ..], Some(entry)) if !names.contains(&DEVELOPMENT) => {
                let message = format!("nothing says which environment is meant: {}", names.join(", "));
                let help = format!("name one, for example `--environment {}`, or declare `{DEVELOPMENT}`", names[0]);
                self.found.push(error(codes::ENVIRONMENT, message).at(entry.key_span, "").help(help));
                return None;
            }
            _ => DEVELOPMENT.to_owned(),
        };
        if !names.is_empty() && !names.contains(&wanted.as_str()) {
            let help = self.found.did_you_mean(&wanted, names.iter().copied(), || {
                format!("name one of {}, or declare it", names.join(", "))
            });
            let message = format!("the environment `{wanted}` is not declared in mainstay.yaml");
            self.found.push(error(codes::ENVIRONMENT, message).help(help));
            return None;
        }
        let name = wanted.parse().map_err(|problem: model::name::NameError| {
            self.found.push(error(codes::NAME, problem.to_string()).help("rename the environment"));
        });
        name.ok()
    }

    /// Adds the variables below the process environment: the policy's, then those of the environment files.
    fn variables_of(&mut self, of_policy: Option<Node>, environment: &str, named: Option<&[String]>) {
        let of_files = self.file_variables(environment, named);
        let mut outside = self.variables.clone();
        for (name, value, span) in &of_files {
            outside.add_below(name, value.clone(), Origin::File(*span));
        }
        let of_policy = of_policy.map(|node| self.policy_variables(node, &outside)).unwrap_or_default();
        for (name, value, span) in of_policy.into_iter().chain(of_files) {
            self.variables.add_below(&name, value, Origin::File(span));
        }
    }

    /// What the environment files set, highest first.
    fn file_variables(&mut self, environment: &str, named: Option<&[String]>) -> Vec<Set> {
        let usual = [".env".to_owned(), format!(".env.{environment}")];
        let mut below = self.variables.clone();
        let mut set = Vec::new();
        // Read lowest first, so that a higher file may use what a lower one sets.
        for path in named.unwrap_or(&usual).iter().map(|name| absolute(self.project_dir, name)) {
            let Some((file, text)) = self.read_env_file(&path, named.is_some()) else { continue };
            let outside = |name: &str| below.get(name).map(str::to_owned);
            let settings = dotenv::parse(file, &text, Format::Compose, &outside, &mut self.found);
            for setting in settings {
                below.add_below(&setting.name, setting.value.clone().unwrap_or_default(), Origin::File(setting.span));
                set.extend(setting.value.map(|value| (setting.name, value, setting.span)));
            }
        }
        // Of two lines for one variable the later one counts.
        set.reverse();
        set
    }

    fn read_env_file(&mut self, path: &str, is_named: bool) -> Option<(FileId, Arc<str>)> {
        match self.files.read(path, MAX_FILE_BYTES) {
            Ok(bytes) => self.decoded_private(path, &bytes),
            // A folder of that name (`.env/` of Python) is no environment file.
            Err(FileError::NotAFile | FileError::NotFound) if !is_named => None,
            Err(problem) => {
                let message = format!("`{}` cannot be read: {problem}", self.shown(path));
                self.found.push(error(codes::FILE, message).help("make it readable, or remove it"));
                None
            }
        }
    }

    /// `environments.<name>.variables`; its values may use the process environment and the environment files.
    fn policy_variables(&mut self, node: Node, outside: &Variables) -> Vec<Set> {
        let mut interpolation = Interpolation::new(outside);
        let mut set = Vec::new();
        for mut entry in policy::variables(node, &mut self.found) {
            // What the process sets wins, so nothing that this value asks for is missed.
            if self.variables.get(&entry.key).is_some() {
                continue;
            }
            interpolation.apply(&mut entry.value, &self.sources, &mut self.found);
            if let Some(scalar) = entry.value.as_scalar().filter(|scalar| !scalar.is_null()) {
                set.push((entry.key.to_string(), scalar.to_text(), entry.value.span));
            }
        }
        interpolation.finish(&mut self.found);
        set
    }

    /// The project's name: mainstay.yaml, `COMPOSE_PROJECT_NAME`, the last Compose file that has one, the folder.
    fn name(&mut self, policy: &Node, sources: &[Source]) -> Option<ProjectName> {
        let written =
            |node: &Node, key: &str| node.as_map().and_then(|map| map.get(key)).filter(|n| !n.is_null()).cloned();
        let of_variable = self.variables.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
        let node = written(policy, "project").or_else(|| match of_variable {
            Some(_) => None,
            None => {
                let names = sources.iter().rev().filter_map(|source| written(&source.tree, "name"));
                names.into_iter().find(|node| node.as_scalar().is_none_or(|scalar| !scalar.text.is_empty()))
            }
        });
        let Some(mut node) = node else {
            let folder = self.project_dir.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            let text = of_variable.unwrap_or(folder);
            let legal = if of_variable.is_some() { text.to_owned() } else { normalised(text) };
            let name = legal.parse();
            if name.is_err() {
                let message = format!("`{text}` gives no project name");
                self.found.push(error(codes::PROJECT_NAME, message).help("write `project: <name>` in mainstay.yaml"));
            }
            return name.ok();
        };
        let variables = self.variables.clone();
        // What is missing is reported when the whole file is expanded.
        let mut quiet = Findings::default();
        Interpolation::new(&variables).apply(&mut node, &self.sources, &mut quiet);
        let text = node.as_scalar().map(|scalar| scalar.to_text()).unwrap_or_default();
        // A Compose file's own name is made legal, as the reference does; one in mainstay.yaml is as it is written.
        let is_own = written(policy, "project").is_some();
        let text = if is_own { text } else { normalised(&text) };
        let name = text.parse().map_err(|problem: model::name::NameError| {
            let help = "write lower-case letters, digits, `_` and `-`";
            self.found.push(error(codes::PROJECT_NAME, problem.to_string()).at(node.span, "").help(help));
        });
        name.ok()
    }
}

/// A folder's name as Compose makes a project name of it.
fn normalised(text: &str) -> String {
    let kept: String = text.to_lowercase().chars().filter(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-')).collect();
    kept.trim_start_matches(['_', '-']).chars().take(63).collect()
}
