//! Bodies that are large, slow or chunked.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as _, Bytes, Frame};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mainstay_edge::control::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Edge, mirror, raw, tcp_upstream, within};

const LARGE: usize = 100 << 20;

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel's words");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_streamed_both_ways_without_being_held() {
    let echo = tcp_upstream(|stream, _| async move {
        let service = service_fn(|request: Request<hyper::body::Incoming>| async {
            Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    })
    .await;
    let (_edge, address) = Edge::pool(Protocol::Auto, &[echo]).await;
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    let pieces = futures_util::stream::iter(
        std::iter::repeat_n(piece, LARGE / (64 << 10))
            .map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))),
    );
    let request = Request::post("/").header("host", "a").body(StreamBody::new(pieces)).expect("a request");
    let mut body = sender.send_request(request).await.expect("a response").into_body();
    // Buffers grow to their size first; all four parties live in this process.
    let (mut received, mut before, mut most) = (0, 0, 0);
    while let Some(frame) = body.frame().await {
        received += frame.expect("a frame").data_ref().map_or(0, Bytes::len);
        if received < LARGE / 4 {
            before = resident();
        }
        most = most.max(resident());
    }
    assert_eq!(received, LARGE);
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 16, "{grown} MiB more for the last 75 MiB of a body");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_travel_in_both_directions() {
    let upstream = tcp_upstream(|stream, _| async move {
        let service = service_fn(|request: Request<hyper::body::Incoming>| async {
            let trailers = request.into_body().collect().await.expect("a body").trailers().cloned();
            let sum = trailers.and_then(|trailers| trailers.get("x-sum").cloned()).expect("trailers");
            let frames = [
                Frame::data(Bytes::from("ab")),
                Frame::trailers(HeaderMap::from_iter([(http::HeaderName::from_static("x-back"), sum)])),
            ];
            let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, std::convert::Infallible>)));
            let mut response = Response::new(body);
            response.headers_mut().insert("trailer", HeaderValue::from_static("x-back"));
            Ok::<_, std::convert::Infallible>(response)
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    })
    .await;
    let (_edge, address) = Edge::pool(Protocol::Auto, &[upstream]).await;
    let answer = raw(
        address,
        b"PUT / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-sum\r\nConnection: close\r\n\
          Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("2\r\nab\r\n0\r\nx-back: 42\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_to_be_asked_is_asked() {
    let (_edge, address) = Edge::pool(Protocol::Auto, &[mirror().await]).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
    stream.write_all(head).await.expect("written");
    let mut asked = [0u8; 25];
    let reading = stream.read_exact(&mut asked);
    tokio::time::timeout(Duration::from_secs(5), reading).await.expect("in time").expect("asked");
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("written");
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\n\nhello"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_arrives_piece_by_piece() {
    let upstream = tcp_upstream(|mut stream, _| async move {
        let mut piece = [0u8; 4096];
        let _ = stream.read(&mut piece).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head).await;
        let _ = stream.write_all(b"9\r\ndata: 1\n\n\r\n").await;
        // Never ends by itself: what was sent has to arrive nevertheless.
        let _ = stream.read(&mut piece).await;
    })
    .await;
    let (edge, address) = Edge::pool(Protocol::Auto, &[upstream]).await;
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "a").body(http_body_util::Empty::<Bytes>::new()).expect("a request");
    let mut body = sender.send_request(request).await.expect("a response").into_body();
    let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.expect("in time");
    assert_eq!(frame.expect("a frame").expect("good").into_data().expect("data"), "data: 1\n\n");
    assert!(!body.is_end_stream());
    // A client that leaves ends the upstream's request too.
    drop(body);
    drop(sender);
    crate::rig::until("the upstream is free", || async {
        edge.client.stats().await.expect("stats").upstreams[0].in_flight == 0
    })
    .await;
}
