//! Raw TCP connections.
//!
//! Owns the choice of an upstream and the record of a connection; the bytes are `tunnel`'s.

use std::rc::Rc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::counters::ServiceCounters;
use crate::exchange::TcpExchange;
use crate::http::{ClientContext, open};
use crate::snapshot::{Destination, RuleTarget};
use crate::tunnel::{self, End};
use crate::upstream::{Flight, InFlight, PoolView};

/// How long to wait before upstreams that all refused are asked again.
const ROUND_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// A connection to an upstream, counted as in flight.
pub(crate) struct Connected {
    stream: TcpStream,
    flight: InFlight,
}

impl Connected {
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Told when the upstream leaves rotation.
    pub(crate) fn left_token(&self) -> CancellationToken {
        self.flight.upstream.left_token()
    }
}

/// Carries a client's connection; `ahead` was read of it already, `upstream` may be connected already.
pub(crate) async fn serve(client: &Rc<ClientContext>, stream: TcpStream, ahead: Bytes, upstream: Option<Connected>) {
    client.listener.counters.tcp.increase();
    let Some((_, service)) = pool(client) else { return };
    let mut record = TcpExchange::begin(client, service);
    let upstream = match upstream {
        Some(upstream) => Some(upstream),
        None => connect_counted(client, Some(&mut record)).await,
    };
    let Some(Connected { stream: upstream, flight }) = upstream else {
        record.broken = true;
        return;
    };
    record.carried_by(&flight.upstream.id);
    let cut = flight.upstream.cut_token();
    let carried = tunnel::carry((stream, ahead), (upstream, Bytes::new()), &cut).await;
    record.from_client = carried.from_client;
    record.from_upstream = carried.from_upstream;
    if carried.end == End::Cut {
        client.worker.totals.tcp_cut.increase();
        record.broken = true;
    }
}

/// Connects to the upstream with the fewest connections; the next one if it refuses.
pub(crate) async fn connect(client: &Rc<ClientContext>) -> Option<Connected> {
    connect_counted(client, None).await
}

async fn connect_counted(client: &Rc<ClientContext>, mut record: Option<&mut TcpExchange>) -> Option<Connected> {
    let worker = &client.worker;
    let give_up = Instant::now() + worker.options.ready_wait;
    let mut refused = Vec::new();
    loop {
        let changed = worker.table_changed();
        let (pool, _) = pool(client)?;
        let Some(upstream) = pool.pick_least(&refused) else {
            // As with requests: a sole replica that restarts is mostly back soon.
            let _place = worker.waiting_place()?;
            let pause = if pool.n_ready() == 0 { give_up } else { give_up.min(Instant::now() + ROUND_PAUSE) };
            if Instant::now() >= give_up {
                return None;
            }
            let _ = tokio::time::timeout_at(pause, changed).await;
            refused.clear();
            continue;
        };
        let flight = upstream.begin(Flight::Tcp);
        match open(worker, &upstream).await {
            Ok(stream) => return Some(Connected { stream, flight }),
            Err(_) => {
                if let Some(record) = &mut record {
                    record.retried();
                }
                refused.push(upstream);
            }
        }
    }
}

/// The pool that the listener's rule names now.
fn pool(client: &ClientContext) -> Option<(Rc<PoolView>, Rc<ServiceCounters>)> {
    let view = client.worker.view();
    let rule = client.listener.rule()?;
    let RuleTarget::One(rule) = &rule.target else { return None };
    let Destination::Pool(number) = rule.destination else { return None };
    Some((view.pool(number), view.service(rule.service)))
}
