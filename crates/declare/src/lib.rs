//! Text of compose.yaml and mainstay.yaml to a typed project and diagnostics.
//!
//! Owns the two file formats: their syntax, their keys, their meaning. Never touches a file, the environment or a
//! clock: files come through [`Files`], variables as an argument. Problems are values, all of one run together.
//! Start with [`load`]; the stages are named there. What a bundle carries is in [`declaration`].

mod advice;
pub mod assemble;
pub mod canonical;
pub mod carried;
pub mod codes;
mod compose;
pub mod consistency;
pub mod declaration;
pub mod dotenv;
mod export;
pub mod files;
pub mod findings;
pub mod interpolate;
pub mod keys;
pub mod layout;
mod load;
pub mod merge;
pub mod policy;
pub mod provenance;
pub mod reference;
mod resolve;
mod resolved;
pub mod schema;
pub mod shape;
pub mod survey;
pub mod syntax;
pub mod variables;

pub use carried::BuildContext;
pub use declaration::{Build, Declared, from_canonical, to_canonical};
pub use files::{FileError, Files, MemoryFiles};
pub use load::{Hosts, Input, Loaded, hosts, load};
pub use policy::Invocation;
pub use resolved::{Because, Chosen, Resolved};
