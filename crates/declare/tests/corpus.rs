//! Other people's Compose files: what comes of each is written down in `tests/data/corpus.txt`.
//!
//! `UPDATE_EXPECT=1` rewrites the list.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests read and update their own files")]

#[path = "support/corpus.rs"]
mod corpus;

use mainstay_declare::{Input, MemoryFiles, load};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/corpus.txt");

/// The codes that a file is refused with; none when it loads.
fn refusals(path: &Path, files: &MemoryFiles) -> BTreeSet<&'static str> {
    let folder = path.parent().expect("a file lies in a folder");
    let loaded = load(&Input {
        files,
        project_dir: folder.to_str().expect("UTF-8"),
        compose: Some(vec![path.to_str().expect("UTF-8").to_owned()]),
        policy: None,
        environment: None,
        profiles: BTreeSet::new(),
        process_env: BTreeMap::from([("HOME".to_owned(), "/home/demo".to_owned())]),
        env_files: None,
        engine: None,
        default_engine: model::policy::EngineKind::Process,
        keeps_layers: false,
    });
    loaded.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect()
}

#[test]
fn other_peoples_files_come_out_as_written() {
    let Some(folder) = corpus::folder() else { return };
    let (files, all) = corpus::read(&folder);
    let mut got = String::new();
    for path in &all {
        let name = path.strip_prefix(&folder).expect("found below it").display();
        let codes: Vec<&str> = refusals(path, &files).into_iter().collect();
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
