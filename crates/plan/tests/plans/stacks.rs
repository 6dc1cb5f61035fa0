//! Stacks for tests: projects taken through allocation and settling, as the daemon does it.

use crate::world::World;
use mainstay_plan::allocate::Terms;
use mainstay_plan::desired::{Former, Up};
use mainstay_plan::{Allocation, InUse, allocate, settle_stack};
use model::fingerprint::HashKey;
use model::project::{Project, Service};
use model::stack::Stack;
use model::{ReleaseNumber, ServiceName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Settles a project on what was given out before.
pub fn settle(project: &Project, before: &Allocation) -> (Stack, Allocation) {
    let allocation = allocate(project, before, &InUse::default()).expect("there is room");
    let terms = Terms {
        release: ReleaseNumber(1),
        bundle: "ab".repeat(32).parse().expect("legal"),
        uid_base: 100_000,
        key: HashKey([7; 32]),
    };
    let stack = settle_stack(project, &allocation, &terms, &|_| None).expect("nothing comes from the bundle");
    (stack, allocation)
}

/// Wants a stack; asked for long ago.
pub fn up(stack: Stack) -> Up {
    let asked_at = World::new().now - jiff::SignedDuration::from_hours(24);
    Up { stack, asked_at, restart: BTreeMap::new(), former: BTreeMap::new() }
}

/// The same with the templates of an earlier stack still known.
pub fn up_after(stack: Stack, earlier: &Stack) -> Up {
    let former = |target: &model::stack::Target| {
        let (release, bundle) = (earlier.release, earlier.bundle.clone());
        (target.hash, Former { template: Arc::clone(&target.template), release, bundle })
    };
    Up { former: earlier.services.values().map(former).collect(), ..up(stack) }
}

/// Changes the command line of a service: another version of it.
pub fn version(service: &mut Service, version: &str) {
    let networks = service.template.networks.clone();
    let mounts = service.template.mounts.clone();
    let mut template = testkit::project::template(&format!("./run {version}"));
    template.networks = networks;
    template.mounts = mounts;
    service.template = Arc::new(template);
}

/// The service of that name.
pub fn service<'a>(project: &'a mut Project, name: &str) -> &'a mut Service {
    let name: ServiceName = testkit::project::name(name);
    project.services.get_mut(&name).expect("the project has it")
}
