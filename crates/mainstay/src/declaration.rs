//! The project's files as the command line meets them: found on disk, read by `declare`, shown when wrong.
//!
//! Owns the way from settings to a [`Declaration`]. Never judges a key: that is `declare`'s business.

mod disk;

use crate::bundle::build::Build;
use crate::cli::settings::Settings;
use crate::exit::{Exit, Failure};
use crate::report;
use crate::ui::Ui;
use declare::provenance;
use declare::{Because, BuildContext, Declared, Input, Invocation, Resolved};
use disk::Disk;
use model::diagnostic::{Diagnostic, Severity};
use model::project::Project;
use model::span::Sources;
use model::{RemoteHost, StackId};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A declaration without errors.
pub struct Declaration {
    /// The stack it is for.
    pub stack: StackId,
    /// The project's folder: paths of the bundle count from here.
    pub root: PathBuf,
    /// What runs.
    pub project: Project,
    /// What is built first.
    pub builds: Vec<Build>,
    /// Files and folders of the bundle.
    pub bundle_paths: Vec<String>,
    /// Folders that images are built of; the bundle carries them as well.
    pub contexts: Vec<BuildContext>,
    declared: Declared,
    notes: Vec<String>,
    sources: Sources,
}

impl fmt::Debug for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declaration").field("stack", &self.stack).field("root", &self.root).finish_non_exhaustive()
    }
}

/// What loading gave.
#[derive(Debug)]
pub struct Loaded {
    /// The declaration; none when there is an error.
    pub declaration: Option<Declaration>,
    /// What the files say; none when they are wrong whatever engine is asked.
    pub resolved: Option<Arc<Resolved>>,
    /// All that was found.
    pub diagnostics: Vec<Diagnostic>,
    /// The files, for showing diagnostics.
    pub sources: Sources,
    /// Why the engine is the one that it is, in words.
    pub engine_from: String,
}

/// What reading gave.
struct Made<T> {
    /// The project's folder.
    folder: PathBuf,
    /// What was made of its files.
    made: T,
    /// Why the engine is the one that it is where the files name none, in words.
    engine_from: String,
}

/// The project's folder, and what `read` makes of its files.
fn read<T>(settings: &Settings, read: impl FnOnce(&Input<'_>) -> T) -> Result<Made<T>, Failure> {
    let root = &settings.directory.value;
    let folder = root.canonicalize().map_err(|error| {
        Failure::usage(format!("the folder {} cannot be opened", root.display()))
            .because(error)
            .help("name the project's folder with `--directory`")
    })?;
    let project_dir = text(&folder)?;
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>();
    let engine = settings.engine.value;
    let (default_engine, engine_from) = match engine {
        // Nobody is asked what the machine offers.
        Some(kind) => (kind, settings.engine.origin.to_string()),
        None => settings.docker.offered(),
    };
    let made = read(&Input {
        files: &Disk,
        project_dir: &project_dir,
        compose: if settings.files.is_empty() { None } else { Some(paths(&settings.files)?) },
        policy: settings.policy.as_deref().map(text).transpose()?,
        environment: settings.environment.value.clone(),
        profiles: settings.profiles.iter().cloned().collect(),
        process_env: settings.variables.clone(),
        env_files: if settings.env_files.is_empty() { None } else { Some(paths(&settings.env_files)?) },
        engine,
        default_engine,
        keeps_layers: false,
    });
    Ok(Made { folder, made, engine_from })
}

/// The Compose part of the project as the reference implementation has it. Holds secrets.
pub fn compose(settings: &Settings, ui: &Ui) -> Result<serde_json::Value, Failure> {
    let Made { made, engine_from, .. } = read(settings, declare::reference::of_project)?;
    let declare::reference::Reference { json, diagnostics, sources } = made;
    json.ok_or_else(|| {
        Loaded { declaration: None, resolved: None, diagnostics, sources, engine_from }
            .checked(ui, false)
            .expect_err("a project that cannot be shown has an error")
    })
}

/// The machine that mainstay.yaml names for the environment; none for the one we are on.
pub fn host(settings: &Settings, ui: &Ui) -> Result<Option<RemoteHost>, Failure> {
    let Made { made: hosts, .. } = read(settings, declare::hosts)?;
    let declare::Hosts { chosen, diagnostics, sources, names_any, .. } = hosts;
    if !diagnostics.iter().any(Diagnostic::is_error) {
        return Ok(chosen.map(|host| host.value));
    }
    // Of a file that names no other machine everything else may be wrong: what runs here is still found.
    if !names_any && !sources.iter().any(|(_, source)| source.text.contains("ssh://")) {
        return Ok(None);
    }
    report::show(ui, &diagnostics, &sources, false);
    Err(Failure::usage("the project's files do not tell which machine it lives on")
        .help("mend them, or name the machine with `--host` (`--host local` for this one)"))
}

/// The machines that mainstay.yaml names, by environment; none where it cannot be read.
pub fn hosts(settings: &Settings) -> BTreeMap<String, RemoteHost> {
    read(settings, declare::hosts).map_or_else(|_| BTreeMap::new(), |read| read.made.declared)
}

/// Reads the project's files.
pub fn load(settings: &Settings) -> Result<Loaded, Failure> {
    loaded(settings, false)
}

/// The same, and keeps what each file says, so that what a value replaced can be told.
pub fn load_with_layers(settings: &Settings) -> Result<Loaded, Failure> {
    loaded(settings, true)
}

fn loaded(settings: &Settings, keeps_layers: bool) -> Result<Loaded, Failure> {
    let made = read(settings, |input| declare::load(&Input { keeps_layers, ..input.clone() }))?;
    let Made { folder, made, engine_from } = made;
    let declare::Loaded { declared, resolved, diagnostics, sources } = made;
    let engine_from = match resolved.as_ref().map(|resolved| resolved.engine.because) {
        Some(Because::Written(span)) => format!("{}:{}", sources.get(span.file).name, sources.position(span).0),
        _ => engine_from,
    };
    let declaration = declared.map(|declared| Declaration::new(declared, folder, &diagnostics, sources.clone()));
    if let (Some(typed), Some(declaration)) = (&settings.project, &declaration)
        && typed != declaration.stack.project.as_str()
    {
        let name = &declaration.stack.project;
        return Err(Failure::usage(format!(
            "`--project` is `{typed}`, but the project in {} is `{name}`",
            settings.directory.value.display()
        ))
        .help("leave `--project` out, or change into the other project's folder"));
    }
    Ok(Loaded { declaration, resolved, diagnostics, sources, engine_from })
}

impl Declaration {
    fn new(declared: Declared, root: PathBuf, diagnostics: &[Diagnostic], sources: Sources) -> Self {
        let project = declared.project.clone();
        let notes = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Note);
        Self {
            stack: StackId { project: project.name.clone(), environment: project.environment.clone() },
            root,
            builds: declared.builds.iter().map(build).collect(),
            bundle_paths: declared.bundle_paths.iter().cloned().collect(),
            contexts: declared.contexts.clone(),
            notes: notes.map(|note| format!("{}: {}", note.code, note.message)).collect(),
            project,
            declared,
            sources,
        }
    }

    /// The form that travels in the bundle. Holds secrets.
    pub fn to_canonical(&self) -> String {
        declare::to_canonical(&self.declared)
    }

    /// Where a service was written: file and line.
    pub fn place_of(&self, service: &str) -> Option<String> {
        let at = self.project.services.get(service)?.at;
        Some(format!("{}:{}", self.sources.get(at.file).name, self.sources.position(at).0))
    }

    /// Where a key of a service was set: file and line. `key` is in the words of a plan, such as `environment.LEVEL`.
    pub fn place_of_key(&self, service: &str, key: &str) -> Option<String> {
        let key = key.split(' ').next().unwrap_or_default();
        let ways = match key.strip_prefix("limits.") {
            Some("memory") => vec!["deploy.resources.limits.memory".to_owned(), "mem_limit".to_owned()],
            Some("pids") => vec!["deploy.resources.limits.pids".to_owned(), "pids_limit".to_owned()],
            Some(limit) => vec![format!("deploy.resources.limits.{limit}"), limit.to_owned()],
            None if key == "replicas" => vec!["deploy.replicas".to_owned(), "scale".to_owned()],
            None => vec![key.to_owned()],
        };
        let place = |way: &String| provenance::place(&self.declared.resolved, &format!("services.{service}.{way}"));
        let at = ways.iter().find_map(place)?;
        Some(format!("{}:{}", self.sources.get(at.file).name, self.sources.position(at).0))
    }

    /// Keys that work differently here, or have no effect.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Loaded {
    /// Whether nobody named an engine, so that it is the one that the machine offers.
    pub fn is_by_offer(&self) -> bool {
        self.resolved.as_ref().is_some_and(|resolved| resolved.engine.because == Because::Offered)
    }

    /// The declaration; what is wrong with it is shown first.
    pub fn checked(self, ui: &Ui, all: bool) -> Result<Declaration, Failure> {
        let pressing = report::pressing(&self.diagnostics);
        report::show(ui, if all { &self.diagnostics } else { &pressing }, &self.sources, all);
        let advice = self.diagnostics.len() - pressing.len();
        if advice > 0 && !all && self.declaration.is_some() {
            let pieces = if advice == 1 { "1 piece".to_owned() } else { format!("{advice} pieces") };
            ui.note(format!("{pieces} of advice: see `mainstay validate`"));
        }
        self.declaration.ok_or_else(|| {
            let tally = report::tally(ui, &self.diagnostics).unwrap_or_default();
            let code = self.diagnostics.iter().find(|diagnostic| diagnostic.is_error()).map_or("", |error| error.code);
            let diagnostics = Some(Box::new(serde_json::json!(report::json(&self.diagnostics, &self.sources))));
            let message = format!("the project's files are not valid: {tally}");
            Failure { exit: Exit::Usage, diagnostics, ..Failure::failed(message) }
                .help(format!("mend them; `mainstay explain {code}` tells more"))
        })
    }

    /// The stack that is meant. What is wrong with the files is not shown: whoever asks for logs wants logs.
    pub fn stack(self, ui: &Ui) -> Result<StackId, Failure> {
        self.declaration.map(|declaration| declaration.stack).ok_or_else(|| {
            let tally = report::tally(ui, &self.diagnostics).unwrap_or_default();
            let message = format!("the project's files are not valid, so its name is not known: {tally}");
            Failure { exit: Exit::Usage, ..Failure::failed(message) }
                .help("see `mainstay validate`, or name the stack with `--project` and `--environment`")
        })
    }
}

fn build(build: &declare::Build) -> Build {
    let services = build.services.clone();
    match &build.invocation {
        Invocation::Argv(argv) => Build { services, argv: argv.clone(), text: argv.join(" ") },
        Invocation::Shell(line) => {
            Build { services, argv: ["sh", "-c", line].map(str::to_owned).to_vec(), text: line.clone() }
        }
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::usage(format!("the path {} is no UTF-8 text", path.display())).help("rename it"))
}
