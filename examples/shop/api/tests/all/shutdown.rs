//! SIGTERM: nothing that was begun is lost.

use std::time::Duration;

use http::Method;
use stage::{Connection, Stage, get, until};

#[tokio::test]
async fn a_request_under_way_is_finished() {
    let stage = Stage::start();
    let mut api = stage.api(&[("FAULT_SLOW_MS", "700"), ("DRAIN_MS", "0")]).await;
    let port = api.port();
    let slow = tokio::spawn(async move { get(port, "/api/products").await });
    until("the request to be under way", || async {
        let metrics = get(port, "/metrics").await.unwrap().text;
        stage::series(&metrics, "http_requests_in_flight") == Some(2.0)
    })
    .await;
    api.terminate();
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    let ended = api.wait(Duration::from_secs(5));
    assert_eq!(ended.code, Some(0), "{}", ended.output());
}

#[tokio::test]
async fn it_serves_on_during_the_drain_but_is_not_ready() {
    let stage = Stage::start();
    let mut api = stage.api(&[("DRAIN_MS", "60000")]).await;
    let port = api.port();
    let mut idle = Connection::open(port).await.unwrap();
    idle.send(Method::GET, "/api/version", None, &[]).await.unwrap();
    api.terminate();
    until("it to be unready", || async { get(port, "/ready").await.unwrap().status == 503 }).await;
    let draining = get(port, "/ready").await.unwrap();
    assert_eq!(draining.json()["reason"], "draining");
    let served = get(port, "/api/products").await.unwrap();
    assert_eq!((served.status, served.header("connection")), (200, "close"));
    assert!(api.is_running());
    // The second signal cuts the drain short: idle connections are closed, and it ends.
    api.terminate();
    idle.closed().await;
    assert_eq!(api.wait(Duration::from_secs(5)).code, Some(0));
}

#[tokio::test]
async fn callers_that_heed_readiness_lose_no_request_while_replicas_are_replaced() {
    let stage = Stage::start();
    let mut old = stage.api(&[("DRAIN_MS", "500")]).await;
    let new = stage.api(&[]).await;
    let (old_port, new_port) = (old.port(), new.port());
    let callers: Vec<_> = (0..8).map(|_| tokio::spawn(call_until_drained(old_port, new_port))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    old.terminate();
    let mut answered = 0;
    for caller in callers {
        answered += caller.await.unwrap();
    }
    assert!(answered > 100, "only {answered} requests were sent");
    assert_eq!(old.wait(Duration::from_secs(5)).code, Some(0));
}

/// Calls over one connection until its answer asks to close it, then goes on with the other replica.
async fn call_until_drained(old: u16, new: u16) -> usize {
    let mut answered = 0;
    let mut connection = Connection::open(old).await.expect("the old replica listens");
    loop {
        let answer = connection.send(Method::GET, "/api/products/1", None, &[]).await.expect("no request is lost");
        assert_eq!(answer.status, 200);
        answered += 1;
        if answer.header("connection") == "close" {
            break;
        }
    }
    let mut connection = Connection::open(new).await.expect("the new replica listens");
    let answer = connection.send(Method::GET, "/api/products/1", None, &[]).await.expect("no request is lost");
    assert_eq!(answer.status, 200);
    answered + 1
}

#[tokio::test]
async fn a_request_that_outlasts_the_limit_ends_it_with_1() {
    let stage = Stage::start();
    let mut api = stage.api(&[("FAULT_SLOW_MS", "60000"), ("DRAIN_MS", "0"), ("SHUTDOWN_TIMEOUT_MS", "200")]).await;
    let port = api.port();
    let _slow = tokio::spawn(async move { get(port, "/api/products").await.is_ok() });
    until("the request to be under way", || async {
        let metrics = get(port, "/metrics").await.unwrap().text;
        stage::series(&metrics, "http_requests_in_flight") == Some(2.0)
    })
    .await;
    api.terminate();
    assert_eq!(api.wait(Duration::from_secs(5)).code, Some(1));
}
