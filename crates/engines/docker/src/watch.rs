//! What happens on the Engine without our doing: its events wake the reconciler.

use crate::engine::Inner;
use crate::error::Error;
use crate::labels;
use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;
use model::StackId;
use runtime::OnError;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Before an Engine that is away is asked again.
const AWAY: Duration = Duration::from_secs(1);
/// How often what nobody tells of is looked at: packet rules and addresses on bridges.
const LOOK: Duration = Duration::from_secs(10);

/// What of a container's life may change what is to be done.
const OF_CONTAINERS: [&str; 7] = ["die", "start", "destroy", "oom", "pause", "unpause", "rename"];
/// What of networks and volumes.
const OF_GROUND: [&str; 3] = ["destroy", "disconnect", "remove"];

/// Has the Engine's events listened to as long as the engine lives.
pub(crate) fn spawn(inner: &Arc<Inner>) {
    let watcher = Arc::clone(inner);
    inner.tasks.spawn("watch the Docker Engine", OnError::Log, move |stop| async move {
        let mut was_away = false;
        loop {
            let listened = tokio::select! {
                () = stop.cancelled() => return,
                listened = watcher.listen(was_away) => listened,
            };
            watcher.forget();
            match listened {
                Err(error) if !was_away => {
                    tracing::warn!(error = runtime::tasks::chain(&error), "the Docker Engine cannot be listened to");
                }
                _ => {}
            }
            was_away = true;
            tokio::select! {
                () = stop.cancelled() => return,
                () = watcher.clock.sleep(AWAY) => {}
            }
        }
    });
    let looker = Arc::clone(inner);
    inner.tasks.spawn("watch the bridges", OnError::Log, move |stop| async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = looker.clock.sleep(LOOK) => {}
            }
            // While the Engine is away there is nothing to mend.
            if let Ok(false) = looker.rules_hold().await {
                looker.note_all().await;
            }
        }
    });
}

impl Inner {
    /// Passes on what the Engine tells until it stops telling.
    async fn listen(&self, was_away: bool) -> Result<(), Error> {
        let docker = self.docker().await?;
        let kinds = ["container", "network", "volume"].map(str::to_owned).to_vec();
        let filters = HashMap::from([("type".to_owned(), kinds)]);
        let mut events = docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build()));
        if was_away {
            // Whatever happened meanwhile, nobody told.
            self.note_all().await;
        }
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| self.refused(error))?;
            let taken = event.actor.as_ref().and_then(|actor| self.ledgers.stack_of(actor.id.as_deref()?));
            match told(&event, &self.settings.names.owner, taken) {
                Told::Of(stack) => self.changes.note(stack),
                Told::OfGround => self.note_all().await,
                Told::Nothing => {}
            }
        }
        Ok(())
    }

    async fn note_all(&self) {
        let stacks = self.known_stacks().await.unwrap_or_default();
        stacks.into_iter().for_each(|stack| self.changes.note(stack));
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// Something about this stack.
    Of(StackId),
    /// Something about networks or volumes, whose labels are not told.
    OfGround,
    /// Nothing that matters.
    Nothing,
}

/// What an event tells; `taken` is the stack of a container that was taken over.
fn told(event: &EventMessage, owner: &str, taken: Option<StackId>) -> Told {
    let action = event.action.as_deref().unwrap_or_default();
    match event.typ {
        Some(EventMessageTypeEnum::CONTAINER) if OF_CONTAINERS.contains(&action) => {
            let labels = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
            let of = |name: &str| labels.and_then(|labels| labels.get(name));
            let ours = of(labels::OWNER).is_some_and(|value| value == owner);
            let stack = of(labels::STACK).filter(|_| ours).and_then(|text| text.parse().ok());
            taken.or(stack).map_or(Told::Nothing, Told::Of)
        }
        Some(EventMessageTypeEnum::NETWORK | EventMessageTypeEnum::VOLUME) if OF_GROUND.contains(&action) => {
            Told::OfGround
        }
        _ => Told::Nothing,
    }
}
