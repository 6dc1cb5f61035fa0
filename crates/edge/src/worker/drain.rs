//! Waiting until upstreams are quiet.
//!
//! Owns the end of the grace: WebSockets and TCP are cut, HTTP requests are left alone and reported.

use std::rc::Rc;
use std::time::Duration;

use super::Worker;
use crate::control::{Cut, UpstreamDrain};
use crate::upstream::{Flight, Upstream};

/// Waits for each upstream, at most `grace` for all.
pub(crate) async fn drain(worker: &Worker, ids: &[String], grace: Duration) -> Vec<UpstreamDrain> {
    let deadline = tokio::time::Instant::now() + grace;
    let all: Vec<Vec<Rc<Upstream>>> = {
        let registry = worker.registry.borrow();
        ids.iter().map(|id| registry.of(id)).collect()
    };
    let began: Vec<u64> = all.iter().map(|addresses| addresses.iter().map(|one| one.all_in_flight()).sum()).collect();
    for upstream in all.iter().flatten() {
        // Who is quiet is passed at once, so the deadline holds for all together.
        let _ = tokio::time::timeout_at(deadline, quiet(upstream)).await;
    }
    ids.iter().zip(&all).zip(began).map(|((id, addresses), began)| report(id, addresses, began)).collect()
}

async fn quiet(upstream: &Upstream) {
    loop {
        let quiet = upstream.quiet.notified();
        if upstream.all_in_flight() == 0 {
            return;
        }
        quiet.await;
    }
}

fn report(id: &str, addresses: &[Rc<Upstream>], waited_for: u64) -> UpstreamDrain {
    let mut row = UpstreamDrain { id: id.to_owned(), waited_for, requests_left: 0, cut: Cut::default() };
    for upstream in addresses {
        row.requests_left += upstream.in_flight(Flight::Request);
        row.cut.websockets += upstream.in_flight(Flight::WebSocket);
        row.cut.tcp += upstream.in_flight(Flight::Tcp);
        // One that came back into rotation meanwhile is in use again.
        if !upstream.is_ready() {
            upstream.cut_token().cancel();
        }
    }
    row
}
