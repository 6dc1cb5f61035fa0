//! Every operation of the API, once.

use super::{bundle, event, exec, images, plan, release, status};
use schemars::{Schema, SchemaGenerator};

/// Makes the schema of a type.
pub type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// One operation.
pub struct Route {
    /// HTTP method, upper case.
    pub method: &'static str,
    /// Path with `{names}`.
    pub path: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Query parameters: name and meaning.
    pub query: &'static [(&'static str, &'static str)],
    /// Schema of the request's body, none when it has no JSON body.
    pub request: Option<MakeSchema>,
    /// Media type and schema of the answer; for streams the schema is that of one message.
    pub response: (&'static str, Option<MakeSchema>),
    /// Status of success.
    pub status: u16,
}

const JSON: &str = "application/json";
const SSE: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

fn of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn get(path: &'static str, summary: &'static str, response: (&'static str, Option<MakeSchema>)) -> Route {
    Route { method: "GET", path, summary, query: &[], request: None, response, status: 200 }
}

const fn post(
    path: &'static str,
    summary: &'static str,
    request: MakeSchema,
    response: MakeSchema,
    status: u16,
) -> Route {
    Route {
        method: "POST",
        path,
        summary,
        query: &[],
        request: Some(request),
        response: (JSON, Some(response)),
        status,
    }
}

const fn with_query(route: Route, query: &'static [(&'static str, &'static str)]) -> Route {
    Route { query, ..route }
}

/// Every operation of the API.
pub const ROUTES: &[Route] = &[
    get("/health", "Health of all stacks together; 503 when degraded.", (JSON, Some(of::<status::HealthDocument>))),
    get("/ready", "Whether every stack can serve; 503 when not.", (JSON, Some(of::<status::HealthDocument>))),
    get("/metrics", "The daemon's and the edge's counters in Prometheus' text form.", ("text/plain", None)),
    get("/v1/version", "The daemon itself.", (JSON, Some(of::<status::Version>))),
    get("/v1/engines", "Its engines, and which of them can be used now.", (JSON, Some(of::<Vec<status::EngineView>>))),
    get("/v1/openapi.json", "This document.", (JSON, None)),
    Route {
        method: "POST",
        path: "/v1/shutdown",
        summary: "Ends the daemon; with `edge=true` the edge as well, if no stack runs.",
        query: &[("edge", "`true` to end the edge as well")],
        request: None,
        response: (JSON, None),
        status: 202,
    },
    post("/v1/bundles/missing", "Which blobs have to be sent.", of::<bundle::Digests>, of::<bundle::Digests>, 200),
    Route {
        method: "PUT",
        path: "/v1/blobs/{digest}",
        summary: "Sends one blob.",
        query: &[],
        request: None,
        response: (JSON, None),
        status: 204,
    },
    post(
        "/v1/bundles",
        "Makes a bundle of blobs that were sent.",
        of::<bundle::NewBundle>,
        of::<bundle::BundleCreated>,
        201,
    ),
    with_query(
        get("/v1/events", "The event log: what is recorded, then live.", (SSE, Some(of::<event::Event>))),
        &[
            ("after", "only events with a greater id"),
            ("stack", "only of this stack, `project@environment`"),
            ("follow", "`false` ends the stream after what is recorded"),
            ("last", "begin with so many recorded events"),
        ],
    ),
    get("/v1/stacks", "All stacks.", (JSON, Some(of::<Vec<status::StackSummary>>))),
    get("/v1/stacks/{project}/{environment}", "One stack.", (JSON, Some(of::<status::StackStatus>))),
    Route {
        method: "POST",
        path: "/v1/stacks/{project}/{environment}/images",
        summary: "Finds, fetches or builds the images of a bundle.",
        query: &[],
        request: Some(of::<images::ImagesRequest>),
        response: (SSE, Some(of::<images::ImageEvent>)),
        status: 200,
    },
    post(
        "/v1/stacks/{project}/{environment}/plan",
        "What a release would do.",
        of::<plan::PlanRequest>,
        of::<plan::PlanView>,
        200,
    ),
    post(
        "/v1/stacks/{project}/{environment}/releases",
        "Runs a bundle.",
        of::<release::ReleaseRequest>,
        of::<release::Accepted>,
        202,
    ),
    get(
        "/v1/stacks/{project}/{environment}/releases",
        "The releases, newest first.",
        (JSON, Some(of::<Vec<release::ReleaseView>>)),
    ),
    get(
        "/v1/stacks/{project}/{environment}/releases/{number}",
        "One release.",
        (JSON, Some(of::<release::ReleaseView>)),
    ),
    with_query(
        get(
            "/v1/stacks/{project}/{environment}/releases/{number}/changes",
            "What differs between a release and another one.",
            (JSON, Some(of::<release::ReleaseChanges>)),
        ),
        &[("since", "the other release; without it, the one before")],
    ),
    post(
        "/v1/stacks/{project}/{environment}/releases/{number}/keep",
        "Has what a release runs from stay, however many come after it, or not.",
        of::<release::KeepRequest>,
        of::<release::ReleaseView>,
        200,
    ),
    post(
        "/v1/stacks/{project}/{environment}/down",
        "Takes the stack down.",
        of::<release::DownRequest>,
        of::<release::Accepted>,
        202,
    ),
    post(
        "/v1/stacks/{project}/{environment}/restart",
        "Replaces replicas by fresh ones, start-first.",
        of::<release::RestartRequest>,
        of::<release::Accepted>,
        202,
    ),
    post(
        "/v1/stacks/{project}/{environment}/scale",
        "Sets the number of replicas until the next release.",
        of::<release::ScaleRequest>,
        of::<release::Accepted>,
        202,
    ),
    get(
        "/v1/stacks/{project}/{environment}/runs/{run}",
        "What happens during a run, from its beginning to its end.",
        (SSE, Some(of::<release::RunEvent>)),
    ),
    get(
        "/v1/stacks/{project}/{environment}/volumes",
        "The volumes that exist, by name.",
        (JSON, Some(of::<Vec<String>>)),
    ),
    with_query(
        get(
            "/v1/stacks/{project}/{environment}/logs",
            "Log lines of replicas, merged by time.",
            (LINES, Some(of::<status::LogLine>)),
        ),
        &[
            ("target", "a service or a replica; may be repeated, all when none"),
            ("tail", "begin with so many lines per replica; 100 when none, `all` for all"),
            ("follow", "`true` keeps the stream open"),
        ],
    ),
    get(
        "/v1/stacks/{project}/{environment}/health",
        "The aggregated health document; 503 when degraded.",
        (JSON, Some(of::<status::HealthDocument>)),
    ),
    get(
        "/v1/stacks/{project}/{environment}/ready",
        "Whether every service that gets traffic has a ready replica; 503 when not.",
        (JSON, Some(of::<status::HealthDocument>)),
    ),
    Route {
        status: 101,
        ..get(
            "/v1/stacks/{project}/{environment}/exec",
            "Runs a command inside a replica (upgrade).",
            (exec::PROTOCOL, Some(of::<exec::ExecRequest>)),
        )
    },
    Route {
        status: 101,
        ..get(
            "/v1/stacks/{project}/{environment}/run",
            "Runs a one-off replica of a service (upgrade).",
            (exec::PROTOCOL, Some(of::<exec::ExecRequest>)),
        )
    },
];
