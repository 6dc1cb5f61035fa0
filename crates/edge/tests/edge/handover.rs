//! Sockets that outlive an edge.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mainstay_edge::control::Protocol;

use crate::rig::{Edge, Http, get, named_upstream, pool_table, ready, request, send, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_edge_takes_the_sockets_over_without_a_lost_request() {
    let (upstream, _) = named_upstream("up").await;
    let (first, address) = Edge::pool(Protocol::Auto, &[upstream]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (good, bad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (stop, good, bad) = (stop.clone(), good.clone(), bad.clone());
            tokio::spawn(async move {
                let mut kept = Http::connect(address).await;
                while !stop.load(Ordering::SeqCst) {
                    // Half of the clients keep their connection as long as they may, the others open one per request.
                    let answer = if number % 2 == 0 {
                        let answer = kept.send(request("GET", "/", "")).await;
                        if answer.header("connection") == "close" {
                            kept = Http::connect(address).await;
                        }
                        answer
                    } else {
                        send(address, request("GET", "/", "")).await
                    };
                    let counter = if answer.status == 200 { &good } else { &bad };
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    until("traffic flows", || async { good.load(Ordering::SeqCst) > 50 }).await;
    let mut second = Edge::start().await;
    let sockets = first.client.listeners().await.expect("sockets");
    let borrowed: Vec<_> = sockets.iter().map(|(id, fd)| (id.clone(), fd.as_fd())).collect();
    second.client.add_listeners(&borrowed).await.expect("taken");
    second.apply(pool_table(address, Protocol::Auto, ready(&[upstream]))).await;
    first.stop(Duration::from_secs(10)).await.expect("a clean end");
    let before = good.load(Ordering::SeqCst);
    until("traffic goes on", || async { good.load(Ordering::SeqCst) > before + 50 }).await;
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no client met an error");
    }
    assert_eq!(bad.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_wait_in_the_queue_while_nobody_serves() {
    let (upstream, _) = named_upstream("up").await;
    let (first, address) = Edge::pool(Protocol::Auto, &[upstream]).await;
    // As a daemon keeps them.
    let sockets = first.client.listeners().await.expect("sockets");
    first.stop(Duration::ZERO).await.expect("a clean end");
    let waiting: Vec<_> = (0..50).map(|_| tokio::spawn(async move { get(address, "/").await })).collect();
    let mut second = Edge::start().await;
    let borrowed: Vec<_> = sockets.iter().map(|(id, fd)| (id.clone(), fd.as_fd())).collect();
    second.client.add_listeners(&borrowed).await.expect("taken");
    second.apply(pool_table(address, Protocol::Auto, ready(&[upstream]))).await;
    for answer in waiting {
        assert_eq!(answer.await.expect("an answer").status, 200);
    }
}
