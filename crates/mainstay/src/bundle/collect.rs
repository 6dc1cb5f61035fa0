//! Finds and hashes the files of a bundle.
//!
//! All problems are collected. Links are followed within the project and refused beyond it, so that a bundle holds
//! nothing its author did not see. Of a file's mode only one thing is kept, whether it may be run: a bundle's id must
//! not depend on somebody's umask.

use super::{Found, Problem};
use crate::progress::words;
use server::api::bundle::BundleFile;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a bundle may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of all files.
    pub all: u64,
    /// Number of files.
    pub count: usize,
}

impl Default for Limits {
    /// A machine-learning model fits; a database or a whole home folder, named by mistake, does not.
    fn default() -> Self {
        Self { file: 4 << 30, all: 16 << 30, count: 100_000 }
    }
}

/// The files at and below `paths`, which count from `root`; each once, by path.
pub fn find(root: &Path, paths: &[String], limits: Limits) -> Result<Vec<Found>, Vec<Problem>> {
    let top = match root.canonicalize() {
        Ok(top) => top,
        Err(source) => return Err(vec![Problem::Unreadable { path: root.display().to_string(), source }]),
    };
    let mut walk = Walk { top, limits, found: BTreeMap::new(), problems: Vec::new(), bytes: 0 };
    for path in paths {
        let before = walk.found.len() + walk.problems.len();
        walk.visit(path, &root.join(path), &mut Vec::new());
        let prefix = format!("{path}/");
        let known =
            walk.found.contains_key(path) || walk.found.keys().any(|name| name.starts_with(&prefix) || path == ".");
        if walk.found.len() + walk.problems.len() == before && !known {
            walk.problems.push(Problem::Empty { path: path.clone() });
        }
        if walk.is_full() {
            break;
        }
    }
    if walk.problems.is_empty() { Ok(walk.found.into_values().collect()) } else { Err(walk.problems) }
}

struct Walk {
    top: PathBuf,
    limits: Limits,
    found: BTreeMap<String, Found>,
    problems: Vec<Problem>,
    bytes: u64,
}

impl Walk {
    // `above` are the real folders on the way here, so that a link cannot lead in circles.
    fn visit(&mut self, path: &str, file: &Path, above: &mut Vec<PathBuf>) {
        if self.is_full() {
            return;
        }
        let path = path.to_owned();
        let metadata = match self.follow(&path, file) {
            Ok(metadata) => metadata,
            Err(problem) => return self.problems.push(problem),
        };
        if metadata.is_dir() {
            self.folder(&path, file, above);
        } else if metadata.is_file() {
            self.file(path, file, &metadata);
        } else {
            self.problems.push(Problem::Special { path });
        }
    }

    fn follow(&self, path: &str, file: &Path) -> Result<Metadata, Problem> {
        let wrong = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Problem::Missing { path: path.to_owned() },
            _ => Problem::Unreadable { path: path.to_owned(), source },
        };
        let target = file.canonicalize().map_err(wrong)?;
        if !target.starts_with(&self.top) {
            return Err(Problem::Outside { path: path.to_owned(), target });
        }
        target.metadata().map_err(wrong)
    }

    fn folder(&mut self, path: &str, folder: &Path, above: &mut Vec<PathBuf>) {
        let unreadable = |source| Problem::Unreadable { path: path.to_owned(), source };
        let real = match folder.canonicalize() {
            Ok(real) => real,
            Err(source) => return self.problems.push(unreadable(source)),
        };
        if above.contains(&real) {
            return self.problems.push(Problem::Loop { path: path.to_owned() });
        }
        let entries = match std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(source) => return self.problems.push(unreadable(source)),
        };
        above.push(real);
        for entry in entries {
            let name = entry.file_name();
            match name.to_str() {
                Some(name) if path == "." => self.visit(name, &entry.path(), above),
                Some(name) => self.visit(&format!("{path}/{name}"), &entry.path(), above),
                None => self.problems.push(Problem::Name { path: format!("{path}/{}", name.to_string_lossy()) }),
            }
        }
        above.pop();
    }

    fn file(&mut self, path: String, file: &Path, metadata: &Metadata) {
        let size = metadata.len();
        if size > self.limits.file {
            let (size, limit) = (words::bytes(size), words::bytes(self.limits.file));
            return self.problems.push(Problem::Large { path, size, limit });
        }
        let executable = metadata.permissions().mode() & 0o111 != 0;
        let found = Found { path: path.clone(), file: file.to_owned(), size, executable };
        if self.found.insert(path, found).is_none() {
            self.bytes += size;
        }
        if self.found.len() > self.limits.count {
            let what = format!("more than {} files", self.limits.count);
            self.problems.push(Problem::TooMuch { what, limit: format!("{}", self.limits.count) });
        } else if self.bytes > self.limits.all {
            let what = format!("more than {}", words::bytes(self.limits.all));
            self.problems.push(Problem::TooMuch { what, limit: words::bytes(self.limits.all) });
        }
    }

    fn is_full(&self) -> bool {
        self.found.len() > self.limits.count || self.bytes > self.limits.all
    }
}

/// Hashes the files, as many at once as there are cores.
pub fn hash(files: &[Found]) -> Result<Vec<BundleFile>, Vec<Problem>> {
    let next = AtomicUsize::new(0);
    let hashed = Mutex::new((vec![None; files.len()], Vec::new()));
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(found) = files.get(n) else { break };
            let file = hash_one(found);
            let mut hashed = hashed.lock().unwrap_or_else(PoisonError::into_inner);
            match file {
                Ok(file) => hashed.0[n] = Some(file),
                Err(source) => hashed.1.push(Problem::Unreadable { path: found.path.clone(), source }),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8).min(files.len().max(1));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let (files, problems) = hashed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if problems.is_empty() { Ok(files.into_iter().flatten().collect()) } else { Err(problems) }
}

fn hash_one(found: &Found) -> io::Result<BundleFile> {
    let mut file = File::open(&found.file)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
    let digest = hasher.finalize().to_hex().to_string();
    Ok(BundleFile { path: found.path.clone(), digest, mode: if found.executable { 0o755 } else { 0o644 }, size })
}

#[cfg(test)]
mod tests;
