//! Health and readiness, with dependencies that come and go.

use std::time::Duration;

use stage::{Process, Stage, get, until};

#[tokio::test]
async fn it_starts_without_its_dependencies_and_is_ready_when_they_come() {
    let mut stage = Stage::start();
    stage.postgres.stop();
    stage.redis.stop();
    let api = stage.api_as_it_comes(&[]);
    let health = get(api.port(), "/health").await.unwrap();
    assert_eq!((health.status, health.json()["status"].as_str()), (503, Some("degraded")), "{}", health.text);
    assert_eq!(health.json()["dependencies"]["database"]["status"], "down");
    assert_eq!(health.json()["dependencies"]["cache"]["status"], "down");
    assert_eq!(get(api.port(), "/ready").await.unwrap().status, 503);
    assert_eq!(get(api.port(), "/live").await.unwrap().status, 200);
    let products = get(api.port(), "/api/products").await.unwrap();
    assert_eq!((products.status, products.header("retry-after")), (503, "1"));
    assert!(!products.text.contains("127.0.0.1"), "callers learn nothing of hosts: {}", products.text);

    stage.postgres.boot();
    let halfway = get(api.port(), "/ready").await.unwrap();
    assert_eq!((halfway.status, halfway.json()["reason"].as_str()), (503, Some("the cache does not answer")));
    stage.redis.boot();
    until("the API to be ready", || async { get(api.port(), "/ready").await.unwrap().status == 200 }).await;
    let health = get(api.port(), "/health").await.unwrap();
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("ok")));
    assert!(health.json()["uptimeSeconds"].is_u64() && health.json()["timestamp"].is_string(), "{}", health.text);
}

#[tokio::test]
async fn a_database_that_restarts_costs_readiness_only_while_it_is_away() {
    let mut stage = Stage::start();
    let api = stage.api(&[]).await;
    stage.postgres.stop();
    assert_eq!(get(api.port(), "/ready").await.unwrap().status, 503);
    assert_eq!(get(api.port(), "/api/products").await.unwrap().status, 503);
    stage.postgres.boot();
    until("the API to be ready again", || async { get(api.port(), "/ready").await.unwrap().status == 200 }).await;
    assert_eq!(get(api.port(), "/api/products").await.unwrap().status, 200);
}

#[tokio::test]
async fn the_health_subcommand_ends_with_what_ready_answers() {
    let mut stage = Stage::start();
    let api = stage.api(&[]).await;
    let port = api.port().to_string();
    let check = |port: &str| {
        let environment = [("PORT".to_owned(), port.to_owned())];
        Process::start("shop-api", &["health"], &environment).wait(Duration::from_secs(10))
    };
    assert_eq!(check(&port).code, Some(0));
    stage.redis.stop();
    let unready = check(&port);
    assert_eq!((unready.code, unready.output().as_str()), (Some(1), "/ready answered 503"));
    let held = stage::HeldPort::take();
    let nobody = check(&held.number().to_string());
    assert!(nobody.code == Some(1) && nobody.output().contains("could not ask"), "{}", nobody.output());
}

#[test]
fn wrong_use_and_wrong_settings_end_it_with_2() {
    let run = |arguments: &[&str], name: &str, value: &str| {
        let environment = [(name.to_owned(), value.to_owned())];
        Process::start("shop-api", arguments, &environment).wait(Duration::from_secs(10))
    };
    let version = run(&["--version"], "UNUSED", "");
    assert_eq!((version.code, version.output().starts_with("shop-api ")), (Some(0), true));
    assert_eq!(run(&["fly"], "UNUSED", "").code, Some(2));
    for (name, value) in
        [("PORT", "99999"), ("REDIS_URL", "nonsense"), ("DATABASE_PASSWORD_FILE", "/nowhere"), ("LOG_LEVEL", "a=b=c")]
    {
        let ended = run(&[], name, value);
        assert!(ended.code == Some(2) && ended.output().contains(name), "{name}: {:?} {}", ended.code, ended.output());
    }
}
