//! Other people's Compose files, read.

#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "folder.rs"]
mod folder;

pub use folder::folder;
use mainstay_declare::MemoryFiles;
use std::path::{Path, PathBuf};

/// Larger files are nothing that a declaration refers to.
const MOST: u64 = 1 << 20;

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
