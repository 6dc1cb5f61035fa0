//! Bundles: what a client sends so that the daemon never opens a path that a client names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /v1/bundles/missing`: which of these blobs the daemon does not have yet.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Digests {
    /// BLAKE3 digests, 64 lower-case hex digits each.
    pub digests: Vec<String>,
}

/// `POST /v1/bundles`: a bundle whose blobs have all been sent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewBundle {
    /// The resolved declaration in canonical form (JSON text); sealed at rest.
    pub declaration: String,
    /// The files.
    pub files: Vec<BundleFile>,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleFile {
    /// Path within the bundle, relative, `/` between parts.
    pub path: String,
    /// BLAKE3 digest of its content, 64 lower-case hex digits.
    pub digest: String,
    /// Permission bits.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
}

/// The answer to `POST /v1/bundles`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BundleCreated {
    /// Its id: the digest of its manifest.
    pub bundle: String,
}
