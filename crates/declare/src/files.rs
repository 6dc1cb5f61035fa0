//! Where text comes from: files through a trait, so that this crate itself never touches a disk.
//!
//! Paths are UTF-8 text with `/`. [`MemoryFiles`] is the fake for tests and previews.

use std::collections::BTreeMap;

/// The files a declaration may refer to.
pub trait Files {
    /// The content of the file at `path`, which is absolute.
    ///
    /// Errors: see [`FileError`]; a file of more than `limit` bytes is not read at all.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError>;

    /// Whether there is a file or folder at `path`.
    fn exists(&self, path: &str) -> bool;
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no such file")]
    NotFound,
    /// It is a folder, a socket or a device.
    #[error("it is no regular file")]
    NotAFile,
    /// It is larger than the reader wants to hold.
    #[error("it has {size} bytes, at most {limit} are read")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The system refused.
    #[error("{0}")]
    Refused(String),
}

/// Files that exist only in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    files: BTreeMap<String, Vec<u8>>,
}

impl MemoryFiles {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more file.
    #[must_use]
    pub fn with(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.to_owned(), content.as_ref().to_owned());
        self
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        let content = self.files.get(path).ok_or(FileError::NotFound)?;
        let size = content.len() as u64;
        if size > limit { Err(FileError::TooLarge { size, limit }) } else { Ok(content.clone()) }
    }

    fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(p, _)| p.starts_with(&folder))
    }
}

/// `path` made absolute against `base`, with `.` and `..` resolved by text alone.
pub fn absolute(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A path without `.`, `..` and doubled slashes, as far as it can be told without looking.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let is_absolute = path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_absolute => {}
            _ => parts.push(part),
        }
    }
    match (is_absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

/// The folder that a file at an absolute path lies in.
pub fn folder_of(path: &str) -> String {
    absolute("/", path.rsplit_once('/').map_or("/", |(folder, _)| folder))
}

/// The path of `path` within `folder`, both absolute; `.` for the folder itself, none when it lies outside.
pub fn within(folder: &str, path: &str) -> Option<String> {
    let folder = absolute("/", folder);
    let path = absolute("/", path);
    if path == folder {
        return Some(".".into());
    }
    let prefix = if folder == "/" { folder } else { folder + "/" };
    path.strip_prefix(&prefix).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        let check = |path: &str, want: &str| assert_eq!(clean(path), want, "{path:?}");
        check("/a//b/./c/", "/a/b/c");
        check("/../a/..", "/");
        check("../a/../../b", "../../b");
        check("", ".");
        assert_eq!((folder_of("/a/b").as_str(), folder_of("/a").as_str()), ("/a", "/"));
    }

    #[test]
    fn paths_are_resolved_by_text() {
        let check = |path: &str, want: &str, inside: Option<&str>| {
            let got = absolute("/srv/shop", path);
            assert_eq!(got, want);
            assert_eq!(within("/srv/shop", &got).as_deref(), inside, "{path}");
        };
        check("./a/../b", "/srv/shop/b", Some("b"));
        check(".", "/srv/shop", Some("."));
        check("../x", "/srv/x", None);
        check("../../../..", "/", None);
        check("/etc//hosts", "/etc/hosts", None);
        check("/srv/shopping", "/srv/shopping", None);
    }
}
