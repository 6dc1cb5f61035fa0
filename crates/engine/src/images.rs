//! Engines that run images: which image a service of a release gets, found, fetched or built.
//!
//! A release is pinned to image ids before it is planned, so that its replicas are all of one image and a way back needs
//! neither registry nor build. Start with [`Images`].

use crate::EngineError;
use async_trait::async_trait;
use model::container::ImageId;
use model::project::Template;
use model::{BundleId, ContentDigest, Secret, ServiceName, StackId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Finds, fetches and builds images.
#[async_trait]
pub trait Images: Send + Sync {
    /// The image that a service of a release runs, on this engine from now on. Idempotent: what is there already is
    /// found again, and a build of equal inputs is not done twice. Cancel-safe.
    async fn prepare(&self, wanted: &Wanted<'_>, progress: &dyn Progress) -> Result<Prepared, EngineError>;

    /// What is known of an image that is there; none when it is not.
    async fn inspect(&self, id: &ImageId) -> Result<Option<Facts>, EngineError>;
}

/// A service of a release that needs an image.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Whose it is.
    pub stack: &'a StackId,
    /// Which service.
    pub service: &'a ServiceName,
    /// What it runs: an image, or a build.
    pub template: &'a Template,
    /// Where the files of a build lie.
    pub bundle: &'a BundleId,
    /// Digest of everything a build is made of; equal digests, equal images. Keyed, as arguments may be secret.
    pub inputs: ContentDigest,
    /// Where the sources are kept, for a label: `https://…`, none when unknown.
    pub source: Option<&'a str>,
    /// The revision of the sources, for a label.
    pub revision: Option<&'a str>,
    /// How registries know us.
    pub credentials: &'a Credentials,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Which image it is.
    pub id: ImageId,
    /// `repository@sha256:…` as its registry knows it; none of one that was built here.
    pub digest: Option<String>,
    /// How it came here.
    pub how: How,
    /// How long that took.
    pub took: Duration,
    /// What is known of it.
    pub facts: Facts,
}

/// How an image came to be on the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was there.
    Found,
    /// It was fetched from its registry.
    Pulled,
    /// It was built.
    Built,
}

/// What an image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of its layers.
    pub size: u64,
    /// TCP ports that it exposes.
    pub ports: BTreeSet<u16>,
    /// Its entry point; empty when it has none.
    pub entrypoint: Vec<String>,
    /// Its command, or the arguments of its entry point.
    pub command: Vec<String>,
    /// Folders it wants volumes for.
    pub volumes: BTreeSet<String>,
    /// The check it brings.
    pub healthcheck: Option<Healthcheck>,
    /// The signal it wants to be stopped with, as it writes it.
    pub stop_signal: Option<String>,
    /// The user it runs as, as it writes it.
    pub user: Option<String>,
}

/// The check that an image brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// The command; never empty.
    pub command: Vec<String>,
    /// How often.
    pub interval: Option<Duration>,
    /// How long an answer may take.
    pub timeout: Option<Duration>,
    /// Failures at the beginning that do not count.
    pub start_period: Option<Duration>,
    /// So many failures in a row count.
    pub retries: Option<u32>,
}

/// How registries know us, by their host name (`ghcr.io`; Docker Hub is `docker.io`).
#[derive(Debug, Clone, Default)]
pub struct Credentials(pub BTreeMap<String, Login>);

/// How one registry knows us.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user; empty with an identity token.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// A token in place of both.
    pub identity_token: Option<Secret>,
}

/// Hears how a preparation goes.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn tell(&self, news: News);
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Another part of the work has begun: `pull`, a step of a build.
    Step {
        /// Its number, from 1; 0 where steps are not counted.
        number: u32,
        /// How many there are; 0 when that is not known.
        of: u32,
        /// In words.
        text: String,
        /// Nothing has to be done for it.
        cached: bool,
    },
    /// Bytes that have been fetched or unpacked, of all layers together.
    Bytes {
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// A line that a step of a build has written.
    Line(String),
}

/// Nobody listens.
pub struct Silent;

impl Progress for Silent {
    fn tell(&self, _: News) {}
}
