//! What BuildKit asks its client for while it builds: files, secrets, logins, and whether the client is still there.
//!
//! The services run on one upgraded connection for one build, and end with it. Secrets travel here only: they are in
//! no request, no layer and no argument list.

use super::super::login;
use super::transfer::{self, Tree};
use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::{FileSync, FileSyncServer};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use engine::images::Credentials;
use futures_util::stream::{self, BoxStream, Empty};
use http::HeaderMap;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use model::Secret;
use runtime::{OnError, Tasks};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::codegen::Service;
use tonic::{Request, Response, Status, Streaming, async_trait};

/// What a session can be asked: the Engine lists it when the connection begins.
const METHODS: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.FileSync/DiffCopy",
];

/// The server ends a connection on which more small messages wait than this window has room for: BuildKit asks for each
/// file of a context by one, all at once. A gibibyte is two million of them, and no memory: what waits is a dozen bytes each.
const WINDOW: u32 = 1 << 30;

/// What one build may ask for.
pub struct Session {
    /// Folders by the name that the builder asks with.
    pub trees: BTreeMap<String, Tree>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Secret>,
    /// How registries know us.
    pub credentials: Credentials,
    /// When the build begins. BuildKit does not compare times, but what runs in a step may: all files are as new as that,
    /// so that nothing an earlier build left in a cache is newer.
    pub now: Timestamp,
    /// Where the work is done.
    pub tasks: Tasks,
}

/// What introduces a session to the Engine.
///
/// The key under which BuildKit keeps folders for the next build is the session's own: it compares files by size and
/// time, and all of ours have the same time.
pub fn headers(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let named = [
        ("x-docker-expose-session-uuid", id),
        ("x-docker-expose-session-name", "mainstay"),
        ("x-docker-expose-session-sharedkey", id),
    ];
    let methods = METHODS.iter().map(|method| ("x-docker-expose-session-grpc-method", *method));
    for (name, value) in named.into_iter().chain(methods) {
        // Ids and methods are plain ASCII.
        if let Ok(value) = value.parse() {
            headers.append(name, value);
        }
    }
    headers
}

/// Answers on the connection until it ends.
pub async fn serve(session: Arc<Session>, connection: Upgraded) -> hyper::Result<()> {
    let services = Services {
        auth: AuthServer::from_arc(Arc::clone(&session)),
        secrets: SecretsServer::from_arc(Arc::clone(&session)),
        files: FileSyncServer::from_arc(Arc::clone(&session)),
        health: HealthServer::from_arc(session),
    };
    let service = service_fn(move |request| services.clone().answer(request));
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.initial_connection_window_size(WINDOW).serve_connection(connection, service).await
}

#[derive(Clone)]
struct Services {
    auth: AuthServer<Session>,
    secrets: SecretsServer<Session>,
    files: FileSyncServer<Session>,
    health: HealthServer<Session>,
}

type Reply = http::Response<tonic::body::Body>;

impl Services {
    async fn answer(mut self, request: http::Request<Incoming>) -> Result<Reply, Infallible> {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match service {
            "moby.filesync.v1.Auth" => self.auth.call(request).await,
            "moby.buildkit.secrets.v1.Secrets" => self.secrets.call(request).await,
            "moby.filesync.v1.FileSync" => self.files.call(request).await,
            "grpc.health.v1.Health" => self.health.call(request).await,
            _ => Ok(Status::unimplemented("this client does not have that service").into_http()),
        }
    }
}

#[async_trait]
impl FileSync for Session {
    type DiffCopyStream = BoxStream<'static, Result<Packet, Status>>;
    type TarStreamStream = Empty<Result<Packet, Status>>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let tree = self.tree(request.metadata())?;
        let wants = request.into_inner();
        let (out, packets) = mpsc::channel(transfer::AHEAD);
        let (tasks, now) = (self.tasks.clone(), self.now);
        self.tasks.spawn("context of a build", OnError::Log, move |_| async move {
            if let Err(status) = transfer::send(&tasks, tree, now, wants, &out).await {
                // Gone when the build was given up: then nobody waits for this.
                drop(out.send(Err(status)).await);
            }
        });
        let next = |mut packets: mpsc::Receiver<_>| async { packets.recv().await.map(|packet| (packet, packets)) };
        Ok(Response::new(Box::pin(stream::unfold(packets, next))))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("files are sent by DiffCopy"))
    }
}

impl Session {
    /// The tree that is asked for; nothing of it when only lists of what to leave out are wanted, as the bundle has
    /// nothing left that they would leave out.
    fn tree(&self, metadata: &tonic::metadata::MetadataMap) -> Result<Tree, Status> {
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let name = text("dir-name").unwrap_or_default();
        let patterns = ["followpaths", "include-patterns"].into_iter().flat_map(|key| metadata.get_all(key));
        let mut patterns = patterns.filter_map(|value| value.to_str().ok()).peekable();
        if patterns.peek().is_some() && patterns.all(|pattern| pattern.ends_with(".dockerignore")) {
            return Ok(Tree::Empty);
        }
        self.trees.get(name).cloned().ok_or_else(|| Status::not_found(format!("there is no context `{name}`")))
    }
}

#[async_trait]
impl Secrets for Session {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        // BuildKit lets a step go on without a secret that is not required by just this status.
        let secret = self.secrets.get(id).ok_or_else(|| Status::not_found(format!("secret {id}: not found")))?;
        Ok(Response::new(GetSecretResponse { data: secret.reveal().to_vec() }))
    }
}

#[async_trait]
impl Auth for Session {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let Some(login) = login::find(&self.credentials, &request.get_ref().host) else {
            return Ok(Response::new(CredentialsResponse::default()));
        };
        // A secret without a user is an identity token, as the Docker CLI says it.
        let (username, secret) = match &login.identity_token {
            Some(token) => (String::new(), token),
            None => (login.username.clone(), &login.password),
        };
        Ok(Response::new(CredentialsResponse { username, secret: secret.reveal_text().into_owned() }))
    }

    /// The Engine fetches tokens itself, with the credentials: it is the one who can reach the registry.
    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("tokens are fetched by the Engine"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("tokens are fetched by the Engine"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("tokens are fetched by the Engine"))
    }
}

#[async_trait]
impl Health for Session {
    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("ask for one service"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("ask again"))
    }
}
