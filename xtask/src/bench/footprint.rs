//! What Mainstay itself costs while the shop runs and nothing happens: the daemon's memory and time, a shim's memory.

use super::Bench;
use super::row::{Goal, Row};
use crate::machine::pause;
use crate::shop::Stage;
use anyhow::Context as _;
use std::time::{Duration, Instant};

/// Long enough to see what happens once in half a minute.
const WATCHED: Duration = Duration::from_secs(60);
const KIB: f64 = 1024.0;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut stage = Stage::set(&bench.root, bench.binary()?)?;
    let rows = measure_on(&mut stage);
    stage.clear();
    rows
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a process are far below 2^52")]
fn measure_on(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    stage.run(&["up"])?;
    let (daemon, edge) = (stage.daemon()?, stage.edge()?);
    let begin = Instant::now();
    let before = daemon.cpu()? + edge.cpu()?;
    let daemon_before = daemon.cpu()?;
    pause(WATCHED)?;
    let share = |used: Duration| used.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    let daemon_share = share(daemon.cpu()?.saturating_sub(daemon_before));
    let edge_share = share((daemon.cpu()? + edge.cpu()?).saturating_sub(before)) - daemon_share;
    let mib = |bytes: u64| bytes as f64 / KIB / KIB;
    let (resident, edge_resident) = (mib(daemon.resident()?), mib(edge.resident()?));
    let mut largest = 0;
    for replica in stage.replicas()?.values() {
        largest = largest.max(replica.shim.private_dirty()?);
    }
    stage.strike().context("take the shop down")?;
    Ok(vec![
        Row::new("footprint: daemon with the shop, resident", "MiB", resident, Goal::AtMost(40.0)),
        Row::new("footprint: daemon with the shop, of a core", "%", daemon_share, Goal::AtMost(0.5)),
        Row::new("footprint: edge with the shop, resident", "MiB", edge_resident, Goal::Low),
        Row::new("footprint: edge with the shop, of a core", "%", edge_share.max(0.0), Goal::Low),
        Row::new("footprint: largest shim, Private_Dirty", "KiB", largest as f64 / KIB, Goal::AtMost(1024.0)),
    ])
}
