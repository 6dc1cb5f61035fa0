//! Projects in memory, and how a run of loading looks as text.

#![allow(dead_code, reason = "each test file uses its own part")]

use mainstay_declare::{Input, Loaded, MemoryFiles, load};
use model::policy::EngineKind;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A case: files and the settings of a run.
#[derive(Default, Clone)]
pub struct Case {
    pub files: MemoryFiles,
    pub compose: Option<Vec<String>>,
    pub environment: Option<String>,
    pub profiles: BTreeSet<String>,
    pub process_env: BTreeMap<String, String>,
    /// Said outside the files.
    pub engine: Option<EngineKind>,
}

impl Case {
    /// Reads `==> path` sections; before the first one `environment: x`, `engine: x`, `profile: x`, `file: x`, `NAME=value`.
    pub fn parse(text: &str) -> Self {
        let mut case = Self::default();
        let mut sections = text.split("==> ");
        for line in sections.next().unwrap_or_default().lines().filter(|line| !line.is_empty()) {
            if let Some((key, value)) = line.split_once(": ") {
                match key {
                    "environment" => case.environment = Some(value.to_owned()),
                    "engine" => case.engine = Some(value.parse().expect("an engine")),
                    "profile" => drop(case.profiles.insert(value.to_owned())),
                    "file" => case.compose.get_or_insert_default().push(value.to_owned()),
                    _ => panic!("unknown setting `{line}`"),
                }
            } else {
                let (name, value) = line.split_once('=').expect("a setting is `key: value` or `NAME=value`");
                case.process_env.insert(name.to_owned(), value.to_owned());
            }
        }
        for section in sections {
            let (name, content) = section.split_once('\n').expect("a file's name ends with its line");
            let path = mainstay_declare::files::absolute("/srv/demo", name.trim());
            case.files = case.files.with(&path, content);
        }
        case
    }

    pub fn load(&self) -> Loaded {
        load(&self.input())
    }

    pub fn input(&self) -> Input<'_> {
        Input {
            files: &self.files,
            project_dir: "/srv/demo",
            compose: self.compose.clone(),
            policy: None,
            environment: self.environment.clone(),
            profiles: self.profiles.clone(),
            process_env: self.process_env.clone(),
            env_files: None,
            engine: self.engine,
            default_engine: EngineKind::Process,
            keeps_layers: true,
        }
    }
}

/// The diagnostics as text: place, severity, code, message, further places, help.
pub fn diagnostics(loaded: &Loaded) -> String {
    let mut out = String::new();
    let place = |span| {
        let (line, column) = loaded.sources.position(span);
        format!("{}:{line}:{column}", loaded.sources.get(span.file).name)
    };
    for d in &loaded.diagnostics {
        let severity = format!("{:?}", d.severity).to_lowercase();
        let at = d.labels.first().map_or_else(|| "-".to_owned(), |label| place(label.span));
        writeln!(out, "{severity}[{}] {at}: {}", d.code, d.message).expect("text takes text");
        for label in d.labels.iter().skip(1) {
            writeln!(out, "    {}: {}", place(label.span), label.text).expect("text takes text");
        }
        if let Some(help) = &d.help {
            writeln!(out, "    help: {help}").expect("text takes text");
        }
    }
    out
}

/// What stands between a case and what comes of it.
pub const LINE: &str = "\n----\n";

/// Holds every `.txt` file of a folder, a case and what comes of it, against `outcome`; `UPDATE_EXPECT=1` writes what comes.
/// Gives the number of cases; a file without the line is none.
pub fn golden(folder: &str, outcome: impl Fn(&Case) -> String) -> usize {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut n = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let Some((input, expected)) = text.split_once(LINE) else { continue };
        n += 1;
        let got = outcome(&Case::parse(&format!("{input}\n")));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, format!("{input}{LINE}{got}")).expect("writable");
        } else {
            assert!(got == expected, "{}: run with UPDATE_EXPECT=1 if this is right\n{got}", path.display());
        }
    }
    n
}

/// Holds a page of `docs` that is written from a table against that table; `UPDATE_EXPECT=1` writes it.
pub fn same_as_page(name: &str, wanted: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, wanted).expect("writable");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == wanted, "docs/{name} is not what the table says: run with UPDATE_EXPECT=1");
}
