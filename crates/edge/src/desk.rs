//! The edge's side of the control socket.
//!
//! Owns what the daemon passed (sockets, directories) and the table in use, and carries out requests one after the
//! other, except for drains, which only wait. It never serves traffic. Start with [`Desk::handle`].

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::access_log::Sink;
use crate::control::{
    DrainReport, PROTOCOL, Pong, Readiness, Refusal, Reply, Request, RequestEnvelope, Stats, Table, UpstreamDrain,
};
use crate::snapshot::{Holdings, Snapshot};
use crate::statics::Dir;
use crate::worker::Command;

/// What answers the daemon.
pub(crate) struct Desk {
    started: Instant,
    workers: Vec<mpsc::Sender<Command>>,
    /// Held while something changes; drains and counters pass by.
    holdings: Mutex<Held>,
    lines_dropped: Arc<AtomicU64>,
    /// Told when the daemon wants the process to end.
    pub shutdown: mpsc::Sender<Duration>,
    is_closing: std::sync::atomic::AtomicBool,
}

/// What the daemon passed, and the table made of it.
struct Held {
    snapshot: Arc<Snapshot>,
    listeners: BTreeMap<String, Passed>,
    dirs: HashMap<String, Arc<Dir>>,
    log_threads: Vec<std::thread::JoinHandle<()>>,
}

struct Passed {
    socket: TcpListener,
    /// Whether workers have copies of it.
    is_given: bool,
}

type Outcome = Result<(Reply, Vec<OwnedFd>), Refusal>;

impl Desk {
    pub(crate) fn new(workers: Vec<mpsc::Sender<Command>>, shutdown: mpsc::Sender<Duration>) -> Self {
        Self {
            started: Instant::now(),
            workers,
            holdings: Mutex::new(Held {
                snapshot: Arc::new(Snapshot::empty()),
                listeners: BTreeMap::new(),
                dirs: HashMap::new(),
                log_threads: Vec::new(),
            }),
            lines_dropped: Arc::default(),
            shutdown,
            is_closing: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Carries out one request.
    pub(crate) async fn handle(&self, envelope: RequestEnvelope, fds: Vec<OwnedFd>) -> Outcome {
        if envelope.v != PROTOCOL {
            let problem = format!("it is of version {}", envelope.v);
            return Err(Refusal::NotUnderstood { supported: PROTOCOL, problem });
        }
        let reply = match envelope.request {
            Request::AddListeners { ids } => self.add_listeners(ids, fds).await?,
            Request::AddDir { id } => self.add_dir(id, fds).await?,
            Request::SetAccessLog => self.set_access_log(fds).await?,
            Request::Apply(table) => self.apply(table).await?,
            Request::GetTable => Reply::Table(self.holdings.lock().await.snapshot.table.clone()),
            Request::GetListeners => return self.get_listeners().await,
            Request::Drain { upstreams, grace_ms } => self.drain(upstreams, Duration::from_millis(grace_ms)).await?,
            Request::Stats => Reply::Stats(Box::new(self.stats().await?)),
            Request::Ping => Reply::Pong(self.pong().await),
            Request::Shutdown { grace_ms } => {
                self.close();
                // Full means that somebody asked already.
                let _ = self.shutdown.try_send(Duration::from_millis(grace_ms));
                Reply::Done
            }
        };
        Ok((reply, Vec::new()))
    }

    /// Takes no more changes from here on.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    fn check_open(&self) -> Result<(), Refusal> {
        if self.is_closing.load(Ordering::Relaxed) { Err(Refusal::ShuttingDown) } else { Ok(()) }
    }

    async fn add_listeners(&self, ids: Vec<String>, fds: Vec<OwnedFd>) -> Result<Reply, Refusal> {
        self.check_open()?;
        if ids.len() != fds.len() {
            let problem = format!("{} ids came with {} descriptors", ids.len(), fds.len());
            return Err(Refusal::BadDescriptor { subject: "listeners".to_owned(), problem });
        }
        let sockets = ids
            .into_iter()
            .zip(fds)
            .map(|(id, fd)| match check_listener(&fd) {
                Ok(()) => Ok((id, TcpListener::from(fd))),
                Err(problem) => Err(Refusal::BadDescriptor { subject: id, problem }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut held = self.holdings.lock().await;
        for (id, socket) in sockets {
            let is_same = held.listeners.get(&id).is_some_and(|there| is_same_socket(&there.socket, &socket));
            if !is_same {
                held.listeners.insert(id, Passed { socket, is_given: false });
            }
        }
        Ok(Reply::Done)
    }

    async fn add_dir(&self, id: String, fds: Vec<OwnedFd>) -> Result<Reply, Refusal> {
        self.check_open()?;
        let dir = Dir::new(id.clone(), one(&id, fds)?)
            .map_err(|problem| Refusal::BadDescriptor { subject: id.clone(), problem })?;
        self.holdings.lock().await.dirs.insert(id, Arc::new(dir));
        Ok(Reply::Done)
    }

    async fn set_access_log(&self, fds: Vec<OwnedFd>) -> Result<Reply, Refusal> {
        let fd = one("access log", fds)?;
        let (sink, thread) = Sink::start(fd, self.lines_dropped.clone()).map_err(|error| Refusal::BadDescriptor {
            subject: "access log".to_owned(),
            problem: format!("no thread for it: {error}"),
        })?;
        let mut held = self.holdings.lock().await;
        held.log_threads.retain(|thread| !thread.is_finished());
        held.log_threads.push(thread);
        self.ask_all(|done| Command::Log { sink: sink.clone(), done }).await?;
        Ok(Reply::Done)
    }

    async fn apply(&self, table: Table) -> Result<Reply, Refusal> {
        self.check_open()?;
        let mut held = self.holdings.lock().await;
        let held = &mut *held;
        let holdings = Holdings { listeners: held.listeners.keys().map(String::as_str).collect(), dirs: &held.dirs };
        let snapshot = Arc::new(Snapshot::compile(table, &held.snapshot, &holdings)?);
        let copies = self.copies(held, &snapshot)?;
        let mut copies = copies.into_iter();
        self.ask_all(|done| {
            let sockets = copies.next().unwrap_or_default();
            Command::Apply { snapshot: snapshot.clone(), sockets, done }
        })
        .await?;
        held.listeners.retain(|id, _| snapshot.listeners.contains_key(id));
        held.listeners.values_mut().for_each(|passed| passed.is_given = true);
        let dirs = snapshot.dirs();
        held.dirs.retain(|id, _| dirs.contains(id.as_str()));
        held.snapshot = snapshot.clone();
        Ok(Reply::Applied { version: snapshot.table.version })
    }

    /// Copies of the sockets that workers do not have yet, one set per worker.
    fn copies(&self, held: &Held, snapshot: &Snapshot) -> Result<Vec<Vec<(String, TcpListener)>>, Refusal> {
        let fresh = |(id, passed): &(&String, &Passed)| !passed.is_given && snapshot.listeners.contains_key(*id);
        let copy = |(id, passed): (&String, &Passed)| match passed.socket.try_clone() {
            Ok(socket) => Ok((id.clone(), socket)),
            Err(error) => Err(Refusal::BadDescriptor { subject: id.clone(), problem: format!("no copy: {error}") }),
        };
        self.workers.iter().map(|_| held.listeners.iter().filter(fresh).map(copy).collect()).collect()
    }

    async fn get_listeners(&self) -> Outcome {
        let held = self.holdings.lock().await;
        let mut ids = Vec::new();
        let mut fds = Vec::new();
        for (id, passed) in &held.listeners {
            let copy = passed.socket.as_fd().try_clone_to_owned();
            fds.push(copy.map_err(|error| Refusal::BadDescriptor {
                subject: id.clone(),
                problem: format!("no copy: {error}"),
            })?);
            ids.push(id.clone());
        }
        Ok((Reply::Listeners { ids }, fds))
    }

    async fn drain(&self, upstreams: Vec<String>, grace: Duration) -> Result<Reply, Refusal> {
        let asked: std::collections::HashSet<&str> = upstreams.iter().map(String::as_str).collect();
        let snapshot = self.holdings.lock().await.snapshot.clone();
        let ready = snapshot
            .pools
            .iter()
            .flat_map(|pool| &pool.upstreams)
            .find(|upstream| upstream.state == Readiness::Ready && asked.contains(upstream.id.as_str()));
        if let Some(ready) = ready {
            return Err(Refusal::StillInRotation { upstream: ready.id.clone() });
        }
        let ids: Arc<[String]> = upstreams.clone().into();
        let rows = self.ask_all(|done| Command::Drain { upstreams: ids.clone(), grace, done }).await?;
        let mut report: Vec<_> =
            upstreams.into_iter().map(|id| UpstreamDrain { id, ..UpstreamDrain::default() }).collect();
        for (sum, row) in rows.iter().flat_map(|rows| rows.iter().enumerate()) {
            let sum = &mut report[sum];
            sum.waited_for += row.waited_for;
            sum.requests_left += row.requests_left;
            sum.cut.websockets += row.cut.websockets;
            sum.cut.tcp += row.cut.tcp;
        }
        Ok(Reply::Drained(DrainReport { upstreams: report }))
    }

    async fn stats(&self) -> Result<Stats, Refusal> {
        let mut stats = Stats {
            table_version: self.holdings.lock().await.snapshot.table.version,
            uptime_ms: self.uptime_ms(),
            workers: u32::try_from(self.workers.len()).unwrap_or(u32::MAX),
            ..Stats::default()
        };
        for worker in self.ask_all(|done| Command::Stats { done }).await? {
            stats.add(worker);
        }
        stats.totals.log_lines_dropped = self.lines_dropped.load(Ordering::Relaxed);
        stats.sort();
        Ok(stats)
    }

    async fn pong(&self) -> Pong {
        Pong {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: self.uptime_ms(),
            table_version: self.holdings.lock().await.snapshot.table.version,
        }
    }

    fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks every worker and waits for all answers.
    async fn ask_all<T>(&self, mut command: impl FnMut(oneshot::Sender<T>) -> Command) -> Result<Vec<T>, Refusal> {
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            worker.send(command(done)).await.map_err(|_| Refusal::ShuttingDown)?;
            answers.push(answer);
        }
        let mut out = Vec::with_capacity(answers.len());
        for answer in answers {
            out.push(answer.await.map_err(|_| Refusal::ShuttingDown)?);
        }
        Ok(out)
    }

    /// Tells every worker to end.
    pub(crate) async fn stop_workers(&self, grace: Duration) {
        for worker in &self.workers {
            // A worker that is gone has ended already.
            let _ = worker.send(Command::Stop { grace }).await;
        }
    }

    /// The threads that write logs; they end once the workers have.
    pub(crate) async fn take_log_threads(&self) -> Vec<std::thread::JoinHandle<()>> {
        std::mem::take(&mut self.holdings.lock().await.log_threads)
    }
}

fn one(subject: &str, fds: Vec<OwnedFd>) -> Result<OwnedFd, Refusal> {
    let count = fds.len();
    match <[OwnedFd; 1]>::try_from(fds) {
        Ok([fd]) => Ok(fd),
        Err(_) => Err(Refusal::BadDescriptor {
            subject: subject.to_owned(),
            problem: format!("{count} descriptors came instead of one"),
        }),
    }
}

fn check_listener(fd: &OwnedFd) -> Result<(), String> {
    let is_listening = sockopt::socket_acceptconn(fd).map_err(|error| format!("is no socket: {error}"))?;
    let family = sockopt::socket_domain(fd).map_err(|error| format!("has no address family: {error}"))?;
    let kind = sockopt::socket_type(fd).map_err(|error| format!("has no type: {error}"))?;
    let is_tcp = kind == rustix::net::SocketType::STREAM
        && matches!(family, rustix::net::AddressFamily::INET | rustix::net::AddressFamily::INET6);
    if !is_listening || !is_tcp {
        return Err("is no listening TCP socket".to_owned());
    }
    crate::io::watch_peer(fd).map_err(|error| format!("takes no options: {error}"))?;
    // Shared by all who hold the socket; a blocking one would stop a worker.
    rustix::io::ioctl_fionbio(fd, true).map_err(|error| format!("cannot be made non-blocking: {error}"))
}

fn is_same_socket(one: &TcpListener, other: &TcpListener) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}
