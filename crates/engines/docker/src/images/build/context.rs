//! The files of a build: folders of the bundle, walked in one order, without leaving them.
//!
//! Symbolic links are passed on and never followed: the daemon may read what the project may not.

use super::super::error::Error;
use runtime::files;
use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};

/// A folder of a bundle.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// Something in a folder.
#[derive(Debug)]
pub struct Entry {
    /// Where it lies on this machine.
    pub at: PathBuf,
    /// Its path within the folder, with `/`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Its permissions, with the set-id and sticky bits.
    pub mode: u32,
}

/// What something in a folder is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file of so many bytes.
    File(u64),
    /// A link to this.
    Link(String),
}

impl Folder {
    /// The folder at this path of the bundle.
    ///
    /// Errors: it leads out of the bundle, by `..` or by a link, or is not there.
    pub fn of(bundle: &Path, path: &str) -> Result<Self, Error> {
        let found = within(bundle, Path::new(path))?;
        match files::metadata(&found)? {
            Some(metadata) if metadata.is_dir() => Ok(Self(found)),
            _ => Err(Error::Context {
                what: format!("the build's context `{path}` is no folder"),
                cure: "write the path of a folder as `context`",
            }),
        }
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// All that is in it, each folder before what is in it, names in the order of their bytes.
    pub fn walk(&self) -> Result<Vec<Entry>, Error> {
        let mut found = Vec::new();
        let mut left: Vec<(PathBuf, String)> = self.children(&self.0, "")?;
        while let Some((at, path)) = left.pop() {
            let metadata = files::metadata(&at)?;
            let entry = entry(at, path, metadata.as_ref())?;
            if entry.kind == Kind::Folder {
                left.extend(self.children(&entry.at, &entry.path)?);
            }
            found.push(entry);
        }
        Ok(found)
    }

    /// The last one first, so that the first is next on the pile.
    fn children(&self, at: &Path, path: &str) -> Result<Vec<(PathBuf, String)>, Error> {
        let mut children = Vec::new();
        for at in files::list(at)?.into_iter().rev() {
            let name = at.file_name().and_then(|name| name.to_str());
            let Some(name) = name else {
                let what = format!("the name of `{}` is no UTF-8", at.display());
                return Err(Error::Context { what, cure: "rename it, or leave it out with .dockerignore" });
            };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            children.push((at, path));
        }
        Ok(children)
    }
}

fn entry(at: PathBuf, path: String, metadata: Option<&Metadata>) -> Result<Entry, Error> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.map_or(0, |metadata| metadata.permissions().mode() & 0o7777);
    let kind = match metadata {
        Some(metadata) if metadata.is_dir() => Kind::Folder,
        Some(metadata) if metadata.is_file() => Kind::File(metadata.len()),
        Some(metadata) if metadata.is_symlink() => Kind::Link(link(&at)?),
        _ => {
            let what = format!("`{path}` of the build's context is neither file, folder nor link");
            return Err(Error::Context { what, cure: "leave it out with .dockerignore" });
        }
    };
    Ok(Entry { at, path, kind, mode })
}

fn link(at: &Path) -> Result<String, Error> {
    let target = std::fs::read_link(at).map_err(|source| files::FileError::new("read link", at, source))?;
    Ok(target.to_string_lossy().into_owned())
}

/// The path below `root` without links, which must not lead out of it.
pub fn within(root: &Path, path: &Path) -> Result<PathBuf, Error> {
    if path.components().any(|part| matches!(part, Component::RootDir | Component::Prefix(_))) {
        return Err(Error::outside(path.to_owned()));
    }
    let root = files::canonical(root)?;
    let found = files::canonical(&root.join(path))?;
    if found.starts_with(&root) { Ok(found) } else { Err(Error::outside(path.to_owned())) }
}
