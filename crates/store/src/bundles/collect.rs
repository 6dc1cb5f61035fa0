//! Removing what no kept release needs.

use super::{BundleError, Bundles};
use jiff::Timestamp;
use model::{BundleId, ContentDigest};
use runtime::files;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Bundles and blobs used within this time stay: they may be about to be released. Longer than any upload takes.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// So many bundles.
    pub bundles: usize,
    /// So many contents.
    pub blobs: usize,
    /// So many bytes of contents.
    pub bytes: u64,
}

impl Bundles {
    /// Removes every bundle that is not in `keep` and every content that none of the remaining ones has, unless it was
    /// used of late. Whoever runs from a bundle must have it in `keep`. Blocks.
    pub fn collect(&self, keep: &BTreeSet<BundleId>, now: Timestamp) -> Result<Collected, BundleError> {
        let _working = self.working();
        let mut collected = Collected::default();
        let mut needed = BTreeSet::new();
        let before = now.checked_sub(GRACE).unwrap_or(Timestamp::MIN);
        for id in self.all()? {
            // One that was just made is about to be released, or planned with.
            let used = files::metadata(&self.manifest_path(&id))?.map(|metadata| files::last_used(&metadata));
            if keep.contains(&id) || used.is_some_and(|used| used >= before.into()) {
                needed.extend(self.manifest(&id)?.files().map(|file| file.digest));
                continue;
            }
            // The manifest first: without it the rest is no bundle any more, and swept up after a crash.
            files::remove(&self.manifest_path(&id))?;
            files::remove(&self.declaration_path(&id))?;
            files::remove_tree(&self.folder("trees").join(id.as_str()))?;
            collected.bundles += 1;
        }
        for folder in files::list(&self.folder("blobs"))? {
            for blob in files::list(&folder)? {
                let Some(metadata) = files::metadata(&blob)? else { continue };
                let is_needed = digest_of_name(&blob).is_some_and(|digest| needed.contains(&digest));
                if is_needed || files::last_used(&metadata) >= before.into() {
                    continue;
                }
                files::remove(&blob)?;
                if blob.extension().is_none() {
                    collected.blobs += 1;
                    collected.bytes += metadata.len();
                }
            }
        }
        Ok(collected)
    }

    /// All bundles.
    pub fn all(&self) -> Result<Vec<BundleId>, BundleError> {
        let paths = files::list(&self.folder("manifests"))?;
        let id = |path: &Path| path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok();
        Ok(paths.iter().filter_map(|path| id(path)).collect())
    }

    /// Removes what a crash left half-made: trees without their name, trees and declarations without a manifest, blobs
    /// that had not come to their end.
    pub(super) fn sweep(&self) -> Result<(), BundleError> {
        let known: BTreeSet<String> = self.all()?.iter().map(BundleId::to_string).collect();
        for path in files::list(&self.folder("trees"))? {
            if !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| known.contains(name)) {
                files::remove_tree(&path)?;
            }
        }
        for path in files::list(&self.folder("manifests"))? {
            if !path.file_stem().and_then(|name| name.to_str()).is_some_and(|name| known.contains(name)) {
                files::remove(&path)?;
            }
        }
        for folder in files::list(&self.folder("blobs"))? {
            for path in files::list(&folder)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name.starts_with(".tmp-") || name.ends_with(".x.tmp") {
                    files::remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

fn digest_of_name(path: &Path) -> Option<ContentDigest> {
    path.file_stem()?.to_str()?.parse().ok()
}
