//! The words of the domain: names, ids, units, what a project declares and the stack that follows from it.
//!
//! Owns only values that are legal once they exist: whoever holds a [`ServiceName`] need not check it again.
//! Never reads a file, a clock or the environment, and derives no wire form: those live in the outer crates.
//! Start with [`project::Project`] (what the two files say) and [`stack::Stack`] (what shall run).

pub mod container;
pub mod diagnostic;
pub mod fingerprint;
pub mod id;
pub mod image;
pub mod name;
pub mod policy;
pub mod probe;
pub mod project;
pub mod remote;
pub mod secret;
pub mod span;
pub mod stack;
pub mod units;

pub use diagnostic::{Diagnostic, Severity};
pub use fingerprint::{ContentDigest, SpecHash};
pub use id::{BundleId, ReleaseNumber, ReplicaId, Slot, StackId};
pub use name::{ConfigName, EnvironmentName, NetworkName, ProjectName, SecretName, ServiceName, VolumeName};
pub use remote::RemoteHost;
pub use secret::Secret;
pub use span::{Span, Spanned};
