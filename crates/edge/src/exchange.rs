//! The record of a request or TCP connection from its start to its end.
//!
//! Owns what is counted and logged about it. It is closed when it is dropped, so nothing that ends early, from a
//! client that leaves to a task that panics, is missed.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use crate::access_log::Line;
use crate::counters::ServiceCounters;
use crate::http::ClientContext;
use crate::upstream::InFlight;
use crate::worker::Worker;

/// The status that the log gives a request whose client left before the answer (as nginx does).
const CLIENT_LEFT: u16 = 499;

/// A request under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    client: Rc<ClientContext>,
    service: Rc<ServiceCounters>,
    request_id: HeaderValue,
    target: Uri,
    started: Instant,
    status: Option<StatusCode>,
    retries: u32,
    broken: bool,
    /// The rest of the record has moved to a tunnel.
    is_moved: bool,
    is_tunnel: bool,
    bytes_in: Option<Rc<Cell<u64>>>,
    bytes_out: u64,
    flight: Option<InFlight>,
    subject: Option<Box<Subject>>,
}

/// What the log says of a request beside its figures; kept only when there is a log.
#[derive(Debug, Clone)]
struct Subject {
    client: IpAddr,
    host: Option<HeaderValue>,
    method: Method,
    protocol: &'static str,
}

impl Exchange {
    pub(crate) fn begin<B>(
        client: &Rc<ClientContext>,
        service: Rc<ServiceCounters>,
        request: &Request<B>,
        request_id: HeaderValue,
    ) -> Self {
        client.activity.begin();
        service.in_flight.increase();
        let subject = client.worker.log.is_on().then(|| {
            Box::new(Subject {
                client: client.peer,
                host: request.headers().get(header::HOST).cloned(),
                method: request.method().clone(),
                protocol: protocol(request.version()),
            })
        });
        Self {
            client: client.clone(),
            service,
            request_id,
            target: request.uri().clone(),
            started: Instant::now(),
            status: None,
            retries: 0,
            broken: false,
            is_moved: false,
            is_tunnel: false,
            bytes_in: None,
            bytes_out: 0,
            flight: None,
            subject,
        }
    }

    pub(crate) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// The path as the client wrote it, before a prefix was stripped.
    pub(crate) fn path(&self) -> &str {
        self.target.path()
    }

    /// A counter for the request's body, made only for those that have one.
    pub(crate) fn counted_body(&mut self) -> impl FnOnce() -> Rc<Cell<u64>> {
        let slot = &mut self.bytes_in;
        move || slot.get_or_insert_default().clone()
    }

    /// Notes who has the request now.
    pub(crate) fn carried_by(&mut self, flight: InFlight) {
        self.flight = Some(flight);
    }

    /// Notes that one more attempt is made.
    pub(crate) fn retried(&mut self) {
        self.retries += 1;
        self.service.retries.increase();
    }

    /// Notes the answer's status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Notes that the edge, or what is behind it, could not answer.
    pub(crate) fn failed(&mut self) {
        self.broken = true;
    }

    /// Counts bytes of the answer's body.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Notes that the answer broke off.
    pub(crate) fn broke_off(&mut self) {
        if let Some(flight) = &self.flight {
            flight.upstream.failures.increase();
        }
        self.broken = true;
    }

    /// Moves the record to a tunnel, which outlives the request; the request itself is over with its head.
    pub(crate) fn upgraded(&mut self, flight: InFlight) -> Exchange {
        self.flight = None;
        self.service.websockets.increase();
        self.service.in_flight.increase();
        self.is_moved = true;
        self.client.activity.begin();
        Exchange {
            client: self.client.clone(),
            service: self.service.clone(),
            request_id: self.request_id.clone(),
            target: self.target.clone(),
            started: self.started,
            status: Some(StatusCode::SWITCHING_PROTOCOLS),
            retries: self.retries,
            broken: false,
            is_moved: false,
            is_tunnel: true,
            bytes_in: None,
            bytes_out: 0,
            flight: Some(flight),
            subject: self.subject.clone(),
        }
    }

    /// Notes what a tunnel carried.
    pub(crate) fn carried(&mut self, from_client: u64, from_upstream: u64) {
        self.bytes_in = Some(Rc::new(Cell::new(from_client)));
        self.bytes_out = from_upstream;
    }

    fn count(&self) {
        let service = &self.service;
        service.in_flight.decrease();
        if self.is_moved {
            return;
        }
        service.bytes_in.add(self.bytes_in());
        service.bytes_out.add(self.bytes_out);
        match self.status {
            Some(status) => {
                let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
                service.responses[class].increase();
            }
            None => service.abandoned.increase(),
        }
        if self.broken {
            service.failures.increase();
        }
        // How long a WebSocket lived says nothing of how fast the service is.
        if self.status.is_some() && !self.is_tunnel {
            service.took(self.started.elapsed());
        }
    }

    fn bytes_in(&self) -> u64 {
        self.bytes_in.as_ref().map_or(0, |count| count.get())
    }

    fn log(&self) {
        let Some(subject) = &self.subject else { return };
        self.client.worker.log.write(&Line {
            request_id: self.request_id.to_str().ok(),
            client: subject.client,
            host: subject.host.as_ref().map(|host| String::from_utf8_lossy(host.as_bytes())),
            method: Some(subject.method.as_str()),
            path: Some(self.target.path()),
            status: Some(self.status.map_or(CLIENT_LEFT, |status| status.as_u16())),
            duration: self.started.elapsed(),
            bytes_in: self.bytes_in(),
            bytes_out: self.bytes_out,
            project: &self.service.label.project,
            service: &self.service.label.service,
            upstream: self.flight.as_ref().map(|flight| flight.upstream.id.as_str()),
            retries: self.retries,
            protocol: if self.is_tunnel { "upgrade" } else { subject.protocol },
            broken: self.broken,
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.client.activity.end();
        self.count();
        if !self.is_moved {
            self.log();
        }
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// Counts and logs what a client sent that never became a request.
pub(crate) fn refused(client: &ClientContext, status: StatusCode) {
    let worker = &client.worker;
    worker.totals.requests_refused.increase();
    worker.log.write(&Line {
        request_id: None,
        client: client.peer,
        host: None,
        method: None,
        path: None,
        status: Some(status.as_u16()),
        duration: client.since.elapsed(),
        bytes_in: 0,
        bytes_out: 0,
        project: "",
        service: "",
        upstream: None,
        retries: 0,
        protocol: "HTTP",
        broken: false,
    });
}

/// A TCP connection under way.
#[derive(Debug)]
pub(crate) struct TcpExchange {
    worker: Rc<Worker>,
    service: Rc<ServiceCounters>,
    client: IpAddr,
    started: Instant,
    upstream: Option<String>,
    retries: u32,
    pub from_client: u64,
    pub from_upstream: u64,
    pub broken: bool,
}

impl TcpExchange {
    pub(crate) fn begin(client: &ClientContext, service: Rc<ServiceCounters>) -> Self {
        service.tcp.increase();
        service.in_flight.increase();
        Self {
            worker: client.worker.clone(),
            service,
            client: client.peer,
            started: Instant::now(),
            upstream: None,
            retries: 0,
            from_client: 0,
            from_upstream: 0,
            broken: false,
        }
    }

    /// Notes who carries it.
    pub(crate) fn carried_by(&mut self, upstream: &str) {
        self.upstream = Some(upstream.to_owned());
    }

    /// Notes that one more upstream is tried.
    pub(crate) fn retried(&mut self) {
        self.retries += 1;
        self.service.retries.increase();
    }
}

impl Drop for TcpExchange {
    fn drop(&mut self) {
        let service = &self.service;
        service.in_flight.decrease();
        service.bytes_in.add(self.from_client);
        service.bytes_out.add(self.from_upstream);
        if self.broken {
            service.failures.increase();
        }
        self.worker.log.write(&Line {
            request_id: None,
            client: self.client,
            host: None,
            method: None,
            path: None,
            status: None,
            duration: self.started.elapsed(),
            bytes_in: self.from_client,
            bytes_out: self.from_upstream,
            project: &service.label.project,
            service: &service.label.service,
            upstream: self.upstream.as_deref(),
            retries: self.retries,
            protocol: "tcp",
            broken: self.broken,
        });
    }
}
