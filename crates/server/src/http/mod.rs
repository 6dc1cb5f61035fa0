//! The HTTP API over the unix socket.
//!
//! Owns turning requests into orders and answers into JSON; decides nothing. One file per group of operations;
//! [`router`] is checked against [`crate::api::routes::ROUTES`].

mod bundles;
mod events;
mod exec;
mod extract;
mod group;
mod images;
mod logs;
mod metrics;
mod peer;
mod stacks;
mod system;

use crate::api::ApiError;
use crate::daemon::Daemon;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use std::sync::Arc;

pub use group::group;
pub use peer::{Peer, serve};

/// The state every handler sees.
pub type State = axum::extract::State<Arc<Daemon>>;

/// Every operation of the API.
pub fn router(daemon: Arc<Daemon>) -> Router {
    let stack = Router::new()
        .route("/", get(stacks::show))
        .route("/images", post(images::prepare))
        .route("/plan", post(stacks::plan))
        .route("/releases", post(stacks::release).get(stacks::releases))
        .route("/releases/{number}", get(stacks::release_of))
        .route("/releases/{number}/changes", get(stacks::changes))
        .route("/releases/{number}/keep", post(stacks::keep))
        .route("/down", post(stacks::down))
        .route("/restart", post(stacks::restart))
        .route("/scale", post(stacks::scale))
        .route("/runs/{run}", get(events::run))
        .route("/volumes", get(stacks::volumes))
        .route("/logs", get(logs::logs))
        .route("/health", get(stacks::health))
        .route("/ready", get(stacks::ready))
        .route("/exec", get(exec::exec))
        .route("/run", get(exec::run));
    Router::new()
        .route("/health", get(system::health))
        .route("/ready", get(system::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/version", get(system::version))
        .route("/v1/engines", get(system::engines))
        .route("/v1/openapi.json", get(system::openapi))
        .route("/v1/shutdown", post(system::shutdown))
        .route("/v1/bundles/missing", post(bundles::missing))
        .route("/v1/blobs/{digest}", put(bundles::blob))
        .route("/v1/bundles", post(bundles::create))
        .route("/v1/events", get(events::events))
        .route("/v1/stacks", get(stacks::list))
        .nest("/v1/stacks/{project}/{environment}", stack)
        .fallback(system::unknown)
        .method_not_allowed_fallback(system::not_allowed)
        .with_state(daemon)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::ROUTES;
    use crate::api::status::EngineView;
    use axum::body::Body;
    use axum::extract::Request;
    use engine::Unusable;
    use engine::fake::FakeEngine;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use runtime::Clock as _;

    /// A daemon over fakes, in this folder.
    async fn daemon(folder: &std::path::Path) -> Arc<Daemon> {
        daemon_over(folder, Arc::new(FakeEngine::new(runtime::SystemClock.now()))).await
    }

    async fn daemon_over(folder: &std::path::Path, engine: Arc<FakeEngine>) -> Arc<Daemon> {
        let clock: Arc<dyn runtime::Clock> = Arc::new(runtime::SystemClock);
        let settings = crate::Settings {
            state: folder.join("state"),
            run: folder.join("run"),
            http: ([127, 0, 0, 1], 0).into(),
            program: "/nonexistent".into(),
            edge_user: None,
        };
        let wiring = crate::Wiring {
            engines: Box::new(move || Box::pin(async move { Ok(vec![engine as Arc<dyn engine::Engine>]) })),
            tasks: runtime::Tasks::new(clock.clone()),
            clock,
            rng: runtime::Rng::from_seed([7; 32]),
        };
        Arc::new(crate::start::prepare(&settings, wiring, "a test").await.expect("a fresh folder").0)
    }

    #[tokio::test]
    async fn an_engine_on_which_nothing_can_run_is_told_and_refused_with_its_cure() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let engine = Arc::new(FakeEngine::new(runtime::SystemClock.now()));
        let daemon = daemon_over(folder.path(), engine.clone()).await;
        let view = |why: Option<&str>| {
            vec![EngineView { kind: "process".into(), usable: why.is_none(), why: why.map(str::to_owned) }]
        };
        let unusable = |may_pass| Some(Unusable { why: "it is rootless".into(), cure: "use another".into(), may_pass });
        assert_eq!(daemon.engines().await, view(None));
        daemon.world().refuse_unusable(&*engine).await.expect("it can be used");

        engine.set_unusable(unusable(false));
        assert_eq!(daemon.engines().await, view(Some("it is rootless")));
        let refused = daemon.world().refuse_unusable(&*engine).await.expect_err("for good");
        assert_eq!((refused.status, &*refused.code, refused.help.as_deref()), (422, "MS0250", Some("use another")));
        assert!(refused.message.contains("it is rootless"), "{refused:?}");

        // One that is away says so itself when it is asked for something.
        engine.set_unusable(unusable(true));
        assert_eq!(daemon.engines().await, view(Some("it is rootless")));
        daemon.world().refuse_unusable(&*engine).await.expect("it may be back");
    }

    #[tokio::test]
    async fn the_router_has_every_documented_route_and_answers_others_with_a_code() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let service = TowerToHyperService::new(router(daemon(folder.path()).await));
        let patch = async |path: &str| {
            let request = Request::patch(path).body(Body::empty()).expect("legal");
            service.call(request).await.expect("never fails")
        };
        for route in ROUTES {
            let words = [("{project}", "shop"), ("{environment}", "test"), ("{number}", "1"), ("{run}", "1")];
            let path = words.iter().fold(route.path.to_owned(), |path, (name, value)| path.replace(name, value));
            let answer = patch(&path.replace("{digest}", &"ab".repeat(32))).await;
            // Nothing takes PATCH: the answer names what is taken instead.
            let allowed = answer.headers().get("allow").and_then(|allow| allow.to_str().ok()).unwrap_or_default();
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert!(allowed.split(',').any(|method| method == route.method), "{} {path}: {allowed}", route.method);
        }
        let answer = patch("/v1/nothing").await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.expect("read");
        assert_eq!(serde_json::from_slice::<ApiError>(&body).expect("an error").code, "MS0205");
    }
}
