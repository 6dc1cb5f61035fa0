//! Connections that leave HTTP: WebSockets and whatever else is offered by `Upgrade`.
//!
//! Owns the handshake's last step on both sides. From then on the bytes are a `tunnel`'s business.

use bytes::Bytes;
use http::{HeaderValue, Response, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::ClientContext;
use super::body::Body;
use super::connect::Carrier;
use super::headers;
use super::respond::Problem;
use crate::exchange::Exchange;
use crate::io::ClientStream;
use crate::tasks::Task;
use crate::tunnel::{self, End};
use crate::upstream::Flight;
use crate::worker::Open;

/// A client that offered to leave HTTP.
pub(crate) struct Upgrade {
    pub client: OnUpgrade,
}

/// Passes the upstream's acceptance on and lets a task carry the bytes once both sides have switched.
pub(crate) fn switch(
    client: &ClientContext,
    upgrade: Upgrade,
    response: Response<Incoming>,
    carrier: Carrier,
    upstream: oneshot::Receiver<(TcpStream, Bytes)>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Problem> {
    let (mut head, _) = response.into_parts();
    let removed = headers::remove_hop_by_hop(&mut head.headers);
    let Some(protocol) = removed.upgrade else { return Err(Problem::Garbled) };
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(header::UPGRADE, protocol);
    head.version = Version::HTTP_11;
    let Carrier { lease, worker } = carrier;
    let flight = lease.upstream.begin(Flight::WebSocket);
    let cut = flight.upstream.cut_token();
    let mut record = exchange.upgraded(flight);
    // Hyper's connection ends with the switch; the client's goes on.
    let open = Open::still(client);
    let tasks = worker.tasks.clone();
    tasks.spawn(Task::Tunnel, async move {
        let carrying = async {
            let (client, upstream) = both_sides(upgrade, upstream).await?;
            // The handle on the connection is of no more use; hyper let go of it.
            drop(lease);
            Some(tunnel::carry(client, upstream, &cut).await)
        };
        let carried = tokio::select! {
            carried = carrying => carried,
            () = worker.killed.cancelled() => None,
        };
        if let Some(carried) = carried {
            if carried.end == End::Cut {
                worker.totals.websockets_cut.increase();
            }
            record.carried(carried.from_client, carried.from_upstream);
        }
        drop(open);
    });
    Ok(Response::from_parts(head, Body::empty()))
}

type Side = (TcpStream, Bytes);

/// The streams of both sides and what was read of them already; `None` when one of them left during the switch.
async fn both_sides(upgrade: Upgrade, upstream: oneshot::Receiver<Side>) -> Option<(Side, Side)> {
    let client = upgrade.client.await.ok()?.downcast::<TokioIo<ClientStream>>().ok()?;
    let (ahead, stream) = client.io.into_inner().into_parts();
    Some(((stream, join(client.read_buf, ahead)), upstream.await.ok()?))
}

fn join(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (_, true) => first,
        (true, _) => second,
        _ => [first, second].concat().into(),
    }
}
