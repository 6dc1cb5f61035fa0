//! The same files through us and through the reference implementation of the Compose Specification: both refuse, or
//! both give the same project.
//!
//! Cases lie in `tests/reference/*.cases`. The reference is a program, `docker-compose`; `MAINSTAY_REFERENCE` names it.
//! What it says of a case is kept until the case or the program changes.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests run programs and read their own files")]

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/generate.rs"]
mod generate;

use mainstay_declare::MemoryFiles;
use mainstay_declare::reference::{Request, json};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference");

#[derive(Debug, Default, Clone)]
struct Case {
    name: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    dir: String,
    /// Whether the reference takes it, as whoever wrote the case expected.
    is_taken: bool,
    /// Why we say something else.
    differs: Option<String>,
    files: Vec<(String, String)>,
    text: String,
}

/// Words of a line, with quotes as a shell reads them.
fn words(line: &str) -> Vec<String> {
    mainstay_declare::canonical::words::split(line).expect("the case's line has whole quotes")
}

fn cases(text: &str) -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            all.push(Case { name: name.trim().into(), ..Case::default() });
            continue;
        }
        let Some(case) = all.last_mut() else { continue };
        case.text.push_str(line);
        if let Some(path) = line.strip_prefix("--- ") {
            case.files.push((path.trim().into(), String::new()));
        } else if let Some((_, content)) = case.files.last_mut() {
            content.push_str(line);
        } else if let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with('#')) {
            let value = value.trim();
            match key.trim() {
                "args" => case.args = words(value),
                "env" => {
                    let pairs = words(value);
                    case.env = pairs
                        .iter()
                        .filter_map(|pair| pair.split_once('='))
                        .map(|(k, v)| (k.into(), v.into()))
                        .collect();
                }
                "dir" => case.dir = value.into(),
                "differs" => case.differs = Some(value.into()),
                "reference" => case.is_taken = value == "accepts",
                _ => {}
            }
        }
    }
    all
}

/// What the reference says of a case it dies of.
const DIED: &str = "panic";

/// What the reference says: the project, or nothing.
fn reference(program: &Path, case: &Case) -> Option<Value> {
    let text = said(program, case);
    (!text.is_empty() && text != DIED)
        .then(|| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", case.name)))
}

/// What the reference writes; nothing when it refuses.
fn said(program: &Path, case: &Case) -> String {
    let mut key = DefaultHasher::new();
    (program, &case.args, &case.env, &case.dir, &case.text).hash(&mut key);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference").join(format!("{:016x}", key.finish()));
    std::fs::read_to_string(&kept).unwrap_or_else(|_| {
        let text = ask(program, case);
        std::fs::create_dir_all(kept.parent().expect("a file lies in a folder")).expect("writable");
        std::fs::write(&kept, &text).expect("writable");
        text
    })
}

fn ask(program: &Path, case: &Case) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("it exists").join("project");
    for (path, content) in &case.files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("writable");
        std::fs::write(path, content).expect("writable");
    }
    let mut command = Command::new(program);
    command.args(&case.args).args(["config", "--format", "json"]).current_dir(root.join(&case.dir));
    command.env_clear().envs(&case.env).env("HOME", "/home/nobody").env("PATH", "/usr/bin:/bin");
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    if !output.status.success() {
        let died = String::from_utf8_lossy(&output.stderr).contains("panic: ");
        return if died { DIED.into() } else { String::new() };
    }
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    text.replace(root.to_str().expect("UTF-8"), "/project")
}

/// What we say.
fn ours(case: &Case) -> Result<Value, String> {
    let mut files = MemoryFiles::new();
    for (path, content) in &case.files {
        files = files.with(&format!("/project/{path}"), content);
    }
    let mut compose = Vec::new();
    let mut env_files = Vec::new();
    let mut profiles = BTreeSet::new();
    let mut name = None;
    let mut folder = None;
    let mut args = case.args.iter();
    while let Some(arg) = args.next() {
        let (arg, value) = match arg.split_once('=') {
            Some((arg, value)) if arg.starts_with("--") => (arg, value.to_owned()),
            _ => (arg.as_str(), args.next().cloned().unwrap_or_default()),
        };
        match arg {
            "-f" | "--file" => compose.push(value),
            "--env-file" => env_files.push(value),
            "--profile" => {
                profiles.insert(value);
            }
            "-p" | "--project-name" => name = Some(value),
            "--project-directory" => folder = Some(value),
            _ => return Err(format!("the test does not know `{arg}`")),
        }
    }
    let mut process_env = case.env.clone();
    process_env.insert("HOME".into(), "/home/nobody".into());
    process_env.insert("PATH".into(), "/usr/bin:/bin".into());
    let working_dir = mainstay_declare::files::absolute("/project", &case.dir);
    let request = Request {
        files: &files,
        working_dir: &working_dir,
        project_dir: folder.as_deref(),
        name: name.as_deref(),
        compose,
        profiles,
        env_files,
        process_env,
    };
    said_by_us(&request)
}

fn said_by_us(request: &Request<'_>) -> Result<Value, String> {
    let json = json(request).map_err(|found| {
        let messages = found.iter().filter(|d| d.is_error()).map(|d| d.message.clone());
        messages.collect::<Vec<_>>().join("; ")
    })?;
    // The reference doubles every dollar sign of what it writes.
    let text = json.to_string().replace('$', "$$");
    Ok(serde_json::from_str(&text).expect("it was JSON before"))
}

/// Where two values differ, the first few places.
fn difference(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let place = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => difference(&place, a, b, out),
                    (Some(a), None) => out.push(format!("{place}: only ours: {a}")),
                    (None, Some(b)) => out.push(format!("{place}: only theirs: {b}")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                difference(&format!("{path}[{at}]"), a, b, out);
            }
        }
        (a, b) if a != b => out.push(format!("{path}: ours {a}, theirs {b}")),
        _ => {}
    }
}

/// What is different about a case; nothing when both say the same.
fn compare(program: &Path, case: &Case) -> Option<String> {
    let theirs = reference(program, case);
    assert_eq!(theirs.is_some(), case.is_taken, "{}: the reference changed its mind", case.name);
    judge(&ours(case), &theirs)
}

fn judge(ours: &Result<Value, String>, theirs: &Option<Value>) -> Option<String> {
    match (ours, theirs) {
        (Ok(_), None) => Some("we take it, the reference refuses it".into()),
        (Err(why), Some(_)) => Some(format!("we refuse it, the reference takes it: {why}")),
        (Err(_), None) => None,
        (Ok(ours), Some(theirs)) => {
            let mut out = Vec::new();
            difference("", ours, theirs, &mut out);
            (!out.is_empty()).then(|| out.into_iter().take(6).collect::<Vec<_>>().join("\n    "))
        }
    }
}

/// The reference implementation; none where a checkout stands alone.
fn program() -> Option<PathBuf> {
    let program = std::env::var_os("MAINSTAY_REFERENCE");
    if program.is_none() {
        assert!(std::env::var_os("CI").is_none(), "MAINSTAY_REFERENCE must name docker-compose");
        eprintln!("NOT TESTED: the reference implementation; name docker-compose in MAINSTAY_REFERENCE");
    }
    program.map(PathBuf::from)
}

/// Other people's files of which we say something else, and why.
const OTHERS: &[(&str, &str)] = &[];

#[test]
fn both_say_the_same_of_other_peoples_files() {
    let (Some(program), Some(folder)) = (program(), corpus::folder()) else { return };
    let (files, all) = corpus::read(&folder);
    let (mut report, mut n_wrong) = (String::new(), 0);
    for path in &all {
        let dir = path.parent().and_then(Path::to_str).expect("UTF-8");
        let mut command = Command::new(&program);
        command.args(["-f", path.to_str().expect("UTF-8"), "config", "--format", "json"]).current_dir(dir);
        command.env_clear().env("HOME", "/home/nobody").env("PATH", "/usr/bin:/bin");
        let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let theirs: Option<Value> =
            output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("the reference writes JSON"));
        let request = Request {
            files: &files,
            working_dir: dir,
            project_dir: None,
            name: None,
            compose: vec![path.to_str().expect("UTF-8").to_owned()],
            profiles: BTreeSet::new(),
            env_files: Vec::new(),
            process_env: [("HOME", "/home/nobody"), ("PATH", "/usr/bin:/bin")]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
        };
        let name = path.strip_prefix(&folder).expect("found below it").display().to_string();
        let said = OTHERS.iter().find(|(other, _)| *other == name);
        match (judge(&said_by_us(&request), &theirs), said) {
            (Some(difference), None) => {
                n_wrong += 1;
                writeln!(report, "{name}: {difference}").expect("text takes text");
            }
            (None, Some((_, why))) => panic!("{name} is said to differ ({why}), and does not"),
            _ => {}
        }
    }
    assert!(n_wrong == 0, "{n_wrong} of {} files differ:\n{report}", all.len());
}

#[test]
fn both_say_the_same() {
    let Some(program) = program() else { return };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(FOLDER).expect("there are cases").map(|e| e.expect("readable").path()).collect();
    files.sort();
    let only = std::env::var("CASE").ok();
    let (mut n, mut report, mut n_wrong) = (0, String::new(), 0);
    for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "cases")) {
        let text = std::fs::read_to_string(file).expect("readable");
        let stem = file.file_stem().expect("a name").to_string_lossy();
        for case in cases(&text) {
            if only.as_ref().is_some_and(|only| !format!("{stem}/{}", case.name).contains(only)) {
                continue;
            }
            n += 1;
            let wrong = match (compare(&program, &case), &case.differs) {
                (Some(difference), None) => difference,
                (None, Some(_)) => "it is said to differ, and does not".into(),
                _ => continue,
            };
            n_wrong += 1;
            writeln!(report, "{stem}/{}: {wrong}", case.name).expect("text takes text");
        }
    }
    assert!(n_wrong == 0, "{n_wrong} of {n} cases differ:\n{report}");
    assert!(n > 0, "no case was found");
}

/// Files that are made up; `FUZZ_FROM` and `FUZZ_CASES` make up others and more, `FUZZ_KEEP` names a folder for them.
#[test]
fn both_say_the_same_of_files_that_are_made_up() {
    let Some(program) = program() else { return };
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
    };
    let (from, n) = (number("FUZZ_FROM", 1), number("FUZZ_CASES", 150));
    let (mut n_taken, mut n_wrong, mut report) = (0, 0, String::new());
    for seed in from..from + n {
        let files = generate::files(seed);
        if let Some(folder) = std::env::var_os("FUZZ_KEEP") {
            let folder = Path::new(&folder).join(seed.to_string());
            std::fs::create_dir_all(&folder).expect("writable");
            files.iter().for_each(|(path, text)| std::fs::write(folder.join(path), text).expect("writable"));
        }
        let mut args = vec!["-f".to_owned(), "compose.yaml".into()];
        if files.iter().any(|(path, _)| path == "over.yaml") {
            args.extend(["-f".into(), "over.yaml".into()]);
        }
        let text = files.iter().map(|(path, text)| format!("--- {path}\n{text}")).collect();
        let case = Case { name: format!("seed {seed}"), args, files, text, dir: ".".into(), ..Case::default() };
        if said(&program, &case) == DIED {
            continue;
        }
        let theirs = reference(&program, &case);
        n_taken += u64::from(theirs.is_some());
        if let Some(difference) = judge(&ours(&case), &theirs) {
            n_wrong += 1;
            writeln!(report, "{}: {difference}", case.name).expect("text takes text");
        }
    }
    assert!(n_wrong == 0, "{n_wrong} of {n} files differ:\n{report}");
    // Files that both refuse for the same typing error would show little.
    assert!(n_taken * 4 > n, "the reference takes {n_taken} of {n}");
}
