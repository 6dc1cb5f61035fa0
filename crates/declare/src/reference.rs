//! A project as the reference implementation shows it: `docker compose config --format json`.
//!
//! Owns where the reference looks: which folder is the project's, which files and which variables are its. What this
//! machine can run is not asked. [`json`] is for tools that read the reference's form, and for comparing the two.

use crate::dotenv::{self, Format};
use crate::files::{FileError, Files, absolute, folder_of};
use crate::findings::Findings;
use crate::load::{self, COMPOSE_NAMES, Input, OVERRIDE_NAMES};
use crate::syntax::build::MAX_FILE_BYTES;
use model::diagnostic::Diagnostic;
use model::span::{FileId, Sources};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be shown, in the reference's words.
pub struct Request<'a> {
    /// Where files are read.
    pub files: &'a dyn Files,
    /// Where the command runs, absolute.
    pub working_dir: &'a str,
    /// `--project-directory`.
    pub project_dir: Option<&'a str>,
    /// `--project-name`.
    pub name: Option<&'a str>,
    /// `--file`, relative to where the command runs.
    pub compose: Vec<String>,
    /// `--profile`.
    pub profiles: BTreeSet<String>,
    /// `--env-file`, relative to where the command runs.
    pub env_files: Vec<String>,
    /// The environment of the command.
    pub process_env: BTreeMap<String, String>,
}

/// What came of a project in the reference's form.
pub struct Reference {
    /// The project; none when there is an error.
    pub json: Option<Value>,
    /// All that was found, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that were read, for showing diagnostics.
    pub sources: Sources,
}

/// The Compose part of the project that [`crate::load`] would load, in the reference's form; see [`json`].
pub fn of_project(input: &Input<'_>) -> Reference {
    load::reference(input)
}

/// The project in the reference's form; the dollar signs that the reference doubles in its output are single here.
///
/// Errors: everything that was found, when there is an error among it.
pub fn json(request: &Request<'_>) -> Result<Value, Vec<Diagnostic>> {
    let mut process_env = request.process_env.clone();
    if let Some(name) = request.name {
        process_env.insert("COMPOSE_PROJECT_NAME".into(), name.into());
    }
    process_env.entry("PWD".into()).or_insert_with(|| absolute("/", request.working_dir));
    let first_dir = request.project_dir.map(|dir| absolute(request.working_dir, dir));
    let begin = first_dir.clone().unwrap_or_else(|| absolute("/", request.working_dir));
    let named = env_files(request);
    let is_disabled = process_env.get("COMPOSE_DISABLE_ENV_FILE").is_some_and(|value| is_true(value));
    let usual = absolute(&begin, ".env");
    let first_files = match &named {
        Some(files) => files.clone(),
        None if is_disabled || !request.files.exists(&usual) => Vec::new(),
        None => vec![usual.clone()],
    };
    let variables = variables(request.files, &first_files, &process_env);
    let compose = compose_files(request, &variables, &begin);
    let is_named = !request.compose.is_empty() || variables.get("COMPOSE_FILE").is_some_and(|list| !list.is_empty());
    let project_dir = first_dir.unwrap_or_else(|| match compose.first() {
        Some(first) => folder_of(first),
        None => begin.clone(),
    });
    let own = absolute(&project_dir, ".env");
    // A folder of that name is no environment file.
    let is_file = |path: &String| {
        !matches!(request.files.read(path, MAX_FILE_BYTES), Err(FileError::NotFound | FileError::NotAFile))
    };
    let env_files = match named {
        Some(files) => files,
        None if is_disabled => Vec::new(),
        // Where the file was looked for upwards, the folder it was looked for from has its say as well.
        None if is_named => [own].into_iter().filter(is_file).collect(),
        None => [own, usual].into_iter().filter(is_file).collect(),
    };
    let input = Input {
        files: request.files,
        project_dir: &project_dir,
        compose: (!compose.is_empty()).then_some(compose),
        policy: None,
        environment: None,
        profiles: request.profiles.clone(),
        process_env,
        env_files: Some(env_files),
        engine: None,
        default_engine: model::policy::EngineKind::Process,
        keeps_layers: false,
    };
    let Reference { json, diagnostics, .. } = load::reference(&input);
    json.ok_or(diagnostics)
}

fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "t" | "true")
}

fn env_files(request: &Request<'_>) -> Option<Vec<String>> {
    let mut names = request.env_files.clone();
    if names.is_empty() {
        let listed = request.process_env.get("COMPOSE_ENV_FILES").filter(|list| !list.is_empty())?;
        names = listed.split(',').map(str::to_owned).collect();
    }
    Some(names.iter().map(|name| absolute(request.working_dir, name)).collect())
}

/// The variables that say where the Compose files are; what is wrong with their files is said when they are read for good.
fn variables(files: &dyn Files, paths: &[String], process_env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for path in paths {
        let Ok(bytes) = files.read(path, MAX_FILE_BYTES) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let outside = |name: &str| process_env.get(name).or_else(|| all.get(name)).cloned();
        let settings = dotenv::parse(FileId(0), &text, Format::Compose, &outside, &mut Findings::default());
        let set: Vec<_> = settings.into_iter().filter_map(|setting| Some((setting.name, setting.value?))).collect();
        all.extend(set);
    }
    all.extend(process_env.clone());
    all
}

fn compose_files(request: &Request<'_>, variables: &BTreeMap<String, String>, begin: &str) -> Vec<String> {
    let here = |name: &String| absolute(request.working_dir, name);
    if !request.compose.is_empty() {
        return request.compose.iter().map(here).collect();
    }
    if let Some(list) = variables.get("COMPOSE_FILE").filter(|list| !list.is_empty()) {
        let separator = variables.get("COMPOSE_PATH_SEPARATOR").filter(|text| !text.is_empty()).map_or(":", |s| s);
        return list.split(separator).map(|name| here(&name.to_owned())).collect();
    }
    // Upwards from where the command runs.
    let mut dir = begin;
    loop {
        let first =
            |names: &[&str]| names.iter().map(|name| absolute(dir, name)).find(|path| request.files.exists(path));
        if let Some(base) = first(COMPOSE_NAMES) {
            return [Some(base), first(OVERRIDE_NAMES)].into_iter().flatten().collect();
        }
        match dir.rsplit_once('/') {
            Some((parent, _)) if !dir.trim_matches('/').is_empty() => dir = parent,
            _ => return Vec::new(),
        }
    }
}
