//! Orders end to end, and the calls between the services.

use std::time::Duration;

use serde_json::json;
use stage::{HeldPort, Stage, get, send, until};

use crate::count;

#[tokio::test]
async fn an_order_placed_on_one_replica_is_shipped_through_the_other() {
    let stage = Stage::start();
    let (one, other) = (stage.api(&[]).await, stage.api(&[]).await);
    let mut worker = stage.worker(other.port(), &[("WORKER_JOB_MS", "10")]);
    for n in 0..10 {
        let order = json!({ "product": 1 + n % 6, "quantity": 1, "key": format!("k{n}") });
        assert_eq!(send(one.port(), "POST", "/api/orders", &order).await.unwrap().status, 201);
    }
    let shipped = || async { stage.postgres.sql("SELECT count(*) FROM orders WHERE state = 'shipped'") == "10" };
    until("all orders to be shipped", shipped).await;
    until("all jobs to be counted", || async { count(&worker, "shop_worker_jobs_done_total").await >= 10.0 }).await;
    assert_eq!(count(&worker, "shop_worker_calls_failed_total").await, 0.0);
    assert_eq!(get(worker.port(), "/health").await.unwrap().json()["status"], "ok");
    worker.terminate();
    assert_eq!(worker.wait(Duration::from_secs(5)).code, Some(0));
    assert_eq!(stage.redis.ask(&["HGET", "shop:worker:counts", "jobs_done"]), "10");
    assert_eq!(stage.redis.ask(&["LLEN", "shop:orders:queue"]), "0");
}

#[tokio::test]
async fn the_trickle_keeps_its_rate_and_names_the_version_that_answers() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    let worker = stage.worker(api.port(), &[("WORKER_CALLS_PER_SECOND", "100")]);
    let version = get(api.port(), "/api/version").await.unwrap().json()["version"].as_str().unwrap().to_owned();
    let answered = format!("shop_worker_calls_answered_total{{version=\"{version}\"}}");
    until("a hundred calls", || async { count(&worker, &answered).await >= 100.0 }).await;
    assert_eq!(count(&worker, "shop_worker_calls_failed_total").await, 0.0);
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_is_no_failure() {
    let stage = Stage::start();
    let held = HeldPort::take();
    let port = held.number();
    let worker = stage.worker(port, &[]);
    until("connections to be refused", || async { count(&worker, "shop_worker_connects_refused_total").await > 2.0 })
        .await;
    let _api = stage.api(&[("PORT", &port.to_string())]).await;
    until("calls to succeed", || async { count(&worker, "shop_worker_calls_total").await > 10.0 }).await;
    assert_eq!(count(&worker, "shop_worker_calls_failed_total").await, 0.0);
}

#[tokio::test]
async fn any_other_failure_is_counted() {
    let stage = Stage::start();
    let api = stage.api(&[("FAULT_FAIL_RATIO", "0.5")]).await;
    let worker = stage.worker(api.port(), &[]);
    until("calls to fail", || async { count(&worker, "shop_worker_calls_failed_total").await >= 5.0 }).await;
    assert_eq!(worker.line("a call failed")["error"], "answered 500 Internal Server Error");
}

#[tokio::test]
async fn calls_cut_by_a_killed_api_are_counted() {
    let stage = Stage::start();
    let api = stage.api(&[("FAULT_SLOW_MS", "300")]).await;
    let worker = stage.worker(api.port(), &[]);
    until("calls to be answered", || async { count(&worker, "shop_worker_calls_total").await > 2.0 }).await;
    api.kill();
    until("the cut calls to be counted", || async { count(&worker, "shop_worker_calls_failed_total").await > 0.0 })
        .await;
}
