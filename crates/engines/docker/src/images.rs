//! Images on the Engine: found, fetched or built, and what they say of themselves.
//!
//! Owns everything between a service's `image` or `build` and the id that its replicas run. Never starts, stops or
//! removes anything. Equal inputs are built once; dropping a preparation ends it on the Engine too.
//! Start with [`ImageStore::prepare`], then [`pull`] and [`build`].

mod build;
mod error;
mod facts;
mod login;
mod names;
mod platform;
mod pull;
mod trouble;
mod turns;
mod wire;

pub use error::{EngineTrouble, Error, FailedBuild};
pub use trouble::Trouble;
pub use wire::WireError;

use bollard::Docker;
use bollard::errors::Error as Bollard;
use bollard::models::ImageInspect;
use engine::images::{Facts, How, Prepared, Progress, Wanted};
use error::engine;
use jiff::Timestamp;
use model::BundleId;
use model::container::ImageId;
use model::project::Runs;
use platform::Platform;
use runtime::{Clock, Tasks};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use turns::Turns;
pub(crate) use wire::Wire;

/// A registry that has sent nothing for so long is given up: longer than the Engine's own attempts take to fail.
const STALL: Duration = Duration::from_secs(60);

/// Where the files of a bundle lie.
pub type BundleFolder = Arc<dyn Fn(&BundleId) -> PathBuf + Send + Sync>;

/// Finds, fetches and builds images on one Engine.
pub struct ImageStore {
    docker: Docker,
    wire: Wire,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    bundle: BundleFolder,
    stall: Duration,
    platform: OnceCell<Platform>,
    turns: Turns,
    /// When registries were last asked for an image. Lost with the process: then they are asked once too often.
    asked: Mutex<BTreeMap<String, Timestamp>>,
}

/// An image that is there now.
struct Found {
    how: How,
    image: ImageInspect,
    digest: Option<String>,
}

impl ImageStore {
    /// On the Engine that `docker` talks to and that listens at `socket`.
    pub fn new(docker: Docker, socket: &Path, clock: Arc<dyn Clock>, tasks: Tasks, bundle: BundleFolder) -> Self {
        Self {
            docker,
            wire: Wire::to(socket),
            clock,
            tasks: tasks.child("images"),
            bundle,
            stall: STALL,
            platform: OnceCell::new(),
            turns: Turns::default(),
            asked: Mutex::default(),
        }
    }

    /// With another bound for a registry that sends nothing.
    #[must_use]
    pub fn with_stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// The image that a service of a release runs, on the Engine from now on. Idempotent, cancel-safe.
    pub async fn prepare(&self, wanted: &Wanted<'_>, progress: &dyn Progress) -> Result<Prepared, Error> {
        let begun = self.clock.monotonic();
        let template = wanted.template;
        let found = match &template.runs {
            Runs::Image { image, pull, .. } => {
                let platform = template.container.platform.as_deref();
                let asked = pull::Asked { image, pull: *pull, platform, credentials: wanted.credentials };
                self.find_or_pull(&asked, progress).await?
            }
            Runs::Build { build, .. } => self.find_or_build(build, wanted, progress).await?,
            _ => return Err(Error::NoImage),
        };
        let id = found.image.id.as_deref().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| Error::Vanished(format!("{:?}", found.image.repo_tags)))?;
        Ok(Prepared {
            id,
            digest: found.digest,
            how: found.how,
            took: self.clock.monotonic().duration_since(begun),
            facts: facts::facts(&found.image),
        })
    }

    /// What is known of an image that is there; none when it is not.
    pub async fn inspect(&self, id: &ImageId) -> Result<Option<Facts>, Error> {
        Ok(self.look(id.as_str()).await?.as_ref().map(facts::facts))
    }

    async fn look(&self, name: &str) -> Result<Option<ImageInspect>, Error> {
        match self.docker.inspect_image(name).await {
            Ok(image) => Ok(Some(image)),
            Err(Bollard::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(engine(format!("look at image `{name}`"))(error)),
        }
    }

    /// The Engine's own platform; asked once, as it cannot change.
    async fn platform(&self) -> Result<&Platform, Error> {
        let ask = || async {
            let version = self.docker.version().await.map_err(engine("ask the Docker Engine for its version"))?;
            Ok(Platform::new(&version.os.unwrap_or_default(), &version.arch.unwrap_or_default(), ""))
        };
        self.platform.get_or_try_init(ask).await
    }

    fn since_asked(&self, name: &str) -> Option<Duration> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back counts as long ago.
        asked.get(name).and_then(|then| self.clock.now().duration_since(*then).try_into().ok())
    }

    fn note_asked(&self, name: String) {
        let now = self.clock.now();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name, now);
    }
}

impl std::fmt::Debug for ImageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageStore").field("wire", &self.wire).field("stall", &self.stall).finish_non_exhaustive()
    }
}
