//! How soon a daemon that was killed knows its 200 replicas again: from its start to a status that has them all.

use super::Bench;
use super::row::{Goal, Row, median};
use crate::machine::wait_for;
use crate::shop::{Engine, Stage};
use anyhow::ensure;
use std::time::{Duration, Instant};

const REPLICAS: u32 = 200;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let compose = format!(
        "services:\n  many:\n    image: many\n    deploy:\n      replicas: {REPLICAS}\n    stop_grace_period: 1s\n"
    );
    let policy = "project: crowd\nprocesses:\n  many: { command: [sleep, infinity] }\n";
    let files = [("compose.yaml", compose.as_str()), ("mainstay.yaml", policy)];
    let mut stage = Stage::of_files(bench.binary()?, "crowd", Engine::Process, &files)?;
    measure_on(&mut stage, bench.rounds)
}

fn measure_on(stage: &mut Stage, rounds: usize) -> anyhow::Result<Vec<Row>> {
    stage.run(&["up"])?;
    let before = stage.replicas()?;
    ensure!(before.len() == usize::try_from(REPLICAS)?, "{} of {REPLICAS} replicas run", before.len());
    let mut times = Vec::new();
    for _ in 0..rounds {
        let daemon = stage.daemon()?;
        daemon.kill()?;
        wait_for("the daemon's end", Duration::from_secs(5), || Ok((!daemon.is_alive()).then_some(())))?;
        let begin = Instant::now();
        stage.start_daemon()?;
        wait_for("all replicas to be known", Duration::from_secs(30), || {
            let status = stage.status()?;
            Ok((status.service("many")?.ready == REPLICAS).then_some(()))
        })?;
        times.push(begin.elapsed().as_secs_f64());
        ensure!(stage.replicas()? == before, "the daemon did not adopt what ran");
    }
    stage.strike()?;
    Ok(vec![Row::new(format!("adoption: {REPLICAS} replicas after a restart"), "s", median(&times), Goal::AtMost(1.0))])
}
