//! Taking upstreams out of rotation without losing anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use mainstay_edge::control::{ClientError, Protocol, Readiness, Refusal, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{
    Edge, Http, http_upstream, named_upstream, pool_table, ready, request, send, tcp_upstream, until, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_are_swapped_under_load_without_a_lost_request() {
    let slow = || {
        http_upstream(|_| async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Response::new("ok".into())
        })
    };
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    let mut current = slow().await.0;
    let upstream = |number: usize, address, state| Upstream { id: format!("u{number}"), address, state };
    edge.apply(pool_table(address, Protocol::Auto, vec![upstream(0, current, Readiness::Ready)])).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (good, bad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (stop, good, bad) = (stop.clone(), good.clone(), bad.clone());
            tokio::spawn(async move {
                let mut client = Http::connect(address).await;
                while !stop.load(Ordering::SeqCst) {
                    let method = if number % 2 == 0 { "GET" } else { "POST" };
                    match client.try_send(request(method, "/", "x")).await {
                        Ok(answer) if answer.status == 200 => good.fetch_add(1, Ordering::SeqCst),
                        _ => bad.fetch_add(1, Ordering::SeqCst),
                    };
                }
            })
        })
        .collect();
    for number in 1..=10 {
        let next = slow().await.0;
        let before = good.load(Ordering::SeqCst);
        edge.apply(pool_table(
            address,
            Protocol::Auto,
            vec![upstream(number - 1, current, Readiness::Draining), upstream(number, next, Readiness::Ready)],
        ))
        .await;
        let report =
            edge.client.drain(vec![format!("u{}", number - 1)], Duration::from_secs(5)).await.expect("drained");
        assert_eq!(report.upstreams[0].requests_left, 0);
        until("traffic goes on", || async { good.load(Ordering::SeqCst) > before + 40 }).await;
        current = next;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("a client");
    }
    assert_eq!(bad.load(Ordering::SeqCst), 0, "of {}", good.load(Ordering::SeqCst));
    assert!(good.load(Ordering::SeqCst) >= 400);
    let stats = edge.client.stats().await.expect("stats");
    assert_eq!(stats.services.iter().map(|service| service.failures).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_what_is_in_flight_and_closes_what_is_idle() {
    let release = Arc::new(tokio::sync::Notify::new());
    let gate = release.clone();
    let (slow, count) = http_upstream(move |request: http::Request<_>| {
        let gate = gate.clone();
        async move {
            if request.uri().path() == "/slow" {
                gate.notified().await;
            }
            Response::new("done".into())
        }
    })
    .await;
    let (other, _) = named_upstream("other").await;
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    edge.apply(pool_table(address, Protocol::Auto, ready(&[slow]))).await;
    let mut kept = Http::connect(address).await;
    kept.send(request("GET", "/", "")).await;
    let under_way = tokio::spawn(async move { send(address, request("GET", "/slow", "")).await });
    until("the request arrived", || async { count.load(Ordering::SeqCst) == 2 }).await;
    let mut upstreams = ready(&[slow, other]);
    upstreams[0].state = Readiness::Draining;
    edge.apply(pool_table(address, Protocol::Auto, upstreams)).await;
    let stats = edge.client.stats().await.expect("stats");
    assert_eq!((stats.upstreams[0].idle, stats.upstreams[0].in_flight), (0, 1));
    let early = edge.client.drain(vec!["u0".into()], Duration::from_millis(50)).await.expect("a report");
    assert_eq!((early.upstreams[0].waited_for, early.upstreams[0].requests_left), (1, 1));
    assert_eq!(kept.send(request("GET", "/", "")).await.body, "other", "the client's connection stayed open");
    let client = edge.client.clone();
    let drain = tokio::spawn(async move { client.drain(vec!["u0".into()], Duration::from_secs(10)).await });
    release.notify_one();
    assert_eq!(under_way.await.expect("an answer").body, "done");
    assert_eq!(drain.await.expect("joined").expect("a report").upstreams[0].requests_left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_is_cut_only_when_the_grace_is_over() {
    let echo = tcp_upstream(|stream, _| async move {
        let (mut read, mut write) = stream.into_split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    edge.apply(pool_table(address, Protocol::Tcp, ready(&[echo]))).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let mut piece = [0u8; 2];
    stream.write_all(b"hi").await.expect("written");
    within(stream.read_exact(&mut piece)).await.expect("read");
    let mut upstreams = ready(&[echo]);
    upstreams[0].state = Readiness::Draining;
    edge.apply(pool_table(address, Protocol::Tcp, upstreams)).await;
    let client = edge.client.clone();
    let drain = tokio::spawn(async move { client.drain(vec!["u0".into()], Duration::from_secs(3)).await });
    stream.write_all(b"yo").await.expect("written");
    within(stream.read_exact(&mut piece)).await.expect("it goes on during the grace");
    let report = drain.await.expect("joined").expect("a report");
    assert_eq!((report.upstreams[0].cut.tcp, report.upstreams[0].requests_left), (1, 0));
    assert_eq!(within(stream.read(&mut piece)).await.unwrap_or(0), 0, "cut");
    until("the cut is counted", || async { edge.client.stats().await.expect("stats").totals.tcp_cut == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_of_what_still_takes_requests_is_refused() {
    let (upstream, _) = named_upstream("up").await;
    let (edge, _) = Edge::pool(Protocol::Http, &[upstream]).await;
    match edge.client.drain(vec!["u0".into()], Duration::ZERO).await {
        Err(ClientError::Refused(Refusal::StillInRotation { upstream })) => assert_eq!(upstream, "u0"),
        other => panic!("{other:?}"),
    }
    let unknown = edge.client.drain(vec!["gone".into()], Duration::from_secs(5)).await.expect("nothing to wait for");
    assert_eq!((unknown.upstreams[0].id.as_str(), unknown.upstreams[0].waited_for), ("gone", 0));
}
