//! Releases and the other orders a stack takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/stacks/{project}/{environment}/releases`: run this bundle.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRequest {
    /// The bundle that shall run.
    pub bundle: String,
    /// The image of each service, as it was prepared; empty where images are only names.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// Why, in the author's words.
    #[serde(default)]
    pub message: Option<String>,
    /// Refuse unless the plan has this digest (`up --plan FILE`).
    #[serde(default)]
    pub expect_plan: Option<String>,
    /// Takes the place of a release that is under way (`up --replace`).
    #[serde(default)]
    pub replace: bool,
    /// The project of another tool whose containers and volumes are taken over (`up --adopt`).
    #[serde(default)]
    pub adopt: Option<String>,
    /// The release that is run again (`rollback`): bundle and images are its own.
    #[serde(default)]
    pub again: Option<u64>,
}

/// `POST …/releases/{number}/keep`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct KeepRequest {
    /// Whether what the release runs from stays, however many come after it.
    pub kept: bool,
}

/// What differs between two releases.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseChanges {
    /// The earlier one.
    pub from: u64,
    /// The later one.
    pub to: u64,
    /// What changes per service, in words; values never.
    pub services: BTreeMap<String, super::plan::ServiceChange>,
}

/// `POST …/down`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DownRequest {
    /// Volumes that go as well, by name; all others stay.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// `POST …/restart`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct RestartRequest {
    /// The services; all when empty.
    #[serde(default)]
    pub services: Vec<String>,
}

/// `POST …/scale`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScaleRequest {
    /// How many replicas per service.
    pub replicas: BTreeMap<String, u32>,
}

/// The answer to every order: what was set in motion. Follow it at `GET …/runs/{run}` (SSE of [`RunEvent`]).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The run that carries it out.
    pub run: u64,
    /// The release it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// Steps of its first plan.
    pub steps: Vec<super::plan::StepView>,
}

/// What happens during a run; the `data:` of each SSE message, `event: run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum RunEvent {
    /// A step began.
    #[serde(rename_all = "camelCase")]
    Began {
        /// The step's number.
        step: u32,
        /// RFC 3339.
        at: String,
    },
    /// A step ended well.
    #[serde(rename_all = "camelCase")]
    Ended {
        /// The step's number.
        step: u32,
        /// RFC 3339.
        at: String,
        /// How long it took.
        millis: u64,
    },
    /// A step failed.
    #[serde(rename_all = "camelCase")]
    Failed {
        /// The step's number.
        step: u32,
        /// RFC 3339.
        at: String,
        /// Why, one line per cause.
        error: String,
    },
    /// Planned again (the world moved, or the daemon was restarted): these are the steps from now on.
    #[serde(rename_all = "camelCase")]
    Replanned {
        /// The new steps.
        steps: Vec<super::plan::StepView>,
    },
    /// The run is over.
    #[serde(rename_all = "camelCase")]
    Finished {
        /// `done`, `failed`, `superseded`.
        outcome: String,
        /// What went wrong, explained: phase, replica, probe's answer, exit in words, last log lines, what to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        explanation: Option<Explanation>,
        /// Milliseconds from the order to here.
        millis: u64,
    },
    /// Something a newer daemon tells; never sent by this one.
    #[serde(other)]
    Unknown,
}

/// Why something failed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// One sentence.
    pub summary: String,
    /// The step that failed, in words.
    #[serde(default)]
    pub step: Option<String>,
    /// The replica it is about.
    #[serde(default)]
    pub replica: Option<String>,
    /// What the probe asked and got.
    #[serde(default)]
    pub probe: Option<String>,
    /// How the process ended.
    #[serde(default)]
    pub exit: Option<String>,
    /// Its last log lines.
    #[serde(default)]
    pub log: Vec<String>,
    /// What differs from the last good release, by key.
    #[serde(default)]
    pub differs: Vec<String>,
    /// What still runs.
    #[serde(default)]
    pub state: String,
    /// What to do, one imperative sentence.
    #[serde(default)]
    pub help: Option<String>,
}

/// One release as recorded.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseView {
    /// Its number.
    pub number: u64,
    /// The bundle.
    pub bundle: String,
    /// Who.
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub message: Option<String>,
    /// When, RFC 3339.
    pub created: String,
    /// When it ended, RFC 3339.
    #[serde(default)]
    pub finished: Option<String>,
    /// `running`, `done`, `failed`, `superseded`.
    pub state: String,
    /// Whether it is the one that is wanted now.
    pub current: bool,
    /// The image of each service; empty where images are only names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// The release that it runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
    /// What it runs from stays, however many come after it.
    #[serde(default)]
    pub kept: bool,
    /// Why it failed.
    #[serde(default)]
    pub explanation: Option<Explanation>,
}
