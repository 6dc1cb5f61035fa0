//! The event log on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One event; the `data:` of each SSE message of `GET /v1/events`, its `id:` is [`Event::id`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Grows by time, never reused.
    pub id: u64,
    /// RFC 3339.
    pub time: String,
    /// `project@environment`; none for the daemon itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// What it is about: a replica, a service, a release.
    pub subject: String,
    /// `release.started`, `step.failed`, `replica.exited`, `replica.ready`, `daemon.started`, …
    pub kind: String,
    /// Who: a user name, or `mainstay`.
    pub actor: String,
    /// The event or order that led to it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// For people.
    pub text: String,
}
