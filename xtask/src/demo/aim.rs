//! What the demo's load asks the shop for: mostly reading, some idempotent writing, some orders.

use crate::load::{HTML, JSON, Shot};
use http::Method;

/// Of this many requests one is an order.
const ORDERS: u64 = 20;

/// The key of the n-th request's order; the same in the check against the database.
pub const KEY_PREFIX: &str = "demo-";

/// The n-th request. `order` is an order that exists.
pub fn shot(n: u64, order: i64) -> Shot {
    let shot = match n % ORDERS {
        0 => Shot::with_json(Method::POST, "/api/orders", order_text(&format!("{KEY_PREFIX}{n}"), product(n))),
        5 | 15 => {
            let path = format!("/api/orders/{order}/state");
            Shot::with_json(Method::PUT, path, "{\"state\":\"packing\"}")
        }
        1 | 6 | 11 | 16 => Shot { label: Some(version), ..Shot::get("/api/version") },
        2 | 12 => return Shot::get("/").of(HTML),
        7 => Shot::get("/api/orders?limit=10"),
        3 | 13 => Shot::get("/api/products"),
        _ => Shot::get(format!("/api/products/{}", product(n))),
    };
    // The front end answers every path that is nobody else's with its page: an answer of the API is told by its type.
    shot.of(JSON)
}

/// The body of an order.
pub fn order_text(key: &str, product: u64) -> String {
    serde_json::json!({ "product": product, "quantity": 1, "key": key }).to_string()
}

/// The shop's seeds have at least five products.
fn product(n: u64) -> u64 {
    1 + n / ORDERS % 5
}

/// The version that an answer of `/api/version` names.
pub fn version(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("version")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_in_twenty_is_an_order_with_a_key_of_its_own() {
        let orders: Vec<Shot> = (0..400).map(|n| shot(n, 1)).filter(|shot| !shot.is_idempotent()).collect();
        assert_eq!(orders.len(), 20);
        let mut bodies: Vec<_> = orders.iter().map(|shot| shot.body.clone()).collect();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 20);
    }

    #[test]
    fn a_page_is_no_answer_of_the_api() {
        let answer = |media: &str, body: &'static [u8]| {
            http::Response::builder().header("content-type", media).body(bytes::Bytes::from_static(body)).unwrap()
        };
        let (page, json) = (answer("text/html; charset=utf-8", b"<html>"), answer("application/json", b"{}"));
        for n in 0..20 {
            let shot = shot(n, 1);
            let (right, wrong) = if shot.path == "/" { (&page, &json) } else { (&json, &page) };
            assert!(shot.judge(wrong).is_err(), "{} {}", shot.method, shot.path);
            assert_eq!(shot.judge(right).is_ok(), shot.label.is_none(), "{} {}", shot.method, shot.path);
        }
        let error = shot(1, 1).judge(&page).unwrap_err();
        assert_eq!(error, "200 OK of text/html; charset=utf-8, not of application/json");
        let labelled = shot(1, 1).judge(&answer("application/json", b"{\"version\":\"2\"}"));
        assert_eq!(labelled, Ok(Some("2".to_owned())));
    }

    #[test]
    fn the_version_is_read_from_the_answer() {
        assert_eq!(version(b"{\"version\":\"2\",\"pid\":1}").as_deref(), Some("2"));
        assert_eq!(version(b"<html>"), None);
    }
}
