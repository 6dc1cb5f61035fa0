//! The load against small servers whose behaviour is known.

use super::*;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Serves until the test's runtime ends; counts connections.
async fn serve(answer: fn(&Request<hyper::body::Incoming>) -> Response<Full<Bytes>>) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU64::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            let service = service_fn(move |request| {
                let answer = answer(&request);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, connections)
}

fn load(to: SocketAddr, aim: impl Fn(u64) -> Shot + Send + 'static) -> Load {
    let patience = Duration::from_millis(500);
    Load { to, host: "shop.localhost".into(), per_second: 400.0, fresh_every: 0, patience, aim: Box::new(aim) }
}

/// Waits until `n` requests have been answered or failed, then stops.
async fn after(running: Running, n: u64) -> Report {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let so_far = running.so_far();
        if so_far.idempotent().sent + so_far.others().sent >= n {
            break;
        }
        assert!(Instant::now() < deadline, "{n} requests take too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::task::spawn_blocking(|| running.stop().unwrap()).await.unwrap()
}

// Two threads: `begin_apart` blocks one, as its callers may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_counted_by_kind_phase_and_label_on_kept_connections() {
    let (to, connections) = serve(|request| {
        assert_eq!(request.headers()["host"], "shop.localhost");
        Response::new(Full::new(Bytes::from_static(b"v1")))
    })
    .await;
    let shot = |n: u64| match n % 2 {
        0 => Shot { label: Some(|body| String::from_utf8(body.to_vec()).ok()), ..Shot::get("/") },
        _ => Shot::with_json(Method::POST, "/", "{}"),
    };
    let running = load(to, shot).start("first").unwrap();
    while running.so_far().idempotent().sent < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.begin_apart("second", Duration::from_secs(5)).unwrap();
    assert!(running.so_far().phases[0].is_settled());
    let report = after(running, 100).await;
    let names: Vec<&str> = report.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!((report.idempotent().failed, report.others().failed), (0, 0), "{report:?}");
    assert!(report.idempotent().sent.abs_diff(report.others().sent) <= 1);
    assert_eq!(report.total().labels["v1"], report.idempotent().sent);
    assert!(report.phases.iter().all(|phase| phase.quantile(0.5).is_some()));
    let sent = report.idempotent().sent + report.others().sent;
    assert!(connections.load(Ordering::Relaxed) < sent * 3 / 4, "connections are kept");
}

#[tokio::test]
async fn some_requests_go_out_on_connections_of_their_own() {
    let (to, connections) = serve(|_| Response::new(Full::default())).await;
    let running = Load { fresh_every: 2, ..load(to, |_| Shot::get("/")) }.start("x").unwrap();
    let sent = after(running, 40).await.idempotent().sent;
    assert!(connections.load(Ordering::Relaxed) >= sent / 2);
}

#[tokio::test]
async fn errors_of_the_server_are_failures_in_words() {
    let (to, _) = serve(|_| {
        let mut answer = Response::new(Full::new(Bytes::from_static(b"no replica is ready")));
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
    })
    .await;
    let report = after(load(to, |_| Shot::get("/a")).start("x").unwrap(), 5).await;
    assert_eq!(report.idempotent().failed, report.idempotent().sent);
    assert_eq!(report.phases[0].failures[0], "GET /a: 503 Service Unavailable no replica is ready");
    assert_eq!(report.total().quantile(0.5), None);
}

#[tokio::test]
async fn silence_and_broken_answers_are_failures() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        for n in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            if n % 2 == 0 {
                open.push(stream);
            } else {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
            }
        }
    });
    let quick = Duration::from_millis(100);
    let running = Load { patience: quick, per_second: 50.0, ..load(to, |_| Shot::get("/")) }.start("x").unwrap();
    let report = after(running, 6).await;
    let count = report.idempotent();
    assert!(count.failed > 0 && count.cut > 0, "{count:?}");
    assert_eq!(count.failed + count.cut, count.sent);
    let words = report.phases[0].failures.join("\n");
    assert!(words.contains("no answer within 100ms") && words.contains("body of an answer 200"), "{words}");
}

#[tokio::test]
async fn a_refused_connection_is_a_failure() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let report = after(load(free, |_| Shot::get("/")).start("x").unwrap(), 3).await;
    assert!(report.phases[0].failures[0].starts_with("GET /: connect"), "{report:?}");
}

#[tokio::test]
async fn a_connection_the_peer_closed_while_it_was_idle_costs_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    let running = Load { per_second: 100.0, ..load(to, |_| Shot::get("/")) }.start("x").unwrap();
    assert_eq!(after(running, 20).await.total().failures, Vec::<String>::new());
}

#[tokio::test]
async fn latency_counts_from_the_due_time_also_while_the_server_pauses() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    tokio::spawn(async move {
        // The first connections wait in the queue until the server wakes up.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service =
                service_fn(|_| async { Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default())) });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let report = after(load(to, |_| Shot::get("/")).start("x").unwrap(), 50).await;
    assert_eq!(report.idempotent().failed, 0, "{report:?}");
    assert!(report.phases[0].quantile(1.0).unwrap() >= Duration::from_millis(150), "the pause is in the figures");
}

#[tokio::test]
async fn waiting_for_a_load_that_ended_or_hangs_ends() {
    let (to, _) = serve(|_| Response::new(Full::default())).await;
    let mut running = load(to, |_| Shot::get("/")).start("x").unwrap();
    let waited = tokio::task::spawn_blocking(move || {
        running.wait_for_idempotent(3, Duration::from_secs(20)).unwrap();
        let slow = running.wait_for_idempotent(u64::MAX, Duration::ZERO).unwrap_err();
        running.stop.cancel();
        running.thread.take().unwrap().join().unwrap().unwrap();
        (slow, running.wait_for_idempotent(u64::MAX, Duration::from_secs(20)).unwrap_err())
    });
    let (slow, over) = waited.await.unwrap();
    assert!(slow.to_string().ends_with("requests were sent within 0ns"), "{slow}");
    assert!(over.to_string().starts_with("the load ended after "), "{over}");
}
