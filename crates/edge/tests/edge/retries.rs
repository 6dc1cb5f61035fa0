//! What is tried again, and what must not be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_edge::control::{Protocol, Stats};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{
    Edge, Http, dead_port, http_upstream, mirror, named_upstream, pool_table, ready, request, send, tcp_upstream,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Reads one request's head; false when the connection ended instead.
async fn read_head(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut piece = [0u8; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => seen.extend_from_slice(&piece[..count]),
        }
    }
    true
}

/// Takes every request and dies without a word; counts them.
async fn mute() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let address = tcp_upstream(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            if read_head(&mut stream).await {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (address, count)
}

fn retries(stats: &Stats) -> u64 {
    stats.services.iter().map(|service| service.retries).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_tried_elsewhere_with_any_method() {
    let (edge, address) = Edge::pool(Protocol::Http, &[dead_port(), named_upstream("up").await.0]).await;
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        let answer = send(address, request(method, "/", "body")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "up"), "{method}");
    }
    assert!(retries(&edge.client.stats().await.expect("stats")) >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_request_survives_an_upstream_that_dies_on_it() {
    let (dying, died) = mute().await;
    let (edge, address) = Edge::pool(Protocol::Http, &[dying, mirror().await]).await;
    let mut client = Http::connect(address).await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "GET", "PUT"] {
        let answer = client.send(request(method, "/x", if method == "GET" { "" } else { "kept body" })).await;
        assert_eq!(answer.status, 200, "{method}");
        assert!(answer.body.starts_with(&format!("{method} /x\n")), "{}", answer.body);
        assert_eq!(answer.body.ends_with("kept body"), method != "GET", "{}", answer.body);
    }
    let stats = edge.client.stats().await.expect("stats");
    assert!(died.load(Ordering::SeqCst) >= 2);
    assert_eq!(retries(&stats), died.load(Ordering::SeqCst) as u64);
    assert_eq!(stats.services.iter().map(|service| service.failures).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_was_sent_is_never_sent_again() {
    let (dying, died) = mute().await;
    let (other, served) = named_upstream("other").await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[dying, other]).await;
    let mut client = Http::connect(address).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(client.send(request("POST", "/", "once")).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 3);
    assert_eq!((died.load(Ordering::SeqCst), served.load(Ordering::SeqCst)), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_sent_three_times_at_most() {
    let (dying, died) = mute().await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[dying]).await;
    let answer = send(address, request("GET", "/", "")).await;
    assert_eq!((answer.status, died.load(Ordering::SeqCst)), (502, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_not_sent_twice() {
    let (dying, died) = http_mute_after_body().await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[dying]).await;
    let large = "x".repeat(100 << 10);
    let answer = send(address, request("PUT", "/", &large)).await;
    assert_eq!((answer.status, died.load(Ordering::SeqCst)), (502, 1));
}

/// Reads 100 KiB and more of each connection, then dies.
async fn http_mute_after_body() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let address = tcp_upstream(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            let mut seen = 0;
            let mut piece = vec![0u8; 16 << 10];
            while seen < 100 << 10 {
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => seen += count,
                }
            }
            counter.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    (address, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_idle_connection_costs_no_request_of_any_method() {
    // Closes each connection right after its first answer, without having said so.
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let closing = tcp_upstream(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            counter.fetch_add(1, Ordering::SeqCst);
            // Held back, so that the close travels with the answer and not some time after it.
            let _ = rustix::net::sockopt::set_tcp_cork(&stream, true);
            if read_head(&mut stream).await {
                let _ = stream.write_all(ANSWER).await;
            }
        }
    })
    .await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[closing]).await;
    let mut client = Http::connect(address).await;
    for number in 0..60 {
        let method = ["POST", "GET", "PATCH"][number % 3];
        let answer = client.send(request(method, "/", "")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{method} {number}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 60);
}

/// Answers as long as it is asked; counts its connections.
async fn keeping(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let address = tcp_upstream(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            counter.fetch_add(1, Ordering::SeqCst);
            while read_head(&mut stream).await {
                let _ = stream.write_all(answer).await;
            }
        }
    })
    .await;
    (address, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_used_again() {
    let (upstream, connections) = keeping(ANSWER).await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[upstream]).await;
    let mut client = Http::connect(address).await;
    for _ in 0..50 {
        assert_eq!(client.send(request("GET", "/", "")).await.status, 200);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_repeated_goes_over_no_connection_that_was_idle_for_long() {
    let (upstream, connections) = keeping(ANSWER).await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[upstream]).await;
    let mut client = Http::connect(address).await;
    client.send(request("GET", "/", "")).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    client.send(request("GET", "/", "")).await;
    client.send(request("POST", "/", "")).await;
    assert_eq!(connections.load(Ordering::SeqCst), 1, "used a moment ago");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    client.send(request("POST", "/", "")).await;
    assert_eq!(connections.load(Ordering::SeqCst), 2, "a fresh one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_no_longer_than_the_upstream_says() {
    let (upstream, connections) =
        keeping(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok").await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[upstream]).await;
    let mut client = Http::connect(address).await;
    for _ in 0..3 {
        client.send(request("GET", "/", "")).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_never_followed_by_another_attempt() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let halting = tcp_upstream(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            if read_head(&mut stream).await {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await;
            }
        }
    })
    .await;
    let (_edge, address) = Edge::pool(Protocol::Http, &[halting]).await;
    assert_eq!(send(address, request("GET", "/", "")).await.status, 502);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_an_upstream_to_become_ready() {
    let (upstream, _) = http_upstream(|_| async { http::Response::new("late".into()) }).await;
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    edge.apply(pool_table(address, Protocol::Http, vec![])).await;
    let waiting = tokio::spawn(async move { send(address, request("POST", "/", "x")).await });
    crate::rig::until("the request is under way", || async {
        edge.client.stats().await.expect("stats").services.iter().any(|service| service.in_flight == 1)
    })
    .await;
    edge.apply(pool_table(address, Protocol::Http, ready(&[upstream]))).await;
    let answer = waiting.await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "late"));
}
