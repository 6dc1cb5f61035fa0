//! How long a look at 500 containers takes, beside the Engine alone: a list, and each container of it in full, as many
//! questions at once as Mainstay has.

use super::super::Bench;
use super::super::row::{Goal, Row, median};
use super::IDLE_IMAGE;
use crate::shop::{Engine, Stage};
use anyhow::{Context as _, ensure};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const SERVICES: usize = 10;
const REPLICAS: usize = 50;
const WIDTH: usize = 16;
const LOOKS: usize = 5;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let compose = text();
    let files = [("compose.yaml", compose.as_str()), ("mainstay.yaml", "project: crowd\n")];
    let mut stage = Stage::of_files(bench.binary()?, "crowd", Engine::Docker, &files)?;
    stage.run(&["up"])?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds.max(LOOKS) {
        let begin = Instant::now();
        let status = stage.status()?;
        ours.push(begin.elapsed().as_secs_f64());
        let ready: u32 = status.services.iter().map(|service| service.ready).sum();
        ensure!(usize::try_from(ready)? == SERVICES * REPLICAS, "{ready} replicas are ready");
        let begin = Instant::now();
        look(&stage)?;
        theirs.push(begin.elapsed().as_secs_f64());
    }
    stage.strike()?;
    let name = format!("docker: a look at {} containers", SERVICES * REPLICAS);
    Ok(vec![Row::new(name, "s", median(&ours), Goal::AtMost(1.0)).beside("the Engine alone", median(&theirs))])
}

/// Services with a network of their own each, as a bridge takes no thousand ports.
fn text() -> String {
    let service = |n: usize| {
        format!(
            "  idle-{n}:\n    image: {IDLE_IMAGE}\n    command: [sleep, infinity]\n    stop_signal: SIGKILL\n\
             \x20   networks: [n{n}]\n    deploy: {{ replicas: {REPLICAS} }}\n"
        )
    };
    let services: String = (0..SERVICES).map(service).collect();
    let networks: String = (0..SERVICES).map(|n| format!("  n{n}: {{}}\n")).collect();
    format!("services:\n{services}networks:\n{networks}")
}

/// What nobody who wants to know how each container is could save.
fn look(stage: &Stage) -> anyhow::Result<()> {
    let containers = stage.containers()?;
    let list: Vec<serde_json::Value> = containers.api().get(&containers.list_path(true))?;
    ensure!(list.len() == SERVICES * REPLICAS, "the Engine has {} containers of the stage", list.len());
    let next = AtomicUsize::new(0);
    let ask = || -> anyhow::Result<()> {
        let api = containers.api();
        while let Some(container) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
            let id = container["Id"].as_str().context("a container has an id")?;
            api.get::<serde_json::Value>(&format!("/containers/{id}/json"))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..WIDTH).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a question panicked"))?)
    })
}
