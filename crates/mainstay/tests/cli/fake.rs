//! A daemon that keeps bundles and orders, and plays the runs it is told to.

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures_util::stream;
use hyper_util::rt::TokioIo;
use server::api::ApiError;
use server::api::bundle::{BundleCreated, Digests, NewBundle};
use server::api::event::Event;
use server::api::exec::{ExecRequest, ExecResult, Frame};
use server::api::plan::{PlanRequest, PlanView, ServiceChange, StepView};
use server::api::release::{Accepted, DownRequest, ReleaseRequest, ReleaseView, RunEvent};
use server::api::status::{HealthDocument, LogLine, ServiceHealth, StackStatus, StackSummary, Version};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;

/// What the daemon knows and plays.
#[derive(Default)]
pub struct World {
    /// The version it says it has; ours when none.
    pub version: Option<String>,
    /// Questions for blobs are taken and never answered.
    pub stuck: bool,
    pub asked: u32,
    pub blobs: BTreeMap<String, Bytes>,
    pub bundles: BTreeMap<String, NewBundle>,
    pub ordered: Vec<ReleaseRequest>,
    pub downs: Vec<DownRequest>,
    /// What the next plan says.
    pub steps: Vec<StepView>,
    /// What following a run gives, one list for each time somebody connects; without an end the stream breaks.
    pub runs: VecDeque<Vec<RunEvent>>,
    /// After a stream has broken, nobody listens for so long.
    pub absence: Duration,
    /// A stream that was played stays open.
    pub hang: bool,
    pub volumes: Vec<String>,
    /// What following logs gives, one list for each time somebody connects.
    pub logs: VecDeque<Vec<LogLine>>,
    pub log_queries: Vec<String>,
    pub events: Vec<Event>,
    pub status: Option<StackStatus>,
    pub releases: Vec<ReleaseView>,
    pub health: Option<HealthDocument>,
    /// Every request of `exec` and `run`, and every frame after it.
    pub execs: Vec<ExecRequest>,
    pub frames: Vec<(Frame, Vec<u8>)>,
    /// The next order is refused so.
    pub refusal: Option<ApiError>,
}

type Shared = Arc<Daemon>;

struct Daemon {
    world: Mutex<World>,
    socket: PathBuf,
    listening: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// A running fake.
pub struct Fake {
    daemon: Shared,
    _runtime: Runtime,
}

impl Fake {
    /// Listens at `socket`.
    pub fn start(socket: &FilePath) -> Self {
        std::fs::create_dir_all(socket.parent().expect("it has one")).expect("made");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("built");
        let daemon =
            Arc::new(Daemon { world: Mutex::default(), socket: socket.to_owned(), listening: Mutex::default() });
        let _entered = runtime.enter();
        listen(&daemon);
        drop(_entered);
        Self { daemon, _runtime: runtime }
    }

    /// What it knows.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.daemon.world.lock().expect("no test panics inside")
    }
}

fn listen(daemon: &Shared) {
    let _ = std::fs::remove_file(&daemon.socket);
    let listener = UnixListener::bind(&daemon.socket).expect("bound");
    let router = router(daemon.clone());
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    *daemon.listening.lock().expect("no panic") = Some(task);
}

fn vanish(daemon: &Shared) {
    let absence = daemon.world.lock().expect("no panic").absence;
    if absence.is_zero() {
        return;
    }
    let daemon = daemon.clone();
    tokio::spawn(async move {
        if let Some(task) = daemon.listening.lock().expect("no panic").take() {
            task.abort();
        }
        let _ = std::fs::remove_file(&daemon.socket);
        tokio::time::sleep(absence).await;
        listen(&daemon);
    });
}

fn router(daemon: Shared) -> Router {
    let stack = Router::new()
        .route("/plan", post(plan))
        .route("/releases", post(release).get(releases))
        .route("/releases/{number}", get(release_of))
        .route("/down", post(down))
        .route("/restart", post(order))
        .route("/scale", post(order))
        .route("/runs/{run}", get(run))
        .route("/volumes", get(async |State(daemon): State<Shared>| Json(lock(&daemon).volumes.clone())))
        .route("/logs", get(logs))
        .route("/health", get(health))
        .route("/exec", get(exec))
        .route("/run", get(exec));
    Router::new()
        .route("/health", get(health))
        .route("/v1/version", get(version))
        .route("/v1/bundles/missing", post(missing))
        .route("/v1/blobs/{digest}", put(blob))
        .route("/v1/bundles", post(bundle))
        .route("/v1/events", get(events))
        .route("/v1/stacks", get(stacks))
        .route("/v1/stacks/{project}/{environment}", get(status))
        .nest("/v1/stacks/{project}/{environment}", stack)
        .with_state(daemon)
}

fn lock(daemon: &Shared) -> MutexGuard<'_, World> {
    daemon.world.lock().expect("no panic")
}

fn error(status: u16, code: &str, message: &str, help: Option<&str>) -> Response {
    let error = ApiError { code: code.into(), message: message.into(), help: help.map(Into::into), status };
    (StatusCode::from_u16(status).expect("legal"), Json(error)).into_response()
}

async fn version(State(daemon): State<Shared>) -> Json<Version> {
    Json(Version {
        version: lock(&daemon).version.clone().unwrap_or_else(|| env!("CARGO_PKG_VERSION").into()),
        pid: 4242,
        started: "2026-01-01T00:00:00Z".into(),
        state: "/state".into(),
        http_port: 8080,
        edge_pid: Some(4243),
    })
}

async fn missing(State(daemon): State<Shared>, Json(asked): Json<Digests>) -> Json<Digests> {
    lock(&daemon).asked += 1;
    if lock(&daemon).stuck {
        std::future::pending::<()>().await;
    }
    let world = lock(&daemon);
    Json(Digests { digests: asked.digests.into_iter().filter(|digest| !world.blobs.contains_key(digest)).collect() })
}

async fn blob(State(daemon): State<Shared>, Path(digest): Path<String>, body: Bytes) -> Response {
    if blake3::hash(&body).to_hex().as_str() != digest {
        return error(422, "MS0226", "the content has another digest", None);
    }
    lock(&daemon).blobs.insert(digest, body);
    StatusCode::NO_CONTENT.into_response()
}

async fn bundle(State(daemon): State<Shared>, Json(bundle): Json<NewBundle>) -> Response {
    let mut world = lock(&daemon);
    if let Some(file) = bundle.files.iter().find(|file| !world.blobs.contains_key(&file.digest)) {
        return error(422, "MS0226", &format!("the blob of `{}` was not sent", file.path), None);
    }
    let manifest = serde_json::to_vec(&bundle).expect("plain data");
    let id = blake3::hash(&manifest).to_hex().to_string();
    world.bundles.insert(id.clone(), bundle);
    (StatusCode::CREATED, Json(BundleCreated { bundle: id })).into_response()
}

async fn plan(
    State(daemon): State<Shared>,
    Path(at): Path<(String, String)>,
    Json(asked): Json<PlanRequest>,
) -> Response {
    let world = lock(&daemon);
    if !world.bundles.contains_key(&asked.bundle) {
        return error(422, "MS0226", "there is no such bundle", None);
    }
    let change = |kind: &str, differs: &[&str]| ServiceChange {
        kind: kind.into(),
        differs: differs.iter().map(|key| (*key).to_owned()).collect(),
    };
    let services = match world.steps.is_empty() {
        true => BTreeMap::from([("api".into(), change("unchanged", &[])), ("db".into(), change("unchanged", &[]))]),
        false => BTreeMap::from([
            ("api".into(), change("changed", &["environment.LOG_LEVEL"])),
            ("db".into(), change("unchanged", &[])),
        ]),
    };
    let stack = format!("{}@{}", at.0, at.1);
    let digest = blake3::hash(format!("{stack} {} {:?}", asked.bundle, world.steps).as_bytes()).to_hex().to_string();
    let changes = !world.steps.is_empty();
    let steps = world.steps.clone();
    Json(PlanView {
        stack,
        bundle: asked.bundle,
        images: asked.images,
        basis: 7,
        digest,
        changes,
        steps,
        notes: Vec::new(),
        services,
    })
    .into_response()
}

fn accept(world: &mut World, release: Option<u64>) -> Response {
    if let Some(refusal) = world.refusal.take() {
        let status = StatusCode::from_u16(refusal.status).expect("legal");
        return (status, Json(refusal)).into_response();
    }
    (StatusCode::ACCEPTED, Json(Accepted { run: 3, release, steps: world.steps.clone() })).into_response()
}

async fn release(State(daemon): State<Shared>, Json(request): Json<ReleaseRequest>) -> Response {
    let mut world = lock(&daemon);
    if !world.bundles.contains_key(&request.bundle) {
        return error(422, "MS0226", "there is no such bundle", None);
    }
    world.ordered.push(request);
    accept(&mut world, Some(4))
}

async fn down(State(daemon): State<Shared>, Json(request): Json<DownRequest>) -> Response {
    let mut world = lock(&daemon);
    world.downs.push(request);
    accept(&mut world, None)
}

async fn order(State(daemon): State<Shared>) -> Response {
    accept(&mut lock(&daemon), None)
}

async fn run(State(daemon): State<Shared>) -> Response {
    let Some(events) = lock(&daemon).runs.pop_front() else {
        return error(404, "MS0204", "run 3 is not known to this daemon", None);
    };
    let ends = matches!(events.last(), Some(RunEvent::Finished { .. }));
    let texts =
        events.iter().map(|event| format!("event: run\ndata: {}\n\n", serde_json::to_string(event).expect("plain")));
    let chunks: Vec<String> = texts.collect();
    let hang = lock(&daemon).hang;
    let body = Body::from_stream(stream::unfold(chunks.into_iter(), move |mut chunks| {
        let daemon = daemon.clone();
        async move {
            match chunks.next() {
                Some(chunk) => Some((Ok::<_, Infallible>(chunk), chunks)),
                None if hang => std::future::pending().await,
                None => {
                    if !ends {
                        vanish(&daemon);
                    }
                    None
                }
            }
        }
    }));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

async fn logs(State(daemon): State<Shared>, request: Request) -> Response {
    let mut world = lock(&daemon);
    world.log_queries.push(request.uri().query().unwrap_or_default().to_owned());
    let lines = world.logs.pop_front().unwrap_or_default();
    let text: String = lines.iter().map(|line| serde_json::to_string(line).expect("plain") + "\n").collect();
    let more = !world.logs.is_empty();
    drop(world);
    if more {
        vanish(&daemon);
    }
    text.into_response()
}

async fn events(State(daemon): State<Shared>) -> Response {
    let events = lock(&daemon).events.clone();
    let text: String = events
        .iter()
        .map(|event| format!(": alive\n\nid: {}\ndata: {}\n\n", event.id, serde_json::to_string(event).expect("plain")))
        .collect();
    text.into_response()
}

async fn status(State(daemon): State<Shared>) -> Response {
    match lock(&daemon).status.clone() {
        Some(status) => Json(status).into_response(),
        None => error(404, "MS0223", "there is no such stack", None),
    }
}

async fn stacks(State(daemon): State<Shared>) -> Json<Vec<StackSummary>> {
    Json(lock(&daemon).status.iter().map(|status| status.summary.clone()).collect())
}

async fn releases(State(daemon): State<Shared>) -> Json<Vec<ReleaseView>> {
    Json(lock(&daemon).releases.clone())
}

async fn release_of(State(daemon): State<Shared>, Path((.., number)): Path<(String, String, u64)>) -> Response {
    match lock(&daemon).releases.iter().find(|release| release.number == number) {
        Some(release) => Json(release.clone()).into_response(),
        None => error(404, "MS0203", &format!("there is no release {number}"), None),
    }
}

async fn health(State(daemon): State<Shared>) -> Response {
    let document = lock(&daemon).health.clone().expect("a test that asks has set it");
    let status = if document.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(document)).into_response()
}

async fn exec(State(daemon): State<Shared>, mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.expect("upgraded"));
        converse(&daemon, &mut stream).await;
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "mainstay-exec")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

// Echoes its input in capitals until it ends or a line `exit` comes, then ends with code 7.
async fn converse(daemon: &Shared, stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) {
    let (_, bytes) = read_frame(stream).await;
    let request: ExecRequest = serde_json::from_slice(&bytes).expect("a request comes first");
    let missing = request.argv.first().is_some_and(|program| program == "nosuch");
    lock(daemon).execs.push(request);
    if missing {
        let result = ExecResult { code: 127, text: "`nosuch` is not there inside the replica".into() };
        return write_frame(stream, Frame::Result, &serde_json::to_vec(&result).expect("plain")).await;
    }
    write_frame(stream, Frame::Stderr, b"ready\n").await;
    loop {
        let (kind, bytes) = read_frame(stream).await;
        lock(daemon).frames.push((kind, bytes.clone()));
        match kind {
            Frame::Stdin => {
                write_frame(stream, Frame::Stdout, &bytes.to_ascii_uppercase()).await;
                if bytes.windows(4).any(|part| part == b"exit") {
                    break;
                }
            }
            Frame::StdinEnd | Frame::Signal => break,
            _ => {}
        }
    }
    let result = ExecResult { code: 7, text: "exited with code 7".into() };
    write_frame(stream, Frame::Result, &serde_json::to_vec(&result).expect("plain")).await;
}

async fn read_frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (Frame, Vec<u8>) {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.expect("a frame");
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await.expect("its content");
    (Frame::from_byte(head[0]).expect("a kind"), bytes)
}

async fn write_frame(stream: &mut (impl tokio::io::AsyncWrite + Unpin), kind: Frame, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    let frame = [&[kind as u8][..], &length, bytes].concat();
    // A client that has gone is a test of its own.
    let _ = stream.write_all(&frame).await;
}

/// A step.
pub fn step(id: u32, after: &[u32], action: &str, subject: &str, why: &str) -> StepView {
    let service = subject.rsplit_once('.').map(|(service, _)| service.to_owned());
    let (after, detail) = (after.to_vec(), String::new());
    StepView { id, after, action: action.into(), subject: subject.into(), service, detail, why: why.into() }
}

/// A rolling release of one replica.
pub fn rolling() -> Vec<StepView> {
    vec![
        step(1, &[], "start", "api.2", "spec changed"),
        step(2, &[1], "await", "api.2", "must be ready first"),
        step(3, &[2], "route", "api.2", "ready for traffic"),
        step(4, &[3], "drain", "api.1", "about to stop"),
        step(5, &[4], "stop", "api.1", "spec changed"),
    ]
}

/// A step's beginning.
pub fn began(step: u32) -> RunEvent {
    RunEvent::Began { step, at: "2026-01-01T00:00:00Z".into() }
}

/// A step's end.
pub fn ended(step: u32, millis: u64) -> RunEvent {
    RunEvent::Ended { step, at: "2026-01-01T00:00:01Z".into(), millis }
}

/// A good end.
pub fn done() -> RunEvent {
    RunEvent::Finished { outcome: "done".into(), explanation: None, millis: 2_400 }
}

/// A health document.
pub fn health_of(services: &[(&str, &str, Option<&str>)]) -> HealthDocument {
    let degraded = services.iter().any(|(_, status, _)| *status != "ok");
    let service = |status: &str, detail: Option<&str>| ServiceHealth {
        status: status.into(),
        ready: u32::from(status == "ok"),
        replicas: 1,
        detail: detail.map(Into::into),
    };
    HealthDocument {
        status: if degraded { "degraded" } else { "ok" }.into(),
        timestamp: "2026-01-01T00:00:00Z".into(),
        uptime_seconds: 60,
        services: services.iter().map(|(name, status, detail)| ((*name).into(), service(status, *detail))).collect(),
    }
}
