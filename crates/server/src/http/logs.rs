//! Log lines of replicas as newline-delimited JSON.

use super::State;
use super::extract::{Path, Query};
use super::stacks::stack_id;
use crate::api::ApiError;
use crate::logs;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The merged log.
pub async fn logs(
    state: State,
    Path((project, environment)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let stack = state.stack(&stack_id(&project, &environment)?)?.id().clone();
    let request = request(query)?;
    let lines = logs::stream(state.log_source(stack), request, state.tasks(), state.world().clock.clone()).await?;
    let body = Body::from_stream(lines);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn request(query: Vec<(String, String)>) -> Result<logs::Request, ApiError> {
    let mut request = logs::Request { targets: Vec::new(), tail: Some(100), follow: false };
    for (name, value) in query {
        let wrong = |takes| ApiError::new(400, "MS0207", format!("`{name}` is `{value}`, it takes {takes}"));
        match (name.as_str(), value.as_str()) {
            ("target", _) => request.targets.push(value),
            ("tail", "all") => request.tail = None,
            ("tail", _) => request.tail = Some(value.parse().map_err(|_| wrong("a number or `all`"))?),
            ("follow", "true" | "1") => request.follow = true,
            ("follow", "false" | "0") => request.follow = false,
            ("follow", _) => return Err(wrong("`true` or `false`")),
            _ => {}
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::FromRequestParts;

    async fn ask(query: &str) -> Result<logs::Request, ApiError> {
        let request = axum::http::Request::get(format!("/logs?{query}")).body(()).expect("legal");
        let mut parts = request.into_parts().0;
        request_of(Query::from_request_parts(&mut parts, &()).await?)
    }

    fn request_of(Query(query): Query<Vec<(String, String)>>) -> Result<logs::Request, ApiError> {
        super::request(query)
    }

    #[tokio::test]
    async fn the_query_is_decoded_and_what_is_wrong_is_said() {
        let asked = ask("target=api%2E2&target=db&tail=all&follow=1").await.expect("legal");
        assert_eq!((asked.targets.join(" ").as_str(), asked.tail, asked.follow), ("api.2 db", None, true));
        for (query, says) in [("tail=x", "`tail` is `x`"), ("follow=yes", "`follow` is `yes`")] {
            let error = ask(query).await.expect_err(query);
            assert!(error.message.contains(says), "{}", error.message);
        }
    }
}
