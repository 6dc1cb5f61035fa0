//! Builders, a manual clock, temporary folders, the Docker Engine of a test run: a dev-dependency, nowhere else.
//!
//! Nothing here decides or asserts; it sets the scene. Start with [`ManualClock`] and [`project::with`].

pub mod clock;
pub mod docker;
pub mod mounts;
pub mod project;

pub use clock::ManualClock;
