//! Plans as clients see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/stacks/{project}/{environment}/plan`: what would happen.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanRequest {
    /// The bundle that shall run.
    pub bundle: String,
    /// The image of each service, as it was prepared; empty where images are only names.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// The project of another tool that would be taken over (`plan --adopt`).
    #[serde(default)]
    pub adopt: Option<String>,
}

/// A plan.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// `project@environment`.
    pub stack: String,
    /// The bundle it was made for.
    pub bundle: String,
    /// The images it was made for.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// The state of the stack it was made for.
    pub basis: u64,
    /// Digest of the complete plan, addresses and hashes included.
    pub digest: String,
    /// Whether anything would be done.
    pub changes: bool,
    /// The steps in order of their numbers.
    pub steps: Vec<StepView>,
    /// Why something is not done.
    pub notes: Vec<NoteView>,
    /// What changes per service, in words; values never.
    pub services: BTreeMap<String, ServiceChange>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Number.
    pub id: u32,
    /// Steps that must have succeeded before.
    pub after: Vec<u32>,
    /// `start`, `await`, `route`, `drain`, `stop`, `remove`, `network`, `volume`, …
    pub action: String,
    /// What it is about: `api.2`, a network, a volume.
    pub subject: String,
    /// The service, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// More about the action, for people.
    pub detail: String,
    /// Why.
    pub why: String,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoteView {
    /// What it is about.
    pub subject: String,
    /// The reason.
    pub text: String,
}

/// What changes for one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceChange {
    /// `new`, `changed`, `scaled`, `removed`, `restarted`, `unchanged`.
    pub kind: String,
    /// Which parts of the declaration differ from the running release, e.g. `environment.LOG_LEVEL`; values never.
    pub differs: Vec<String>,
}
