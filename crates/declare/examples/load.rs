//! Loads the project in a folder and prints what came of it: `load DIR [ENVIRONMENT] [--canonical|--quiet]`.

#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "an example is a process of its own")]

use mainstay_declare::{self as declare, FileError, Files, Input};
use std::collections::BTreeSet;
use std::path::Path;

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        let meta = std::fs::metadata(path).map_err(|_| FileError::NotFound)?;
        if !meta.is_file() {
            return Err(FileError::NotAFile);
        }
        if meta.len() > limit {
            return Err(FileError::TooLarge { size: meta.len(), limit });
        }
        std::fs::read(path).map_err(|e| FileError::Refused(e.to_string()))
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).exists()
    }
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |args: &mut Vec<String>, name: &str| {
        let at = args.iter().position(|arg| arg == name);
        at.map(|at| args.remove(at)).is_some()
    };
    let (canonical, quiet) = (flag(&mut args, "--canonical"), flag(&mut args, "--quiet"));
    let target = std::fs::canonicalize(args.first().map_or(".", String::as_str)).expect("the first argument exists");
    let (dir, compose) = if target.is_file() {
        (target.parent().expect("a file lies in a folder"), Some(vec![target.display().to_string()]))
    } else {
        (target.as_path(), None)
    };
    let input = Input {
        files: &Disk,
        project_dir: dir.to_str().expect("the path is UTF-8"),
        compose,
        policy: None,
        environment: args.get(1).cloned(),
        profiles: BTreeSet::new(),
        process_env: std::env::vars().collect(),
        env_files: None,
    };
    let loaded = declare::load(&input);
    for d in &loaded.diagnostics {
        if quiet && !d.is_error() {
            continue;
        }
        let place = d.labels.first().map(|label| {
            let (line, column) = loaded.sources.position(label.span);
            format!("{}:{line}:{column}: ", loaded.sources.get(label.span.file).name)
        });
        let help = d.help.as_deref().unwrap_or_default();
        eprintln!("{}{:?} {}: {}\n    {help}", place.unwrap_or_default(), d.severity, d.code, d.message);
    }
    let Some(declared) = loaded.declared else { std::process::exit(2) };
    if canonical {
        print!("{}", declare::to_canonical(&declared));
    } else if !quiet {
        println!("{:#?}", declared.project);
        println!("{:#?}\n{:#?}\n{}", declared.builds, declared.bundle_paths, declare::to_yaml(&declared, false));
    }
}
