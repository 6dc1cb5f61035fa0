//! What runs, and how it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /v1/version`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Since when it runs, RFC 3339.
    pub started: String,
    /// Its state folder.
    pub state: String,
    /// The port the edge listens on for routes.
    pub http_port: u16,
    /// Process id of the edge; none while it is being started.
    pub edge_pid: Option<u32>,
}

/// One line of `GET /v1/engines`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineView {
    /// `process`, `docker`.
    pub kind: String,
    /// Whether replicas can run on it now.
    pub usable: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One line of `GET /v1/stacks`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StackSummary {
    /// Project.
    pub project: String,
    /// Environment.
    pub environment: String,
    /// `up`, `down`.
    pub wanted: String,
    /// `ok`, `degraded`, `releasing`, `down`.
    pub health: String,
    /// The current release.
    pub release: Option<u64>,
    /// Ready replicas and wanted ones.
    pub ready: u32,
    /// Wanted replicas.
    pub replicas: u32,
}

/// `GET /v1/stacks/{project}/{environment}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StackStatus {
    /// The line of the listing.
    #[serde(flatten)]
    pub summary: StackSummary,
    /// The run under way, if any.
    pub run: Option<u64>,
    /// Where it is reached.
    pub urls: Vec<String>,
    /// Its services.
    pub services: Vec<ServiceStatus>,
    /// Why something is not as wanted.
    pub notes: Vec<super::plan::NoteView>,
}

/// One service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// `service`, `job`, `static`.
    pub role: String,
    /// `ok`, `degraded`, `down`; of a job `pending`, `completed`, `failed`.
    pub state: String,
    /// What it runs, in words.
    pub runs: String,
    /// Ready replicas.
    pub ready: u32,
    /// Wanted replicas.
    pub replicas: u32,
    /// Its stable addresses with ports, `10.210.0.3:3000`.
    pub addresses: Vec<String>,
    /// Ports of the machine.
    pub published: Vec<String>,
    /// Its replicas.
    pub instances: Vec<ReplicaStatus>,
}

/// One replica.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// `api.2`.
    pub id: String,
    /// The release that started it.
    pub release: u64,
    /// Where it is in its life: `running`, `exited`, `failed`, `half`, `unknown`.
    pub phase: String,
    /// What its probe says: `starting`, `ready`, `unready`, `dead`, or `none` when it does not run.
    pub health: String,
    /// Why it is as it is, in words; the probe's last answer, the exit.
    pub detail: String,
    /// Whether it gets traffic.
    pub routed: bool,
    /// Since when it is in this phase, RFC 3339.
    pub since: Option<String>,
    /// How many times in a row it had exited before.
    pub failures: u32,
    /// Its address per network.
    pub addresses: BTreeMap<String, String>,
    /// Processor time since its start, milliseconds.
    pub cpu_millis: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// The aggregated health document: `GET …/health`, `GET /health`, routes to `@health`; and that of readiness:
/// `GET …/ready`, `GET /ready`, routes to `@ready`.
///
/// Routes show no `detail`, and a document that is at most 30 seconds old.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthDocument {
    /// `ok` or `degraded`, of readiness `ready` or `unready`; 503 with the second.
    pub status: String,
    /// When it was made, RFC 3339.
    pub timestamp: String,
    /// Seconds since the stack was first up.
    pub uptime_seconds: u64,
    /// State of each service; of readiness only of those that get traffic.
    pub services: BTreeMap<String, ServiceHealth>,
}

/// One service of the aggregated health document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceHealth {
    /// `ok`, `degraded`, `down`; of a job `pending`, `completed`, `failed`; of readiness `ready`, `down`.
    pub status: String,
    /// Ready replicas.
    pub ready: u32,
    /// Wanted replicas.
    pub replicas: u32,
    /// Why, when it is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One line of `GET …/logs` (newline-delimited JSON).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When, RFC 3339 with nanoseconds.
    pub time: String,
    /// The replica, `api.2`.
    pub replica: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The line without its end.
    pub line: String,
}
