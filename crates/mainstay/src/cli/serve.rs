//! `mainstay serve` and the hidden `mainstay edge`: the two other kinds of process, from their arguments to their end.

use super::args::{Edge, LogFormat, Serve};
use super::settings::{Places, SOCKET, World};
use crate::client::Client;
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::wiring;
use std::net::{Ipv4Addr, SocketAddr};
use tracing_subscriber::EnvFilter;

/// `nobody`: the edge owns no file and no right.
const NOBODY: (u32, u32) = (65534, 65534);

/// The daemon: settings → log → engine → serve until told to stop.
pub fn serve(args: &Serve, world: &World<'_>) -> Result<Exit, Failure> {
    if args.background {
        // Fails only for the leader of a session, which has left its terminal already.
        let _ = rustix::process::setsid();
    }
    raise_open_files();
    // What is made without a mode of its own is nobody else's to write, whoever started us.
    let _ = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let places = Places::resolve(args.state.as_deref(), args.run.as_deref(), args.http_port, world)?;
    log(args.log_format, world);
    let settings = server::Settings {
        state: places.state.value.clone(),
        run: places.run.value.clone(),
        http: SocketAddr::from((Ipv4Addr::UNSPECIFIED, places.http_port.value)),
        program: daemon::OURSELVES.into(),
        edge_user: (world.uid == 0).then_some(NOBODY),
    };
    // Two threads: requests are answered while a plan for a large stack is made.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the runtime cannot be started").because(error))?;
    runtime.block_on(async {
        if args.replace {
            let client = Client::new(places.run.value.join(SOCKET));
            if let Some(old) = daemon::shut_down(&client).await? {
                tracing::info!(process = old.pid, version = old.version, "the earlier daemon has ended");
            }
        }
        let wiring = wiring::of_daemon(&places, docker_address(world))?;
        server::serve(settings, wiring).await.map_err(|error| {
            let shown = places.state.value.display();
            let place = format!("the state folder is {shown}, from {}", places.state.origin);
            let help = error
                .cure()
                .map_or_else(|| format!("{place}; see the causes above"), |cure| format!("{cure} ({place})"));
            Failure::of(&error).help(help)
        })
    })?;
    Ok(Exit::Done)
}

/// Where the Docker Engine listens. What is meant for other tools and no use to us keeps no daemon from starting.
fn docker_address(world: &World<'_>) -> engine_docker::Address {
    let Some(named) = world.environment.get("DOCKER_HOST").filter(|text| !text.is_empty()) else {
        return engine_docker::Address::default();
    };
    named.parse().unwrap_or_else(|error| {
        tracing::warn!("DOCKER_HOST is passed over: {error}");
        engine_docker::Address::default()
    })
}

/// As many open files as may be had, as the service's unit asks for too: the daemon holds every listening socket.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // With fewer it serves nevertheless.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The data plane: everything it serves is told by the daemon.
pub fn edge(args: &Edge, world: &World<'_>) -> Result<Exit, Failure> {
    log(LogFormat::Text, world);
    // Started by way of `/proc`, it would be called `exe`.
    let _ = rustix::thread::set_name(c"mainstay-edge");
    let options = edge::Options::new(args.control_fd, world.uid);
    edge::serve(options).map_err(|error| Failure::of(&error))?;
    Ok(Exit::Done)
}

fn log(format: LogFormat, world: &World<'_>) {
    let filter = EnvFilter::builder().parse_lossy(world.environment.get("MAINSTAY_LOG").unwrap_or("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that cannot be written is no reason to end: the complaint would go where the log goes.
    let lines = lines.log_internal_errors(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
