//! What a step does. Each kind goes to its own port: engines know nothing of probes or the edge.

use model::ReplicaId;
use std::time::Duration;

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// For the engine that places replicas.
    Replica(replica::Action),
    /// For an engine that takes whole stacks.
    Object(object::Action),
    /// Waits until a replica is ready.
    Probe(Await),
    /// For the edge.
    Edge(edge::Change),
    /// Waits until a job has completed.
    Job(Completion),
}

/// Waits until a replica is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Await {
    /// Which.
    pub id: ReplicaId,
    /// At most so long.
    pub deadline: Duration,
}

/// Waits until a job's replica has exited with 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Which.
    pub id: ReplicaId,
}

/// Actions of an engine where we place replicas, and on what replicas stand on.
pub mod replica {
    use crate::Addresses;
    use crate::observed::NetworkState;
    use model::project::{Made, Role, Template};
    use model::{BundleId, NetworkName, ReleaseNumber, ReplicaId, SpecHash, VolumeName};
    use std::sync::Arc;
    use std::time::Duration;

    /// One action on replicas, networks or volumes. Each is idempotent.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Action {
        /// Makes the network be so, with exactly these stable addresses and names.
        ///
        /// Addresses and names change while replicas stand on it. The subnet changes only when none does; until then it
        /// is refused.
        EnsureNetwork {
            /// Which.
            name: NetworkName,
            /// How it shall be.
            state: Box<NetworkState>,
            /// How it is made, if it is not there.
            made: Box<Made>,
        },
        /// Removes the network. Refused while a replica stands on it.
        RemoveNetwork {
            /// Which.
            name: NetworkName,
        },
        /// Makes the volume be there; what it holds is kept.
        EnsureVolume {
            /// Which.
            name: VolumeName,
            /// How it is made, if it is not there.
            made: Box<Made>,
        },
        /// Removes the volume and what it holds. That no replica mounts it is the planner's to see to.
        RemoveVolume {
            /// Which.
            name: VolumeName,
        },
        /// Starts the replica; one that exited or half exists in this slot is cleared away first. Refused while one that
        /// was started otherwise runs in it, and while a network or volume it needs is not there. What a cut start left
        /// may still be at work: until it is at rest, another one may have to be tried later.
        Start(Box<Start>),
        /// Asks the replica to stop, and ends it after `grace`.
        Stop {
            /// Which.
            id: ReplicaId,
            /// Number of the signal that asks.
            signal: i32,
            /// How long it has.
            grace: Duration,
        },
        /// Removes all that is left of a stopped replica, except its logs. One that runs is refused.
        Remove {
            /// Which.
            id: ReplicaId,
        },
    }

    /// Everything a replica is started with.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Start {
        /// Which.
        pub id: ReplicaId,
        /// Runs on or once.
        pub role: Role,
        /// What it is started with.
        pub template: Arc<Template>,
        /// The template's hash, kept as a label.
        pub hash: SpecHash,
        /// The release it belongs to, kept as a label.
        pub release: ReleaseNumber,
        /// Where artifacts come from, kept as a label.
        pub bundle: BundleId,
        /// User `n` inside is `uid_base + n` outside.
        pub uid_base: u32,
        /// Its address per network.
        pub addresses: Addresses,
        /// How many times in a row it has exited by itself before this start, kept as a label.
        pub failures: u32,
    }
}

/// Actions of an engine that takes whole stacks.
pub mod object {
    use model::SpecHash;
    use std::fmt;
    use std::sync::Arc;
    use std::time::Duration;

    /// The kind and name of an object of such an engine.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct ObjectId {
        /// The engine's own kind, e.g. `service`, `Deployment`.
        pub kind: Arc<str>,
        /// Its name.
        pub name: Arc<str>,
    }

    impl fmt::Display for ObjectId {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}/{}", self.kind, self.name)
        }
    }

    /// The engine's own form of an object; it may hold secret values, so only its hash is ever shown.
    #[derive(Clone, PartialEq, Eq)]
    pub struct Manifest {
        /// The text as the engine takes it.
        pub text: Arc<str>,
        /// Keyed hash of the text, kept as a label on the object: equal hashes, equal objects.
        pub hash: SpecHash,
    }

    impl fmt::Debug for Manifest {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "Manifest({})", self.hash)
        }
    }

    /// One action on an object. Each is idempotent.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Action {
        /// Makes the object be so.
        Apply {
            /// Which.
            id: ObjectId,
            /// The engine's own form of it.
            manifest: Box<Manifest>,
        },
        /// Waits until the engine has rolled the object out.
        Watch {
            /// Which.
            id: ObjectId,
            /// At most so long.
            deadline: Duration,
        },
        /// Removes the object.
        Delete {
            /// Which.
            id: ObjectId,
        },
    }
}

/// Changes of the edge.
pub mod edge {
    use model::{ReplicaId, SpecHash};
    use std::time::Duration;

    /// One change of the edge. Each is idempotent.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Change {
        /// Opens the wanted listeners beside those that are open; routes stay as they are.
        Open,
        /// Gives traffic to the replica.
        Route {
            /// Which.
            id: ReplicaId,
        },
        /// Gives no more traffic to the replica and waits for what is in flight.
        Drain {
            /// Which.
            id: ReplicaId,
            /// WebSockets and raw TCP are cut after this.
            grace: Duration,
        },
        /// Switches routes and static folders to the wanted ones and closes listeners that are not wanted.
        Settle {
            /// The hash of the wanted routing, remembered by the edge.
            hash: SpecHash,
        },
    }
}
