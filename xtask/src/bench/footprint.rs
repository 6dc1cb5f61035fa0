//! What Mainstay itself costs while the shop runs and nothing happens: the daemon's memory and time, a shim's memory.

use super::Bench;
use super::row::{Goal, Row, median};
use crate::machine::{Process, pause};
use crate::shop::{Engine, Stage};
use anyhow::Context as _;
use std::time::{Duration, Instant};

/// Long enough to see what happens once in half a minute.
const WATCHED: Duration = Duration::from_secs(60);
/// Minutes like that; more would not make the median better.
const MOST_SAMPLES: usize = 3;
const KIB: f64 = 1024.0;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut stage = Stage::set(&bench.root, bench.binary()?, Engine::Process)?;
    measure_on(&mut stage, bench.rounds.min(MOST_SAMPLES))
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a process are far below 2^52")]
fn measure_on(stage: &mut Stage, samples: usize) -> anyhow::Result<Vec<Row>> {
    stage.run(&["up"])?;
    let (daemon, edge) = (stage.daemon()?, stage.edge()?);
    let processes = [daemon, edge];
    let (mut shares, mut sizes) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..samples {
        let (begin, before) = (Instant::now(), [daemon.cpu()?, edge.cpu()?]);
        pause(WATCHED)?;
        let took = begin.elapsed().as_secs_f64();
        for (n, process) in processes.into_iter().enumerate() {
            shares[n].push(process.cpu()?.saturating_sub(before[n]).as_secs_f64() / took * 100.0);
            sizes[n].push(process.resident()? as f64 / KIB / KIB);
        }
    }
    let [daemon_share, edge_share] = shares.map(|figures| median(&figures));
    let [resident, edge_resident] = sizes.map(|figures| median(&figures));
    let mut largest = 0;
    for replica in stage.replicas()?.values() {
        // One executable, two processes: outside, and pid 1 inside.
        let inside = replica.init.map_or(Ok(0), Process::private_dirty)?;
        largest = largest.max(replica.shim.private_dirty()? + inside);
    }
    stage.strike().context("take the shop down")?;
    Ok(vec![
        Row::new("footprint: daemon with the shop, resident", "MiB", resident, Goal::AtMost(40.0)),
        Row::new("footprint: daemon with the shop, of a core", "%", daemon_share, Goal::AtMost(0.5)),
        Row::new("footprint: edge with the shop, resident", "MiB", edge_resident, Goal::Low),
        Row::new("footprint: edge with the shop, of a core", "%", edge_share, Goal::Low),
        Row::new(
            "footprint: largest shim, both its processes, Private_Dirty",
            "KiB",
            largest as f64 / KIB,
            Goal::AtMost(1024.0),
        ),
    ])
}
