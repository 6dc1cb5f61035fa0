//! `shop-worker`: takes orders from the queue and carries them out through the API.
//!
//! Owns the subcommands and the life of the process: settings, signals, loops, goodbye. [`jobs`] is the work,
//! [`calls`] how the API is called, [`trickle`] the steady calls that show whether a release is felt between services.

mod admin;
mod calls;
mod counts;
mod jobs;
mod settings;
mod trickle;
mod version;

use std::process::ExitCode;
use std::sync::Arc;

use service::environment::{Environment, SettingError};
use service::faults::Faults;
use service::identity::Identity;
use service::program::Program;
use service::redis_link::Link;
use service::signals::Signals;
use service::{log, self_check};
use tokio_util::sync::CancellationToken;

use crate::calls::Calls;
use crate::counts::Counts;
use crate::settings::Settings;

const SERVICE: &str = "worker";
const USAGE: &str = "usage: shop-worker [run | health | --version]";

fn main() -> ExitCode {
    let program = Program { service: SERVICE, usage: USAGE, version: format!("shop-worker {}", version::VERSION) };
    program.main(|arguments, environment| {
        Some(match arguments {
            [] | ["run"] => run(environment),
            ["health"] => settings::port(environment).map(|port| self_check::run(port, "/health")),
            _ => return None,
        })
    })
}

fn run(environment: &Environment) -> Result<ExitCode, SettingError> {
    log::start(SERVICE, environment)?;
    let faults = Faults::from_environment(environment)?;
    if let Some(code) = faults.exit_code() {
        tracing::error!(code, "ending at once on purpose");
        return Ok(ExitCode::from(code));
    }
    let settings = Settings::from_environment(environment)?;
    let redis = Link::new(&settings.redis_url, jobs::REDIS_ANSWERS_WITHIN)?;
    let lived = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let lived = lived.and_then(|runtime| runtime.block_on(live(settings, faults, redis)));
    Ok(lived.map_or_else(
        |failure| {
            tracing::error!(error = log::chain(&failure), "could not start");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// What all loops of the worker share.
struct Worker {
    settings: Settings,
    faults: Faults,
    identity: Identity,
    redis: Link,
    calls: Calls,
    counts: Arc<Counts>,
    /// Cancelled when the process was asked to end.
    stop: CancellationToken,
}

async fn live(settings: Settings, faults: Faults, redis: Link) -> std::io::Result<()> {
    let mut signals = Signals::install(faults.ignores_sigterm())?;
    faults.start_clock();
    tokio::select! {
        () = faults.delay_start() => {}
        () = signals.wait() => return Ok(()),
    }
    let counts = Arc::new(Counts::new());
    let calls = Calls::new(settings.api.clone(), counts.clone());
    let identity = Identity::of_process();
    let worker = Arc::new(Worker { settings, faults, identity, redis, calls, counts, stop: CancellationToken::new() });
    // The page for probes is not what the worker lives for: it works before the port is open, and without it.
    let admin = tokio::spawn(admin::serve(worker.clone()));
    let work = tokio::spawn(jobs::run(worker.clone()));
    let trickle = tokio::spawn(trickle::run(worker.clone()));
    let flush = tokio::spawn(counts::flush(worker.clone()));

    tokio::select! {
        () = signals.wait() => tracing::info!("asked to end: finishing the jobs under way"),
        // It ends by itself only when it cannot listen.
        failed = admin => return failed.unwrap_or(Ok(())),
    }
    worker.stop.cancel();
    for task in [work, trickle, flush] {
        if task.await.is_err() {
            tracing::error!("a loop of the worker ended by a bug");
        }
    }
    counts::flush_once(&worker).await;
    tracing::info!("ended");
    Ok(())
}
