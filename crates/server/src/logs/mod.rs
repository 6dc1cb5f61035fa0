//! Reading the logs of replicas: the last lines, then what is added.
//!
//! Owns reading only; shims write. Start with [`Tail`] for one replica and [`stream`] for many.

mod cri;
mod stream;
mod tail;

pub use stream::{Request, Source, stream};
pub use tail::Tail;
