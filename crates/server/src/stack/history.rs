//! Releases that were, as stacks: to be compared.

use super::record::Running;
use super::world::World;
use super::{images, settle};
use crate::api::ApiError;
use crate::api::release::ReleaseView;
use model::container::Pinned;
use model::stack::Stack;
use model::{BundleId, ReleaseNumber, StackId};
use plan::InUse;
use plan::allocate::Allocation;
use std::collections::{BTreeMap, BTreeSet};

/// The stack that a release wanted. Addresses and what images say of themselves are none of its own: two that are
/// settled so differ in what was declared and in which images ran.
///
/// Errors: what it ran from is gone, or cannot be read.
pub async fn settled(world: &World, id: &StackId, release: &ReleaseView) -> Result<Stack, ApiError> {
    let number = ReleaseNumber(release.number);
    let unreadable = |why: String| {
        ApiError::new(422, "MS0256", format!("what release {number} ran from cannot be read any more: {why}"))
            .help("name a later release; files stay for the last ten, and for those kept with `mainstay releases keep`")
    };
    let bundle: BundleId = release.bundle.parse().map_err(|error: model::id::IdError| unreadable(error.to_string()))?;
    let mut pins = BTreeMap::new();
    for (service, image) in &release.images {
        let service = service.parse().map_err(|error: model::name::NameError| unreadable(error.to_string()))?;
        let id = image.parse().map_err(|error: model::id::IdError| unreadable(error.to_string()))?;
        pins.insert(service, Pinned { id, digest: None, ports: BTreeSet::new(), ready: None });
    }
    let running = Running { release: number, bundle, images: pins };
    settled_apart(world, id, &running).await.map_err(|error| unreadable(error.message))
}

/// As if nothing else were on the machine: nothing of it will run.
async fn settled_apart(world: &World, id: &StackId, running: &Running) -> Result<Stack, ApiError> {
    let mut project = settle::project(world, id, &running.bundle).await?;
    images::apply(&mut project, &running.images);
    let allocation = plan::allocate(&project, &Allocation::default(), &InUse::default());
    let allocation = allocation.map_err(|error| ApiError::new(422, "MS0221", crate::chain(&error)))?;
    settle::laid_out(world, &project, running, &allocation, 0).await
}
