//! Other people's Compose files, beside the checkout: all are read, and what is refused is refused for a reason we name.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]

use mainstay_declare::{Input, MemoryFiles, load};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/compose");

fn corpus(part: &str) -> Vec<PathBuf> {
    let folder = std::fs::canonicalize(CORPUS)
        .unwrap_or_else(|e| panic!("the corpus of Compose files must lie in {CORPUS}: {e}"));
    let mut all = Vec::new();
    compose_files(&folder.join(part), &mut all);
    all.sort();
    all
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
    });
    loaded.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect()
}

#[test]
fn real_files_load_or_name_what_is_missing() {
    let all = corpus("awesome-compose");
    let mut loaded = 0;
    for path in &all {
        let codes = refusals(path);
        loaded += usize::from(codes.is_empty());
        // Not supported yet, a user by name, a secret whose file is not part of the corpus.
        let expected = BTreeSet::from(["MS0008", "MS0011", "MS0047"]);
        assert!(codes.is_subset(&expected), "{}: {codes:?}", path.display());
    }
    assert!(loaded >= 25, "{loaded} of {} files load", all.len());
}

#[test]
fn files_that_the_specification_forbids_are_refused() {
    let all = corpus("compose-go");
    assert!(all.len() > 20, "the corpus is not whole");
    for path in &all {
        let codes = refusals(path);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name {
            "compose-depends-on-cycle.yaml" | "compose-depends-on-self.yaml" => {
                assert!(codes.contains("MS0061"), "{}: {codes:?}", path.display());
            }
            "empty.yaml" => assert!(codes.contains("MS0067"), "{}: {codes:?}", path.display()),
            _ => {}
        }
    }
}
