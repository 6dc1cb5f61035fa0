//! Contents by digest: `blobs/<first two digits>/<digest>`, mode 0444.

use super::{BundleError, Bundles};
use jiff::Timestamp;
use model::ContentDigest;
use runtime::files::{self, Staged};
use std::path::PathBuf;

/// A blob that is being sent. It is there once its digest was found right.
#[derive(Debug)]
pub struct BlobWriter {
    digest: ContentDigest,
    most: u64,
    written: u64,
    hasher: blake3::Hasher,
    staged: Staged,
}

impl Bundles {
    /// Begins to take in a blob of at most `most` bytes. Blocks.
    pub fn begin_blob(&self, digest: ContentDigest, most: u64) -> Result<BlobWriter, BundleError> {
        let path = self.blob_path(&digest);
        if let Some(folder) = path.parent() {
            files::create_dir(folder, 0o700)?;
        }
        let staged = files::stage(&path, 0o444)?;
        Ok(BlobWriter { digest, most, written: 0, hasher: blake3::Hasher::new(), staged })
    }

    pub(super) fn blob_path(&self, digest: &ContentDigest) -> PathBuf {
        let name = digest.to_string();
        self.folder("blobs").join(&name[..2]).join(&name)
    }

    /// The same content as an executable file: the permission bits belong to the file, not to its names.
    pub(super) fn executable_path(&self, digest: &ContentDigest) -> PathBuf {
        self.blob_path(digest).with_extension("x")
    }

    pub(super) fn blob_size(&self, digest: &ContentDigest) -> Result<Option<u64>, BundleError> {
        Ok(files::metadata(&self.blob_path(digest))?.map(|metadata| metadata.len()))
    }

    pub(super) fn touch_blob(&self, digest: &ContentDigest, now: Timestamp) -> Result<bool, BundleError> {
        let _working = self.working();
        match files::mark_used(&self.blob_path(digest), now.into()) {
            Ok(()) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl BlobWriter {
    /// Takes more of it. Blocks.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.written += bytes.len() as u64;
        if self.written > self.most {
            return Err(BundleError::TooLarge { digest: self.digest, most: self.most });
        }
        self.hasher.update(bytes);
        Ok(self.staged.append(bytes)?)
    }

    /// Puts it in its place, if it is what was announced. Blocks.
    pub fn finish(self) -> Result<(), BundleError> {
        let is = ContentDigest(*self.hasher.finalize().as_bytes());
        if is != self.digest {
            return Err(BundleError::WrongDigest { said: self.digest, is });
        }
        Ok(self.staged.place()?)
    }
}
