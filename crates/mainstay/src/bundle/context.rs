//! Finds the files of the folders that images are built of.
//!
//! Owns what of such a folder goes into the bundle: all that `.dockerignore` does not leave out, below a place of its own.
//! Links are followed within the folder, because a bundle has files only; one that leads out of it is refused. Sockets
//! stay behind, as Docker has it.

use super::ignore::Rules;
use super::{Found, Problem};
use crate::progress::words;
use declare::BuildContext;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What one folder may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all its files.
    pub all: u64,
    /// Number of files.
    pub count: usize,
}

impl Default for Limits {
    /// More has never been meant: it is a folder of packages or data that `.dockerignore` forgot.
    fn default() -> Self {
        Self { all: 1 << 30, count: 50_000 }
    }
}

/// A folder with more entries than this is not looked through to say what is large in it.
const MOST_LOOKED_AT: usize = 2_000_000;

/// The files of these folders, by their paths in the bundle.
pub fn find(contexts: &[BuildContext], limits: Limits) -> Result<Vec<Found>, Vec<Problem>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for context in contexts {
        match Walk::of(context, limits).and_then(Walk::ended) {
            Ok(files) => found.extend(files),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

struct Walk<'a> {
    context: &'a BuildContext,
    limits: Limits,
    rules: Rules,
    top: PathBuf,
    found: Vec<Found>,
    problems: Vec<Problem>,
    sums: Sums,
}

impl<'a> Walk<'a> {
    fn of(context: &'a BuildContext, limits: Limits) -> Result<Self, Vec<Problem>> {
        let folder = Path::new(&context.folder);
        let unreadable = |path: &str, source| vec![Problem::Unreadable { path: path.to_owned(), source }];
        let top = folder.canonicalize().map_err(|source| unreadable(&context.shown, source))?;
        let rules = match &context.ignore {
            None => Rules::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
                let wrong =
                    |no: super::ignore::NoPattern| vec![Problem::Ignore { path: path.clone(), why: no.to_string() }];
                Rules::parse(&text).map_err(wrong)?
            }
        };
        let sums = Sums::default();
        let mut walk = Self { context, limits, rules, top, found: Vec::new(), problems: Vec::new(), sums };
        walk.folder("", folder, &mut Vec::new());
        Ok(walk)
    }

    fn ended(mut self) -> Result<Vec<Found>, Vec<Problem>> {
        let (bytes, count) = self.sums.whole();
        let shown = &self.context.shown;
        let too_much = |what, limit, by_bytes| {
            let services: Vec<String> = self.context.services.iter().map(|name| format!("`{name}`")).collect();
            let largest = self.sums.largest(by_bytes);
            Problem::Context { folder: shown.clone(), services: services.join(", "), what, limit, largest }
        };
        if bytes > self.limits.all {
            self.problems.push(too_much(words::bytes(bytes), words::bytes(self.limits.all), true));
        } else if count > self.limits.count {
            self.problems.push(too_much(words::count(count, "file"), self.limits.count.to_string(), false));
        } else if count == 0 && self.problems.is_empty() {
            self.problems.push(Problem::Nothing { path: shown.clone() });
        }
        if self.problems.is_empty() { Ok(self.found) } else { Err(self.problems) }
    }

    /// `above` are the real folders on the way here, so that a link cannot lead in circles.
    fn folder(&mut self, path: &str, folder: &Path, above: &mut Vec<PathBuf>) {
        let real = folder.canonicalize();
        let entries = real.and_then(|real| Ok((real, std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?)));
        let (real, entries) = match entries {
            Ok(read) => read,
            Err(source) => return self.problems.push(Problem::Unreadable { path: self.shown(path), source }),
        };
        if above.contains(&real) {
            return self.problems.push(Problem::Loop { path: self.shown(path) });
        }
        above.push(real);
        for entry in entries {
            if self.sums.looked_at > MOST_LOOKED_AT {
                break;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let path = self.shown(&join(path, &name.to_string_lossy()));
                self.problems.push(Problem::Name { path });
                continue;
            };
            self.visit(&join(path, name), &entry.path(), above);
        }
        above.pop();
    }

    fn visit(&mut self, path: &str, file: &Path, above: &mut Vec<PathBuf>) {
        self.sums.looked_at += 1;
        let is_out = !self.context.kept.contains(path) && self.rules.leave_out(path);
        let holds_kept = || {
            let below = format!("{path}/");
            self.rules.may_take_in_below(path) || self.context.kept.iter().any(|kept| kept.starts_with(&below))
        };
        // Of what is left out nobody asks whether it could go along.
        if is_out && !(file.is_dir() && holds_kept()) {
            return;
        }
        match self.follow(path, file) {
            Err(problem) => self.problems.push(problem),
            Ok(metadata) if metadata.is_dir() => self.folder(path, file, above),
            Ok(metadata) if metadata.is_file() && !is_out => self.file(path, file, &metadata),
            Ok(metadata) if is_out || metadata.file_type().is_socket() => {}
            Ok(_) => self.problems.push(Problem::Special { path: self.shown(path) }),
        }
    }

    fn follow(&self, path: &str, file: &Path) -> Result<Metadata, Problem> {
        let unreadable = |source| Problem::Unreadable { path: self.shown(path), source };
        let own = file.symlink_metadata().map_err(unreadable)?;
        if !own.is_symlink() {
            return Ok(own);
        }
        match file.canonicalize() {
            Ok(target) if target.starts_with(&self.top) => target.metadata().map_err(unreadable),
            _ => {
                let target = std::fs::read_link(file).map_err(unreadable)?;
                Err(Problem::Link { path: self.shown(path), target, folder: self.context.shown.clone() })
            }
        }
    }

    fn file(&mut self, path: &str, file: &Path, metadata: &Metadata) {
        let size = metadata.len();
        self.sums.add(path, size);
        let (bytes, count) = self.sums.whole();
        // What cannot go along in the end need not be kept; the rest is only looked at to say what is large.
        if bytes > self.limits.all || count > self.limits.count {
            self.found.clear();
            return;
        }
        let executable = metadata.permissions().mode() & 0o111 != 0;
        let path = format!("{}/{path}", self.context.bundle);
        self.found.push(Found { path, file: file.to_owned(), size, executable });
    }

    fn shown(&self, path: &str) -> String {
        match (self.context.shown.as_str(), path) {
            (shown, "") => shown.to_owned(),
            (".", path) => path.to_owned(),
            (shown, path) => format!("{shown}/{path}"),
        }
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// How much lies in each folder, down to a few levels.
#[derive(Debug, Default)]
struct Sums {
    folders: BTreeMap<String, (u64, usize)>,
    looked_at: usize,
}

impl Sums {
    const LEVELS: usize = 4;
    const SHOWN: usize = 3;

    fn add(&mut self, path: &str, size: u64) {
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]).take(Self::LEVELS);
        for folder in std::iter::once("").chain(folders) {
            match self.folders.get_mut(folder) {
                Some((bytes, count)) => {
                    *bytes += size;
                    *count += 1;
                }
                None => drop(self.folders.insert(folder.to_owned(), (size, 1))),
            }
        }
    }

    fn whole(&self) -> (u64, usize) {
        self.folders.get("").copied().unwrap_or_default()
    }

    /// The largest folders, each as deep as it still holds most of what is above it.
    fn largest(&self, by_bytes: bool) -> Vec<String> {
        let size = |of: &(u64, usize)| if by_bytes { of.0 } else { of.1 as u64 };
        let is_below = |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let mut all: Vec<(&str, u64)> =
            self.folders.iter().filter(|(folder, _)| !folder.is_empty()).map(|(f, sum)| (&**f, size(sum))).collect();
        all.sort_by_key(|(folder, size)| (std::cmp::Reverse(*size), folder.len()));
        let whole = self.folders.get("").map_or(0, size);
        let mut shown: Vec<(&str, u64)> = Vec::new();
        for (folder, size) in all.iter().copied() {
            // What is a small part of it would not help if it were left out.
            if size * 20 < whole || shown.len() == Self::SHOWN || shown.iter().any(|(taken, _)| is_below(folder, taken))
            {
                continue;
            }
            let deepest = all.iter().filter(|(below, part)| is_below(below, folder) && part * 5 >= size * 4);
            let (folder, size) = deepest.max_by_key(|(below, _)| below.len()).copied().unwrap_or((folder, size));
            if !shown.iter().any(|(taken, _)| *taken == folder || is_below(taken, folder)) {
                shown.push((folder, size));
            }
        }
        let words = |size: u64| match by_bytes {
            true => words::bytes(size),
            false => words::count(usize::try_from(size).unwrap_or(usize::MAX), "file"),
        };
        shown.into_iter().map(|(folder, size)| format!("`{folder}` {}", words(size))).collect()
    }
}

#[cfg(test)]
mod tests;
