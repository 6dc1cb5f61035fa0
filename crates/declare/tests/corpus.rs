//! Other people's Compose files: what comes of each is written down in `tests/data/corpus.txt`.
//!
//! The files are not ours to keep here. They are looked for in the folder that `MAINSTAY_COMPOSE_CORPUS` names, else
//! beside the checkout; in CI they must be there. `UPDATE_EXPECT=1` rewrites the list.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests read and update their own files")]

use mainstay_declare::{Input, MemoryFiles, load};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/compose");
const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/corpus.txt");

/// The folder of the files; none where a checkout stands alone.
fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("MAINSTAY_COMPOSE_CORPUS").map_or_else(|| PathBuf::from(BESIDE), PathBuf::from);
    let found = std::fs::canonicalize(&folder);
    if let (Err(error), Some(_)) = (&found, std::env::var_os("CI")) {
        panic!("the Compose files must lie in {}: {error}", folder.display());
    }
    found.ok()
}

fn compose_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            compose_files(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
            into.push(path);
        }
    }
}

/// The codes that a file is refused with; none when it loads.
fn refusals(path: &Path) -> BTreeSet<&'static str> {
    let folder = path.parent().expect("a file lies in a folder");
    let mut files = MemoryFiles::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_file() {
            let content = std::fs::read(&path).expect("readable");
            files = files.with(path.to_str().expect("UTF-8"), content);
        }
    }
    let loaded = load(&Input {
        files: &files,
        project_dir: folder.to_str().expect("UTF-8"),
        compose: Some(vec![path.to_str().expect("UTF-8").to_owned()]),
        policy: None,
        environment: None,
        profiles: BTreeSet::new(),
        process_env: BTreeMap::from([("HOME".to_owned(), "/home/demo".to_owned())]),
        env_files: None,
    });
    loaded.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect()
}

#[test]
fn other_peoples_files_come_out_as_written() {
    let Some(folder) = corpus() else {
        eprintln!("NOT TESTED: other people's Compose files; name their folder in MAINSTAY_COMPOSE_CORPUS");
        return;
    };
    let mut all = Vec::new();
    compose_files(&folder, &mut all);
    all.sort();
    let mut got = String::new();
    for path in &all {
        let name = path.strip_prefix(&folder).expect("found below it").display();
        let codes: Vec<&str> = refusals(path).into_iter().collect();
        let outcome = if codes.is_empty() { "loads".to_owned() } else { codes.join(" ") };
        writeln!(got, "{name}: {outcome}").expect("text takes text");
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(LIST, got).expect("writable");
        return;
    }
    let expected = std::fs::read_to_string(LIST).expect("the list exists");
    for (got, expected) in got.lines().zip(expected.lines()) {
        assert_eq!(got, expected, "run with UPDATE_EXPECT=1 if this is right");
    }
    assert_eq!(got.lines().count(), expected.lines().count(), "files came or went");
}
