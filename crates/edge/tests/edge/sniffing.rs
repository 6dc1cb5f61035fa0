//! What a published port makes of the first bytes.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_edge::control::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{DEADLINE, Edge, dead_port, pool_table, raw, ready, tcp_upstream, until, within};

/// Greets first, then answers each line by repeating it.
async fn greeter() -> SocketAddr {
    tcp_upstream(|mut stream, _| async move {
        let _ = stream.write_all(b"220 ready\r\n").await;
        echo(stream).await;
    })
    .await
}

async fn echo(stream: TcpStream) {
    let (mut read, mut write) = stream.into_split();
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

async fn echoer() -> SocketAddr {
    tcp_upstream(|stream, _| echo(stream)).await
}

/// Sends the pieces with pauses longer than the sniffing's between them, closes, and returns all that came.
async fn check(address: SocketAddr, pieces: &[&[u8]], want: &str) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        for (number, piece) in pieces.iter().enumerate() {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            stream.write_all(piece).await.expect("written");
        }
        stream.shutdown().await.expect("half closed");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        assert_eq!(answer, want, "{pieces:?}");
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_speaks_first_is_carried_as_bytes() {
    let (edge, address) = Edge::pool(Protocol::Auto, &[echoer().await]).await;
    for sent in ["*1\r\n$4\r\nPING\r\n", "GET key\r\n", "\x16\x03\x01 hello", "CONNECT {}\r\n", "x"] {
        check(address, &[sent.as_bytes()], sent).await;
    }
    let stats = edge.client.stats().await.expect("stats");
    assert_eq!((stats.listeners[0].tcp, stats.listeners[0].http1), (5, 0));
    assert_eq!(stats.services.iter().map(|service| service.tcp).sum::<u64>(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_first_is_heard() {
    let (_edge, address) = Edge::pool(Protocol::Auto, &[greeter().await]).await;
    check(address, &[b"", b"QUIT\r\n"], "220 ready\r\nQUIT\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hesitates_is_judged_again() {
    let (edge, address) = Edge::pool(Protocol::Auto, &[echoer().await]).await;
    check(address, &[b"", b"late bytes"], "late bytes").await;
    let (edge2, http) = Edge::pool(Protocol::Auto, &[crate::rig::named_upstream("web").await.0]).await;
    let mut stream = TcpStream::connect(http).await.expect("connected");
    until("an upstream is asked", || async { edge2.client.stats().await.expect("stats").upstreams[0].tcp == 1 }).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("web"), "{answer}");
    let stats = edge2.client.stats().await.expect("stats");
    assert_eq!((stats.listeners[0].http1, stats.listeners[0].tcp, stats.upstreams[0].tcp), (1, 0, 0));
    drop(edge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_line_is_still_http() {
    let (_edge, address) = Edge::pool(Protocol::Auto, &[crate::rig::mirror().await]).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    for piece in ["GET /slow", "er HTTP/1.1\r\nHo", "st: a\r\nConnection: close\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).await.expect("written");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("read");
    assert!(answer.contains("GET /slower\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_connection_that_is_refused_goes_to_the_next() {
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    let upstreams = ready(&[dead_port(), echoer().await, dead_port()]);
    edge.apply(pool_table(address, Protocol::Tcp, upstreams)).await;
    for _ in 0..6 {
        check(address, &[b"GET / HTTP/1.1\r\n\r\n"], "GET / HTTP/1.1\r\n\r\n").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_connection_still_gets_its_answer() {
    let counter = tcp_upstream(|mut stream, _| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("read to the half close");
        stream.write_all(all.len().to_string().as_bytes()).await.expect("written");
    })
    .await;
    let (_edge, address) = Edge::pool(Protocol::Auto, &[counter]).await;
    let large = vec![7u8; 3 << 20];
    check(address, &[&large], "3145728").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_where_only_http_is_spoken() {
    let (_edge, address) = Edge::pool(Protocol::Http, &[echoer().await]).await;
    let answer = raw(address, b"\x16\x03\x01\x02\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
}
