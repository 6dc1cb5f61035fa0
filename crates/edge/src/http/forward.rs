//! A request's way to an upstream, once or several times.
//!
//! Owns the rules of trying again. It never tries again after the first byte of a response. Start with [`forward`].
//!
//! | what happened | what may be tried again |
//! |---|---|
//! | connection refused or not taken in time | everything: nothing was sent |
//! | hyper hands the request back unsent (the idle connection had been closed) | everything, on a fresh connection |
//! | died after sending, before the first byte of a response | idempotent methods (RFC 9110 §9.2.2), with a body only if it was kept whole |
//! | died later | nothing |

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::{Arriving, Body, Outgoing, Source};
use super::connect::{self, Carrier, Unreachable};
use super::respond::Problem;
use super::upgrade::{self, Upgrade};
use super::{ClientContext, headers};
use crate::exchange::Exchange;
use crate::upstream::{Flight, InFlight, Lease, PoolView, Upstream};
use crate::worker::Worker;

/// How often a request may be sent.
const MAX_SENDS: u32 = 3;

/// How long to wait before upstreams that all refused are asked again.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// Sends a request to one of the pool's upstreams and returns the response's head with its body to come.
pub(crate) async fn forward(
    client: &Rc<ClientContext>,
    pool: Rc<PoolView>,
    mut request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Problem> {
    // Both directions of an HTTP/2 stream may be open for as long as its ends like.
    let stall = (request.version() <= Version::HTTP_11).then_some(client.worker.options.body_stall);
    let upgrade = prepare(client, &mut request, exchange);
    let (head, incoming) = request.into_parts();
    let count = exchange.counted_body();
    let mut parcel = Parcel::new(head, incoming, |incoming| Arriving::new(incoming, count(), stall));
    let mut tries = Tries::new(client.worker.clone(), pool);
    let outcome = loop {
        let wants_check = !parcel.is_repeatable();
        let (mut lease, flight) = tries.connection(exchange, wants_check).await?;
        exchange.carried_by(flight);
        let inheritance = upgrade.is_some().then(|| lease.socket.upgrade().map(|socket| socket.inherit())).flatten();
        match send(&mut lease, parcel.take()).await {
            Sent::Answered(response) => break (response, lease, inheritance),
            Sent::Unsent(request) => {
                parcel.put_back(request);
                tries.again(&lease, exchange, true)?;
            }
            Sent::Lost => {
                if !parcel.client_failed.get() {
                    lease.upstream.failures.increase();
                }
                if !parcel.renew() {
                    return Err(parcel.loss());
                }
                tries.again(&lease, exchange, false)?;
            }
            Sent::Garbled => {
                lease.upstream.failures.increase();
                return Err(Problem::Garbled);
            }
        }
    };
    let (response, lease, inheritance) = outcome;
    let mut carrier = Carrier { lease, worker: client.worker.clone() };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(upgrade), Some(inheritance)) = (upgrade, inheritance) else { return Err(Problem::Garbled) };
        return upgrade::switch(client, upgrade, response, carrier, inheritance, exchange);
    }
    let (mut head, incoming) = response.into_parts();
    carrier.lease.kept_for = headers::kept_for(&head.headers);
    let removed = headers::remove_hop_by_hop(&mut head.headers);
    if let (StatusCode::UPGRADE_REQUIRED, Some(protocol)) = (head.status, removed.upgrade) {
        // Such an answer has to name what is required (RFC 9110 §15.5.22).
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(header::UPGRADE, protocol);
    }
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, Body::upstream(incoming, carrier)))
}

/// Puts the headers right; returns the client's half of an upgrade if it offers one.
fn prepare(client: &ClientContext, request: &mut Request<Incoming>, exchange: &Exchange) -> Option<Upgrade> {
    let is_offered = request.headers().get(header::UPGRADE).is_some_and(headers::is_websocket);
    let offer = (request.version() == Version::HTTP_11 && is_offered).then(|| hyper::upgrade::on(&mut *request));
    let has_body = !request.body().is_end_stream();
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    let removed = headers::remove_hop_by_hop(headers);
    headers::add_forwarded(headers, &client.peer_value);
    headers.insert(headers::X_REQUEST_ID, exchange.request_id().clone());
    // The edge asks the client for the body itself, when the upstream's connection takes it.
    headers.remove(header::EXPECT);
    if removed.takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if has_body && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let (client_half, protocol) = offer.zip(removed.upgrade)?;
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
    Some(Upgrade { client: client_half })
}

enum Sent {
    Answered(Response<Incoming>),
    Unsent(Request<Outgoing>),
    /// Nothing of a response was received.
    Lost,
    /// What was received is no response, or half of one.
    Garbled,
}

async fn send(lease: &mut Lease, request: Request<Outgoing>) -> Sent {
    lease.upstream.requests.increase();
    let before = lease.received.get();
    match lease.sender.try_send_request(request).await {
        Ok(response) => Sent::Answered(response),
        Err(mut error) => match error.take_message() {
            Some(request) => Sent::Unsent(request),
            None => {
                let upstream = lease.upstream.id.as_str();
                tracing::debug!(upstream, error = %error.error(), "an upstream gave no response");
                if lease.received.get() == before { Sent::Lost } else { Sent::Garbled }
            }
        },
    }
}

/// A request as long as it may have to be sent again.
struct Parcel {
    ready: Option<Request<Outgoing>>,
    /// The head of a request that may be sent again.
    again: Option<request::Parts>,
    source: Option<Rc<std::cell::RefCell<Source>>>,
    /// The client broke its body off or stopped sending it.
    client_failed: Rc<Cell<bool>>,
}

impl Parcel {
    fn new(head: request::Parts, incoming: Incoming, arriving: impl FnOnce(Incoming) -> Arriving) -> Self {
        let is_idempotent = is_idempotent(&head.method);
        let again = is_idempotent.then(|| head.clone());
        if incoming.is_end_stream() {
            let ready = Some(Request::from_parts(head, Outgoing::Empty));
            return Self { ready, again, source: None, client_failed: Rc::default() };
        }
        let arriving = arriving(incoming);
        let client_failed = arriving.failed();
        let (body, source) = if is_idempotent {
            let source = Source::new(arriving);
            (Source::attempt(&source).expect("a fresh body has its start"), Some(source))
        } else {
            (Outgoing::once(arriving), None)
        };
        Self { ready: Some(Request::from_parts(head, body)), again, source, client_failed }
    }

    /// Whether a loss after sending could be made good.
    fn is_repeatable(&self) -> bool {
        self.again.is_some() && self.source.is_none()
    }

    fn take(&mut self) -> Request<Outgoing> {
        self.ready.take().expect("a parcel is taken once per attempt")
    }

    fn put_back(&mut self, request: Request<Outgoing>) {
        self.ready = Some(request);
    }

    /// Makes the parcel ready once more after it was lost; false if it must not or cannot be sent again.
    fn renew(&mut self) -> bool {
        let body = match &self.source {
            None => Some(Outgoing::Empty),
            Some(source) => Source::attempt(source),
        };
        let (Some(head), Some(body)) = (&self.again, body) else { return false };
        self.ready = Some(Request::from_parts(head.clone(), body));
        true
    }

    /// Whose fault a loss was that cannot be made good.
    fn loss(&self) -> Problem {
        if self.client_failed.get() { Problem::ClientLeft } else { Problem::Died }
    }
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// Where a request has been, and until when it may go on.
struct Tries {
    worker: Rc<Worker>,
    pool: Rc<PoolView>,
    sends: u32,
    fresh: bool,
    /// Died on it: asked again only when nobody else is left.
    died: Vec<Rc<Upstream>>,
    /// Could not be reached in this round.
    refused: Vec<Rc<Upstream>>,
    last: Problem,
    give_up: Option<Instant>,
}

impl Tries {
    fn new(worker: Rc<Worker>, pool: Rc<PoolView>) -> Self {
        Self {
            worker,
            pool,
            sends: 0,
            fresh: false,
            died: Vec::new(),
            refused: Vec::new(),
            last: Problem::NoneReady,
            give_up: None,
        }
    }

    /// Notes that a request has to be sent again, or says that it was sent often enough.
    fn again(&mut self, lease: &Lease, exchange: &mut Exchange, was_unsent: bool) -> Result<(), Problem> {
        self.sends += 1;
        if self.sends >= MAX_SENDS {
            return Err(Problem::Died);
        }
        exchange.retried();
        self.last = Problem::Died;
        // A close of one idle connection says nothing of the upstream, but its other ones may be closed as well.
        self.fresh = true;
        if !was_unsent {
            self.died.push(lease.upstream.clone());
        }
        self.refresh();
        Ok(())
    }

    /// A connection to whoever is next, counted as in flight since before it was opened.
    async fn connection(&mut self, exchange: &mut Exchange, check: bool) -> Result<(Lease, InFlight), Problem> {
        loop {
            let Some(upstream) = self.next() else {
                Box::pin(self.wait()).await?;
                continue;
            };
            let flight = upstream.begin(Flight::Request);
            if !self.fresh
                && let Some(lease) = upstream.take_idle(check)
            {
                return Ok((lease, flight));
            }
            // Boxed: rare, and the future of every request would be as large as this one.
            match Box::pin(connect::open_http(&self.worker, &upstream)).await {
                Ok(lease) => return Ok((lease, flight)),
                Err(why) => {
                    self.last = match why {
                        Unreachable::Refused => Problem::Died,
                        Unreachable::TimedOut => Problem::Timeout,
                    };
                    exchange.retried();
                    self.refused.push(upstream);
                    self.refresh();
                }
            }
        }
    }

    fn next(&self) -> Option<Rc<Upstream>> {
        if self.refused.is_empty() && self.died.is_empty() {
            return self.pool.pick(&[]);
        }
        let mut avoid = self.refused.clone();
        avoid.extend(self.died.iter().cloned());
        let chosen = self.pool.pick(&avoid)?;
        let was_refused = |upstream: &Rc<Upstream>| self.refused.iter().any(|other| Rc::ptr_eq(other, upstream));
        if was_refused(&chosen) {
            self.pool.pick(&self.refused).filter(|upstream| !was_refused(upstream))
        } else {
            Some(chosen)
        }
    }

    /// Waits until somebody may be ready again: at once after a new table, else after a pause if somebody refused.
    async fn wait(&mut self) -> Result<(), Problem> {
        let give_up = *self.give_up.get_or_insert_with(|| Instant::now() + self.worker.options.ready_wait);
        let worker = self.worker.clone();
        let Some(_place) = worker.waiting_place() else { return Err(self.last) };
        let pause = if self.pool.n_ready() == 0 { give_up } else { give_up.min(Instant::now() + ROUND_PAUSE) };
        if Instant::now() >= give_up {
            return Err(self.last);
        }
        let _ = tokio::time::timeout_at(pause, worker.table_changed()).await;
        self.refused.clear();
        self.refresh();
        Ok(())
    }

    /// Goes on by the newest table.
    fn refresh(&mut self) {
        if let Some(pool) = self.worker.view().pool_named(&self.pool.name) {
            self.pool = pool;
        }
    }
}
