//! What an operator sees: series and log lines.

use serde_json::{Value, json};
use stage::{Connection, Stage, get, send, series};

#[tokio::test]
async fn the_metrics_are_prometheus_text_with_the_ecosystems_names() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    get(api.port(), "/api/products/1").await.unwrap();
    get(api.port(), "/api/products/99").await.unwrap();
    get(api.port(), "/no/such/path").await.unwrap();
    send(api.port(), "POST", "/api/orders", &json!({ "product": 1, "quantity": 1, "key": "k" })).await.unwrap();
    let answer = get(api.port(), "/metrics").await.unwrap();
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for (name, value) in [
        (r#"http_requests_total{method="GET",route="/api/products/{id}",status="200"}"#, 1.0),
        (r#"http_requests_total{method="GET",route="/api/products/{id}",status="404"}"#, 1.0),
        (r#"http_requests_total{method="GET",route="unmatched",status="404"}"#, 1.0),
        (r#"http_request_duration_seconds_bucket{method="POST",route="/api/orders",le="+Inf"}"#, 1.0),
        (r#"http_request_duration_seconds_count{method="POST",route="/api/orders"}"#, 1.0),
        (r#"db_pool_connections{state="max"}"#, 8.0),
        ("orders_total", 1.0),
    ] {
        assert_eq!(series(&answer.text, name), Some(value), "{name}\n{}", answer.text);
    }
    assert!(series(&answer.text, "process_resident_memory_bytes").unwrap() > 1e6);
    assert!(series(&answer.text, "process_open_fds").unwrap() > 5.0);
    for line in answer.text.lines() {
        let is_sample =
            line.rsplit_once(' ').is_some_and(|(name, value)| !name.is_empty() && value.parse::<f64>().is_ok());
        assert!(line.starts_with("# HELP ") || line.starts_with("# TYPE ") || is_sample, "not the text form: {line}");
    }
}

#[tokio::test]
async fn a_request_leaves_one_json_line_with_its_id() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    let mut connection = Connection::open(api.port()).await.unwrap();
    let headers = [("x-request-id", "abc-123"), ("x-forwarded-for", "203.0.113.9, 10.0.0.1")];
    let answer = connection.send(http::Method::GET, "/api/version", None, &headers).await.unwrap();
    assert_eq!(answer.header("x-request-id"), "abc-123");
    let line = api.line("request");
    for (field, value) in [
        ("level", json!("info")),
        ("service", json!("api")),
        ("requestId", json!("abc-123")),
        ("method", json!("GET")),
        ("path", json!("/api/version")),
        ("status", json!(200)),
        ("ip", json!("203.0.113.9")),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert!(line["durationMs"].is_f64() && line["timestamp"].is_string(), "{line}");
    let unfit = connection.send(http::Method::GET, "/api/version", None, &[("x-request-id", "a b")]).await.unwrap();
    assert_eq!(unfit.header("x-request-id").len(), 16);
    assert!(api.lines().iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{:?}", api.lines());
}

#[tokio::test]
async fn the_version_tells_replicas_apart() {
    let stage = Stage::start();
    let (one, other) = (stage.api(&[("HOSTNAME", "api-1")]).await, stage.api(&[("HOSTNAME", "api-2")]).await);
    let one_says = get(one.port(), "/api/version").await.unwrap().json();
    let other_says = get(other.port(), "/api/version").await.unwrap().json();
    assert_eq!((&one_says["replica"], &one_says["pid"]), (&json!("api-1"), &json!(one.pid())));
    assert_eq!(other_says["replica"], "api-2");
    assert_eq!(one_says["version"], other_says["version"]);
    assert_ne!(one_says["instance"], other_says["instance"]);
}
