//! Taking over what `docker compose` runs of a project: what it means for a plan and a release.

use super::world::World;
use crate::api::ApiError;
use crate::api::plan::NoteView;
use engine::Engine;
use engine::takeover::{Fate, Outlook, Prospect, Stray, Takeover};
use model::container::ImageId;
use model::project::{Project, Runs};
use model::stack::Stack;
use model::{ReplicaId, ServiceName, StackId};
use plan::action::replica::Action;
use std::collections::BTreeMap;

/// Another tool runs the project.
const RUNS_ALREADY: &str = "MS0255";

/// The images that containers of another tool's project run, for the services that name the same: they are neither
/// fetched nor built.
pub async fn images(
    engine: &dyn Engine,
    other: &str,
    project: &Project,
) -> Result<BTreeMap<ServiceName, ImageId>, ApiError> {
    let strays = of(engine)?.find(other).await.map_err(|error| crate::failed(&error))?;
    let mut images = BTreeMap::new();
    for stray in strays {
        let named = stray.service.parse::<ServiceName>().ok();
        let Some((name, service)) = named.and_then(|name| project.services.get_key_value(&name)) else { continue };
        let is_same = match &service.template.runs {
            Runs::Image { image, .. } => image.to_string() == stray.image_name,
            Runs::Build { .. } => true,
            Runs::Process { .. } | Runs::Static { .. } => false,
        };
        if is_same {
            images.entry(name.clone()).or_insert(stray.image);
        }
    }
    Ok(images)
}

/// What a takeover would do, one note a container.
pub async fn notes(engine: &dyn Engine, other: &str, stack: &Stack) -> Result<Vec<NoteView>, ApiError> {
    let Outlook { containers, volumes } =
        of(engine)?.weigh(other, stack).await.map_err(|error| crate::failed(&error))?;
    if containers.is_empty() && volumes.is_empty() {
        let message = format!("`docker compose` has neither containers nor volumes of a project `{other}`");
        return Err(ApiError::new(404, RUNS_ALREADY, message)
            .help("leave `--adopt` out, or name the project: `docker compose ls` lists them"));
    }
    let volume = |(name, called): (model::VolumeName, String)| NoteView {
        subject: name.to_string(),
        text: format!("volume `{called}` goes on as it is"),
    };
    Ok(containers.into_iter().map(note).chain(volumes.into_iter().map(volume)).collect())
}

fn note(prospect: Prospect) -> NoteView {
    let Prospect { name, service, fate } = prospect;
    let text = match fate {
        Fate::Stays(id) => format!("container `{name}` goes on as `{id}`"),
        Fate::Replaced(id, keys) => {
            format!("container `{name}` goes on as `{id}` until one takes its place: {} differ", keys.join(", "))
        }
        Fate::Surplus(_) => format!("container `{name}` is one more than wanted: it is drained and removed"),
        Fate::Left(why) => format!("container `{name}` is left alone: {why}"),
    };
    NoteView { subject: service, text }
}

/// Who goes on as another tool's container beside services that a plan replaces.
pub fn left_behind(engine: &dyn Engine, stack: &Stack, plan: &plan::Plan) -> Result<Vec<NoteView>, ApiError> {
    let Some(takeover) = engine.takeover() else { return Ok(Vec::new()) };
    let taken = takeover.taken(&stack.id).map_err(|error| crate::failed(&error))?;
    let starts = |step: &plan::Step| matches!(&step.action, plan::action::Action::Replica(Action::Start(_)));
    if !plan.steps.values().any(starts) {
        return Ok(Vec::new());
    }
    let stops = |id: &ReplicaId| {
        let of = |step: &plan::Step| matches!(&step.action, plan::action::Action::Replica(Action::Stop { id: other, .. }) if other == id);
        plan.steps.values().any(of)
    };
    let is_client = |id: &&ReplicaId| stack.services.get(&id.service).is_some_and(|target| !target.direct);
    let note = |id: &ReplicaId| NoteView {
        subject: id.service.to_string(),
        text: format!(
            "`{id}` is still the container that was taken over: if it keeps what names stand for, as nginx does, run `mainstay restart {}` first",
            id.service
        ),
    };
    Ok(taken.iter().filter(is_client).filter(|id| !stops(id)).map(note).collect())
}

/// Offers the containers of another tool's project to the stack that is about to be released.
pub async fn offer(engine: &dyn Engine, other: &str, stack: &Stack) -> Result<(), ApiError> {
    of(engine)?.offer(other, stack).await.map_err(|error| crate::failed(&error))
}

/// The containers in which another tool runs the project already, where nothing of the stack is there yet.
pub async fn running(world: &World, id: &StackId) -> Result<Vec<Stray>, ApiError> {
    let engine = world.engines.of(id);
    let Some(takeover) = engine.takeover() else { return Ok(Vec::new()) };
    let placed = engine.observe(id).await.map_err(|error| crate::failed(&error))?;
    if !placed.replicas.is_empty() {
        return Ok(Vec::new());
    }
    let strays = takeover.find(id.project.as_str()).await.map_err(|error| crate::failed(&error))?;
    Ok(strays.into_iter().filter(|stray| stray.is_running).collect())
}

/// Refuses to start beside another tool's containers that hold ports of the stack; what an earlier order offered is not
/// taken over any more.
pub async fn refuse_beside(world: &World, stack: &Stack) -> Result<(), ApiError> {
    let Some(takeover) = world.engines.of(&stack.id).takeover() else { return Ok(()) };
    let held = running(world, &stack.id)
        .await?
        .into_iter()
        .flat_map(|stray| stray.holds.into_iter().map(move |socket| (socket, stray.name.clone())));
    let Some((socket, name)) = world.hub.taken_by(stack, held) else {
        return takeover.withdraw(&stack.id).await.map_err(|error| crate::failed(&error));
    };
    let message = format!("`docker compose` runs `{}` already: its container `{name}` has {socket}", stack.id.project);
    Err(ApiError::new(409, RUNS_ALREADY, message).help(
        "take its containers and volumes over without a gap with `mainstay up --adopt` (`mainstay plan --adopt` shows what that does), or take it down first with `docker compose down`",
    ))
}

fn of(engine: &dyn Engine) -> Result<&dyn Takeover, ApiError> {
    engine.takeover().ok_or_else(|| {
        let message = format!("there is nothing to take over on the engine `{}`", engine.kind());
        ApiError::new(422, RUNS_ALREADY, message).help("leave `--adopt` out, or name `--engine docker`")
    })
}
