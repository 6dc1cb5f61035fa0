//! The shop beside docker-compose: from nothing to ready with every image there, and an `up` that finds nothing to do.
//!
//! docker-compose gets the same file with one change in its favour. It leaves health checks to the Engine, and Engines
//! before 25 know no `start_interval`: they ask for the first time after a whole `interval`, which would be 5 s.

use super::super::Bench;
use super::super::row::{Goal, Row, median};
use super::timed;
use crate::shop::{Engine, Stage};
use anyhow::Context as _;
use std::path::PathBuf;
use std::process::Command;

/// Beyond these, a first `up` takes long enough that more would not make the median better.
const MOST_FIRST_UPS: usize = 5;
const NO_OPS: usize = 5;

/// The reference implementation on a project of its own.
struct Compose {
    program: PathBuf,
    file: PathBuf,
    project: String,
    engine: String,
}

impl Compose {
    fn beside(stage: &Stage) -> anyhow::Result<Self> {
        let program = std::env::var_os("MAINSTAY_REFERENCE").context("MAINSTAY_REFERENCE names no docker-compose")?;
        let text =
            std::fs::read_to_string(stage.project_folder.join("compose.yaml")).context("read the shop's file")?;
        let file = stage.project_folder.join("docker-compose.bench.yaml");
        std::fs::write(&file, eager(&text)).context("write docker-compose's file")?;
        let project = format!("peer-{}", stage.project());
        let engine = stage.containers()?.url();
        Ok(Self { program: program.into(), file, project, engine })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("DOCKER_HOST", &self.engine).arg("-p").arg(&self.project).arg("-f").arg(&self.file).args(arguments);
        command
    }

    /// In milliseconds. Its images are there, so it builds nothing.
    fn up(&self) -> anyhow::Result<f64> {
        Ok(timed(&mut self.command(&["up", "-d", "--wait", "--no-build"]))?.1)
    }

    fn down(&self) -> anyhow::Result<()> {
        timed(&mut self.command(&["down", "--volumes"])).map(drop)
    }
}

/// Whatever happens, it leaves nothing.
impl Drop for Compose {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("could not take docker-compose's shop down: {error:#}");
        }
    }
}

/// The file with health checks that begin at once also where the Engine knows no `start_interval`.
fn eager(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("start_interval:"));
    lines.map(|line| line.replace("interval: 5s", "interval: 200ms") + "\n").collect()
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut stage = Stage::set(&bench.root, bench.binary()?, Engine::Docker)?;
    // Builds the shop and shows that it runs.
    stage.run(&["up"])?;
    stage.run(&["down", "--volumes", "--yes"])?;
    let peer = Compose::beside(&stage)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut again, mut again_theirs) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds.min(MOST_FIRST_UPS) {
        ours.push(timed(&mut stage.command(&["up"]))?.1);
        again.push(repeated(|| Ok(timed(&mut stage.command(&["up"]))?.1))?);
        stage.run(&["down", "--volumes", "--yes"])?;
        theirs.push(peer.up()?);
        again_theirs.push(repeated(|| peer.up())?);
        peer.down()?;
    }
    drop(peer);
    stage.strike()?;
    let (ours, theirs) = (median(&ours) / 1000.0, median(&theirs) / 1000.0);
    let first =
        Row::new("docker: up of the shop, images there, from nothing to ready", "s", ours, Goal::AtMost(theirs));
    let again = Row::new("docker: up of the shop, nothing to do", "ms", median(&again), Goal::AtMost(150.0));
    Ok(vec![first.beside("docker-compose", theirs), again.beside("docker-compose", median(&again_theirs))])
}

fn repeated(mut once: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let times = (0..NO_OPS).map(|_| once()).collect::<anyhow::Result<Vec<f64>>>()?;
    Ok(median(&times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_asks_at_once() {
        let text = "      interval: 5s\n      timeout: 3s\n      start_interval: 200ms\n";
        assert_eq!(eager(text), "      interval: 200ms\n      timeout: 3s\n");
    }
}
