//! Clients that mean no good.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay_edge::Options;
use mainstay_edge::control::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{DEADLINE, Edge, Http, get, mirror, named_upstream, pool_table, raw, ready, request, until, within};

/// An edge of one worker, with a pool of one upstream.
async fn small(protocol: Protocol, change: impl FnOnce(&mut Options)) -> (Edge, SocketAddr) {
    let mut edge = Edge::start_with(|options| {
        options.workers = Some(1.try_into().expect("one"));
        change(options);
    })
    .await;
    let address = edge.listen().await;
    let (upstream, _) = named_upstream("up").await;
    edge.apply(pool_table(address, protocol, ready(&[upstream]))).await;
    (edge, address)
}

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
    let (edge, address) = small(Protocol::Http, |options| options.max_connections = 4).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut begun = TcpStream::connect(address).await.expect("connected");
        // Whoever has begun to speak makes no room.
        begun.write_all(b"GET / HTTP/1.1\r\n").await.expect("written");
        held.push(begun);
    }
    until("the worker is full", || async { edge.client.stats().await.expect("stats").totals.connections_open == 4 })
        .await;
    // The kernel has taken the fifth one, with its request.
    let mut fifth = TcpStream::connect(address).await.expect("connected");
    fifth.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("written");
    let answered = tokio::time::timeout(Duration::from_millis(300), fifth.readable()).await;
    assert!(answered.is_err(), "it waits: {answered:?}");
    held.pop();
    let mut answer = String::new();
    within(fifth.read_to_string(&mut answer)).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_was_idle_longest_makes_room() {
    let (_edge, address) = small(Protocol::Http, |options| options.max_connections = 2).await;
    let (mut first, mut second) = (Http::connect(address).await, Http::connect(address).await);
    first.send(request("GET", "/", "")).await;
    second.send(request("GET", "/", "")).await;
    assert_eq!(get(address, "/").await.status, 200, "a third one is served");
    assert!(first.try_send(request("GET", "/", "")).await.is_err(), "closed");
    assert_eq!(second.send(request("GET", "/", "")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_make_room() {
    for protocol in [Protocol::Http, Protocol::Auto] {
        let (_edge, address) = small(protocol, |options| options.max_connections = 2).await;
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(TcpStream::connect(address).await.expect("connected"));
        }
        assert_eq!(get(address, "/").await.status, 200, "whoever speaks is served");
        let first = within(silent[0].read(&mut [0])).await;
        assert!(matches!(first, Ok(0) | Err(_)), "the one that was silent longest was closed: {first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_client_makes_room() {
    let (_edge, address) = small(Protocol::Http, |options| options.max_connections = 1).await;
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut idle, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let mut asked = request("GET", "/", "");
    *asked.uri_mut() = "http://shop.example/".parse().expect("an address");
    assert_eq!(idle.send_request(asked).await.expect("an answer").status(), 200);
    assert_eq!(get(address, "/").await.status, 200);
    within(connection).await.expect("joined").expect("it was told to go");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_hold_a_limited_number_of_server_connections() {
    let (edge, address) = small(Protocol::Auto, |options| options.max_silent = 2).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(address).await.expect("connected"));
    }
    until("the server is asked for two", || async { edge.client.stats().await.expect("stats").upstreams[0].tcp == 2 })
        .await;
    let mut last = silent.pop().expect("the last one");
    last.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    within(last.read_to_string(&mut answer)).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(edge.client.stats().await.expect("stats").upstreams[0].tcp, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_is_cut_off() {
    let mut edge = Edge::start_with(|options| options.body_stall = Duration::from_millis(200)).await;
    let address = edge.listen().await;
    edge.apply(pool_table(address, Protocol::Http, ready(&[mirror().await]))).await;
    for method in ["POST", "PUT"] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.expect("read");
        assert!(answer.starts_with("HTTP/1.1 408"), "{method}: {answer}");
    }
    let stats = edge.client.stats().await.expect("stats");
    assert_eq!((stats.upstreams[0].failures, stats.services.iter().map(|row| row.failures).sum::<u64>()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_line_in_pieces_is_not_carried_past_the_edge() {
    let (_edge, address) = Edge::pool(Protocol::Auto, &[mirror().await]).await;
    for pieces in [
        ["G", "ET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"],
        ["\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"],
        ["GET  ", "/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"],
    ] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(pieces[0].as_bytes()).await.expect("written");
        // Longer than the sniffing's pause.
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.write_all(pieces[1].as_bytes()).await.expect("written");
        let mut answer = String::new();
        let _ = within(stream.read_to_string(&mut answer)).await;
        let is_good = answer.contains("x-forwarded-for: 127.0.0.1\n") || answer.starts_with("HTTP/1.1 400");
        assert!(is_good && !answer.contains("6.6.6.6"), "{pieces:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_before_it_is_a_request_is_counted_and_logged() {
    let (edge, address) = Edge::pool(Protocol::Auto, &[mirror().await]).await;
    let log = tempfile::NamedTempFile::new().expect("a file");
    edge.client.set_access_log(log.as_file()).await.expect("taken");
    assert!(raw(address, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    until("it is counted", || async { edge.client.stats().await.expect("stats").totals.requests_refused == 1 }).await;
    until("it is logged", || async { std::fs::read_to_string(log.path()).expect("a log").contains("\"status\":400") })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cannot_be_smuggled_in_a_body() {
    let (upstream, count) = named_upstream("up").await;
    let (_edge, address) = Edge::pool(Protocol::Auto, &[upstream]).await;
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
        // After such a request the connection is closed: what follows may be part of its body.
        let expected = if request.contains("/2") { 1 } else { 0 };
        let arrived = count.swap(0, std::sync::atomic::Ordering::SeqCst);
        assert_eq!((answers, arrived), (expected, expected), "{request:?} got {answer}");
    }
    let coded = raw(
        address,
        b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    )
    .await;
    assert!(coded.starts_with("HTTP/1.1 501"), "{coded}");
}
