//! Clients that mean no good.

use std::time::{Duration, Instant};

use mainstay_edge::control::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{DEADLINE, Edge, get, mirror, named_upstream, pool_table, raw, ready};

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_cut_off() {
    let mut edge = Edge::start_with(|options| options.header_timeout = Duration::from_millis(300)).await;
    let address = edge.listen().await;
    let (upstream, _) = named_upstream("up").await;
    edge.apply(pool_table(address, Protocol::Http, ready(&[upstream]))).await;
    for start in ["", "P", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(start.as_bytes()).await.expect("written");
        let began = Instant::now();
        let dripping = async {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if !start.is_empty() && start != "P" && stream.write_all(b"X: y\r\n").await.is_err() {
                    return;
                }
                let mut piece = [0u8; 256];
                let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut piece)).await;
                if matches!(read, Ok(Ok(0) | Err(_))) {
                    return;
                }
            }
        };
        tokio::time::timeout(DEADLINE, dripping).await.expect("cut off");
        assert!(began.elapsed() < Duration::from_secs(3), "{start:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let (_edge, address) = Edge::pool(Protocol::Auto, &[mirror().await]).await;
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(50 << 10));
    assert!(raw(address, fits.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70 << 10));
    let answer = raw(address, large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    let many: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
    let many = raw(address, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes()).await;
    assert!(many.starts_with("HTTP/1.1 431") || many.is_empty(), "{many}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_allowed_wait_their_turn() {
    let mut edge = Edge::start_with(|options| {
        options.workers = Some(1.try_into().expect("one"));
        options.max_connections = 4;
    })
    .await;
    let address = edge.listen().await;
    let (upstream, _) = named_upstream("up").await;
    edge.apply(pool_table(address, Protocol::Http, ready(&[upstream]))).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpStream::connect(address).await.expect("connected"));
    }
    crate::rig::until("the worker is full", || async {
        edge.client.stats().await.expect("stats").totals.connections_open == 4
    })
    .await;
    let waiting = tokio::spawn(async move { get(address, "/").await });
    assert_eq!(edge.client.stats().await.expect("stats").totals.connections_open, 4);
    held.pop();
    assert_eq!(waiting.await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cannot_be_smuggled_in_a_body() {
    let (_edge, address) = Edge::pool(Protocol::Auto, &[mirror().await]).await;
    for request in [
        // Both lengths: the chunked one counts, and only it goes on.
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\nConnection: close\r\n\r\nhello",
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\nConnection: close\r\n\r\n0\r\n\r\n",
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\nConnection: close\r\n\r\nhello",
        "GET /1 HTTP/1.1\r\nHost: a\r\n folded\r\nConnection: close\r\n\r\n",
    ] {
        let answer = raw(address, request.as_bytes()).await;
        assert!(!answer.contains("content-length: 40"), "{answer}");
        let answers = answer.matches("HTTP/1.1 200").count();
        let expected = if request.contains("/2") { 2 } else { 0 };
        assert!(answers <= expected, "{request:?} got {answer}");
    }
}
