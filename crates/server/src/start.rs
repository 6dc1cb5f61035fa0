//! The life of the daemon: lock, open, find the edge, take up every stack, serve, stop.

use crate::api::ApiError;
use crate::commands::Commands;
use crate::daemon::Daemon;
use crate::edge_link::hub::{Hub, Remembered};
use crate::edge_link::process::{LaunchError, Launcher};
use crate::edge_link::table::{Detour, Ground, StackRouting};
use crate::engines::Engines;
use crate::settings::Settings;
use crate::stack::actor::Actor;
use crate::stack::course::Course;
use crate::stack::record::Record;
use crate::stack::world::World;
use crate::stack::{blobs, one_off};
use crate::{housekeeping, http};
use engine::Engine;
use futures_util::future::BoxFuture;
use model::fingerprint::short_hash;
use model::stack::Stack;
use model::{BundleId, StackId};
use network::balances::Balancer;
use plan::Observed;
use plan::observed::Health;
use probe::Probes;
use runtime::files::{self, FileError, Lock, LockError};
use runtime::sockets::{self, ListenError};
use runtime::tasks::Backoff;
use runtime::{BoxError, CancellationToken, Clock, OnError, Rng, Signals, Tasks};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::bundles::BundleError;
use store::{Bundles, NewEvent, Store, StoreError};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, watch};

/// How long a shutdown may take before it is cut short.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// How long a daemon's locks are waited for: one that was killed counts as dead once its first thread has ended, and the
/// kernel gives the locks back once its last one has.
const DYING: Duration = Duration::from_secs(2);

/// So many events may be on their way into the log.
const EVENTS: usize = 4096;

/// How long the first answers of probes are waited for after an adoption.
const FIRST_ANSWERS: Duration = Duration::from_secs(3);

/// Opens the engines, the usual one first.
pub type OpenEngines = Box<dyn FnOnce() -> BoxFuture<'static, Result<Vec<Arc<dyn Engine>>, BoxError>> + Send>;

/// What the binary picks for the daemon.
pub struct Wiring {
    /// Opens the places where replicas run; called once the folders are ours alone.
    pub engines: OpenEngines,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Tasks; their end is the daemon's.
    pub tasks: Tasks,
    /// Randomness.
    pub rng: Rng,
}

/// Why the daemon does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A folder could not be made or read.
    #[error("could not prepare the daemon's folders")]
    Folder(#[source] FileError),
    /// The state could not be opened.
    #[error("could not open the state")]
    Store(#[source] StoreError),
    /// Another daemon works in this run folder.
    #[error("the run folder is in use")]
    InUse(#[source] LockError),
    /// The engine could not be opened.
    #[error("could not open the engines")]
    Engine(#[source] BoxError),
    /// What is wanted of the stacks could not be read.
    #[error("could not read the stacks")]
    Stacks(#[source] ApiError),
    /// The bundles could not be opened.
    #[error("could not open the bundles")]
    Bundles(#[source] BundleError),
    /// The edge could not be found or started.
    #[error("could not get an edge")]
    Edge(#[source] LaunchError),
    /// The socket could not be made.
    #[error("could not make the daemon's socket")]
    Socket(#[source] ListenError),
    /// The socket could not be taken over by the runtime.
    #[error("could not serve the daemon's socket")]
    Serve(#[source] std::io::Error),
    /// Signals could not be listened for.
    #[error("could not listen for signals")]
    Signals(#[source] std::io::Error),
    /// A task the daemon cannot live without has failed.
    #[error("the daemon cannot go on")]
    Task(#[source] Arc<runtime::tasks::Failure>),
}

impl ServeError {
    /// What to do about it, one imperative sentence, when there is something to say.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::Folder(error) => error.cure().map(str::to_owned),
            Self::Store(error) => error.cure(),
            Self::InUse(_) => Some("stop the other daemon, or choose other folders with `--state` and `--run`".into()),
            Self::Stacks(error) => error.help.clone(),
            Self::Bundles(error) => error.cure(),
            _ => None,
        }
    }
}

/// Runs the daemon until it is told to stop.
pub async fn serve(settings: Settings, wiring: Wiring) -> Result<(), ServeError> {
    // Everybody in the group may reach the socket; the folders beside it stay ours.
    files::create_dir(&settings.run, 0o755).map_err(ServeError::Folder)?;
    let owner = format!("mainstay daemon, process {}", rustix::process::getpid().as_raw_nonzero());
    // Before anything in it is touched: another daemon's edge answers there.
    let taken = settings.run.join("lock");
    let _run = once_free(&*wiring.clock, async || lock(&taken, &owner)).await?;
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let tasks = wiring.tasks.clone();
    let (daemon, keepers) = begin(&settings, wiring, &owner).await?;
    let listener = sockets::listen_unix(&settings.socket(), 0o660, crate::http::group()).map_err(ServeError::Socket)?;
    listener.set_nonblocking(true).map_err(ServeError::Serve)?;
    let listener = UnixListener::from_std(listener).map_err(ServeError::Serve)?;
    let (router, serving, time) = (http::router(daemon.clone()), tasks.clone(), daemon.world().clock.clone());
    tasks.spawn("api", OnError::StopProcess, move |stop| http::serve(listener, router, serving, time, stop));
    daemon.world().event_of_daemon("daemon.started", format!("version {}", env!("CARGO_PKG_VERSION")));
    tracing::info!(socket = %settings.socket().display(), "serving");
    let failure = tokio::select! {
        failure = tasks.stopped() => failure,
        _ = signals.next() => None,
        () = tasks.token().cancelled() => None,
    };
    tracing::info!("stopping");
    tokio::select! {
        late = tasks.shutdown(SHUTDOWN) => if !late.is_empty() {
            tracing::warn!(?late, "tasks did not end in time");
        },
        _ = signals.next() => tracing::warn!("told twice: stopping at once"),
    }
    for tasks in [keepers.events, keepers.store] {
        tasks.shutdown(SHUTDOWN).await;
    }
    failure.map_or(Ok(()), |failure| Err(ServeError::Task(failure)))
}

/// Tries again while a daemon that was just killed still holds what is asked for.
async fn once_free<T>(
    clock: &dyn Clock,
    mut attempt: impl AsyncFnMut() -> Result<T, ServeError>,
) -> Result<T, ServeError> {
    let begun = clock.monotonic();
    loop {
        match attempt().await {
            Err(ServeError::InUse(_) | ServeError::Store(StoreError::InUse(_)))
                if clock.monotonic().duration_since(begun) < DYING => {}
            done => return done,
        }
        clock.sleep(Duration::from_millis(10)).await;
    }
}

fn lock(path: &Path, owner: &str) -> Result<Lock, ServeError> {
    files::lock(path, owner).map_err(|error| match error {
        LockError::File(error) => ServeError::Folder(error),
        held => ServeError::InUse(held),
    })
}

/// What outlives the other tasks, so that what they hand in last is still written.
pub(crate) struct Keepers {
    pub(crate) store: Tasks,
    pub(crate) events: Tasks,
}

/// Everything but the API: opens, finds the edge, takes up every stack.
pub(crate) async fn begin(
    settings: &Settings,
    wiring: Wiring,
    owner: &str,
) -> Result<(Arc<Daemon>, Keepers), ServeError> {
    let (daemon, keepers) = prepare(settings, wiring, owner).await?;
    let daemon = Arc::new(daemon);
    let found = daemon.world().hub.connect().await.map_err(ServeError::Edge)?;
    adopt(&daemon, found).await.map_err(ServeError::Stacks)?;
    spawn_watchers(&daemon);
    housekeeping::spawn(&daemon);
    Ok((daemon, keepers))
}

/// A daemon that serves nothing yet, and has neither an edge nor stacks.
pub(crate) async fn prepare(settings: &Settings, wiring: Wiring, owner: &str) -> Result<(Daemon, Keepers), ServeError> {
    let Wiring { engines, clock, tasks, rng } = wiring;
    let keeper = Tasks::new(clock.clone());
    // The state first: whoever does not get its lock has touched nothing.
    let open = async || Store::open(&settings.state, owner, &keeper, &rng).await.map_err(ServeError::Store);
    let opened = once_free(&*clock, open).await?;
    for (folder, mode) in [(settings.logs(), 0o700), (settings.state.join("volumes"), 0o711)] {
        files::create_dir(&folder, mode).map_err(ServeError::Folder)?;
    }
    let engines = Arc::new(Engines::new(engines().await.map_err(ServeError::Engine)?));
    let bundles = Bundles::open(&settings.state, opened.keys.clone()).map_err(ServeError::Bundles)?;
    let launcher = Launcher {
        program: settings.program.clone(),
        socket: settings.edge_socket(),
        logs: settings.logs(),
        user: settings.edge_user,
        clock: clock.clone(),
        tasks: tasks.clone(),
    };
    let trees = bundles.clone();
    let ground = Ground { http: settings.http, ipv6: sockets::has_ipv6() };
    // Beside the machine's one daemon others may run for tests, in run folders of their own.
    let own = short_hash(settings.run.to_string_lossy().as_bytes());
    let balancer = Balancer::new(format!("mainstay-balances-{own}"), clock.clone(), tasks.clone());
    let folders = Box::new(move |bundle: &BundleId| blobs::folder(&trees, bundle));
    let hub = Hub::new(ground, folders, launcher, format!("mainstay-detours-{own}"), balancer);
    let probes = Probes::new(&tasks, clock.clone(), Arc::new(Commands { engines: engines.clone() }));
    let (events, waiting) = mpsc::channel(EVENTS);
    let store = opened.store.clone();
    let scribe = keeper.child("events");
    scribe.spawn("write events", OnError::Log, move |stop| write_events(store, waiting, stop));
    let world = World {
        engines,
        hub,
        probes,
        store: opened.store,
        keys: opened.keys,
        bundles,
        clock,
        tasks,
        http_port: settings.http.port(),
        events,
        pulse: watch::Sender::new(0),
        tidy: Notify::new(),
        choosing: tokio::sync::Mutex::default(),
        leads_any_port: std::sync::atomic::AtomicBool::new(false),
    };
    Ok((Daemon::new(settings.clone(), Arc::new(world)), Keepers { store: keeper, events: scribe }))
}

async fn write_events(store: Store, mut events: mpsc::Receiver<(Option<StackId>, NewEvent)>, stop: CancellationToken) {
    loop {
        // After the stop no new ones are waited for; those that are here are written.
        let next = match stop.run_until_cancelled(events.recv()).await {
            Some(next) => next,
            None => events.try_recv().ok(),
        };
        let Some((stack, event)) = next else {
            return;
        };
        let written = store.run("write an event", move |tx| tx.append_event(stack.as_ref(), event)).await;
        if let Err(error) = written {
            tracing::error!(error = crate::chain(&error), "could not write an event down");
        }
    }
}

/// Takes up every stack that an earlier daemon left.
///
/// All of them before the first actor runs: the edge is given one table for all, and a stack that were missing
/// in it would be cut off. What cannot be read is refused orders and served on as it was.
async fn adopt(daemon: &Arc<Daemon>, mut found: BTreeMap<StackId, Remembered>) -> Result<(), ApiError> {
    let world = daemon.world();
    let mut actors = Vec::new();
    let mut restored = Vec::new();
    for (id, record) in world.records().await? {
        if let Ok(Record { engine: Some(kind), .. }) = &record {
            world.engines.put(&id, *kind);
        }
        sweep(world, &id).await;
        let (course, why) = match record {
            Ok(record) => Course::of(world, &id, record).await,
            Err(why) => {
                world.event(&id, "stack", "stack.unreadable", "mainstay", format!("its record cannot be read: {why}"));
                daemon.refuse(id, why);
                continue;
            }
        };
        if let Some(why) = &why {
            world.event(&id, "stack", "stack.unreadable", "mainstay", why.message.clone());
        }
        if let Some(found) = found.remove(&id) {
            restored.push((id.clone(), found, course.wanted.clone(), course.good.clone()));
        }
        actors.push(Actor::new(id, world.clone(), course, why, Arc::default()));
    }
    restored.extend(found.into_iter().map(|(id, found)| (id, found, None, None)));
    for (id, found, wanted, good) in restored {
        let have = look_first(world, &id, wanted.as_deref(), good.as_deref()).await;
        world.hub.restore(&id, restore(found, [&wanted, &good], have)).await;
    }
    match world.hub.renew().await {
        Ok(true) => world.event_of_daemon("edge.renewed", "an edge of another program was replaced".into()),
        Ok(false) => {}
        Err(error) => world.event_of_daemon("edge.old", crate::chain(&error)),
    }
    actors.into_iter().for_each(|actor| daemon.start(actor));
    Ok(())
}

/// Removes what sessions of `run` left that ended with the daemon.
async fn sweep(world: &World, id: &StackId) {
    match one_off::sweep(&**world.engines.of(id), id).await {
        Ok(0) => {}
        Ok(count) => {
            let text = format!("removed {count} one-off replicas that an earlier daemon left");
            world.event(id, "stack", "run.swept", "mainstay", text);
        }
        Err(error) => tracing::error!(stack = %id, error = crate::chain(&error), "could not remove one-off replicas"),
    }
}

/// Asks every replica once before anything is decided about it.
async fn look_first(world: &World, id: &StackId, wanted: Option<&Stack>, good: Option<&Stack>) -> Observed {
    match world.observe(id, wanted.or(good)).await {
        Ok(have) if wanted.or(good).is_none() => have,
        Ok(have) => {
            world.watch(id, &have.placed, wanted, good);
            if !world.probes.all_asked(id, FIRST_ANSWERS).await {
                tracing::warn!(stack = %id, "some probes have not answered yet");
            }
            have
        }
        Err(error) => {
            tracing::error!(stack = %id, error = crate::chain(&error), "could not observe a stack");
            Observed::default()
        }
    }
}

fn restore(found: Remembered, stacks: [&Option<Arc<Stack>>; 2], have: Observed) -> StackRouting {
    let Remembered { memo, ready, served } = found;
    let of = |release: Option<u64>| stacks.into_iter().flatten().find(|stack| Some(stack.release.0) == release);
    let hash = memo.hash.as_ref().and_then(|hash| hash.parse().ok());
    // By its hash first: a release that routes as the one before it settles nothing, so the edge remembers the number
    // of a release that may be neither wanted nor the last good one.
    let same = |stack: &&Arc<Stack>| hash == Some(plan::routing::routing_hash(stack));
    let settled = stacks.into_iter().flatten().find(same).or_else(|| of(memo.release)).cloned().zip(hash);
    let not_ready = || Health::Unready("not ready before the daemon came back".into());
    let health = have
        .placed
        .replicas
        .keys()
        .map(|id| (id.clone(), if ready.contains(id) { Health::Ready } else { not_ready() }));
    StackRouting {
        kept: settled.is_none().then_some(served),
        settled,
        opened: of(memo.opened).cloned(),
        routed: memo.routed.iter().filter_map(|id| id.parse().ok()).collect(),
        health: health.collect(),
        replicas: have.placed.replicas,
        detours: memo.detours.iter().map(|(wanted, port)| (*wanted, Detour { port: *port, over: None })).collect(),
        ..StackRouting::default()
    }
}

/// Wakes actors when something happens, and keeps the edge alive.
fn spawn_watchers(daemon: &Arc<Daemon>) {
    let tasks = daemon.tasks();
    let watcher = daemon.clone();
    tasks.spawn("watch the engine", OnError::StopProcess, move |stop| async move {
        while let Some(id) = stop.run_until_cancelled(watcher.world().engines.changed()).await {
            wake(&watcher, &id);
        }
    });
    let watcher = daemon.clone();
    tasks.spawn("watch the probes", OnError::StopProcess, move |stop| async move {
        let mut version = watcher.world().probes.version();
        while let Some(Ok(())) = stop.run_until_cancelled(version.changed()).await {
            watcher.world().beat();
            watcher.stacks().iter().for_each(crate::stack::Handle::look);
        }
    });
    let keeper = daemon.clone();
    tasks.spawn("hold packet rules", OnError::Log, move |stop| async move {
        stop.run_until_cancelled(keeper.world().hub.hold()).await;
    });
    let watcher = daemon.clone();
    let backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(5) };
    tasks.supervise("watch the edge", backoff, move |stop| {
        let daemon = watcher.clone();
        async move {
            let tell = |kind: &'static str, text: String| daemon.world().event_of_daemon(kind, text);
            stop.run_until_cancelled(daemon.world().hub.supervise(tell)).await;
        }
    });
}

fn wake(daemon: &Daemon, id: &StackId) {
    daemon.world().beat();
    if let Ok(handle) = daemon.stack(id) {
        handle.look();
    }
}
