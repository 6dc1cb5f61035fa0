//! Every knob, in the worker. How jobs slow down and fail is in `recovery`.

use std::time::{Duration, Instant};

use serde_json::json;
use stage::{HeldPort, Process, Redis, Stage, get, send, until};

use crate::count;

const SOON: Duration = Duration::from_secs(10);

/// A worker without an API: calls at port 9 (discard) are refused, jobs there are none.
fn worker(more: &[(&str, &str)]) -> Process {
    let base = [("PORT", "0"), ("API_URL", "http://127.0.0.1:9"), ("WORKER_CALLS_PER_SECOND", "0")];
    let environment: Vec<_> =
        base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Process::start("shop-worker", &[], &environment)
}

#[tokio::test]
async fn slow_ms_makes_each_job_take_longer() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    let _worker = stage.worker(api.port(), &[("FAULT_SLOW_MS", "700"), ("WORKER_JOB_MS", "0")]);
    let order = json!({ "product": 1, "quantity": 1, "key": "k" });
    let begun = Instant::now();
    send(api.port(), "POST", "/api/orders", &order).await.unwrap();
    until("the order to be shipped", || async { stage.postgres.sql("SELECT state FROM orders") == "shipped" }).await;
    assert!(begun.elapsed() >= Duration::from_millis(700));
}

#[tokio::test]
async fn leak_kb_per_s_grows_the_resident_memory() {
    let worker = worker(&[("FAULT_LEAK_KB_PER_S", "20480")]);
    let before = count(&worker, "process_resident_memory_bytes").await;
    let grown = || async { count(&worker, "process_resident_memory_bytes").await - before > 10e6 };
    until("ten mebibytes to leak", grown).await;
}

#[test]
fn crash_after_s_ends_it_by_a_signal() {
    let ended = worker(&[("FAULT_CRASH_AFTER_S", "0.2")]).wait(SOON);
    assert_eq!(ended.code, None, "{}", ended.output());
}

#[test]
fn ignore_sigterm_leaves_it_running() {
    let mut worker = worker(&[("FAULT_IGNORE_SIGTERM", "1")]);
    let _port = worker.port();
    worker.terminate();
    let _line = worker.line("ignoring SIGTERM on purpose");
    assert!(worker.is_running());
}

#[tokio::test]
async fn unhealthy_fails_the_probes_of_a_worker_that_is_well() {
    let redis = Redis::start();
    let worker = worker(&[("FAULT_UNHEALTHY", "1"), ("REDIS_URL", &redis.url())]);
    let health = get(worker.port(), "/health").await.unwrap();
    assert_eq!((health.status, &health.json()["dependencies"]["queue"]["status"]), (503, &json!("up")));
    assert_eq!(get(worker.port(), "/live").await.unwrap().status, 200);
    let environment = [("PORT".to_owned(), worker.port().to_string())];
    assert_eq!(Process::start("shop-worker", &["health"], &environment).wait(SOON).code, Some(1));
}

#[tokio::test]
async fn never_listen_runs_without_a_port_and_still_ends_on_sigterm() {
    let held = HeldPort::take();
    let port = held.number();
    let mut worker = worker(&[("FAULT_NEVER_LISTEN", "1"), ("PORT", &port.to_string())]);
    let _line = worker.line("taking jobs");
    assert!(get(port, "/live").await.is_err());
    worker.terminate();
    assert_eq!(worker.wait(SOON).code, Some(0));
}

#[tokio::test]
async fn listen_binds_the_address_it_names_alone() {
    let worker = worker(&[("FAULT_LISTEN", "127.0.0.1")]);
    assert_eq!(get(worker.port(), "/live").await.unwrap().status, 200);
    assert!(tokio::net::TcpStream::connect(("127.0.0.2", worker.port())).await.is_err());
}

#[test]
fn start_delay_ms_opens_the_port_later() {
    let begun = Instant::now();
    let worker = worker(&[("FAULT_START_DELAY_MS", "600")]);
    let _port = worker.port();
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[test]
fn exit_code_ends_it_at_once() {
    assert_eq!(worker(&[("FAULT_EXIT_CODE", "7")]).wait(SOON).code, Some(7));
}

#[test]
fn wrong_settings_and_a_taken_port_end_it() {
    for (name, value) in [("API_URL", "api:3000"), ("WORKER_CALLS_PER_SECOND", "-1"), ("FAULT_SLOW_MS", "much")] {
        let ended = worker(&[(name, value)]).wait(SOON);
        assert!(ended.code == Some(2) && ended.output().contains(name), "{:?} {}", ended.code, ended.output());
    }
    let taken = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let ended = worker(&[("PORT", &taken.local_addr().unwrap().port().to_string())]).wait(SOON);
    assert!(
        ended.code == Some(1) && ended.output().contains("could not listen"),
        "{:?} {}",
        ended.code,
        ended.output()
    );
}
