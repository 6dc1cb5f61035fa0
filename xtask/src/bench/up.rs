//! `up`: the shop from nothing to ready against its critical path, and an `up` that finds nothing to do.
//!
//! The critical path is what no orchestrator could save: along the longest chain of steps, the time that the shop's
//! own programs took to become ready, or, for jobs, to end. Artifacts are built before; volumes are new every time.

use super::Bench;
use super::row::{Goal, Row, median};
use crate::shop::{Engine, Stage};
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Beyond these, a first `up` takes long enough that more would not make the median better.
const MOST_FIRST_UPS: usize = 5;
const NO_OPS: usize = 15;

/// A step of a plan.
#[derive(Debug, Clone, Deserialize)]
struct Step {
    id: u32,
    after: Vec<u32>,
    action: String,
}

#[derive(Debug, Deserialize)]
struct Plan {
    steps: Vec<Step>,
}

/// What `up --json` prints.
#[derive(Debug, Deserialize)]
struct Up {
    run: u64,
}

/// What a run tells. Other messages are of no interest here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
enum Message {
    Ended {
        step: u32,
        millis: u64,
    },
    Replanned {
        steps: Vec<Step>,
    },
    #[serde(other)]
    Other,
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut stage = Stage::set(&bench.root, bench.binary()?, Engine::Process)?;
    measure_on(&mut stage, bench.rounds.min(MOST_FIRST_UPS))
}

fn measure_on(stage: &mut Stage, rounds: usize) -> anyhow::Result<Vec<Row>> {
    // Builds the shop and shows that it runs.
    stage.run(&["up"])?;
    let (mut beyond, mut whole) = (Vec::new(), Vec::new());
    let (mut again, mut again_building) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        stage.run(&["down", "--volumes", "--yes"])?;
        let steps: Plan = serde_json::from_str(&plan(stage)?).context("read the plan")?;
        let begin = Instant::now();
        let up: Up =
            serde_json::from_str(&stage.run(&["up", "--no-build", "--json"])?).context("read what `up` said")?;
        let took = begin.elapsed();
        let messages = stage.api().stream(&format!("{}/runs/{}", stage.stack_path(), up.run))?;
        let critical = critical_path(steps.steps, &messages)?;
        whole.push(took.as_secs_f64());
        beyond.push(took.saturating_sub(critical).as_secs_f64());
        again.push(no_op(stage, &["up", "--no-build"])?);
        again_building.push(no_op(stage, &["up"])?);
    }
    stage.strike()?;
    Ok(vec![
        Row::new("up: shop, beyond its critical path", "s", median(&beyond), Goal::AtMost(1.5)),
        Row::new("up: shop, from nothing to ready", "s", median(&whole), Goal::Low),
        Row::new("up: nothing to do, `--no-build`", "ms", median(&again), Goal::AtMost(100.0)),
        Row::new("up: nothing to do, and cargo finds nothing to build", "ms", median(&again_building), Goal::Low),
    ])
}

/// `plan` ends with 3 when there is something to do.
fn plan(stage: &Stage) -> anyhow::Result<String> {
    let output = stage.output(&["plan", "--no-build", "--json"])?;
    let code = output.status.code();
    ensure!(code == Some(3), "`mainstay plan` ended with {code:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("a plan is text")
}

/// The median of some `up`s that find nothing to do, in milliseconds.
fn no_op(stage: &Stage, arguments: &[&str]) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..NO_OPS {
        let begin = Instant::now();
        stage.run(arguments)?;
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(median(&times))
}

/// The longest chain of what the shop's own programs took.
fn critical_path(steps: Vec<Step>, messages: &[Message]) -> anyhow::Result<Duration> {
    let mut steps: BTreeMap<u32, Step> = steps.into_iter().map(|step| (step.id, step)).collect();
    let mut took = BTreeMap::new();
    for message in messages {
        match message {
            Message::Ended { step, millis } => {
                took.insert(*step, *millis);
            }
            Message::Replanned { steps: new } => {
                ensure!(took.is_empty(), "the run was planned again on its way: its steps are of two plans");
                steps = new.iter().map(|step| (step.id, step.clone())).collect();
            }
            Message::Other => {}
        }
    }
    ensure!(!took.is_empty(), "the run told of no step");
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    // A step's number is greater than those it waits for.
    for (id, step) in &steps {
        let begin = step.after.iter().filter_map(|before| ends.get(before)).max().copied().unwrap_or_default();
        let is_theirs = matches!(step.action.as_str(), "await" | "complete");
        let own = if is_theirs { took.get(id).copied().unwrap_or_default() } else { 0 };
        ends.insert(*id, begin + own);
    }
    Ok(Duration::from_millis(ends.values().max().copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: u32, after: &[u32], action: &str) -> Step {
        Step { id, after: after.to_vec(), action: action.to_owned() }
    }

    #[test]
    fn the_critical_path_is_the_longest_chain_of_waiting_for_the_shop() {
        let steps = vec![
            step(1, &[], "start"),
            step(2, &[1], "await"),
            step(3, &[], "await"),
            step(4, &[2, 3], "complete"),
            step(5, &[4], "await"),
        ];
        let ended = |step, millis| Message::Ended { step, millis };
        let messages = [ended(1, 50), ended(2, 300), Message::Other, ended(3, 100), ended(4, 40), ended(5, 200)];
        assert_eq!(critical_path(steps, &messages).unwrap(), Duration::from_millis(540));
    }

    #[test]
    fn what_a_run_tells_is_read_by_its_type() {
        let read = |text| serde_json::from_str::<Message>(text).unwrap();
        assert!(matches!(
            read("{\"type\":\"ended\",\"step\":3,\"at\":\"x\",\"millis\":7}"),
            Message::Ended { step: 3, millis: 7 }
        ));
        assert!(matches!(read("{\"type\":\"finished\",\"outcome\":\"done\",\"millis\":7}"), Message::Other));
    }
}
