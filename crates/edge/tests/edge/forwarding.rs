//! Requests on their way through: headers, routes, errors.

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay_edge::control::{Fixed, Protocol, Target};
use tokio::net::TcpStream;

use crate::rig::{Edge, Http, dead_port, get, mirror, named_upstream, raw, ready, request, route_table, send};

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_round_among_ready_upstreams() {
    let (a, a_count) = named_upstream("a").await;
    let (b, b_count) = named_upstream("b").await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[a, b]).await;
    let mut client = Http::connect(address).await;
    for _ in 0..10 {
        assert_eq!(client.send(request("GET", "/", "")).await.status, 200);
    }
    let counts = [&a_count, &b_count].map(|count| count.load(std::sync::atomic::Ordering::SeqCst));
    assert_eq!(counts, [5, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_put_right_on_the_way_up() {
    let (_edge, address) = Edge::pool(Protocol::Auto, &[mirror().await]).await;
    let answer = raw(
        address,
        b"POST /a?b=c HTTP/1.1\r\nHost: shop.example\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\n\
          TE: trailers, gzip\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\n\
          Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let (head, body) = body.split_once("\n\n").expect("a mirrored head");
    let mut lines: Vec<&str> = head.lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "POST /a?b=c",
            "host: shop.example",
            "te: trailers",
            "transfer-encoding: chunked",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: shop.example",
            "x-forwarded-proto: http",
            "x-real-ip: 127.0.0.1",
            "x-request-id: mine",
        ]
    );
    assert_eq!(body, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_choose_by_path_and_strip_prefixes() {
    let (web, _) = named_upstream("web").await;
    let fixed = Target::Fixed(Fixed {
        status: 503,
        content_type: "application/json".into(),
        body: "{}".into(),
        retry_after: Some(7),
    });
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    let mut table = route_table(
        address,
        vec![
            ("/", Target::Pool("api".into()), false),
            ("/health", fixed, false),
            ("/api", Target::Pool("mirror".into()), true),
        ],
        ready(&[web]),
    );
    let mirror = ready(&[mirror().await]);
    table.pools.insert("mirror".into(), mainstay_edge::control::Pool { service: "mirror".into(), upstreams: mirror });
    edge.apply(table).await;
    assert_eq!(get(address, "/x").await.body, "web");
    let health = get(address, "/health").await;
    assert_eq!((health.status, health.header("retry-after"), health.body.as_str()), (503, "7", "{}"));
    let api = get(address, "/api/v1?q=1").await.body;
    assert!(api.starts_with("GET /v1?q=1\n") && api.contains("x-forwarded-prefix: /api\n"), "{api}");
    assert!(get(address, "/api").await.body.starts_with("GET /\n"));
    assert!(get(address, "/%61pi/v1").await.body.starts_with("GET /v1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_with_prior_knowledge_is_served() {
    let (_edge, address) = Edge::pool(Protocol::Auto, &[mirror().await]).await;
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    let request = Request::post("http://shop.example/h2").body(Full::new(Bytes::from("body"))).expect("a request");
    let response = sender.send_request(request).await.expect("a response");
    assert_eq!(response.version(), http::Version::HTTP_2);
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let body = String::from_utf8_lossy(&body);
    assert!(
        body.starts_with("POST /h2\n") && body.contains("host: shop.example\n") && body.ends_with("\n\nbody"),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_and_the_absolute_form_work() {
    let (_edge, address) = Edge::pool(Protocol::Auto, &[mirror().await]).await;
    let old = raw(address, b"GET /old HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200") && old.contains("GET /old\n"), "{old}");
    // The upstream is spoken to in HTTP/1.1, which needs a host.
    assert!(old.contains(&format!("host: {address}\n")), "{old}");
    let absolute =
        raw(address, b"GET http://other.example/abs HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").await;
    assert!(absolute.contains("GET /abs\n") && absolute.contains("host: other.example\n"), "{absolute}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_tell_the_request_id_in_the_form_the_client_takes() {
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    edge.apply(route_table(address, vec![("/api", Target::Pool("api".into()), false)], vec![])).await;
    let answer = get(address, "/").await;
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((answer.status, body["requestId"].as_str()), (404, Some(answer.header("x-request-id"))));
    let mut browser = request("GET", "/", "");
    browser.headers_mut().insert("accept", "text/html,*/*".parse().expect("a value"));
    assert_eq!(send(address, browser).await.header("content-type"), "text/plain; charset=utf-8");
    let none = raw(address, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(none.starts_with("HTTP/1.1 400"), "{none}");
    let two = raw(address, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n").await;
    assert!(two.starts_with("HTTP/1.1 400"), "{two}");
    for host in ["a/b", "a b", "", "u@a", "[::1"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let odd = raw(address, request.as_bytes()).await;
        assert!(odd.starts_with("HTTP/1.1 400"), "{host}: {odd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_proxy_may_say_does_not_come_from_clients() {
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    let upstreams = ready(&[mirror().await]);
    edge.apply(route_table(address, vec![("/api", Target::Pool("api".into()), true)], upstreams)).await;
    let mut given = request("GET", "/api/x", "");
    for (name, value) in [
        ("x-forwarded-prefix", "/evil"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded-port", "1"),
        ("connection", "upgrade, http2-settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
    ] {
        given.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let answer = send(address, given).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("x-forwarded-prefix: /api\n"), "{}", answer.body);
    for gone in ["evil", "6.6.6.6", "x-forwarded-port", "upgrade", "http2-settings"] {
        assert!(!answer.body.contains(gone), "{gone} in {}", answer.body);
    }
    assert_eq!(answer.header("x-request-id").len(), 32, "every answer tells its id");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_ready_is_503_and_nobody_there_is_502() {
    let mut edge = Edge::start_with(|options| options.ready_wait = std::time::Duration::from_millis(150)).await;
    let address = edge.listen().await;
    edge.apply(crate::rig::pool_table(address, Protocol::Http, vec![])).await;
    let answer = get(address, "/").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "2"));
    edge.apply(crate::rig::pool_table(address, Protocol::Http, ready(&[dead_port()]))).await;
    assert_eq!(send(address, request("POST", "/", "x")).await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_keeps_the_length_and_has_no_body() {
    let (upstream, _) = named_upstream("hello").await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[upstream]).await;
    let mut client = Http::connect(address).await;
    let answer = client.send(request("HEAD", "/", "")).await;
    assert_eq!((answer.header("content-length"), answer.body.as_str()), ("5", ""));
    assert_eq!(client.send(request("GET", "/", "")).await.body, "hello");
}
