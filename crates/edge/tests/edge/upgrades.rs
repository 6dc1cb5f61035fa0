//! WebSockets and other upgrades.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_edge::control::{Protocol, Readiness};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Edge, pool_table, ready, tcp_upstream, until, within};

/// Accepts an upgrade and greets in the same breath, then echoes; refuses everything else.
async fn socket_upstream() -> SocketAddr {
    tcp_upstream(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        if !head.contains("upgrade: websocket") || !head.contains("connection: upgrade") {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            return;
        }
        let accepted = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: x\r\n\r\nhello ";
        let _ = stream.write_all(accepted).await;
        let (mut read, mut write) = stream.into_split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match within(stream.read_u8()).await {
            Ok(byte) => seen.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(seen).expect("ASCII").to_ascii_lowercase()
}

async fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // The first message travels with the handshake, as some clients do.
    let handshake = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Key: x\r\n\r\nearly ";
    stream.write_all(handshake).await.expect("written");
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    assert!(head.contains("sec-websocket-accept: x"), "{head}");
    expect(&mut stream, "hello early ").await;
    stream
}

async fn expect(stream: &mut TcpStream, text: &str) {
    let mut have = vec![0u8; text.len()];
    within(stream.read_exact(&mut have)).await.expect("bytes");
    assert_eq!(String::from_utf8_lossy(&have), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_lives_through_a_drain_and_is_cut_at_its_end() {
    let upstream = socket_upstream().await;
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    edge.apply(pool_table(address, Protocol::Auto, ready(&[upstream]))).await;
    let mut socket = open(address).await;
    let stats = edge.client.stats().await.expect("stats");
    assert_eq!((stats.upstreams[0].websockets, stats.upstreams[0].in_flight), (1, 0));
    let mut upstreams = ready(&[upstream]);
    upstreams[0].state = Readiness::Draining;
    edge.apply(pool_table(address, Protocol::Auto, upstreams)).await;
    let client = edge.client.clone();
    let drain = tokio::spawn(async move { client.drain(vec!["u0".into()], Duration::from_secs(3)).await });
    socket.write_all(b"still there").await.expect("written");
    expect(&mut socket, "still there").await;
    let report = drain.await.expect("joined").expect("a report");
    assert_eq!((report.upstreams[0].cut.websockets, report.upstreams[0].requests_left), (1, 0));
    assert_eq!(within(socket.read(&mut [0u8; 8])).await.unwrap_or(0), 0, "cut");
    until("the cut is counted", || async {
        let stats = edge.client.stats().await.expect("stats");
        stats.totals.websockets_cut == 1 && stats.upstreams[0].websockets == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_when_the_websocket_does() {
    let upstream = socket_upstream().await;
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    edge.apply(pool_table(address, Protocol::Auto, ready(&[upstream]))).await;
    let socket = open(address).await;
    edge.apply(pool_table(address, Protocol::Auto, vec![])).await;
    let client = edge.client.clone();
    let drain = tokio::spawn(async move { client.drain(vec!["u0".into()], Duration::from_secs(15)).await });
    drop(socket);
    let report = drain.await.expect("joined").expect("a report");
    assert_eq!(report.upstreams[0].cut.websockets, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_refused_stays_http() {
    let (upstream, _) = crate::rig::named_upstream("plain").await;
    let (_edge, address) = Edge::pool(Protocol::Auto, &[upstream]).await;
    let request = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n";
    let answer = crate::rig::raw(address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("plain"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_ends_gives_websockets_its_grace() {
    let (edge, address) = Edge::pool(Protocol::Auto, &[socket_upstream().await]).await;
    let mut socket = open(address).await;
    assert_eq!(edge.client.stats().await.expect("stats").totals.connections_open, 1);
    let end = tokio::spawn(edge.stop(Duration::from_secs(3)));
    socket.write_all(b"still there").await.expect("written");
    expect(&mut socket, "still there").await;
    end.await.expect("joined").expect("a clean end");
    assert_eq!(within(socket.read(&mut [0u8; 8])).await.unwrap_or(0), 0, "closed at last");
}
