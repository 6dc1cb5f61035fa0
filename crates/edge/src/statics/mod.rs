//! Files below a directory that the daemon passed.
//!
//! Owns the answer to a request for a file: which file (`path`), in which form (`conditions`), read how (`file`). It
//! never lists a directory and never leaves it: the kernel itself refuses (`openat2`, `RESOLVE_BENEATH`).

mod conditions;
mod file;
mod path;

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

pub(crate) use file::{Dir, FileBody};

use crate::exchange::Exchange;
use crate::http::Problem;
use crate::http::body::Body;
use conditions::{Part, Validators};
use file::{Found, Opened};
use path::Wanted;

/// Answers a request for a file of `dir`.
pub(crate) async fn serve(
    dir: &Arc<Dir>,
    spa: bool,
    request: &Request<Incoming>,
    exchange: &Exchange,
) -> Result<Response<Body>, Problem> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::Method);
    }
    let wanted = path::wanted(request.uri().path())?;
    let opened = dir.open(wanted.file()).await;
    match opened {
        Ok(Found::File(opened)) => Ok(respond(request, &wanted, opened)),
        Ok(Found::Directory) => Ok(to_directory(request, exchange)),
        Ok(Found::Nothing) if spa && is_page_view(request, &wanted) => {
            let index = Wanted::index();
            match dir.open(index.file()).await {
                Ok(Found::File(opened)) => Ok(respond(request, &index, opened)),
                Ok(_) => Err(Problem::NoFile),
                Err(error) => Err(unreadable(dir, &error)),
            }
        }
        Ok(Found::Nothing) => Err(Problem::NoFile),
        Err(error) => Err(unreadable(dir, &error)),
    }
}

fn unreadable(dir: &Dir, error: &std::io::Error) -> Problem {
    tracing::warn!(dir = %dir.id, %error, "could not open a file");
    Problem::Unreadable
}

/// Whether a browser asks for a page of an application that does its routing itself.
///
/// One that says it wants HTML does, whatever the path looks like (`/users/jane.doe`); one that takes anything may be
/// after a script.
fn is_page_view(request: &Request<Incoming>, wanted: &Wanted) -> bool {
    let mut accepted = request.headers().get_all(header::ACCEPT).iter().peekable();
    if accepted.peek().is_none() {
        return !wanted.has_extension();
    }
    let values = accepted.filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    ranges.any(|range| match range.trim() {
        "text/html" => true,
        "text/*" | "*/*" => !wanted.has_extension(),
        _ => false,
    })
}

fn respond(request: &Request<Incoming>, wanted: &Wanted, opened: Opened) -> Response<Body> {
    let validators = Validators::of(&opened);
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::ETAG, validators.etag());
    headers.insert(header::LAST_MODIFIED, validators.last_modified());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(wanted.cache_control()));
    if validators.is_unchanged_for(request.headers()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, wanted.content_type());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let part = if *request.method() == Method::GET { validators.part_for(request.headers()) } else { Part::Whole };
    let (first, length) = match part {
        Part::Whole => (0, opened.size),
        Part::Range { first, last } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert_range(&mut response, &format!("bytes {first}-{last}/{}", opened.size));
            (first, last - first + 1)
        }
        Part::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            insert_range(&mut response, &format!("bytes */{}", opened.size));
            response.headers_mut().remove(header::CONTENT_TYPE);
            return response;
        }
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if *request.method() == Method::HEAD {
        return response;
    }
    response.map(|_| Body::file(FileBody::new(opened.file, first, length)))
}

fn insert_range(response: &mut Response<Body>, range: &str) {
    let value = HeaderValue::from_str(range).expect("digits and signs are visible ASCII");
    response.headers_mut().insert(header::CONTENT_RANGE, value);
}

/// Sends the client to the name with a slash, so that the page's relative links hold.
fn to_directory(request: &Request<Incoming>, exchange: &Exchange) -> Response<Body> {
    // The path as the client wrote it, before a prefix was stripped; never `//host`, which would lead elsewhere.
    let path = exchange.path();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("/{}/{query}", path.trim_matches('/'));
    let mut response = Response::new(Body::empty());
    match HeaderValue::from_str(&location) {
        Ok(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
        }
        Err(_) => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
