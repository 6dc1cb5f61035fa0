//! Bundles: what releases run from, content-addressed on disk.
//!
//! Owns `bundles/`: blobs by digest, manifests, sealed declarations, and read-only trees made of them. A client
//! names contents, never places: every path in a manifest is checked before anything is made of it. Nothing here
//! is changed once it is written; what no kept release needs is collected. Everything here blocks.
//!
//! ```text
//! missing ─► put blobs ─► create (manifest, sealed declaration) ─► materialize (tree) ─► collect
//! ```

mod blobs;
mod collect;
mod error;
mod manifest;
mod path;
mod receive;
mod tree;

pub use blobs::BlobWriter;
pub use collect::Collected;
pub use error::BundleError;
pub use manifest::{File, Manifest};
pub use path::{BundlePath, PathError};

use crate::seal::Keys;
use jiff::Timestamp;
use model::{BundleId, ContentDigest, Secret};
use runtime::files;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bundles of one state folder; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Bundles {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    keys: Keys,
    /// Held while a bundle is made, laid out or collected: else a collection could take a blob from under it.
    working: Mutex<()>,
}

impl Bundles {
    /// The bundles of this state folder. Blocks.
    pub fn open(state: &Path, keys: Keys) -> Result<Self, BundleError> {
        let root = state.join("bundles");
        // Trees can be entered by who knows their name (static files are served by a process without rights),
        // not listed; blobs and manifests are nobody's business.
        for (folder, mode) in [("", 0o711), ("blobs", 0o700), ("manifests", 0o700), ("trees", 0o711)] {
            files::create_dir(&root.join(folder), mode)?;
        }
        let bundles = Self { shared: Arc::new(Shared { root, keys, working: Mutex::new(()) }) };
        bundles.sweep()?;
        Ok(bundles)
    }

    /// Which of these blobs are not here yet. Those that are here are marked as used now, so that a collection
    /// leaves them alone until their bundle is made. Blocks.
    pub fn missing(&self, digests: &[ContentDigest], now: Timestamp) -> Result<Vec<ContentDigest>, BundleError> {
        let mut missing = Vec::new();
        for digest in digests {
            match self.touch_blob(digest, now)? {
                true => {}
                false => missing.push(*digest),
            }
        }
        Ok(missing)
    }

    /// Makes a bundle of blobs that are here and a declaration, which is sealed. The same again is the same
    /// bundle, used `now`. Blocks.
    ///
    /// Errors: a path that leaves the bundle or is there twice, a blob that is missing or of another size.
    pub fn create(&self, declaration: &Secret, files: Vec<File>, now: Timestamp) -> Result<BundleId, BundleError> {
        let digest = blake3::keyed_hash(&self.shared.keys.hash_key().0, declaration.reveal());
        let manifest = Manifest::new(ContentDigest(*digest.as_bytes()), files)?;
        let _working = self.working();
        for file in manifest.files() {
            let size = self
                .blob_size(&file.digest)?
                .ok_or_else(|| BundleError::NoSuchBlob { path: file.path.to_string(), digest: file.digest })?;
            if size != file.size {
                let path = file.path.to_string();
                return Err(BundleError::WrongSize { path, said: file.size, is: size });
            }
        }
        let (id, text) = manifest.canonical();
        let path = self.manifest_path(&id);
        if files::metadata(&path)?.is_some() {
            files::mark_used(&path, now.into())?;
            return Ok(id);
        }
        // The manifest last: a bundle is there when its manifest is.
        let sealed = self.shared.keys.seal(&declaration_label(&id), declaration.reveal());
        files::write(&self.declaration_path(&id), &sealed, 0o600)?;
        files::write(&path, text.as_bytes(), 0o600)?;
        Ok(id)
    }

    /// What a bundle consists of. Blocks.
    pub fn manifest(&self, id: &BundleId) -> Result<Manifest, BundleError> {
        let path = self.manifest_path(id);
        let text = files::read_if_there(&path)?.ok_or_else(|| BundleError::NoSuchBundle(id.clone()))?;
        let manifest = Manifest::read(&text).filter(|manifest| manifest.canonical().0 == *id);
        manifest.ok_or(BundleError::Damaged { path })
    }

    /// The declaration of a bundle, unsealed. Blocks.
    pub fn declaration(&self, id: &BundleId) -> Result<Secret, BundleError> {
        let sealed = files::read_if_there(&self.declaration_path(id))?;
        let sealed = sealed.ok_or_else(|| BundleError::NoSuchBundle(id.clone()))?;
        Ok(Secret::new(self.shared.keys.unseal(&declaration_label(id), &sealed)?))
    }

    /// The digest of a file or folder of a bundle; none when it has no such path. Blocks.
    pub fn digest_of(&self, id: &BundleId, path: &str) -> Result<Option<ContentDigest>, BundleError> {
        Ok(self.manifest(id)?.digest_of(path))
    }

    fn working(&self) -> MutexGuard<'_, ()> {
        self.shared.working.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.shared.root.join(name)
    }

    fn manifest_path(&self, id: &BundleId) -> PathBuf {
        self.folder("manifests").join(format!("{id}.json"))
    }

    fn declaration_path(&self, id: &BundleId) -> PathBuf {
        self.folder("manifests").join(format!("{id}.sealed"))
    }
}

fn declaration_label(id: &BundleId) -> String {
    format!("declaration of bundle {id}")
}
