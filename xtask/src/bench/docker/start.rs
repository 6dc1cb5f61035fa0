//! What Mainstay adds to the start of a replica: one more of a service that runs, as a person orders it, against `docker
//! run -d` of the same image on the same network.

use super::super::Bench;
use super::super::row::{Goal, Row, median};
use super::{IDLE_IMAGE, succeed, timed};
use crate::shop::{Engine, Stage};
use std::process::Command;

/// Not whatever client comes first in PATH.
const DOCKER: &str = "/usr/bin/docker";
const STARTS: usize = 5;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let compose = format!(
        "services:\n  idle:\n    image: {IDLE_IMAGE}\n    command: [sleep, infinity]\n    stop_signal: SIGKILL\n"
    );
    let files = [("compose.yaml", compose.as_str()), ("mainstay.yaml", "project: starts\n")];
    let mut stage = Stage::of_files(bench.binary()?, "starts", Engine::Docker, &files)?;
    stage.run(&["up"])?;
    let engine = stage.containers()?.url();
    let network = format!("{}-development_default", stage.project());
    let docker = |arguments: &[&str]| {
        let mut command = Command::new(DOCKER);
        command.env("DOCKER_HOST", &engine).args(arguments);
        command
    };
    let run = ["run", "-d", "--network", &network, IDLE_IMAGE, "sleep", "infinity"];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds.max(STARTS) {
        ours.push(timed(&mut stage.command(&["scale", "idle=2"]))?.1);
        stage.run(&["scale", "idle=1"])?;
        let (id, took) = timed(&mut docker(&run))?;
        succeed(&mut docker(&["rm", "--force", &id]))?;
        theirs.push(took);
    }
    stage.strike()?;
    let (ours, theirs) = (median(&ours), median(&theirs));
    Ok(vec![
        Row::new("docker: one replica more, from the order to ready", "ms", ours, Goal::Low)
            .beside("docker run", theirs),
        Row::new("docker: one replica more, beyond `docker run`", "ms", ours - theirs, Goal::AtMost(300.0)),
    ])
}
