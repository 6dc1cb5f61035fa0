//! Images that are fetched: found on the machine, or asked for at their registry.
//!
//! Owns when a registry is asked, and how long it may be silent. An image that is pinned by digest, or that is there
//! under `pull_policy: missing`, costs one look at the Engine and no network. Start with `find_or_pull`.

mod meter;

use super::error::{Error, engine};
use super::login;
use super::names;
use super::platform::Platform;
use super::trouble::Trouble;
use super::wire::{self, Answer, WireError};
use super::{Found, ImageStore};
use bollard::models::ImageInspect;
use engine::images::{Credentials, How, News, Progress};
use http::HeaderMap;
use meter::{Message, Meter};
use model::container::Pull;
use model::image::ImageRef;
use runtime::clock::timeout;
use std::time::Duration;

/// The machine's own work may take so many times longer than a registry may be silent: a large layer on a slow disk.
const LOCAL_WORK: u32 = 10;

/// What is asked for.
pub(super) struct Asked<'a> {
    pub image: &'a ImageRef,
    pub pull: Pull,
    /// `platform` of the service.
    pub platform: Option<&'a str>,
    pub credentials: &'a Credentials,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The machine's own image serves.
    Use,
    /// The registry is asked.
    Fetch,
    /// It may not be asked, and there is none.
    Refuse,
    /// There is one for other machines, and nobody asked for another.
    Misfit,
}

/// When a registry is asked. `fits` is whether there is an image for the platform, none when there is no image at all;
/// `since` is when it was last asked.
fn decide(pull: Pull, pinned: bool, fits: Option<bool>, platform_asked: bool, since: Option<Duration>) -> Next {
    match (pull, fits) {
        (Pull::Missing | Pull::Never, Some(true)) => Next::Use,
        (_, Some(true)) if pinned => Next::Use,
        (Pull::Every(age), Some(true)) if since.is_some_and(|since| since < age) => Next::Use,
        (Pull::Never, Some(false)) => Next::Misfit,
        (Pull::Never, None) => Next::Refuse,
        (Pull::Missing, Some(false)) if !platform_asked => Next::Misfit,
        _ => Next::Fetch,
    }
}

impl ImageStore {
    pub(super) async fn find_or_pull(&self, asked: &Asked<'_>, progress: &dyn Progress) -> Result<Found, Error> {
        let name = names::local(asked.image);
        let wanted = match asked.platform {
            Some(platform) => Platform::parse(platform),
            None => self.platform().await?.clone(),
        };
        let before = self.look(&name).await?;
        let fits = before.as_ref().map(|image| Platform::of(image).fits(&wanted));
        let is_pinned = asked.image.digest().is_some();
        match (decide(asked.pull, is_pinned, fits, asked.platform.is_some(), self.since_asked(&name)), before) {
            (Next::Use, Some(image)) => Ok(self.found(How::Found, image, asked.image)),
            (Next::Refuse, _) => Err(Error::NotThere(name)),
            (Next::Misfit, Some(image)) => Err(misfit(asked, &image, &wanted)),
            (_, before) => {
                self.pull(asked, progress).await?;
                let image = self.look(&name).await?.ok_or_else(|| Error::Vanished(name.clone()))?;
                if !Platform::of(&image).fits(&wanted) {
                    return Err(misfit(asked, &image, &wanted));
                }
                self.note_asked(name);
                let is_old = before.is_some_and(|before| before.id == image.id);
                let how = if is_old { How::Found } else { How::Pulled };
                Ok(self.found(how, image, asked.image))
            }
        }
    }

    fn found(&self, how: How, image: ImageInspect, asked: &ImageRef) -> Found {
        let noted = image.repo_digests.as_deref().unwrap_or_default();
        Found { how, digest: names::registry_digest(asked, noted), image }
    }

    async fn pull(&self, asked: &Asked<'_>, progress: &dyn Progress) -> Result<(), Error> {
        progress.tell(News::Step { number: 0, of: 0, text: format!("pull {}", asked.image), cached: false });
        let answer = timeout(&*self.clock, self.stall, self.begin_pull(asked)).await;
        let mut answer = answer.map_err(|_| self.stalled(asked))?.map_err(|error| understood(asked, error))?;
        let mut meter = Meter::default();
        let mut moved = self.clock.monotonic();
        loop {
            let limit = if meter.is_local() { self.stall * LOCAL_WORK } else { self.stall };
            let left = limit.saturating_sub(self.clock.monotonic().duration_since(moved));
            let message = timeout(&*self.clock, left, answer.message::<Message>()).await;
            let message = message.map_err(|_| self.stalled(asked))?.map_err(|error| understood(asked, error))?;
            let Some(message) = message else { return Ok(()) };
            if let Some(failure) = message.error {
                return Err(failed(asked, failure.message));
            }
            let (news, has_moved) = meter.take(&message);
            if has_moved {
                moved = self.clock.monotonic();
            }
            news.into_iter().for_each(|news| progress.tell(news));
        }
    }

    async fn begin_pull(&self, asked: &Asked<'_>) -> Result<Answer, WireError> {
        let repository = asked.image.repository();
        let mut query = vec![("fromImage", repository), ("tag", names::version(asked.image))];
        query.extend(asked.platform.map(|platform| ("platform", platform)));
        let query = serde_urlencoded::to_string(query).map_err(|e| WireError::Answer(e.into()))?;
        let mut headers = HeaderMap::new();
        let registry = names::registry(asked.image);
        if let Some(login) = login::find(asked.credentials, registry) {
            wire::header(&mut headers, "x-registry-auth", &login::auth(login, registry))?;
        }
        self.wire.post(&format!("/images/create?{query}"), headers, wire::empty()).await
    }

    fn stalled(&self, asked: &Asked<'_>) -> Error {
        let registry = names::registry(asked.image).to_owned();
        Error::Stalled { image: asked.image.to_string(), registry, after: self.stall }
    }
}

/// What the Engine's no means.
fn understood(asked: &Asked<'_>, error: WireError) -> Error {
    match error {
        WireError::Refused { message, .. } if Trouble::of(&message).is_some() => failed(asked, message),
        other => engine(format!("pull `{}`", asked.image))(other),
    }
}

fn failed(asked: &Asked<'_>, message: String) -> Error {
    let registry = names::registry(asked.image).to_owned();
    match Trouble::of(&message) {
        Some(trouble) => Error::Registry {
            image: asked.image.to_string(),
            user: login::user(login::find(asked.credentials, &registry)),
            registry,
            trouble,
            message,
        },
        None => Error::Engine {
            doing: format!("pull `{}` from `{registry}`", asked.image),
            source: super::error::EngineTrouble::Builder(message),
        },
    }
}

fn misfit(asked: &Asked<'_>, image: &ImageInspect, wanted: &Platform) -> Error {
    Error::Platform {
        image: asked.image.to_string(),
        there: Platform::of(image).to_string(),
        wanted: wanted.to_string(),
        asked: asked.platform.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_asked_when_it_has_to_be() {
        let day = Pull::Every(Duration::from_secs(86_400));
        let (hour, week) = (Some(Duration::from_secs(3_600)), Some(Duration::from_secs(604_800)));
        let check = |pull, pinned, fits, asked, since, expected| {
            assert_eq!(
                decide(pull, pinned, fits, asked, since),
                expected,
                "{pull:?} {pinned} {fits:?} {asked} {since:?}"
            );
        };
        check(Pull::Missing, false, Some(true), false, None, Next::Use);
        check(Pull::Missing, false, None, false, None, Next::Fetch);
        check(Pull::Missing, false, Some(false), false, None, Next::Misfit);
        check(Pull::Missing, false, Some(false), true, None, Next::Fetch);
        check(Pull::Always, false, Some(true), false, hour, Next::Fetch);
        check(Pull::Always, true, Some(true), false, None, Next::Use);
        check(Pull::Always, true, None, false, None, Next::Fetch);
        check(Pull::Never, false, Some(true), false, None, Next::Use);
        check(Pull::Never, false, None, false, None, Next::Refuse);
        check(Pull::Never, false, Some(false), true, None, Next::Misfit);
        check(day, false, Some(true), false, hour, Next::Use);
        check(day, false, Some(true), false, week, Next::Fetch);
        check(day, false, Some(true), false, None, Next::Fetch);
    }
}
