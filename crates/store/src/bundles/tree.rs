//! Laying a bundle out as a folder that replicas and the edge can be shown.
//!
//! Files are second names of blobs (of an executable twin where need be), so a tree costs next to nothing;
//! where a file system has no hard links they are copies. Nobody writes to them: they are 0444 and 0555.

use super::{BundleError, Bundles};
use model::{BundleId, ContentDigest};
use runtime::files;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

impl Bundles {
    /// The folder of a bundle's files; made at the first call. Declarations and secrets are not in it. Blocks.
    pub fn materialize(&self, id: &BundleId) -> Result<PathBuf, BundleError> {
        let target = self.folder("trees").join(id.as_str());
        let _working = self.working();
        // It was renamed into its place as a whole, so it is whole.
        if files::metadata(&target)?.is_some() {
            return Ok(target);
        }
        let manifest = self.manifest(id)?;
        let temp = self.folder("trees").join(format!(".tmp-{id}"));
        files::remove_tree(&temp)?;
        files::create_dir(&temp, 0o755)?;
        let folders = manifest.folders();
        for folder in &folders {
            files::create_dir(&temp.join(folder), 0o755)?;
        }
        for file in manifest.files() {
            let from = if file.is_executable() { self.executable(&file.digest)? } else { self.blob_path(&file.digest) };
            second_name(&from, &temp.join(file.path.as_str()))?;
        }
        for folder in folders {
            files::sync_dir(&temp.join(folder))?;
        }
        files::sync_dir(&temp)?;
        files::rename(&temp, &target)?;
        Ok(target)
    }

    /// The executable twin of a blob, made when it is not there.
    fn executable(&self, digest: &ContentDigest) -> Result<PathBuf, BundleError> {
        let twin = self.executable_path(digest);
        if files::metadata(&twin)?.is_none() {
            let temp = twin.with_extension("x.tmp");
            files::remove(&temp)?;
            // Copying shares the blocks where the file system can.
            files::copy(&self.blob_path(digest), &temp)?;
            files::set_mode(&temp, 0o555)?;
            files::open(&temp)?.sync_all().map_err(|error| files::FileError::new("write", &temp, error))?;
            files::rename(&temp, &twin)?;
        }
        Ok(twin)
    }
}

fn second_name(from: &Path, to: &Path) -> Result<(), BundleError> {
    match files::hard_link(from, to) {
        Ok(()) => Ok(()),
        // No hard links on this file system, or the file has as many names as it can.
        Err(error)
            if matches!(
                error.source.kind(),
                ErrorKind::Unsupported | ErrorKind::TooManyLinks | ErrorKind::PermissionDenied
            ) =>
        {
            files::copy(from, to)?;
            let file = files::open(to)?;
            Ok(file.sync_all().map_err(|error| files::FileError::new("write", to, error))?)
        }
        Err(error) => Err(error.into()),
    }
}
