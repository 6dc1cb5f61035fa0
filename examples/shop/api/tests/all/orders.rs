//! Orders through two replicas over one database.

use serde_json::{Value, json};
use stage::{Stage, get, send, until};

fn order(quantity: i32, key: &str) -> Value {
    json!({ "product": 3, "quantity": quantity, "key": key })
}

#[tokio::test]
async fn an_order_placed_on_one_replica_is_seen_on_the_other() {
    let stage = Stage::start();
    let (one, other) = (stage.api(&[]).await, stage.api(&[]).await);
    let placed = send(one.port(), "POST", "/api/orders", &order(2, "a")).await.unwrap();
    assert_eq!(placed.status, 201, "{}", placed.text);
    assert_eq!(placed.json()["totalCents"], 37800);
    let id = placed.json()["id"].as_i64().unwrap();
    let seen = get(other.port(), &format!("/api/orders/{id}")).await.unwrap();
    assert_eq!(seen.json(), placed.json());
    let listed = get(other.port(), "/api/orders").await.unwrap();
    assert_eq!(listed.json()["orders"], json!([placed.json()]));
    assert_eq!(stage.postgres.sql("SELECT product, quantity, state, queued FROM orders"), "3|2|placed|t");
    assert_eq!(
        stage.redis.ask(&["LRANGE", "shop:orders:queue", "0", "-1"]),
        format!(r#"{{"order":{id},"attempts":0}}"#)
    );
}

#[tokio::test]
async fn a_key_places_one_order_however_often_and_wherever_it_is_sent() {
    let stage = Stage::start();
    let replicas = [stage.api(&[]).await, stage.api(&[]).await];
    let mut attempts = Vec::new();
    for n in 0..20 {
        let port = replicas[n % 2].port();
        attempts.push(tokio::spawn(async move { send(port, "POST", "/api/orders", &order(1, "same")).await.unwrap() }));
    }
    let mut statuses = Vec::new();
    for attempt in attempts {
        let answer = attempt.await.unwrap();
        assert_eq!(answer.header("idempotent-replay"), if answer.status == 200 { "true" } else { "" });
        statuses.push(answer.status);
    }
    statuses.sort_unstable();
    assert_eq!((statuses[..19].iter().all(|status| *status == 200), statuses[19]), (true, 201));
    assert_eq!(stage.postgres.sql("SELECT count(*) FROM orders"), "1");
    assert_eq!(stage.redis.ask(&["LLEN", "shop:orders:queue"]), "1");
    let other = send(replicas[0].port(), "POST", "/api/orders", &order(5, "same")).await.unwrap();
    assert_eq!((other.status, &other.json()["error"]["code"]), (409, &json!("conflict")));
}

#[tokio::test]
async fn what_is_no_order_is_refused_with_the_reason() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    for (body, status, reason) in [
        (json!({ "product": 3, "quantity": 0, "key": "k" }), 400, "quantity is 0: write a number from 1 to 100"),
        (json!({ "product": 3, "quantity": 101, "key": "k" }), 400, "quantity is 101"),
        (json!({ "product": 3, "quantity": 1, "key": "" }), 400, "key must be 1 to 64"),
        (json!({ "product": 3, "quantity": 1, "key": "a b" }), 400, "key must be 1 to 64"),
        (json!({ "product": 3, "quantity": 1 }), 400, "missing field `key`"),
        (json!({ "product": 3, "quantity": 1, "key": "k", "price": 1 }), 400, "unknown field `price`"),
        (json!({ "product": 99, "quantity": 1, "key": "k" }), 404, "there is no product 99"),
        (json!({ "product": 3, "quantity": 1, "key": "k".repeat(20_000) }), 400, "limit"),
    ] {
        let answer = send(api.port(), "POST", "/api/orders", &body).await.unwrap();
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == status && message.contains(reason), "{body}: {} {}", answer.status, answer.text);
    }
    assert_eq!(stage.postgres.sql("SELECT count(*) FROM orders"), "0");
    assert_eq!(get(api.port(), "/api/orders/7").await.unwrap().status, 404);
    assert_eq!(get(api.port(), "/api/orders/seven").await.unwrap().status, 400);
    assert_eq!(get(api.port(), "/api/nothing").await.unwrap().status, 404);
    assert_eq!(send(api.port(), "DELETE", "/api/orders", &Value::Null).await.unwrap().status, 405);
}

#[tokio::test]
async fn an_order_only_moves_forward() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    let id = send(api.port(), "POST", "/api/orders", &order(1, "a")).await.unwrap().json()["id"].as_i64().unwrap();
    let path = format!("/api/orders/{id}/state");
    for (state, then) in
        [("packing", "packing"), ("shipped", "shipped"), ("shipped", "shipped"), ("packing", "shipped")]
    {
        let answer = send(api.port(), "PUT", &path, &json!({ "state": state })).await.unwrap();
        assert_eq!((answer.status, answer.json()["state"].as_str()), (200, Some(then)), "{state}");
    }
    let lost = send(api.port(), "PUT", &path, &json!({ "state": "lost" })).await.unwrap();
    assert_eq!(lost.json()["error"]["message"], "`lost` is not a state: write one of placed, packing, shipped");
    let missing = send(api.port(), "PUT", "/api/orders/99/state", &json!({ "state": "shipped" })).await.unwrap();
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn an_order_that_finds_no_queue_is_pushed_when_the_queue_is_back() {
    let mut stage = Stage::start();
    let api = stage.api(&[]).await;
    stage.redis.stop();
    let placed = send(api.port(), "POST", "/api/orders", &order(1, "a")).await.unwrap();
    assert_eq!(placed.status, 201, "{}", placed.text);
    assert_eq!(stage.postgres.sql("SELECT queued FROM orders"), "f");
    stage.redis.boot();
    until("the order to be queued", || async { stage.postgres.sql("SELECT queued FROM orders") == "t" }).await;
    assert_eq!(stage.redis.ask(&["LLEN", "shop:orders:queue"]), "1");
}

#[tokio::test]
async fn orders_come_in_pages_the_newest_first() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    for n in 0..5 {
        send(api.port(), "POST", "/api/orders", &order(1, &format!("k{n}"))).await.unwrap();
    }
    let keys = |answer: Value| -> Vec<String> {
        answer["orders"].as_array().unwrap().iter().map(|order| order["key"].as_str().unwrap().to_owned()).collect()
    };
    let first = get(api.port(), "/api/orders?limit=2").await.unwrap().json();
    let before = first["orders"][1]["id"].as_i64().unwrap();
    assert_eq!(keys(first), ["k4", "k3"]);
    let second = get(api.port(), &format!("/api/orders?limit=2&before={before}")).await.unwrap().json();
    assert_eq!(keys(second), ["k2", "k1"]);
    assert_eq!(get(api.port(), "/api/orders?limit=many").await.unwrap().status, 400);
}
