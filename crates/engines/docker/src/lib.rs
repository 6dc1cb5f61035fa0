//! The Docker engine: replicas as containers of a Docker Engine on this machine.
//!
//! ```text
//! plan's action ──► engine ──► container (pure: template → what the Engine is asked for) ──► Docker's API
//!                     ├──► network   bridge, stable addresses on it, hosts files
//!                     ├──► exec, logs, usage
//!                     ├──► takeover  containers that another tool has started
//!                     └◄── watch     the Engine's events wake the reconciler
//! ```
//! Owns how an action becomes containers, networks and volumes, and how those are read back. What is ours is told by our
//! labels alone; everything else on the Engine is never touched. Replicas publish nothing: the edge listens for them.
//! Never decides what shall run, and never caches what runs. Start with [`DockerEngine`].

mod about;
mod container;
mod docker;
mod engine;
mod error;
mod exec;
mod images;
mod labels;
mod layout;
mod logs;
mod names;
mod network;
mod phase;
mod start;
mod takeover;
mod usage;
mod versions;
mod watch;

pub use docker::{Address, AddressError};
pub use engine::{DockerEngine, Settings};
pub use error::Error;
pub use images::{BundleFolder, EngineTrouble, Error as ImageError, FailedBuild, ImageStore, Trouble, WireError};
pub use layout::Layout;
pub use names::Names;
