//! The Docker engine: replicas as containers of a Docker Engine on this machine.

mod images;

pub use images::{BundleFolder, EngineTrouble, Error as ImageError, FailedBuild, ImageStore, Trouble, WireError};
