//! Other people's Compose files. They are not ours to keep here: they are looked for in the folder that
//! `MAINSTAY_COMPOSE_CORPUS` names, else beside the checkout; in CI they must be there.

#![allow(dead_code, reason = "each test file uses its own part")]

use mainstay_declare::MemoryFiles;
use std::path::{Path, PathBuf};

const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/compose");

/// Larger files are nothing that a declaration refers to.
const MOST: u64 = 1 << 20;

/// The folder of the files; none where a checkout stands alone.
pub fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("MAINSTAY_COMPOSE_CORPUS").map_or_else(|| PathBuf::from(BESIDE), PathBuf::from);
    let found = std::fs::canonicalize(&folder);
    if let (Err(error), Some(_)) = (&found, std::env::var_os("CI")) {
        panic!("the Compose files must lie in {}: {error}", folder.display());
    }
    found.ok()
}

/// Every file below the folder in memory, since they include each other, and the YAML ones in order.
pub fn read(folder: &Path) -> (MemoryFiles, Vec<PathBuf>) {
    let (mut files, mut yaml) = (MemoryFiles::new(), Vec::new());
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() < MOST) {
                files = files.with(path.to_str().expect("UTF-8"), std::fs::read(&path).expect("readable"));
            }
            if path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
                yaml.push(path);
            }
        }
    }
    yaml.sort();
    (files, yaml)
}
