//! One thread that serves traffic.
//!
//! Owns everything a request needs: the newest table, upstreams, counters, the log's buffer. Nothing of it is shared
//! with other threads but the table's snapshot and the listening sockets. Start with [`run`].

mod accept;
mod activity;
mod connection;
mod detect;
mod drain;
mod tcp;

pub(crate) use accept::Open;
pub(crate) use activity::Activity;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::access_log::{LogBuffer, Sink};
use crate::control::{Stats, UpstreamDrain};
use crate::counters::{Count, ListenerCounters, ServiceCounters, Totals};
use crate::options::Options;
use crate::request_id::RequestIds;
use crate::snapshot::{ListenerRule, ServiceLabel, Snapshot};
use crate::tasks::{Task, Tasks};
use crate::upstream::{PoolView, Registry};

/// How often the log is flushed and idle connections are looked through.
const CHORES: Duration = Duration::from_millis(400);

/// How long killed tasks may take to end.
const KILL_GRACE: Duration = Duration::from_millis(500);

/// What the control thread tells a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve by this table; `sockets` are copies of those that are new.
    Apply { snapshot: Arc<Snapshot>, sockets: Vec<(String, TcpListener)>, done: oneshot::Sender<()> },
    /// Log there.
    Log { sink: Sink, done: oneshot::Sender<()> },
    /// Tell the counters.
    Stats { done: oneshot::Sender<Stats> },
    /// Wait until nothing is in flight to these upstreams, then cut what may be cut.
    Drain { upstreams: Arc<[String]>, grace: Duration, done: oneshot::Sender<Vec<UpstreamDrain>> },
    /// Stop accepting, end what is in flight within the grace, and return.
    Stop { grace: Duration },
}

/// A worker's state.
#[derive(Debug)]
pub(crate) struct Worker {
    pub options: Arc<Options>,
    pub tasks: Tasks,
    pub totals: Totals,
    pub log: LogBuffer,
    pub request_ids: RequestIds,
    /// Cancelled when the worker stops accepting.
    pub stopping: CancellationToken,
    /// Cancelled when the grace is over.
    pub killed: CancellationToken,
    max_connections: u64,
    /// Notified when a connection ends while the worker is full, or the last one while it stops.
    room: Notify,
    view: RefCell<Rc<View>>,
    registry: RefCell<Registry>,
    listeners: RefCell<HashMap<String, Rc<ListenerState>>>,
    changed: Notify,
    waiting: Count,
    silent: Count,
    guests: activity::Guests,
    random_start: usize,
}

/// The table as this worker uses it.
#[derive(Debug)]
pub(crate) struct View {
    pub snapshot: Arc<Snapshot>,
    pools: Vec<Rc<PoolView>>,
    services: Vec<Rc<ServiceCounters>>,
}

/// A listening socket of this worker.
#[derive(Debug)]
pub(crate) struct ListenerState {
    pub id: String,
    pub counters: ListenerCounters,
    rule: RefCell<Option<Arc<ListenerRule>>>,
    /// Who has its port once the table names it no more: clients that came here are served as that one's.
    heir: RefCell<Option<Rc<ListenerState>>>,
    /// Ends the accepting.
    closed: RefCell<CancellationToken>,
}

/// A place among those that wait for something of which there is not enough for all.
pub(crate) struct Place<'a>(&'a Count);

impl<'a> Place<'a> {
    fn among(taken: &'a Count, most: usize) -> Option<Self> {
        if taken.get() >= most as u64 {
            return None;
        }
        taken.increase();
        Some(Self(taken))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.decrease();
    }
}

impl View {
    pub(crate) fn pool(&self, number: usize) -> Rc<PoolView> {
        self.pools[number].clone()
    }

    /// A pool of the same name, for requests that began under an older table.
    pub(crate) fn pool_named(&self, name: &str) -> Option<Rc<PoolView>> {
        let number = self.pools.binary_search_by(|pool| pool.name.as_str().cmp(name)).ok()?;
        Some(self.pools[number].clone())
    }

    pub(crate) fn service(&self, number: usize) -> Rc<ServiceCounters> {
        self.services[number].clone()
    }
}

impl ListenerState {
    fn new(id: String, rule: Option<Arc<ListenerRule>>) -> Self {
        let (counters, heir, closed) = Default::default();
        Self { id, counters, rule: RefCell::new(rule), heir, closed }
    }

    /// What it does; `None` once the table names neither it nor an heir.
    pub(crate) fn rule(&self) -> Option<Arc<ListenerRule>> {
        self.rule.borrow().clone().or_else(|| self.heir.borrow().as_ref()?.rule())
    }

    /// Whether its peers may say on whose behalf they ask.
    pub(crate) fn is_trusted(&self) -> bool {
        self.rule().is_some_and(|rule| rule.trust_forwarded)
    }

    /// Whether what came to this one would have come to the other one, had there been only that.
    fn is_covered_by(&self, other: &Self) -> bool {
        let (Ok(own), Ok(other)) = (self.id.parse::<SocketAddr>(), other.id.parse::<SocketAddr>()) else {
            return false;
        };
        let reaches = own.ip() == other.ip() || own.ip().is_unspecified() || other.ip().is_unspecified();
        own.port() == other.port() && own.is_ipv4() == other.is_ipv4() && reaches
    }
}

/// The body of a worker thread; returns when it was told to stop and all is served.
pub(crate) fn run(
    options: Arc<Options>,
    max_connections: usize,
    mut commands: mpsc::Receiver<Command>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Asking for new events and timers every 61 tasks is tuned for throughput already.
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async move {
        let worker = Worker::new(options, max_connections);
        let chores = worker.tasks.spawn(Task::Chores, worker.clone().do_chores());
        let grace = loop {
            match commands.recv().await {
                Some(Command::Stop { grace }) => break grace,
                Some(command) => worker.obey(command)?,
                // The control thread is gone, so nobody could ever stop the worker.
                None => break Duration::ZERO,
            }
        };
        worker.stop(grace, &mut commands).await;
        chores.abort();
        worker.log.flush();
        Ok(())
    })
}

impl Worker {
    fn new(options: Arc<Options>, max_connections: usize) -> Rc<Self> {
        let request_ids = RequestIds::from_system();
        let random_start = request_ids.random();
        let snapshot = Arc::new(Snapshot::empty());
        let services = snapshot.services.iter().cloned().map(ServiceCounters::new).map(Rc::new).collect();
        Rc::new(Self {
            options,
            tasks: Tasks::default(),
            totals: Totals::default(),
            log: LogBuffer::default(),
            request_ids,
            stopping: CancellationToken::new(),
            killed: CancellationToken::new(),
            max_connections: max_connections as u64,
            room: Notify::new(),
            view: RefCell::new(Rc::new(View { snapshot, pools: Vec::new(), services })),
            registry: RefCell::default(),
            listeners: RefCell::default(),
            changed: Notify::new(),
            waiting: Count::default(),
            silent: Count::default(),
            guests: activity::Guests::default(),
            random_start,
        })
    }

    /// The table in use.
    pub(crate) fn view(&self) -> Rc<View> {
        self.view.borrow().clone()
    }

    /// Whether it accepts no more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Ends with the next table.
    pub(crate) fn table_changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// A place to wait for an upstream in, unless too many wait.
    pub(crate) fn waiting_place(&self) -> Option<Place<'_>> {
        Place::among(&self.waiting, self.options.max_waiting)
    }

    /// A place for a client that says nothing and has a server asked whether it speaks first, unless too many do.
    pub(crate) fn silent_place(&self) -> Option<Place<'_>> {
        Place::among(&self.silent, self.options.max_silent)
    }

    fn obey(self: &Rc<Self>, command: Command) -> io::Result<()> {
        // Who asked may have gone; the deed counts, not its answer.
        match command {
            Command::Apply { snapshot, sockets, done } => {
                self.apply(snapshot, sockets)?;
                let _ = done.send(());
            }
            Command::Log { sink, done } => {
                self.log.switch(sink);
                let _ = done.send(());
            }
            Command::Stats { done } => {
                let _ = done.send(self.read());
            }
            Command::Drain { upstreams, grace, done } => {
                let worker = self.clone();
                self.tasks.spawn(Task::Drain, async move {
                    let _ = done.send(drain::drain(&worker, &upstreams, grace).await);
                });
            }
            Command::Stop { .. } => unreachable!("the loop that calls this ends with it"),
        }
        Ok(())
    }

    fn apply(self: &Rc<Self>, snapshot: Arc<Snapshot>, sockets: Vec<(String, TcpListener)>) -> io::Result<()> {
        // Made before anything changes, so that a failure leaves the old table whole.
        let sockets = sockets
            .into_iter()
            .map(|(id, socket)| tokio::net::TcpListener::from_std(socket).map(|socket| (id, socket)))
            .collect::<io::Result<Vec<_>>>()?;
        let before = self.view();
        let names = snapshot.table.pools.keys().cloned().zip(snapshot.pools.iter().cloned());
        let pools = self.registry.borrow_mut().views(names, &before.pools, self.random_start);
        let known: HashMap<&ServiceLabel, &Rc<ServiceCounters>> =
            before.services.iter().map(|service| (&service.label, service)).collect();
        let services = snapshot
            .services
            .iter()
            .map(|label| match known.get(label) {
                Some(same) => (*same).clone(),
                None => Rc::new(ServiceCounters::new(label.clone())),
            })
            .collect();
        self.view.replace(Rc::new(View { snapshot: snapshot.clone(), pools, services }));
        self.listen(&snapshot, sockets);
        self.changed.notify_waiters();
        Ok(())
    }

    fn listen(self: &Rc<Self>, snapshot: &Snapshot, sockets: Vec<(String, tokio::net::TcpListener)>) {
        let mut listeners = self.listeners.borrow_mut();
        let mut gone = Vec::new();
        listeners.retain(|id, state| {
            let rule = snapshot.listeners.get(id).cloned();
            let is_kept = rule.is_some();
            let before = state.rule.replace(rule);
            if !is_kept {
                state.closed.borrow().cancel();
                gone.push((state.clone(), before.is_some_and(|rule| rule.trust_forwarded)));
            }
            is_kept
        });
        for (id, socket) in sockets {
            let rule = || snapshot.listeners.get(&id).cloned();
            let state = listeners.entry(id.clone()).or_insert_with(|| Rc::new(ListenerState::new(id.clone(), rule())));
            // A socket that came anew takes the place of the old one.
            let closed = CancellationToken::new();
            state.closed.replace(closed.clone()).cancel();
            self.tasks.spawn(Task::Accept, accept::accept(self.clone(), state.clone(), socket, closed));
        }
        for (state, trusted) in gone {
            let fits = |other: &&Rc<ListenerState>| state.is_covered_by(other) && other.is_trusted() == trusted;
            state.heir.replace(listeners.values().find(fits).cloned());
        }
    }

    fn read(&self) -> Stats {
        let view = self.view();
        Stats {
            totals: crate::control::Totals {
                connections_open: self.totals.connections_open.get(),
                connections_accepted: self.totals.connections_accepted.get(),
                accept_failures: self.totals.accept_failures.get(),
                requests_refused: self.totals.requests_refused.get(),
                websockets_cut: self.totals.websockets_cut.get(),
                tcp_cut: self.totals.tcp_cut.get(),
                log_lines_dropped: 0,
                task_panics: self.tasks.panics(),
            },
            services: view.services.iter().map(|service| service.read()).collect(),
            upstreams: self.registry.borrow().all().map(|upstream| upstream.read()).collect(),
            listeners: self.listeners.borrow().values().map(|state| state.counters.read(&state.id)).collect(),
            ..Stats::default()
        }
    }

    async fn do_chores(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(CHORES);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let round = Cell::new(0u32);
        loop {
            ticks.tick().await;
            self.log.flush();
            round.set(round.get().wrapping_add(1));
            if round.get().is_multiple_of(4) {
                // Dropping connections wakes their tasks, which must not find the registry borrowed.
                let all: Vec<_> = self.registry.borrow().all().collect();
                all.iter().for_each(|upstream| upstream.drop_idle(self.options.upstream_idle));
                self.registry.borrow_mut().forget_gone();
            }
        }
    }

    async fn stop(self: &Rc<Self>, grace: Duration, commands: &mut mpsc::Receiver<Command>) {
        self.stopping.cancel();
        for state in self.listeners.borrow().values() {
            state.closed.borrow().cancel();
        }
        let deadline = tokio::time::sleep(grace);
        tokio::pin!(deadline);
        loop {
            let room = self.room.notified();
            if self.totals.connections_open.get() == 0 {
                break;
            }
            tokio::select! {
                () = room => {}
                () = &mut deadline => break,
                command = commands.recv() => match command {
                    // Whoever asks again is in a hurry.
                    Some(Command::Stop { grace }) => deadline.as_mut().reset(tokio::time::Instant::now() + grace),
                    // A table is not taken any more; drains and counters still are.
                    Some(Command::Apply { .. }) => {}
                    Some(command) => { let _ = self.obey(command); }
                    None => break,
                },
            }
        }
        self.killed.cancel();
        // Lets the killed tasks write their log lines; each ends when it is next polled.
        let give_up = tokio::time::Instant::now() + KILL_GRACE;
        while self.totals.connections_open.get() > 0 && tokio::time::Instant::now() < give_up {
            tokio::task::yield_now().await;
        }
    }
}
