//! Plans as text: the complete canonical form, its digest, and the short form for people.
//!
//! Owns how plans are written. Never shows a secret: templates and manifests stand in it as keyed hashes only.

mod canonical;
mod short;

pub use canonical::canonical;
pub use short::short;

use crate::Plan;
use std::fmt::{self, Write as _};

/// The digest of everything a plan does: BLAKE3 over its canonical text, in hexadecimal.
///
/// Equal digests, equal steps with equal reasons in equal order. The basis, notes and `wake_at` are no part of it:
/// they do not change what is done, and a plan that is made again for a later state and does the same is the same.
pub fn digest(plan: &Plan) -> String {
    blake3::hash(canonical(plan).as_bytes()).to_hex().to_string()
}

/// Text from outside (an engine's reason) on one line, so that no step can look like two.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { ' ' } else { c }))
    }
}
