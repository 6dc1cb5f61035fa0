//! What the process engine and a shim say to each other: the spec, the status file, the control socket's lines.
//!
//! Owns the wire shapes and the proof of life, and nothing that acts: the acting part is the program
//! `mainstay-shim` beside this library. Start reading at [`spec::Spec`].
#![expect(
    clippy::disallowed_methods,
    reason = "shared with the shim, a process of its own that uses the machine directly"
)]

pub mod control;
pub mod life;
pub mod spec;
pub mod status;
