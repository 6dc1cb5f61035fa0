//! The images of a release: found, fetched or built before it is planned, and pinned in what is durable of it.
//!
//! Services that run the same have it prepared once. Where images are only names, there is nothing to do.

use super::takeover;
use super::world::World;
use crate::api::ApiError;
use crate::api::images::ImageEvent;
use engine::images::{Credentials, Facts, Healthcheck, How, News, Prepared, Progress, Wanted};
use engine::{EngineError, Retry};
use futures_util::{StreamExt as _, stream};
use model::container::{ImageId, Pinned};
use model::fingerprint::of_build;
use model::probe::{Check, Probe};
use model::project::{Project, Runs, Template};
use model::{BundleId, ContentDigest, ServiceName, StackId};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// So many images are worked on at once.
const WIDTH: usize = 3;

/// Where the sources of a release come from, for labels of what is built.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Where they are kept.
    pub source: Option<String>,
    /// Their revision.
    pub revision: Option<String>,
}

/// One image and the services that run it.
struct Job {
    services: Vec<ServiceName>,
    template: Arc<Template>,
    inputs: ContentDigest,
}

/// Has every image of a bundle be there; `hear` is told how it goes. Gives the image of each service.
pub async fn prepare(
    world: &World,
    id: &StackId,
    bundle: &BundleId,
    origin: &Origin,
    credentials: &Credentials,
    adopt: Option<&str>,
    hear: &(dyn Fn(ImageEvent) + Send + Sync),
) -> Result<BTreeMap<ServiceName, ImageId>, ApiError> {
    let mut project = super::settle::project(world, id, bundle).await?;
    let engine = world.engine_for(&project)?;
    world.refuse_unusable(&**engine).await?;
    let Some(images) = engine.images() else { return Ok(BTreeMap::new()) };
    let manifest = world.lay_out(bundle).await?;
    let mut pins = match adopt {
        Some(other) => takeover::images(&**engine, other, &project).await?,
        None => BTreeMap::new(),
    };
    project.services.retain(|name, _| !pins.contains_key(name));
    let jobs = jobs(&project, &|build| of_build(&world.hash_key(), build, &|path| manifest.digest_of(path)))
        .map_err(|path| ApiError::new(422, "MS0221", format!("a build uses `{path}`, which is not in the bundle")))?;
    let one = |job: Job| async move {
        let teller = Teller { services: names(&job.services), hear };
        let wanted = Wanted {
            stack: id,
            service: &job.services[0],
            template: &job.template,
            bundle,
            inputs: job.inputs,
            source: origin.source.as_deref(),
            revision: origin.revision.as_deref(),
            credentials,
        };
        let prepared = images.prepare(&wanted, &teller).await.map_err(|error| refused(&job.services, &error))?;
        hear(ready(&job.services, &prepared));
        Ok::<_, ApiError>((job.services, prepared.id))
    };
    let mut done = stream::iter(jobs).map(one).buffer_unordered(WIDTH);
    while let Some(ended) = done.next().await {
        let (services, image) = ended?;
        pins.extend(services.into_iter().map(|service| (service, image.clone())));
    }
    Ok(pins)
}

/// The images that a project needs, each once.
fn jobs(
    project: &Project,
    digest: &dyn Fn(&model::container::Build) -> Result<ContentDigest, String>,
) -> Result<Vec<Job>, String> {
    let mut jobs: Vec<Job> = Vec::new();
    for (name, service) in &project.services {
        let inputs = match &service.template.runs {
            Runs::Build { build, .. } => digest(build)?,
            Runs::Image { .. } => ContentDigest::of(&[]),
            Runs::Process { .. } | Runs::Static { .. } => continue,
        };
        let same = |job: &&mut Job| job.inputs == inputs && is_same_image(&job.template, &service.template);
        match jobs.iter_mut().find(same) {
            Some(job) => job.services.push(name.clone()),
            None => jobs.push(Job { services: vec![name.clone()], template: service.template.clone(), inputs }),
        }
    }
    Ok(jobs)
}

fn is_same_image(a: &Template, b: &Template) -> bool {
    a.container.platform == b.container.platform
        && match (&a.runs, &b.runs) {
            (Runs::Image { image: a, pull: x, .. }, Runs::Image { image: b, pull: y, .. }) => a == b && x == y,
            (Runs::Build { build: a, .. }, Runs::Build { build: b, .. }) => a == b,
            _ => false,
        }
}

/// Looks up what the named images say of themselves, so that it is durable with the release.
///
/// Errors: a service that needs an image has none named, or it has gone.
pub async fn pin(
    world: &World,
    id: &StackId,
    bundle: &BundleId,
    named: &BTreeMap<String, String>,
) -> Result<BTreeMap<ServiceName, Pinned>, ApiError> {
    let project = super::settle::project(world, id, bundle).await?;
    let engine = world.engine_for(&project)?;
    let Some(images) = engine.images() else { return Ok(BTreeMap::new()) };
    let mut pins = BTreeMap::new();
    for (name, service) in &project.services {
        if !matches!(service.template.runs, Runs::Image { .. } | Runs::Build { .. }) {
            continue;
        }
        let image = named.get(name.as_str()).ok_or_else(|| not_prepared(name))?;
        let image: ImageId =
            image.parse().map_err(|error: model::id::IdError| ApiError::new(400, "MS0247", error.to_string()))?;
        let facts = images.inspect(&image).await.map_err(|error| refused(std::slice::from_ref(name), &error))?;
        let facts = facts.ok_or_else(|| not_prepared(name))?;
        pins.insert(name.clone(), pinned(image, facts));
    }
    Ok(pins)
}

/// Has a project run the images that its release was pinned to.
pub fn apply(project: &mut Project, pins: &BTreeMap<ServiceName, Pinned>) {
    for (name, pinned) in pins {
        let Some(service) = project.services.get_mut(name) else { continue };
        if let Runs::Image { pin, .. } | Runs::Build { pin, .. } = &mut Arc::make_mut(&mut service.template).runs {
            *pin = Some(pinned.id.clone());
        }
        service.ports.extend(&pinned.ports);
        if service.probes.ready.is_none() && !service.probes.disabled {
            service.probes.ready = pinned.ready.clone();
        }
    }
}

fn pinned(id: ImageId, facts: Facts) -> Pinned {
    Pinned { id, digest: None, ports: facts.ports, ready: facts.healthcheck.map(probe) }
}

/// The check that an image brings, with the Engine's own timing where it names none.
fn probe(check: Healthcheck) -> Probe {
    let usual = Probe::with_defaults(Check::Command { argv: check.command });
    Probe {
        interval: check.interval.unwrap_or(usual.interval),
        timeout: check.timeout.unwrap_or(usual.timeout),
        start_period: check.start_period.unwrap_or(usual.start_period),
        retries: check.retries.and_then(NonZeroU32::new).unwrap_or(usual.retries),
        ..usual
    }
}

fn not_prepared(service: &ServiceName) -> ApiError {
    let message = format!("the image of `{service}` was not prepared, or has been removed since");
    ApiError::new(422, "MS0247", message).help("run `mainstay up` again, which fetches or builds it")
}

fn refused(services: &[ServiceName], error: &EngineError) -> ApiError {
    // What may pass is no fault of the files.
    let status = if error.retry == Retry::Later { 502 } else { 422 };
    ApiError::new(status, "MS0248", format!("the image of {} cannot be had", quoted(services)))
        .help(crate::chain(error))
}

fn quoted(services: &[ServiceName]) -> String {
    services.iter().map(|service| format!("`{service}`")).collect::<Vec<_>>().join(", ")
}

fn names(services: &[ServiceName]) -> Vec<String> {
    services.iter().map(ToString::to_string).collect()
}

fn ready(services: &[ServiceName], prepared: &Prepared) -> ImageEvent {
    let how = match prepared.how {
        How::Found => "found",
        How::Pulled => "pulled",
        How::Built => "built",
    };
    ImageEvent::Ready {
        services: names(services),
        id: prepared.id.to_string(),
        how: how.into(),
        digest: prepared.digest.clone(),
        size: prepared.facts.size,
        millis: u64::try_from(prepared.took.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Passes on what an engine tells.
struct Teller<'a> {
    services: Vec<String>,
    hear: &'a (dyn Fn(ImageEvent) + Send + Sync),
}

impl Progress for Teller<'_> {
    fn tell(&self, news: News) {
        let services = self.services.clone();
        (self.hear)(match news {
            News::Step { number, of, text, cached } => ImageEvent::Step { services, number, of, text, cached },
            News::Bytes { done, total } => ImageEvent::Bytes { services, done, total },
            News::Line(text) => ImageEvent::Line { services, text },
        });
    }
}
