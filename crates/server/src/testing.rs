//! Scenes for tests: stacks as the daemon would settle them.

use model::project::{Project, Role};
use model::stack::Stack;
use plan::observed::{Phase, Replica};
use std::time::Duration;

/// The project settled as release 1.
pub fn stack(project: &Project) -> Stack {
    let allocation = plan::allocate(project, &plan::Allocation::default(), &plan::allocate::InUse::default())
        .expect("there is room");
    let terms = plan::Terms {
        release: model::ReleaseNumber(1),
        bundle: "ab".repeat(32).parse().expect("legal"),
        uid_base: 100_000,
        key: model::fingerprint::HashKey([7; 32]),
    };
    let content = |path: &str| Some(model::ContentDigest::of(path.as_bytes()));
    plan::settle_stack(project, &allocation, &terms, &content).expect("everything is in the bundle")
}

/// A replica in this phase.
pub fn replica(role: Role, phase: Phase) -> Replica {
    Replica {
        role,
        hash: "ab".repeat(16).parse().expect("legal"),
        release: model::ReleaseNumber(1),
        bundle: "ab".repeat(32).parse().expect("legal"),
        addresses: plan::Addresses::default(),
        failures: 0,
        stop_signal: 15,
        stop_grace: Duration::from_secs(1),
        phase,
    }
}
