//! What a caller is told when a request is not carried out: a status, a stable code and a sentence.
//!
//! The cause goes to the log only, with the request's id, so that no caller learns of hosts or statements.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use deadpool_postgres::PoolError;
use serde_json::json;
use service::log;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the database cannot be reached")]
    NoConnection(#[from] PoolError),
    #[error("the database did not carry out the statement")]
    Statement(#[from] tokio_postgres::Error),
}

impl ApiError {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::NoConnection(_) => (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable"),
            // A connection that broke under the statement, or a server that is shutting down: come again.
            Self::Statement(cause) if cause.as_db_error().is_none_or(|db| db.code().code().starts_with("57P")) => {
                (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable")
            }
            Self::Statement(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

/// The cause of an error answer, for the log line of its request.
#[derive(Clone)]
pub struct Cause(pub String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status();
        let mut response =
            (status, Json(json!({ "error": { "code": code, "message": self.to_string() } }))).into_response();
        if status.is_server_error() {
            response.extensions_mut().insert(Cause(log::chain(&self)));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
