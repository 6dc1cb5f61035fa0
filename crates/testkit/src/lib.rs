//! Builders, a manual clock and temporary folders: a dev-dependency, nowhere else.
//!
//! Nothing here decides or asserts; it sets the scene. Start with [`ManualClock`] and [`project::with`].

pub mod clock;
pub mod mounts;
pub mod project;

pub use clock::ManualClock;
