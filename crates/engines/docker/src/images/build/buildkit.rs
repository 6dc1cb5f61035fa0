//! BuildKit, by the gRPC interface that the Engine has on two connections: on one we ask for the build and hear how it
//! goes, on the other it asks us for files, secrets and logins ([`super::session`]).
//!
//! All of it is polled by whoever waits for the build: dropping that closes both connections, and BuildKit stops.

use super::super::ImageStore;
use super::super::error::{EngineTrouble, Error, engine};
use super::Job;
use super::session::{self, Session};
use super::trace::Trace;
use super::transfer::Tree;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, SolveRequest, StatusRequest};
use engine::images::Progress;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioExecutor;
use model::container::Context;
use runtime::clock::timeout;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll};
use std::time::Duration;
use tonic::Status;
use tonic::codegen::Service;

/// The recipe is a folder of its own with one file, so that it is no part of what steps copy.
const RECIPE_FOLDER: &str = "dockerfile";

/// The name of that file.
const RECIPE: &str = "Dockerfile";

/// The name of the main context.
const CONTEXT: &str = "context";

/// Messages may be larger than gRPC's usual 4 MiB: what BuildKit itself allows.
const MOST_MESSAGE: usize = 16 << 20;

/// The last messages about a build come within this after its end.
const LAST_NEWS: Duration = Duration::from_secs(2);

impl ImageStore {
    pub(super) async fn build_with_buildkit(
        &self,
        job: &Job<'_>,
        line: Upgraded,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let id = self.session_id();
        let doing = || format!("build `{}` with BuildKit", job.tag);
        let other = self.wire.upgrade("/session", session::headers(&id)).await.map_err(engine(doing()))?;
        let other = other.ok_or_else(|| trouble(doing(), "it has no door for sessions"))?;
        let session = Session {
            trees: trees(job),
            secrets: job.build.secrets.clone(),
            credentials: job.credentials.clone(),
            now: self.clock.now(),
            tasks: self.tasks.clone(),
        };
        let (sender, connection) = http2::handshake(TokioExecutor::new(), line)
            .await
            .map_err(|error| trouble(doing(), &format!("the connection broke: {error}")))?;
        let solve = self.solve(job, &id, Caller(sender), progress);
        let session = session::serve(Arc::new(session), other);
        tokio::select! {
            biased;
            outcome = solve => outcome,
            ended = session => Err(trouble(doing(), &format!("its session ended: {ended:?}"))),
            ended = connection => Err(trouble(doing(), &format!("the connection ended: {ended:?}"))),
        }
    }

    /// Asks for the build and passes on how it goes.
    async fn solve(&self, job: &Job<'_>, id: &str, caller: Caller, progress: &dyn Progress) -> Result<(), Error> {
        let mut client = ControlClient::with_origin(caller, Uri::from_static("http://docker"))
            .max_decoding_message_size(MOST_MESSAGE)
            .max_encoding_message_size(MOST_MESSAGE);
        let mut listener = client.clone();
        let mut trace = Trace::new(job.redactor.clone());
        let mut solved = std::pin::pin!(client.solve(request(job, id)));
        let outcome = {
            let news = hear(&mut listener, id, &mut trace, progress);
            let mut news = std::pin::pin!(news);
            tokio::select! {
                outcome = &mut solved => {
                    // What is told late is told too; without it only lines are missing.
                    let _all = timeout(&*self.clock, LAST_NEWS, news).await;
                    outcome
                }
                _ = &mut news => solved.await,
            }
        };
        match outcome {
            Ok(_) => Ok(()),
            Err(status) if is_broken(&status) => {
                Err(trouble(format!("build `{}` with BuildKit", job.tag), status.message()))
            }
            Err(status) => Err(Error::Build(Box::new(trace.failed(status.message())))),
        }
    }

    /// Unique on this Engine: by the process, the time it is made, and a count.
    fn session_id(&self) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("mainstay-{}-{}-{count}", std::process::id(), self.clock.now().as_nanosecond())
    }
}

/// Hears of a build until it ends. A build that cannot be listened to is built all the same.
async fn hear(
    listener: &mut ControlClient<Caller>,
    id: &str,
    trace: &mut Trace,
    progress: &dyn Progress,
) -> Result<(), Status> {
    let mut messages = listener.status(StatusRequest { r#ref: id.to_owned() }).await?.into_inner();
    while let Some(message) = messages.message().await? {
        trace.take(&message).into_iter().for_each(|news| progress.tell(news));
    }
    Ok(())
}

fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

fn trouble(doing: String, message: &str) -> Error {
    Error::Engine { doing, source: EngineTrouble::Builder(message.to_owned()) }
}

/// Makes calls on the upgraded connection.
#[derive(Clone)]
struct Caller(SendRequest<tonic::body::Body>);

impl Service<http::Request<tonic::body::Body>> for Caller {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, hyper::Result<Self::Response>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

fn trees(job: &Job<'_>) -> BTreeMap<String, Tree> {
    let mut trees = BTreeMap::new();
    if let Some(folder) = &job.folder {
        trees.insert(CONTEXT.to_owned(), Tree::Folder(folder.clone()));
    }
    if let Some(recipe) = &job.recipe {
        let text = recipe.text.as_slice().into();
        trees.insert(RECIPE_FOLDER.to_owned(), Tree::File { name: RECIPE.to_owned(), text });
    }
    trees.extend(job.folders.iter().map(|(name, folder)| (folder_name(name), Tree::Folder(folder.clone()))));
    trees
}

/// What a further context is asked for by: never one of our own two names.
fn folder_name(context: &str) -> String {
    format!("context-{context}")
}

fn request(job: &Job<'_>, id: &str) -> SolveRequest {
    let hosts = job.build.network.as_deref() == Some("host");
    SolveRequest {
        r#ref: id.to_owned(),
        session: id.to_owned(),
        // The Engine's own store of images; both names of this field are read by all its versions.
        exporter_deprecated: "moby".to_owned(),
        exporter_attrs_deprecated: HashMap::from([("name".to_owned(), job.tag.clone())]),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: attributes(job),
        entitlements: if hosts { vec!["network.host".to_owned()] } else { Vec::new() },
        cache: Some(CacheOptions {
            imports: job.build.cache_from.iter().map(|from| cache_from(from)).collect(),
            ..CacheOptions::default()
        }),
        ..SolveRequest::default()
    }
}

/// An image, or `type=…,key=value` as Compose writes it.
fn cache_from(text: &str) -> CacheOptionsEntry {
    if !text.contains('=') {
        let attrs = HashMap::from([("ref".to_owned(), text.to_owned())]);
        return CacheOptionsEntry { r#type: "registry".to_owned(), attrs };
    }
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let mut attrs: HashMap<String, String> =
        pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect();
    CacheOptionsEntry { r#type: attrs.remove("type").unwrap_or_else(|| "registry".to_owned()), attrs }
}

/// What the recipe's reader is told; arguments are secret.
fn attributes(job: &Job<'_>) -> HashMap<String, String> {
    let build = job.build;
    let mut attributes = HashMap::new();
    let mut set = |key: &str, value: String| drop(attributes.insert(key.to_owned(), value));
    match (&build.context, &build.recipe) {
        (Context::Remote(address), _) => set("context", address.clone()),
        (Context::Bundle(_) | Context::Image(_), _) => {}
    }
    match (&job.recipe, &build.recipe) {
        (Some(_), _) => {
            set("filename", RECIPE.to_owned());
            // Says that the recipe is ours even when the context is not.
            set("dockerfilekey", RECIPE_FOLDER.to_owned());
        }
        (None, model::container::Recipe::File(path)) => set("filename", path.clone()),
        (None, model::container::Recipe::Inline(_)) => {}
    }
    for (name, context) in &build.contexts {
        let place = match context {
            Context::Bundle(_) => format!("local:{}", folder_name(name)),
            Context::Remote(address) => address.clone(),
            Context::Image(image) => format!("docker-image://{image}"),
        };
        set(&format!("context:{name}"), place);
    }
    build.args.iter().for_each(|(name, value)| set(&format!("build-arg:{name}"), value.reveal_text().into_owned()));
    job.labels.iter().for_each(|(name, value)| set(&format!("label:{name}"), (*value).to_owned()));
    let named = [("target", &build.target), ("platform", &build.platform)];
    named.into_iter().for_each(|(key, value)| value.iter().for_each(|value| set(key, value.clone())));
    // The machine's own base images count, unless the declaration wants newer ones.
    set("image-resolve-mode", if build.pull { "pull" } else { "local" }.to_owned());
    if build.no_cache {
        set("no-cache", String::new());
    }
    if let Some(mode @ ("host" | "none")) = build.network.as_deref() {
        set("force-network-mode", mode.to_owned());
    }
    if !build.extra_hosts.is_empty() {
        let hosts: Vec<String> = build.extra_hosts.iter().map(|(name, address)| format!("{name}={address}")).collect();
        set("add-hosts", hosts.join(","));
    }
    if let Some(size) = build.shm {
        set("shm-size", size.0.to_string());
    }
    attributes
}
