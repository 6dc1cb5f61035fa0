//! The images of a bundle: prepared while the client listens, and given up when it goes.

use super::State;
use super::extract::{Json, Path};
use super::stacks::stack_id;
use crate::api::ApiError;
use crate::api::images::{ImageEvent, ImagesRequest, LoginView};
use crate::stack::images::{Origin, prepare as prepare_images};
use axum::response::sse::{Event, KeepAlive, Sse};
use engine::images::{Credentials, Login};
use futures_util::stream::{self, Stream};
use model::{BundleId, Secret};
use runtime::{CancellationToken, OnError};
use std::convert::Infallible;
use tokio::sync::mpsc;

/// So much may be under way to a client that is slow; of what comes faster only the newest counts.
const WAITING: usize = 1024;

/// Finds, fetches or builds the images of a bundle.
pub async fn prepare(
    state: State,
    Path((project, environment)): Path<(String, String)>,
    Json(request): Json<ImagesRequest>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let id = stack_id(&project, &environment)?;
    let bundle: BundleId = super::bundles::bundle_id(&request.bundle)?;
    let credentials = Credentials(request.logins.into_iter().map(|(host, login)| (host, of(login))).collect());
    let adopt = request.adopt;
    let origin = Origin { source: request.source, revision: request.revision };
    let (tell, hear) = mpsc::channel(WAITING);
    // Dropped with the stream: what nobody waits for any more is given up.
    let gone = CancellationToken::new();
    let (world, left) = (state.world().clone(), gone.clone());
    state.tasks().spawn(&format!("images of {id}"), OnError::Log, move |stop| async move {
        let on = tell.clone();
        // Lines of a build that come faster than they are read are left out, never its end.
        let pass = move |event: ImageEvent| drop(on.try_send(event));
        let work = prepare_images(&world, &id, &bundle, &origin, &credentials, adopt.as_deref(), &pass);
        let last = tokio::select! {
            done = work => match done {
                Ok(images) => ImageEvent::Finished {
                    images: images.into_iter().map(|(name, image)| (name.to_string(), image.to_string())).collect(),
                },
                Err(error) => ImageEvent::Failed { error },
            },
            () = left.cancelled() => return,
            () = stop.cancelled() => ImageEvent::Failed {
                error: ApiError::new(503, "MS0201", "the daemon is shutting down").help("try again once it is back"),
            },
        };
        let _ = tell.send(last).await;
    });
    let guard = gone.drop_guard();
    let events = stream::unfold((hear, guard), |(mut hear, guard)| async move {
        let event = hear.recv().await?;
        let data = serde_json::to_string(&event).expect("image events are plain data");
        Some((Ok(Event::default().event("image").data(data)), (hear, guard)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn of(login: LoginView) -> Login {
    Login {
        username: login.username,
        password: Secret::new(login.password),
        identity_token: login.identity_token.map(Secret::new),
    }
}
