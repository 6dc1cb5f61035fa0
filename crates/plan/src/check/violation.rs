//! What can be wrong with a plan.

use crate::StepId;
use model::{NetworkName, ReplicaId, ServiceName, VolumeName};
use std::net::Ipv4Addr;

/// A broken invariant; a bug of whoever made the plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A step waits for one that does not exist.
    #[error("step {step} comes after step {missing}, which does not exist")]
    LooseEnd {
        /// The step that waits.
        step: StepId,
        /// What it waits for.
        missing: StepId,
    },
    /// Steps wait for each other.
    #[error("step {step} is part of a cycle")]
    Cycle {
        /// One of them.
        step: StepId,
    },
    /// Two starts of one replica.
    #[error("step {step} starts `{id}`, which another step starts as well")]
    StartedTwice {
        /// The later step.
        step: StepId,
        /// Which replica.
        id: ReplicaId,
    },
    /// A start in a slot in which something runs.
    #[error("step {step} starts `{id}`, which runs")]
    SlotInUse {
        /// The step.
        step: StepId,
        /// Which replica.
        id: ReplicaId,
    },
    /// Two replicas on one address.
    #[error("step {step} gives {address} on `{network}` to `{id}`, but `{holder}` has it")]
    AddressInUse {
        /// The step.
        step: StepId,
        /// Who gets it.
        id: ReplicaId,
        /// Where.
        network: NetworkName,
        /// What.
        address: Ipv4Addr,
        /// Who has it.
        holder: String,
    },
    /// One port of one address opened for two.
    #[error("step {step} opens port {port} for `{service}`, but `{holder}` has it")]
    PortInUse {
        /// The step.
        step: StepId,
        /// Which port.
        port: u16,
        /// Who gets it.
        service: ServiceName,
        /// Who has it.
        holder: ServiceName,
    },
    /// An address outside its network.
    #[error("step {step} gives {address} to `{id}`, which is no address of `{network}`")]
    AddressOutside {
        /// The step.
        step: StepId,
        /// Who gets it.
        id: ReplicaId,
        /// Where.
        network: NetworkName,
        /// What.
        address: Ipv4Addr,
    },
    /// A step touches what was not observed.
    #[error("step {step} touches {subject}, which was not observed")]
    NotOurs {
        /// The step.
        step: StepId,
        /// What.
        subject: String,
    },
    /// A step touches what could not be read.
    #[error("step {step} touches {subject}, which could not be read")]
    Unreadable {
        /// The step.
        step: StepId,
        /// What.
        subject: String,
    },
    /// A volume would be removed that nobody named.
    #[error("step {step} removes volume `{volume}`, which nobody named")]
    VolumeNotNamed {
        /// The step.
        step: StepId,
        /// Which.
        volume: VolumeName,
    },
    /// A replica is started otherwise than wanted, or than it was started before.
    #[error("step {step} starts `{id}` with a {what} that nobody wants")]
    StartedOtherwise {
        /// The step.
        step: StepId,
        /// Which replica.
        id: ReplicaId,
        /// What differs.
        what: &'static str,
    },
    /// Nobody waits for what was started.
    #[error("step {step} starts `{id}`, and no step waits for it")]
    NotAwaited {
        /// The step.
        step: StepId,
        /// Which replica.
        id: ReplicaId,
    },
    /// A step about a replica may come too early.
    #[error("step {step} may come before {what} of `{id}`")]
    TooEarly {
        /// The step.
        step: StepId,
        /// Of which replica.
        id: ReplicaId,
        /// What must have been before.
        what: &'static str,
    },
    /// A step may come before what it stands on.
    #[error("step {step} may come before step {before}, which it needs")]
    NoGround {
        /// The step.
        step: StepId,
        /// What it needs.
        before: StepId,
    },
    /// A dependency may not be as far as declared.
    #[error("step {step} may start `{id}` before `{dependency}` is as far as it must be")]
    DependencyNotReached {
        /// The step.
        step: StepId,
        /// Which replica.
        id: ReplicaId,
        /// What it depends on.
        dependency: ServiceName,
    },
    /// A service may stop before one that depends on it.
    #[error("step {step} may stop `{id}` before `{dependent}`, which depends on it")]
    StoppedTooEarly {
        /// The step.
        step: StepId,
        /// Which replica.
        id: ReplicaId,
        /// What depends on it.
        dependent: ServiceName,
    },
    /// A step for an engine that places replicas, in a plan for one that takes whole stacks.
    #[error("step {step} is about no object of this engine")]
    NoObject {
        /// The step.
        step: StepId,
    },
    /// Something is made otherwise than wanted, an object is applied twice, or what is wanted is taken away.
    #[error("step {step} does with {subject} what nobody wants")]
    NotMeant {
        /// The step.
        step: StepId,
        /// What.
        subject: String,
    },
    /// Nobody waits for an object's rollout.
    #[error("step {step} changes {subject}, and no step waits until that is rolled out")]
    NotWatched {
        /// The step.
        step: StepId,
        /// Which object.
        subject: String,
    },
    /// Too few replicas may serve at some moment.
    #[error("`{service}` may be left with {left} replicas that serve, its floor is {floor}")]
    UnderFloor {
        /// Which.
        service: ServiceName,
        /// How many at worst.
        left: usize,
        /// How many it must be.
        floor: usize,
    },
}
