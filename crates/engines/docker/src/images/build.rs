//! Images that are built, once for equal inputs, under a name that says which inputs.
//!
//! Owns which of the Engine's two builders is asked, what it is asked, and what is told of its work. BuildKit is the
//! rule; the classic builder serves Engines without it and the few keys that an old BuildKit lacks.
//! Start with `find_or_build`, then [`choice`], [`buildkit`], [`classic`].

mod buildkit;
mod choice;
mod classic;
mod context;
mod output;
mod recipe;
mod redact;
mod session;
mod tarball;
mod trace;
mod transfer;

use super::error::{Error, engine};
use super::{Found, ImageStore, names};
use bollard::models::ImageInspect;
use bollard::query_parameters::TagImageOptionsBuilder;
use choice::{Abilities, Builder};
use context::Folder;
use engine::images::{Credentials, How, News, Progress, Wanted};
use http::HeaderMap;
use model::container::{Build, Context};
use recipe::Recipe;
use redact::Redactor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Whose image it is; only images that bear it are ours.
const PROJECT_LABEL: &str = "app.mainstay.project";

/// A build with everything that has been looked up for it.
struct Job<'a> {
    build: &'a Build,
    /// What its image is called.
    tag: String,
    labels: BTreeMap<&'a str, &'a str>,
    recipe: Option<Recipe>,
    /// Its files; none when the Engine fetches them.
    folder: Option<Folder>,
    /// The same of further contexts.
    folders: BTreeMap<&'a str, Folder>,
    credentials: &'a Credentials,
    redactor: Redactor,
}

impl ImageStore {
    pub(super) async fn find_or_build(
        &self,
        build: &Build,
        wanted: &Wanted<'_>,
        progress: &dyn Progress,
    ) -> Result<Found, Error> {
        let tag = names::built(&wanted.stack.project, wanted.inputs);
        let _turn = self.turns.wait_for(&tag).await;
        let (how, image) = match self.look(&tag).await? {
            Some(image) => (How::Found, image),
            None => {
                self.build(self.job(build, wanted, &tag).await?, progress).await?;
                (How::Built, self.look(&tag).await?.ok_or_else(|| Error::Vanished(tag.clone()))?)
            }
        };
        self.name(build, &tag, &image).await?;
        Ok(Found { how, image, digest: None })
    }

    /// Reads what there is to read on this side; small files only.
    async fn job<'a>(&self, build: &'a Build, wanted: &Wanted<'a>, tag: &str) -> Result<Job<'a>, Error> {
        let bundle = (self.bundle)(wanted.bundle);
        let paths: Vec<(Option<&str>, String)> = folders(build);
        let (recipe, is_remote) = (build.recipe.clone(), matches!(build.context, Context::Remote(_)));
        let look = {
            let texts: Vec<String> = paths.iter().map(|(_, path)| path.clone()).collect();
            move || read(&bundle, &texts, &recipe, is_remote)
        };
        let (recipe, found) = self.tasks.blocking("read a build's recipe", look).await??;
        let (mut folder, mut folders) = (None, BTreeMap::new());
        for ((name, _), found) in paths.into_iter().zip(found) {
            match name {
                None => folder = Some(found),
                Some(name) => drop(folders.insert(name, found)),
            }
        }
        Ok(Job {
            build,
            tag: tag.to_owned(),
            labels: labels(build, wanted),
            recipe,
            folder,
            folders,
            credentials: wanted.credentials,
            redactor: Redactor::of(build),
        })
    }

    async fn build(&self, job: Job<'_>, progress: &dyn Progress) -> Result<(), Error> {
        progress.tell(News::Step { number: 0, of: 0, text: format!("build {}", job.tag), cached: false });
        let line = self
            .wire
            .upgrade("/grpc", HeaderMap::new())
            .await
            .map_err(engine("ask the Docker Engine for its builder"))?;
        let version = self.docker.version().await.map_err(engine("ask the Docker Engine for its version"))?;
        let abilities = Abilities::of(line.is_some(), version.api_version.as_deref());
        match (choice::choose(job.build, abilities)?, line) {
            (Builder::BuildKit, Some(line)) => self.build_with_buildkit(&job, line, progress).await,
            (_, unused) => {
                drop(unused);
                self.build_classically(&job, progress).await
            }
        }
    }

    /// Gives it the further names that the declaration has for it.
    async fn name(&self, build: &Build, tag: &str, image: &ImageInspect) -> Result<(), Error> {
        let there = image.repo_tags.as_deref().unwrap_or_default();
        for name in build.names.iter().filter(|name| name.digest().is_none() && !names::is_among(name, there)) {
            let options = TagImageOptionsBuilder::default().repo(name.repository()).tag(names::version(name)).build();
            let named = self.docker.tag_image(tag, Some(options)).await;
            named.map_err(engine(format!("name the image `{name}`")))?;
        }
        Ok(())
    }
}

/// The contexts that are folders of the bundle: the main one without a name.
fn folders(build: &Build) -> Vec<(Option<&str>, String)> {
    let all = [(None, &build.context)].into_iter();
    let all = all.chain(build.contexts.iter().map(|(name, context)| (Some(name.as_str()), context)));
    all.filter_map(|(name, context)| match context {
        Context::Bundle(path) => Some((name, path.clone())),
        _ => None,
    })
    .collect()
}

fn read(
    bundle: &Path,
    folders: &[String],
    recipe: &model::container::Recipe,
    is_remote: bool,
) -> Result<(Option<Recipe>, Vec<Folder>), Error> {
    let folders = folders.iter().map(|path| Folder::of(bundle, path)).collect::<Result<Vec<_>, _>>()?;
    let main: Option<PathBuf> = folders.first().filter(|_| !is_remote).map(|folder| folder.root().to_owned());
    Ok((Recipe::read(bundle, main.as_deref(), recipe)?, folders))
}

fn labels<'a>(build: &'a Build, wanted: &Wanted<'a>) -> BTreeMap<&'a str, &'a str> {
    let own = [
        ("org.opencontainers.image.revision", wanted.revision),
        ("org.opencontainers.image.source", wanted.source),
        (PROJECT_LABEL, Some(wanted.stack.project.as_str())),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
    // What the declaration says goes before what we know; the mark of whose it is does not.
    let mut labels: BTreeMap<&str, &str> = own.collect();
    let declared = build.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    labels.extend(declared.filter(|(name, _)| *name != PROJECT_LABEL));
    labels
}
