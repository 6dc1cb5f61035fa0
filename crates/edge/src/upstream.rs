//! Upstreams of one worker: who is picked, what is in flight, which connections are idle.
//!
//! Owns the worker's view of every pool. It never retries and never decides readiness; that is `http::forward` and the
//! daemon. Start with [`PoolView::pick`] and [`Upstream`].
//!
//! ```text
//! in rotation ──(no table holds it as ready any more)──→ left: idle connections closed, undecided ones let go
//!      ↑                                                   │ what is in flight goes on; `quiet` tells its end
//!      └──────────(a table holds it as ready)──────────────┘ `cut` ends WebSockets and TCP when the grace is over
//! ```

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::control::{self, Readiness, UpstreamStats};
use crate::counters::Count;
use crate::http::body::Outgoing;
use crate::io::UpstreamSocket;

/// How long an upstream that refused a connection is only asked when no other is there.
const SUSPICION: Duration = Duration::from_millis(500);

/// How long a connection may have been idle to be used for a request that cannot be sent again.
const FRESH: Duration = Duration::from_secs(1);

/// So long before the time an upstream named, a connection is not used any more.
const CLOSING: Duration = Duration::from_secs(1);

/// One address of one replica.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub id: String,
    pub address: SocketAddr,
    /// In how many pools it is ready.
    ready_in: Cell<u32>,
    suspect_until: Cell<Option<Instant>>,
    idle: RefCell<Vec<Idle>>,
    pub requests: Count,
    pub failures: Count,
    pub connect_failures: Count,
    flights: [Count; 3],
    /// Notified when nothing is in flight any more.
    pub quiet: Notify,
    /// Ends its tunnels. Replaced when it comes back into rotation.
    cut: RefCell<CancellationToken>,
    /// Told when it leaves rotation.
    left: RefCell<CancellationToken>,
}

/// A connection that waits for its next request.
#[derive(Debug)]
struct Idle {
    lease: Lease,
    since: Instant,
}

impl Idle {
    /// Whether the upstream is about to close it, or has.
    fn is_over(&self) -> bool {
        self.lease.kept_for.is_some_and(|kept| self.since.elapsed() + CLOSING >= kept)
    }
}

/// A connection that is quiet or carries one request.
#[derive(Debug)]
pub(crate) struct Lease {
    pub sender: SendRequest<Outgoing>,
    /// Hyper owns it; gone when the connection is.
    pub socket: Weak<UpstreamSocket>,
    /// Bytes received on it so far.
    pub received: Rc<Cell<u64>>,
    /// How long the upstream keeps it when it is idle, as it said with its last response.
    pub kept_for: Option<Duration>,
    pub upstream: Rc<Upstream>,
}

/// What is in flight to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flight {
    Request = 0,
    WebSocket = 1,
    Tcp = 2,
}

/// Counts something in flight for as long as it lives.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub upstream: Rc<Upstream>,
    kind: Flight,
}

impl Upstream {
    fn new(spec: &control::Upstream) -> Self {
        Self {
            id: spec.id.clone(),
            address: spec.address,
            ready_in: Cell::new(0),
            suspect_until: Cell::new(None),
            idle: RefCell::default(),
            requests: Count::default(),
            failures: Count::default(),
            connect_failures: Count::default(),
            flights: Default::default(),
            quiet: Notify::new(),
            cut: RefCell::default(),
            left: RefCell::default(),
        }
    }

    /// Whether it gets new work.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready_in.get() > 0
    }

    /// How much of a kind is in flight.
    pub(crate) fn in_flight(&self, kind: Flight) -> u64 {
        self.flights[kind as usize].get()
    }

    /// How much of anything is in flight.
    pub(crate) fn all_in_flight(&self) -> u64 {
        self.flights.iter().map(Count::get).sum()
    }

    /// Counts something as in flight, from now to the guard's end.
    pub(crate) fn begin(self: &Rc<Self>, kind: Flight) -> InFlight {
        self.flights[kind as usize].increase();
        InFlight { upstream: self.clone(), kind }
    }

    /// The token that ends its tunnels.
    pub(crate) fn cut_token(&self) -> CancellationToken {
        self.cut.borrow().clone()
    }

    /// The token that tells when it leaves rotation.
    pub(crate) fn left_token(&self) -> CancellationToken {
        self.left.borrow().clone()
    }

    /// Remembers that it could not be reached.
    pub(crate) fn suspect(&self) {
        self.connect_failures.increase();
        self.suspect_until.set(Some(Instant::now() + SUSPICION));
    }

    /// Remembers that it could be reached.
    pub(crate) fn trust(&self) {
        self.suspect_until.set(None);
    }

    fn is_suspect(&self) -> bool {
        self.suspect_until.get().is_some_and(|until| Instant::now() < until)
    }

    /// Takes an idle connection. With `once` one that is safe for a request that cannot be sent a second time: idle for
    /// a moment only, and open as far as the kernel knows. A close may be under way nevertheless; servers close what
    /// was idle for seconds.
    pub(crate) fn take_idle(&self, once: bool) -> Option<Lease> {
        loop {
            // The last one is the one that was used last.
            if once && self.idle.borrow().last().is_some_and(|idle| idle.since.elapsed() >= FRESH) {
                return None;
            }
            let idle = self.idle.borrow_mut().pop()?;
            if idle.is_over() || !idle.lease.sender.is_ready() {
                continue;
            }
            if once && !idle.lease.socket.upgrade().is_some_and(|socket| socket.is_quietly_open()) {
                continue;
            }
            return Some(idle.lease);
        }
    }

    /// Drops connections that were idle for `limit`.
    pub(crate) fn drop_idle(&self, limit: Duration) {
        let is_good = |idle: &Idle| idle.since.elapsed() < limit && !idle.is_over() && !idle.lease.sender.is_closed();
        // Dropped once the cell is free: a connection's end runs its task's waker.
        let over: Vec<Idle> = self.idle.borrow_mut().extract_if(.., |idle| !is_good(idle)).collect();
        drop(over);
    }

    fn join_rotation(&self) {
        if self.ready_in.replace(self.ready_in.get() + 1) == 0 {
            self.cut.replace(CancellationToken::new());
            self.left.replace(CancellationToken::new());
        }
    }

    fn leave_rotation(&self) {
        self.ready_in.set(self.ready_in.get() - 1);
        if self.ready_in.get() == 0 {
            // Taken out first: dropping a connection runs its task's waker, which must not find the cell borrowed.
            drop(self.idle.take());
            self.left.borrow().cancel();
        }
    }

    pub(crate) fn read(&self) -> UpstreamStats {
        UpstreamStats {
            id: self.id.clone(),
            address: self.address,
            requests: self.requests.get(),
            failures: self.failures.get(),
            connect_failures: self.connect_failures.get(),
            in_flight: self.in_flight(Flight::Request),
            websockets: self.in_flight(Flight::WebSocket),
            tcp: self.in_flight(Flight::Tcp),
            idle: self.idle.borrow().len() as u64,
        }
    }
}

impl Lease {
    /// Gives the connection back for the next request; a connection to an upstream that left is closed instead.
    pub(crate) fn give_back(self, most: usize) {
        let upstream = self.upstream.clone();
        if !upstream.is_ready() || self.sender.is_closed() {
            return;
        }
        let mut idle = upstream.idle.borrow_mut();
        if idle.len() < most {
            idle.push(Idle { lease: self, since: Instant::now() });
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.upstream.flights[self.kind as usize].decrease();
        if self.upstream.all_in_flight() == 0 {
            self.upstream.quiet.notify_waiters();
        }
    }
}

/// A pool as one worker sees it.
#[derive(Debug)]
pub(crate) struct PoolView {
    pub name: String,
    spec: Arc<control::Pool>,
    /// All of its upstreams: the registry knows an upstream for as long as somebody holds it.
    #[expect(dead_code, reason = "held, not read")]
    all: Vec<Rc<Upstream>>,
    ready: Vec<Rc<Upstream>>,
    next: Cell<usize>,
}

impl PoolView {
    /// Who takes the next request: round robin over the ready ones that are not in `avoid`, those that could not be
    /// reached lately last. Falls back on `avoid` when nobody else is left.
    pub(crate) fn pick(&self, avoid: &[Rc<Upstream>]) -> Option<Rc<Upstream>> {
        let avoided = |upstream: &Rc<Upstream>| avoid.iter().any(|other| Rc::ptr_eq(other, upstream));
        self.turn(|upstream| !avoided(upstream) && !upstream.is_suspect())
            .or_else(|| self.turn(|upstream| !avoided(upstream)))
            .or_else(|| self.turn(|_| true))
    }

    /// Who takes the next TCP connection: the one with the fewest, in turn among equals.
    pub(crate) fn pick_least(&self, avoid: &[Rc<Upstream>]) -> Option<Rc<Upstream>> {
        let candidates = || self.ready.iter().filter(|upstream| !avoid.iter().any(|other| Rc::ptr_eq(other, upstream)));
        let fewest = candidates().map(|upstream| (upstream.is_suspect(), upstream.in_flight(Flight::Tcp))).min()?;
        self.turn(|upstream| {
            (upstream.is_suspect(), upstream.in_flight(Flight::Tcp)) == fewest
                && !avoid.iter().any(|other| Rc::ptr_eq(other, upstream))
        })
    }

    /// How many are ready.
    pub(crate) fn n_ready(&self) -> usize {
        self.ready.len()
    }

    fn turn(&self, fits: impl Fn(&Rc<Upstream>) -> bool) -> Option<Rc<Upstream>> {
        let count = self.ready.len();
        let start = self.next.get();
        let offset = (0..count).find(|offset| fits(&self.ready[(start.wrapping_add(*offset)) % count]))?;
        let chosen = start.wrapping_add(offset);
        self.next.set(chosen.wrapping_add(1));
        Some(self.ready[chosen % count].clone())
    }
}

/// All upstreams that a worker knows, by replica id; one with nothing in flight lives as long as a pool holds it.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_id: HashMap<String, Vec<Weak<Upstream>>>,
}

impl Registry {
    /// The pools of a new table; those whose `Arc` is the same keep their view.
    pub(crate) fn views(
        &mut self,
        pools: impl Iterator<Item = (String, Arc<control::Pool>)>,
        before: &[Rc<PoolView>],
        random_start: usize,
    ) -> Vec<Rc<PoolView>> {
        let known: HashMap<&str, &Rc<PoolView>> = before.iter().map(|view| (view.name.as_str(), view)).collect();
        let views: Vec<_> = pools
            .map(|(name, spec)| match known.get(name.as_str()) {
                Some(view) if Arc::ptr_eq(&view.spec, &spec) => (*view).clone(),
                _ => Rc::new(self.view(name, spec, random_start)),
            })
            .collect();
        // After the new ones have joined, so that who stays in rotation never seems to leave it.
        let kept: std::collections::HashSet<_> = views.iter().map(Rc::as_ptr).collect();
        for view in before.iter().filter(|view| !kept.contains(&Rc::as_ptr(view))) {
            view.ready.iter().for_each(|upstream| upstream.leave_rotation());
        }
        views
    }

    fn view(&mut self, name: String, spec: Arc<control::Pool>, random_start: usize) -> PoolView {
        let all: Vec<_> = spec.upstreams.iter().map(|upstream| self.upstream(upstream)).collect();
        let ready: Vec<_> = spec
            .upstreams
            .iter()
            .zip(&all)
            .filter(|(spec, _)| spec.state == Readiness::Ready)
            .map(|(_, upstream)| upstream.clone())
            .collect();
        ready.iter().for_each(|upstream| upstream.join_rotation());
        PoolView { name, spec, all, ready, next: Cell::new(random_start) }
    }

    fn upstream(&mut self, spec: &control::Upstream) -> Rc<Upstream> {
        let known = self.by_id.entry(spec.id.clone()).or_default();
        known.retain(|weak| weak.strong_count() > 0);
        if let Some(same) = known.iter().filter_map(Weak::upgrade).find(|there| there.address == spec.address) {
            return same;
        }
        let fresh = Rc::new(Upstream::new(spec));
        known.push(Rc::downgrade(&fresh));
        fresh
    }

    /// All addresses of a replica.
    pub(crate) fn of(&self, id: &str) -> Vec<Rc<Upstream>> {
        self.by_id.get(id).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// All upstreams.
    pub(crate) fn all(&self) -> impl Iterator<Item = Rc<Upstream>> + '_ {
        self.by_id.values().flatten().filter_map(Weak::upgrade)
    }

    /// Forgets those that are gone.
    pub(crate) fn forget_gone(&mut self) {
        self.by_id.retain(|_, known| {
            known.retain(|weak| weak.strong_count() > 0);
            !known.is_empty()
        });
    }
}
