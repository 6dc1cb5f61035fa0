//! Products and the cache in front of them.

use stage::{Stage, get, series, until};

#[tokio::test]
async fn a_product_is_read_once_and_then_from_the_cache_until_its_time_is_over() {
    let stage = Stage::start();
    let api = stage.api(&[("CACHE_TTL_SECONDS", "1")]).await;
    let first = get(api.port(), "/api/products/1").await.unwrap();
    assert_eq!(
        (first.status, first.header("x-cache"), first.json()["name"].as_str()),
        (200, "miss", Some("Ship's bell"))
    );
    let second = get(api.port(), "/api/products/1").await.unwrap();
    assert_eq!((second.header("x-cache"), &second.text), ("hit", &first.text));
    assert_eq!(second.header("content-type"), "application/json");
    let _done = stage.postgres.sql("UPDATE products SET name = 'Gong' WHERE id = 1");
    until("the cache to forget", || async {
        get(api.port(), "/api/products/1").await.unwrap().json()["name"] == "Gong"
    })
    .await;
    let metrics = get(api.port(), "/metrics").await.unwrap().text;
    assert_eq!(series(&metrics, "cache_misses_total"), Some(2.0));
}

#[tokio::test]
async fn products_are_answered_without_the_cache_when_it_is_away() {
    let mut stage = Stage::start();
    let api = stage.api(&[]).await;
    stage.redis.stop();
    let answer = get(api.port(), "/api/products/2").await.unwrap();
    assert_eq!((answer.status, answer.header("x-cache")), (200, "bypass"));
    let list = get(api.port(), "/api/products").await.unwrap();
    assert_eq!(list.json()["products"].as_array().map(Vec::len), Some(6));
}

#[tokio::test]
async fn an_unknown_product_is_not_found() {
    let stage = Stage::start();
    let api = stage.api(&[]).await;
    assert_eq!(get(api.port(), "/api/products/99").await.unwrap().status, 404);
    assert_eq!(get(api.port(), "/api/products/bell").await.unwrap().status, 400);
}
