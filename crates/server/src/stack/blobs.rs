//! Bundles as the world takes them in and reads them.

use super::world::World;
use crate::api::ApiError;
use crate::api::bundle::NewBundle;
use axum::body::Body;
use model::{BundleId, ContentDigest, Secret};
use runtime::BoxError;
use store::bundles::{BundleError, File, Manifest};

/// The largest file of a bundle: far above any artifact, below what fills a small disk at once.
const MOST: u64 = 8 << 30;

fn refused(error: &BundleError) -> ApiError {
    let status = if error.is_senders_fault() { 422 } else { 500 };
    let refused = ApiError::new(status, "MS0226", crate::chain(error));
    match error.cure() {
        Some(cure) => refused.help(cure),
        None => refused,
    }
}

fn digest(text: &str) -> Result<ContentDigest, ApiError> {
    text.parse().map_err(|error: model::id::IdError| ApiError::new(400, "MS0206", error.to_string()))
}

impl World {
    /// Does blocking work on bundles beside the runtime's threads.
    async fn on_bundles<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let done = self.tasks.blocking(doing, work).await.map_err(|error| crate::failed(&error))?;
        done.map_err(|error| refused(&error))
    }

    /// Which blobs the store does not have.
    pub async fn missing_blobs(&self, digests: Vec<String>) -> Result<Vec<String>, ApiError> {
        let digests = digests.iter().map(|text| digest(text)).collect::<Result<Vec<_>, _>>()?;
        let (bundles, now) = (self.bundles.clone(), self.clock.now());
        let missing = self.on_bundles("look for blobs", move || bundles.missing(&digests, now)).await?;
        Ok(missing.iter().map(ToString::to_string).collect())
    }

    /// Takes a blob in.
    pub async fn put_blob(&self, text: String, body: Body) -> Result<(), ApiError> {
        let stored = self.bundles.put_blob(&self.tasks, digest(&text)?, MOST, body.into_data_stream()).await;
        stored.map_err(|error| refused(&error))
    }

    /// Makes a bundle.
    pub async fn create_bundle(&self, bundle: NewBundle) -> Result<BundleId, ApiError> {
        let file = |file: crate::api::bundle::BundleFile| {
            let path = file.path.parse().map_err(|error| refused(&BundleError::Path(error)))?;
            Ok(File { path, digest: digest(&file.digest)?, mode: file.mode, size: file.size })
        };
        let files = bundle.files.into_iter().map(file).collect::<Result<Vec<_>, ApiError>>()?;
        let (bundles, now) = (self.bundles.clone(), self.clock.now());
        let declaration = Secret::new(bundle.declaration);
        self.on_bundles("make a bundle", move || bundles.create(&declaration, files, now)).await
    }

    /// The declaration a bundle holds.
    pub async fn declaration(&self, id: &BundleId) -> Result<Secret, ApiError> {
        let (bundles, id) = (self.bundles.clone(), id.clone());
        self.on_bundles("read a bundle", move || bundles.declaration(&id)).await
    }

    /// What a bundle consists of; it lies laid out in the store afterwards.
    pub async fn lay_out(&self, id: &BundleId) -> Result<Manifest, ApiError> {
        let (bundles, id) = (self.bundles.clone(), id.clone());
        let work = move || bundles.materialize(&id).and_then(|_| bundles.manifest(&id));
        self.on_bundles("lay a bundle out", work).await
    }
}

/// Where the folder of a bundle lies; made if it is not there. Blocks for a moment.
pub fn folder(bundles: &store::Bundles, id: &BundleId) -> Result<std::path::PathBuf, BoxError> {
    bundles.materialize(id).map_err(Into::into)
}
