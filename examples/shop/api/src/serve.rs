//! The life of the server: settings, port, requests, SIGTERM, drain, goodbye.
//!
//! After SIGTERM it is not ready any more but serves on for the drain, so that whoever spreads the requests has
//! time to notice. Then it closes its port and idle connections, finishes what is under way, and ends with 0.
//! A second signal cuts the drain short. It waits for nothing at its start: a database that is away makes it
//! unready, never absent.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::serve::ListenerExt as _;
use service::environment::SettingError;
use service::faults::Faults;
use service::identity::Identity;
use service::log;
use service::program::WRONG_USE;
use service::redis_link::Link;
use service::signals::Signals;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, Metrics, router};
use crate::settings::Settings;
use crate::version::VERSION;
use crate::{database, health, queue};

/// How long one command of Redis may take before a request goes on without it.
const REDIS_ANSWERS_WITHIN: std::time::Duration = std::time::Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("a setting cannot be used")]
    Setting(#[from] SettingError),
    #[error("could not make the pool of database connections")]
    Pool(#[from] deadpool_postgres::BuildError),
    #[error("could not take over the signals")]
    Signals(#[source] std::io::Error),
    #[error("could not listen on port {port}")]
    Listen { port: u16, source: std::io::Error },
}

/// Serves until a signal comes.
pub async fn run(settings: Settings, faults: Faults) -> ExitCode {
    match live(settings, faults).await {
        Ok(code) => code,
        Err(failure) => {
            tracing::error!(error = log::chain(&failure), "could not start");
            match failure {
                StartError::Setting(_) => ExitCode::from(WRONG_USE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn live(settings: Settings, faults: Faults) -> Result<ExitCode, StartError> {
    let mut signals = Signals::install(faults.ignores_sigterm()).map_err(StartError::Signals)?;
    faults.start_clock();
    let app = app(&settings, faults)?;
    let listener = tokio::select! {
        listener = listen(&app.faults, settings.port) => listener?,
        () = signals.wait() => return Ok(ExitCode::SUCCESS),
    };
    tokio::spawn(queue::sweep(app.clone()));
    let server = tokio::spawn(serve(app.clone(), listener));

    signals.wait().await;
    tracing::info!("asked to end: draining");
    app.draining.cancel();
    tokio::select! {
        () = tokio::time::sleep(settings.drain) => {}
        () = signals.wait() => tracing::warn!("asked again: the drain is cut short"),
    }
    app.closing.cancel();
    app.sockets.close();
    let finish = async { tokio::join!(server, app.sockets.wait()) };
    let outcome = tokio::time::timeout(settings.shutdown, finish).await;
    let cut = app.metrics.requests.in_flight.get();
    if outcome.is_err() && cut > 0 {
        tracing::error!(requests = cut, "ending with requests under way: they took too long");
        return Ok(ExitCode::FAILURE);
    }
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

fn app(settings: &Settings, faults: Faults) -> Result<Arc<App>, StartError> {
    Ok(Arc::new(App {
        pool: database::pool(settings)?,
        redis: Link::new(&settings.redis_url, REDIS_ANSWERS_WITHIN)?,
        cache_for: settings.cache_for,
        identity: Identity::of_process(),
        faults,
        metrics: Metrics::new(),
        health: health::Seen::default(),
        draining: CancellationToken::new(),
        closing: CancellationToken::new(),
        sockets: TaskTracker::new(),
    }))
}

async fn listen(faults: &Faults, port: u16) -> Result<TcpListener, StartError> {
    faults.delay_start().await;
    let listener = faults.listen(port).await.map_err(|source| StartError::Listen { port, source })?;
    match listener.local_addr() {
        Ok(address) => tracing::info!(port = address.port(), address = %address.ip(), version = VERSION, "listening"),
        Err(source) => return Err(StartError::Listen { port, source }),
    }
    Ok(listener)
}

async fn serve(app: Arc<App>, listener: TcpListener) {
    let listener = listener.tap_io(|stream| {
        if let Err(failure) = stream.set_nodelay(true) {
            tracing::debug!(error = %failure, "the connection keeps small packets back");
        }
    });
    let closing = app.closing.clone();
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(closing.cancelled_owned()).await;
    if let Err(failure) = served {
        tracing::error!(error = %failure, "the server failed");
    }
}
