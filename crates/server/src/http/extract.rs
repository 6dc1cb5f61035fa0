//! Requests' parts as handlers take them; what cannot be read is answered as every other error.

use crate::api::ApiError;
use crate::api::bundle::{Digests, NewBundle};
use crate::api::images::ImagesRequest;
use crate::api::plan::PlanRequest;
use crate::api::release::{DownRequest, KeepRequest, ReleaseRequest, RestartRequest, ScaleRequest};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MIB: usize = 1 << 20;

/// A body that is too large is read to its end up to here, so that the client hears why it was refused.
const HEARD: usize = 256 * MIB;

/// A JSON body that is taken, and how large it may be.
pub trait Taken: DeserializeOwned {
    /// Bytes.
    const MOST: usize = MIB;
}

impl Taken for ImagesRequest {}
impl Taken for PlanRequest {}
impl Taken for ReleaseRequest {}
impl Taken for DownRequest {}
impl Taken for RestartRequest {}
impl Taken for ScaleRequest {}
impl Taken for KeepRequest {}

/// The client asks for 10,000 at once, of 67 bytes each.
impl Taken for Digests {
    const MOST: usize = 4 * MIB;
}

/// 100,000 files with paths of 300 bytes, and a declaration of thousands of services.
impl Taken for NewBundle {
    const MOST: usize = 64 * MIB;
}

/// A JSON body, of a request or of an answer.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// What stands in the path.
#[derive(Debug)]
pub struct Path<T>(pub T);

/// What stands in the query.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<S: Send + Sync, T: Taken> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (mut bytes, mut length) = (BytesMut::new(), 0);
        let mut chunks = request.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| unreadable(format!("its body broke off: {error}")))?;
            length += chunk.len();
            match length {
                ..=HEARD if length > T::MOST => bytes.clear(),
                ..=HEARD => bytes.extend_from_slice(&chunk),
                _ => break,
            }
        }
        if length > T::MOST {
            let message = format!("the request has {length} bytes, this operation takes at most {}", T::MOST);
            return Err(
                ApiError::new(413, "MS0236", message).help("name fewer files, or put bulk content into a volume")
            );
        }
        // An empty body stands for no wishes at all.
        let text = if bytes.is_empty() { &b"{}"[..] } else { &bytes[..] };
        let read = serde_json::from_slice(text);
        read.map(Self).map_err(|error| unreadable(format!("its body is not what this operation takes: {error}")))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        read.map(|path| Self(path.0)).map_err(|error| unreadable(format!("its path is wrong: {}", error.body_text())))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        read.map(|query| Self(query.0))
            .map_err(|error| unreadable(format!("its query is wrong: {}", error.body_text())))
    }
}

fn unreadable(why: String) -> ApiError {
    ApiError::new(400, "MS0237", format!("the request cannot be read: {why}"))
        .help("look at `/v1/openapi.json` for what the operation takes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    async fn check<T: Taken + std::fmt::Debug>(body: Body, want: Result<(), (u16, &str)>) {
        let found = Json::<T>::from_request(Request::new(body), &()).await;
        let found = found.as_ref().map(|_| ()).map_err(|error| (error.status, error.code.as_str()));
        assert_eq!(found, want);
    }

    #[tokio::test]
    async fn a_bundle_of_many_files_is_taken_and_what_is_too_large_is_said() {
        let file = |n: usize| crate::api::bundle::BundleFile {
            path: format!("node_modules/some/package/dist/file-{n}.js"),
            digest: "ab".repeat(32),
            mode: 0o644,
            size: 1,
        };
        let bundle = NewBundle { declaration: "x".repeat(MIB), files: (0..100_000).map(file).collect() };
        check::<NewBundle>(serde_json::to_vec(&bundle).expect("plain").into(), Ok(())).await;
        check::<PlanRequest>("x".repeat(MIB + 1).into(), Err((413, "MS0236"))).await;
        check::<PlanRequest>("{".into(), Err((400, "MS0237"))).await;
        check::<DownRequest>(Body::empty(), Ok(())).await;
    }
}
