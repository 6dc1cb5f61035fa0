//! One HTTP request from its head to the response's head.
//!
//! Owns the order of things for a request: whom it is for, who answers, and what an answer of our own looks like. Bodies
//! are `body`, sending and retrying is `forward`, headers are `headers`. Start with [`handle`].

pub(crate) mod body;
mod connect;
mod forward;
mod headers;
mod respond;
mod upgrade;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Response, Uri, Version, header};
use hyper::body::Incoming;

pub(crate) use connect::open;
pub(crate) use headers::address_value;
use respond::Wish;
pub(crate) use respond::{Problem, fixed};

use crate::exchange::Exchange;
use crate::routes::PathRule;
use crate::snapshot::{Destination, RuleTarget};
use crate::statics;
use crate::worker::{Activity, ListenerState, View, Worker};
use body::Body;

/// What all requests of a client connection share.
#[derive(Debug)]
pub(crate) struct ClientContext {
    pub worker: Rc<Worker>,
    pub listener: Rc<ListenerState>,
    pub peer: IpAddr,
    /// The peer's address as a header value, made once.
    pub peer_value: HeaderValue,
    /// The address that the client reached.
    pub local: SocketAddr,
    /// When it came.
    pub since: Instant,
    /// What it is about right now.
    pub activity: Activity,
}

/// Answers one request.
pub(crate) async fn handle(
    client: Rc<ClientContext>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let version = request.version();
    let wish = Wish::of(request.headers());
    let named = name_host(&client, &mut request);
    let (view, rule) = match &named {
        Ok(()) => look_up(&client, &request),
        Err(_) => (client.worker.view(), None),
    };
    let service = view.service(rule.as_ref().map_or(0, |rule| rule.service));
    let id = client.worker.request_ids.keep_or_make(request.headers().get(headers::X_REQUEST_ID));
    let mut exchange = Exchange::begin(&client, service, &request, id);
    if !client.listener.is_trusted() {
        headers::distrust(request.headers_mut());
    }
    let outcome = match (named, &rule) {
        (Err(problem), _) => Err(problem),
        (Ok(()), None) => Err(Problem::NoRoute),
        (Ok(()), Some(rule)) => answer(&client, view, rule, request, &mut exchange).await,
    };
    let mut response = match outcome {
        Ok(response) => response,
        Err(problem) => {
            if problem.is_failure() {
                exchange.failed();
            }
            respond::problem(problem, &exchange, wish)
        }
    };
    response.headers_mut().entry(headers::X_REQUEST_ID).or_insert_with(|| exchange.request_id().clone());
    let is_last = client.worker.is_stopping() || client.listener.rule().is_none();
    if is_last && version <= Version::HTTP_11 {
        // The client's next request goes to whoever has the sockets then.
        response.headers_mut().entry(header::CONNECTION).or_insert(HeaderValue::from_static("close"));
    }
    exchange.answered(response.status());
    Ok(response.map(|body| body.within(exchange)))
}

fn look_up(client: &ClientContext, request: &Request<Incoming>) -> (Rc<View>, Option<std::sync::Arc<PathRule>>) {
    // Both are read in one breath: a rule's numbers hold for the view of the same table only.
    let view = client.worker.view();
    let rule = match client.listener.rule().as_deref().map(|rule| &rule.target) {
        Some(RuleTarget::One(rule)) => Some(rule.clone()),
        Some(RuleTarget::Routes) => {
            let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
            view.snapshot.routes.find(host, request.uri().path()).cloned()
        }
        None => None,
    };
    (view, rule)
}

async fn answer(
    client: &Rc<ClientContext>,
    view: Rc<View>,
    rule: &PathRule,
    mut request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Problem> {
    if *request.method() == Method::CONNECT {
        return Err(Problem::Connect);
    }
    if request.headers().get_all(header::TRANSFER_ENCODING).iter().any(|coding| !headers::is_chunked(coding)) {
        return Err(Problem::Coding);
    }
    if let Some(prefix) = rule.stripped() {
        strip_prefix(&mut request, prefix);
    }
    match &rule.destination {
        Destination::Pool(pool) => forward::forward(client, view.pool(*pool), request, exchange).await,
        // Boxed, so that forwarding does not pay for the size of this future.
        Destination::Static { dir, spa } => Box::pin(statics::serve(dir, *spa, &request, exchange)).await,
        Destination::Fixed(answer) => Ok(fixed(answer)),
    }
}

/// Leaves the request with exactly one `Host` header and a target of path and query only.
///
/// HTTP/2 and the absolute form name the host in the target, which then counts (RFC 9112 §3.2.2). HTTP/1.0 needs to
/// name none; the address that was reached stands in for it, since what is forwarded is HTTP/1.1.
fn name_host(client: &ClientContext, request: &mut Request<Incoming>) -> Result<(), Problem> {
    let in_target = request.uri().authority().map(authority_value);
    let is_in_target = in_target.is_some();
    let mut in_headers = request.headers().get_all(header::HOST).iter();
    let host = match (in_target, in_headers.next(), in_headers.next()) {
        (_, Some(_), Some(_)) => return Err(Problem::BadHost),
        (Some(host), _, _) => host?,
        (None, Some(host), None) if headers::is_host(host.as_bytes()) => return Ok(()),
        (None, None, None) if request.version() <= Version::HTTP_10 => address_value_with_port(client.local),
        _ => return Err(Problem::BadHost),
    };
    if !headers::is_host(host.as_bytes()) {
        return Err(Problem::BadHost);
    }
    request.headers_mut().insert(header::HOST, host);
    if is_in_target && *request.method() != Method::CONNECT {
        let target = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(target);
    }
    Ok(())
}

fn address_value_with_port(address: SocketAddr) -> HeaderValue {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    HeaderValue::try_from(address.to_string()).expect("an address is visible ASCII")
}

fn authority_value(authority: &Authority) -> Result<HeaderValue, Problem> {
    let text = authority.as_str();
    // A user name in the target is not part of the host.
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    HeaderValue::from_str(host).map_err(|_| Problem::BadHost)
}

fn strip_prefix(request: &mut Request<Incoming>, prefix: &str) {
    let path = request.uri().path();
    // The path matched in its plain form; where it was written otherwise, the plain form is what is forwarded.
    let plain = match path.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => std::borrow::Cow::Borrowed(path),
        _ => crate::routes::plain(path),
    };
    let rest = plain.strip_prefix(prefix).unwrap_or(&plain);
    let mut target = String::with_capacity(rest.len() + 1);
    if !rest.starts_with('/') {
        target.push('/');
    }
    target.push_str(rest);
    if let Some(query) = request.uri().query() {
        target.push('?');
        target.push_str(query);
    }
    if let (Ok(target), Ok(prefix)) = (PathAndQuery::try_from(target), HeaderValue::from_str(prefix)) {
        *request.uri_mut() = Uri::from(target);
        request.headers_mut().insert(headers::X_FORWARDED_PREFIX, prefix);
    }
}
