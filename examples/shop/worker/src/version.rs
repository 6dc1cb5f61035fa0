//! The version this build says it is. Change this one line and build again for a release that can be told apart.

/// Shown by `GET /health`, `app_info` and `--version`.
pub const VERSION: &str = "1";
