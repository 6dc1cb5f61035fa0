//! Jobs survive workers, in every way a worker can end.

use std::time::Duration;

use serde_json::json;
use stage::{Stage, send, until};

use crate::count;

async fn place(port: u16, n: usize) {
    for n in 0..n {
        let order = json!({ "product": 1, "quantity": 1, "key": format!("k{n}") });
        assert_eq!(send(port, "POST", "/api/orders", &order).await.unwrap().status, 201);
    }
}

fn states(stage: &Stage) -> String {
    stage.postgres.sql("SELECT state, count(*) FROM orders GROUP BY 1 ORDER BY 1")
}

#[tokio::test]
async fn sigterm_lets_the_job_under_way_finish() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    let mut worker = stage.worker(api.port(), &[("WORKER_JOB_MS", "800"), ("WORKER_CONCURRENCY", "1")]);
    place(api.port(), 3).await;
    until("a job to be under way", || async { states(&stage).contains("packing|1") }).await;
    worker.terminate();
    let ended = worker.wait(Duration::from_secs(5));
    assert_eq!(ended.code, Some(0), "{}", ended.output());
    assert_eq!(states(&stage), "placed|2\nshipped|1");
    assert_eq!(stage.redis.ask(&["LLEN", "shop:orders:queue"]), "2");
}

#[tokio::test]
async fn the_jobs_of_a_killed_worker_are_taken_over() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    let lost = stage.worker(api.port(), &[("WORKER_JOB_MS", "60000"), ("WORKER_CONCURRENCY", "3")]);
    place(api.port(), 5).await;
    until("three jobs to be under way", || async { states(&stage).contains("packing|3") }).await;
    lost.kill();
    let next = stage.worker(api.port(), &[("WORKER_JOB_MS", "0")]);
    until("all orders to be shipped", || async { states(&stage) == "shipped|5" }).await;
    assert_eq!(count(&next, "shop_worker_jobs_recovered_total").await, 3.0);
}

#[tokio::test]
async fn a_job_that_fails_comes_again_and_one_that_never_can_is_put_aside() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    let queue = "shop:orders:queue";
    stage.redis.ask(&["LPUSH", queue, r#"{"order":404}"#]);
    stage.redis.ask(&["LPUSH", queue, "nonsense"]);
    place(api.port(), 2).await;
    let worker =
        stage.worker(api.port(), &[("FAULT_FAIL_RATIO", "0.5"), ("WORKER_JOB_MS", "0"), ("WORKER_CONCURRENCY", "1")]);
    until("all orders to be shipped", || async { states(&stage) == "shipped|2" }).await;
    until("both bad jobs to be put aside", || async { stage.redis.ask(&["LLEN", "shop:orders:dead"]) == "2" }).await;
    assert!(count(&worker, "shop_worker_jobs_failed_total").await >= 3.0);
    let dead = stage.redis.ask(&["LRANGE", "shop:orders:dead", "0", "-1"]);
    assert!(dead.contains("the API answered 404") && dead.contains("not a job"), "{dead}");
}

#[tokio::test]
async fn a_queue_that_restarts_loses_no_job() {
    let mut stage = Stage::start();
    let api = stage.api(&[]).await;
    let worker = stage.worker(api.port(), &[("WORKER_JOB_MS", "50")]);
    place(api.port(), 3).await;
    until("the first orders to be shipped", || async { states(&stage).contains("shipped") }).await;
    stage.redis.stop();
    until("the worker to be unwell", || async { stage::get(worker.port(), "/health").await.unwrap().status == 503 })
        .await;
    stage.redis.boot();
    until("the orders from before to be shipped", || async { states(&stage) == "shipped|3" }).await;
    let order = json!({ "product": 1, "quantity": 1, "key": "after" });
    assert_eq!(send(api.port(), "POST", "/api/orders", &order).await.unwrap().status, 201);
    until("the order to be shipped", || async { states(&stage) == "shipped|4" }).await;
    assert_eq!(count(&worker, "shop_worker_calls_failed_total").await, 0.0);
}
