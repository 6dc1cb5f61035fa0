//! From a release's bundle to the stack it wants: declaration, addresses, hashes.

use super::record::{Given, Running};
use super::world::World;
use crate::api::ApiError;
use model::project::Project;
use model::stack::{Stack, Target};
use model::{BundleId, StackId};
use plan::InUse;
use plan::allocate::Allocation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The stack that a release wants, and the addresses given out for it.
pub async fn settle(
    world: &World,
    id: &StackId,
    running: &Running,
    given: Given<'_>,
) -> Result<(Arc<Stack>, Allocation), ApiError> {
    let mut project = project(world, id, &running.bundle).await?;
    super::images::apply(&mut project, &running.images);
    for (name, replicas) in given.scale {
        if let Some(service) = project.services.get_mut(name) {
            service.replicas = *replicas;
        }
    }
    let in_use = in_use(world, id, given.allocation).await?;
    let allocation = plan::allocate(&project, given.allocation, &in_use).map_err(|error| refused(&error))?;
    let mut stack = laid_out(world, &project, running, &allocation, given.uid_base).await?;
    // Programs are told where to listen; what an image listens on, nobody need have written down.
    let is_image = world.engine_for(&project)?.images().is_some();
    stack.any_port = is_image && world.leads_any_port().await;
    if is_image && !stack.any_port {
        // Nobody knows where the edge would have to listen for it: its name leads to its replicas, as the engine has it.
        let is_unknown = |target: &&mut Target| !target.direct && target.ports.is_empty() && target.has_replicas();
        stack.services.values_mut().filter(is_unknown).for_each(|target| target.addresses.clear());
    }
    Ok((Arc::new(stack), allocation))
}

/// The stack of a project with these addresses.
pub async fn laid_out(
    world: &World,
    project: &Project,
    running: &Running,
    allocation: &Allocation,
    uid_base: u32,
) -> Result<Stack, ApiError> {
    let manifest = world.lay_out(&running.bundle).await?;
    let terms =
        plan::Terms { release: running.release, bundle: running.bundle.clone(), uid_base, key: world.hash_key() };
    let content = |path: &str| manifest.digest_of(path);
    plan::settle_stack(project, allocation, &terms, &content).map_err(|error| refused(&error))
}

/// What a bundle declares.
pub async fn project(world: &World, id: &StackId, bundle: &BundleId) -> Result<Project, ApiError> {
    let declaration = world.declaration(bundle).await?;
    let project = parse(&declaration.reveal_text())?;
    if (&project.name, &project.environment) != (&id.project, &id.environment) {
        let message = format!("the bundle is of `{}@{}`, not of `{id}`", project.name, project.environment);
        return Err(ApiError::new(422, "MS0220", message).help("name the stack that the bundle was made for"));
    }
    Ok(project)
}

/// What the machine and its other stacks have; `own` is this stack's, which the machine uses as well.
async fn in_use(world: &World, id: &StackId, own: &Allocation) -> Result<InUse, ApiError> {
    let mut subnets = world.engines.subnets_in_use().await.map_err(|error| crate::failed(&error))?;
    subnets.retain(|net| !own.has(net));
    let mut ports = runtime::sockets::listened_ports();
    ports.retain(|port| !own.has_port(*port));
    for other in world.other_allocations(id).await? {
        subnets.extend(other.networks.values().map(|subnet| subnet.net));
        ports.extend(other.ports.values().flat_map(BTreeMap::values));
    }
    Ok(InUse { subnets, ports })
}

fn refused(error: &(dyn std::error::Error + 'static)) -> ApiError {
    ApiError::new(422, "MS0221", crate::chain(error))
}

fn parse(declaration: &str) -> Result<Project, ApiError> {
    declare::from_canonical(declaration).map_err(|diagnostics| {
        let lines: Vec<_> =
            diagnostics.iter().map(|diagnostic| format!("{}: {}", diagnostic.code, diagnostic.message)).collect();
        ApiError::new(422, "MS0222", format!("the bundle's declaration is not legal:\n{}", lines.join("\n")))
            .help("make the bundle with the same version of `mainstay` as the daemon's")
    })
}
