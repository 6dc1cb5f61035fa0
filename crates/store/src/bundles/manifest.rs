//! What a bundle consists of, and its id.

use super::error::BundleError;
use super::path::BundlePath;
use model::{BundleId, ContentDigest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Far above any application; a bound on what one request makes us do.
const MOST_FILES: usize = 200_000;

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it lies in the bundle.
    pub path: BundlePath,
    /// Its content.
    pub digest: ContentDigest,
    /// Permission bits; of these only "may be executed" is kept.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
}

impl File {
    /// Whether it may be executed.
    pub fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }
}

/// What a bundle consists of.
///
/// Invariants: sorted by path, no path twice, no file where another file needs a folder; modes are 0444 or 0555.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The keyed digest of the declaration: keyed because it holds secrets and the id is no secret.
    declaration: ContentDigest,
    files: BTreeMap<BundlePath, File>,
}

/// The stored forms: only the newest is written, all are read.
#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum Stored {
    #[serde(rename = "1")]
    V1 { declaration: String, files: Vec<StoredFile> },
}

#[derive(Serialize, Deserialize)]
struct StoredFile {
    path: String,
    digest: String,
    executable: bool,
    size: u64,
}

impl Manifest {
    /// Errors: a path that is there twice or both as file and as folder, too many files.
    pub(super) fn new(declaration: ContentDigest, files: Vec<File>) -> Result<Self, BundleError> {
        if files.len() > MOST_FILES {
            return Err(BundleError::TooMany { count: files.len(), most: MOST_FILES });
        }
        let mut sorted = BTreeMap::new();
        for mut file in files {
            file.mode = if file.is_executable() { 0o555 } else { 0o444 };
            if let Some(twice) = sorted.insert(file.path.clone(), file) {
                return Err(BundleError::Twice(twice.path.to_string()));
            }
        }
        let folders: BTreeSet<&str> = sorted.keys().flat_map(BundlePath::folders).collect();
        if let Some(clash) = sorted.keys().find(|path| folders.contains(path.as_str())) {
            return Err(BundleError::Twice(clash.to_string()));
        }
        Ok(Self { declaration, files: sorted })
    }

    /// The files by path.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.values()
    }

    /// All folders, those that hold others before them.
    pub fn folders(&self) -> BTreeSet<&str> {
        self.files.keys().flat_map(BundlePath::folders).collect()
    }

    /// The digest of a file's content, or of a folder's listing (paths, contents, which are executable); the
    /// empty path and `.` are the whole bundle. None when there is no such path.
    pub fn digest_of(&self, path: &str) -> Option<ContentDigest> {
        let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
        let path = if path == "." { "" } else { path };
        if let Some(file) = self.files.get(path) {
            return Some(file.digest);
        }
        let below = |file: &&File| path.is_empty() || is_below(file.path.as_str(), path);
        let mut hasher = blake3::Hasher::new();
        let mut is_there = path.is_empty();
        for file in self.files.values().filter(below) {
            is_there = true;
            let within = file.path.as_str()[path.len()..].trim_start_matches('/');
            // A path has no control characters, so a line cannot be mistaken for two.
            hasher.update(format!("{within}\n{}\n{}\n", file.digest, file.is_executable()).as_bytes());
        }
        is_there.then(|| ContentDigest(*hasher.finalize().as_bytes()))
    }

    /// The id and the text it is the digest of.
    pub(super) fn canonical(&self) -> (BundleId, String) {
        let files = self.files.values().map(|file| StoredFile {
            path: file.path.to_string(),
            digest: file.digest.to_string(),
            executable: file.is_executable(),
            size: file.size,
        });
        let form = Stored::V1 { declaration: self.declaration.to_string(), files: files.collect() };
        let text = serde_json::to_string(&form).expect("texts and numbers always have a JSON form");
        let id = ContentDigest::of(text.as_bytes()).to_string();
        (id.parse().expect("a digest is 64 hex digits"), text)
    }

    /// Reads what [`Manifest::canonical`] wrote; none when it is anything else.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let Stored::V1 { declaration, files } = serde_json::from_slice(text).ok()?;
        let read = |file: StoredFile| {
            let mode = if file.executable { 0o555 } else { 0o444 };
            Some(File { path: file.path.parse().ok()?, digest: file.digest.parse().ok()?, mode, size: file.size })
        };
        let files = files.into_iter().map(read).collect::<Option<Vec<_>>>()?;
        Self::new(declaration.parse().ok()?, files).ok()
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(files: &[(&str, &str, u32)]) -> Result<Manifest, BundleError> {
        let file = |(path, content, mode): &(&str, &str, u32)| File {
            path: path.parse().unwrap(),
            digest: ContentDigest::of(content.as_bytes()),
            mode: *mode,
            size: content.len() as u64,
        };
        Manifest::new(ContentDigest::of(b"declared"), files.iter().map(file).collect())
    }

    #[test]
    fn the_order_of_files_does_not_matter_and_everything_else_does() {
        let id = |files: &[(&str, &str, u32)]| manifest(files).unwrap().canonical().0;
        let one = id(&[("a", "1", 0o644), ("b", "2", 0o755)]);
        assert_eq!(one, id(&[("b", "2", 0o700), ("a", "1", 0o600)]));
        assert_ne!(one, id(&[("a", "1", 0o644), ("b", "2", 0o644)]));
        assert_ne!(one, id(&[("a", "1", 0o644), ("c", "2", 0o755)]));
        assert_ne!(one, id(&[("a", "x", 0o644), ("b", "2", 0o755)]));
        let manifest = manifest(&[("a", "1", 0o644), ("b", "2", 0o755)]).unwrap();
        assert_eq!(Manifest::read(manifest.canonical().1.as_bytes()), Some(manifest));
    }

    #[test]
    fn nothing_is_in_a_bundle_twice() {
        let check = |files: &[(&str, &str, u32)], what: &str| {
            let error = manifest(files).expect_err(what);
            assert_eq!(error.to_string(), format!("`{what}` is in the bundle twice"));
        };
        check(&[("a", "1", 0), ("a", "2", 0)], "a");
        check(&[("a", "1", 0), ("a/b", "2", 0)], "a");
        check(&[("a/b/c", "1", 0), ("a/b", "2", 0)], "a/b");
        assert!(manifest(&[("a-b", "1", 0), ("a/b", "2", 0)]).is_ok());
    }

    #[test]
    fn folders_have_digests_of_what_is_below_them_only() {
        let one = manifest(&[("x/a", "1", 0), ("x/b/c", "2", 0), ("xy", "3", 0)]).unwrap();
        let other = manifest(&[("y/a", "1", 0), ("y/b/c", "2", 0), ("xy", "4", 0)]).unwrap();
        assert_eq!(one.digest_of("x"), other.digest_of("./y/"));
        assert_ne!(one.digest_of("."), other.digest_of(""));
        assert_eq!(one.digest_of("xy"), Some(ContentDigest::of(b"3")));
        assert_eq!((one.digest_of("z"), one.digest_of("x/a/b"), one.digest_of("..")), (None, None, None));
        let executable = manifest(&[("x/a", "1", 0o755), ("x/b/c", "2", 0)]).unwrap();
        assert_ne!(one.digest_of("x"), executable.digest_of("x"));
    }
}
