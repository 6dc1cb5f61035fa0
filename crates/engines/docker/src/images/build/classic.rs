//! The Engine's first builder, by `POST /build`: for Engines without BuildKit, and for keys that an old one lacks.

use super::super::error::{EngineTrouble, Error, FailedBuild, engine};
use super::super::trouble::Trouble;
use super::super::wire::{self, WireError};
use super::super::{ImageStore, login};
use super::Job;
use super::output::{Message, Output};
use super::tarball::{self, Extra};
use engine::images::Progress;
use http::HeaderMap;
use model::container::Context;
use std::collections::BTreeMap;

/// What a recipe that is no file of the context is called in it. Steps that copy the whole context see it.
const EXTRA: &str = ".mainstay.Dockerfile";

/// How often a build is begun anew that lost a layer to somebody who removed images.
const AGAIN: u32 = 3;

impl ImageStore {
    pub(super) async fn build_classically(&self, job: &Job<'_>, progress: &dyn Progress) -> Result<(), Error> {
        let mut left = AGAIN;
        loop {
            match self.build_once(job, progress).await {
                Err(Error::Build(failed)) if left > 0 && is_of_a_lost_layer(&failed.message) => left -= 1,
                result => return result,
            }
        }
    }

    async fn build_once(&self, job: &Job<'_>, progress: &dyn Progress) -> Result<(), Error> {
        let doing = || format!("build `{}`", job.tag);
        let (body, recipe) = match &job.folder {
            Some(folder) => self.packed(job, folder).await?,
            None => (wire::empty(), file_of(job)),
        };
        let mut headers = HeaderMap::new();
        wire::tar(&mut headers);
        wire::header(&mut headers, "x-registry-config", &login::config(job.credentials)).map_err(engine(doing()))?;
        let query = serde_urlencoded::to_string(query(job, &recipe));
        let query = query.map_err(|e| engine(doing())(WireError::Answer(e.into())))?;
        let mut answer = self.wire.post(&format!("/build?{query}"), headers, body).await.map_err(refused(job))?;
        let mut output = Output::new(job.redactor.clone());
        while let Some(message) = answer.message::<Message>().await.map_err(engine(doing()))? {
            if let Some(failure) = &message.error {
                return Err(Error::Build(Box::new(output.failed(&failure.message))));
            }
            output.take(&message).into_iter().for_each(|news| progress.tell(news));
        }
        output.end().into_iter().for_each(|news| progress.tell(news));
        Ok(())
    }

    async fn packed(&self, job: &Job<'_>, folder: &super::Folder) -> Result<(wire::Body, String), Error> {
        let entries = tarball::walk(&self.tasks, folder).await?;
        let own = job.recipe.as_ref().and_then(|recipe| recipe.path.clone());
        let extra = match (&own, &job.recipe) {
            (None, Some(recipe)) => Some(Extra { name: EXTRA.to_owned(), text: recipe.text.clone() }),
            _ => None,
        };
        let tarball = tarball::of(&self.tasks, entries, extra, self.clock.now());
        let recipe = own.or(tarball.extra).unwrap_or_else(|| file_of(job));
        Ok((tarball.body, recipe))
    }
}

fn file_of(job: &Job<'_>) -> String {
    match &job.build.recipe {
        model::container::Recipe::File(path) => path.clone(),
        model::container::Recipe::Inline(_) => EXTRA.to_owned(),
    }
}

/// The layers of this builder's cache are images of no name: one that it has just chosen goes when somebody removes the
/// last image that was built on it. The next attempt builds it.
fn is_of_a_lost_layer(message: &str) -> bool {
    ["unable to find image \"sha256:", "No such image: sha256:"].iter().any(|words| message.contains(words))
}

/// The Engine says no before the first step: mostly to the recipe itself.
fn refused(job: &Job<'_>) -> impl FnOnce(WireError) -> Error {
    let (redactor, doing) = (job.redactor.clone(), format!("build `{}`", job.tag));
    move |error| match error {
        WireError::Refused { status, message } if status.is_client_error() || Trouble::of(&message).is_some() => {
            Error::Build(Box::new(FailedBuild::new(None, redactor.text(&message), Vec::new())))
        }
        other => Error::Engine { doing, source: EngineTrouble::Wire(other) },
    }
}

/// What is asked for; arguments are secret.
fn query(job: &Job<'_>, recipe: &str) -> Vec<(&'static str, String)> {
    let build = job.build;
    let args: BTreeMap<&str, String> =
        build.args.iter().map(|(name, value)| (name.as_str(), value.reveal_text().into_owned())).collect();
    let json = |value: &dyn Fn() -> serde_json::Result<String>| value().unwrap_or_default();
    let mut query = vec![
        ("version", "1".to_owned()),
        ("t", job.tag.clone()),
        ("dockerfile", recipe.to_owned()),
        ("rm", "1".to_owned()),
        ("forcerm", "1".to_owned()),
        ("buildargs", json(&|| serde_json::to_string(&args))),
        ("labels", json(&|| serde_json::to_string(&job.labels))),
    ];
    if !build.cache_from.is_empty() {
        query.push(("cachefrom", json(&|| serde_json::to_string(&build.cache_from))));
    }
    if let Context::Remote(address) = &build.context {
        query.push(("remote", address.clone()));
    }
    let named = [("target", &build.target), ("networkmode", &build.network), ("platform", &build.platform)];
    query.extend(named.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
    query.extend(
        [("nocache", build.no_cache), ("pull", build.pull)]
            .into_iter()
            .filter(|(_, on)| *on)
            .map(|(key, _)| (key, "1".to_owned())),
    );
    query.extend(build.extra_hosts.iter().map(|(name, address)| ("extrahosts", format!("{name}:{address}"))));
    query.extend(build.shm.map(|size| ("shmsize", size.0.to_string())));
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_was_removed_is_told_from_an_image_that_was_never_there() {
        assert!(is_of_a_lost_layer(r#"unable to find image "sha256:4589aa97c25069c4""#));
        assert!(is_of_a_lost_layer("No such image: sha256:4589aa97c25069c4"));
        assert!(!is_of_a_lost_layer("pull access denied for nothing, repository does not exist"));
        assert!(!is_of_a_lost_layer("No such image: nothing:latest"));
    }
}
