//! Every knob, in the API. Most need no database: the API lives without one.

use std::time::{Duration, Instant};

use stage::{Process, Stage, get, series, until};

const SOON: Duration = Duration::from_secs(10);

fn api(more: &[(&str, &str)]) -> Process {
    let base = [("PORT", "0"), ("DRAIN_MS", "0")];
    let environment: Vec<_> =
        base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Process::start("shop-api", &[], &environment)
}

#[tokio::test]
async fn slow_ms_delays_the_api_but_not_its_probes() {
    let api = api(&[("FAULT_SLOW_MS", "400")]);
    let port = api.port();
    let begun = Instant::now();
    assert_eq!(get(port, "/api/version").await.unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(400));
    let begun = Instant::now();
    assert_eq!(get(port, "/live").await.unwrap().status, 200);
    assert!(begun.elapsed() < Duration::from_millis(400));
}

#[tokio::test]
async fn fail_ratio_fails_its_share() {
    let api = api(&[("FAULT_FAIL_RATIO", "0.25")]);
    let mut failed = 0;
    for _ in 0..20 {
        failed += u32::from(get(api.port(), "/api/version").await.unwrap().status == 500);
    }
    assert_eq!(failed, 5);
}

#[tokio::test]
async fn leak_kb_per_s_grows_the_resident_memory() {
    let api = api(&[("FAULT_LEAK_KB_PER_S", "20480")]);
    let resident = || async {
        let metrics = get(api.port(), "/metrics").await.unwrap().text;
        series(&metrics, "process_resident_memory_bytes").unwrap()
    };
    let before = resident().await;
    until("ten mebibytes to leak", || async { resident().await - before > 10e6 }).await;
}

#[tokio::test]
async fn crash_after_s_ends_it_by_a_signal() {
    let mut api = api(&[("FAULT_CRASH_AFTER_S", "0.3")]);
    assert_eq!(get(api.port(), "/live").await.unwrap().status, 200);
    let ended = api.wait(SOON);
    assert_eq!(ended.code, None, "{}", ended.output());
}

#[tokio::test]
async fn ignore_sigterm_leaves_it_running() {
    let mut api = api(&[("FAULT_IGNORE_SIGTERM", "1")]);
    let port = api.port();
    api.terminate();
    let _line = api.line("ignoring SIGTERM on purpose");
    assert_eq!(get(port, "/live").await.unwrap().status, 200);
    assert!(api.is_running());
}

#[tokio::test]
async fn unhealthy_fails_the_probes_of_a_replica_that_is_well() {
    let stage = Stage::start();
    let api = stage.api_as_it_comes(&[("FAULT_UNHEALTHY", "1")]);
    assert_eq!(get(api.port(), "/ready").await.unwrap().status, 503);
    let health = get(api.port(), "/health").await.unwrap();
    assert_eq!((health.status, &health.json()["dependencies"]["database"]["status"]), (503, &"up".into()));
    assert_eq!(get(api.port(), "/api/products").await.unwrap().status, 200);
}

#[tokio::test]
async fn never_listen_runs_without_a_port_and_still_ends_on_sigterm() {
    let held = stage::HeldPort::take();
    let port = held.number();
    let mut api = api(&[("FAULT_NEVER_LISTEN", "1"), ("PORT", &port.to_string())]);
    let _line = api.line("a fault is set on purpose");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(api.is_running() && get(port, "/live").await.is_err());
    api.terminate();
    assert_eq!(api.wait(SOON).code, Some(0));
}

#[tokio::test]
async fn listen_binds_the_address_it_names_alone() {
    let api = api(&[("FAULT_LISTEN", "127.0.0.1")]);
    assert_eq!(api.line("listening")["address"], "127.0.0.1");
    let port = api.port();
    assert_eq!(get(port, "/live").await.unwrap().status, 200);
    // All of 127.0.0.0/8 is this machine, but only one address of it listens.
    assert!(tokio::net::TcpStream::connect(("127.0.0.2", port)).await.is_err());
}

#[tokio::test]
async fn start_delay_ms_opens_the_port_later() {
    let begun = Instant::now();
    let api = api(&[("FAULT_START_DELAY_MS", "600")]);
    let _line = api.line("listening");
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[test]
fn exit_code_ends_it_at_once() {
    for arguments in [&[][..], &["migrate"]] {
        let environment = [("FAULT_EXIT_CODE".to_owned(), "7".to_owned())];
        assert_eq!(Process::start("shop-api", arguments, &environment).wait(SOON).code, Some(7), "{arguments:?}");
    }
}

#[test]
fn a_knob_with_a_wrong_value_ends_it_with_2() {
    let ended = api(&[("FAULT_FAIL_RATIO", "often")]).wait(SOON);
    assert_eq!(ended.code, Some(2));
    assert!(ended.output().contains("FAULT_FAIL_RATIO is `often`: write a number from 0 to 1"), "{}", ended.output());
}
