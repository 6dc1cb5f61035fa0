//! How a refused request looks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a request was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Stable code; `MSnnnn` codes are explained by `mainstay explain`.
    pub code: String,
    /// What is wrong, for people; may hold several lines, one per cause.
    pub message: String,
    /// What to do, one imperative sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// HTTP status, repeated for streams that cannot change theirs.
    pub status: u16,
}

impl ApiError {
    /// An error with its HTTP status and code.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), help: None, status }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}
