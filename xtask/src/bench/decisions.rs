//! The pure part: from a stack, or from the text it is declared in, to a plan. Measured by examples of the crates that
//! decide, built as users get them; each prints one figure per round.

use super::Bench;
use super::row::{Goal, Row, median};
use crate::shop::executable;
use anyhow::{Context as _, ensure};
use std::path::Path;
use std::process::Command;

/// Services of the usual measure, and of the one that shows how it grows.
const USUAL: usize = 1_000;
const LARGE: usize = 10_000;
const REPLICAS: usize = 10;

/// What the example of planning can be asked for, and how people call it.
const CASES: &[(&str, &str)] =
    &[("nothing", "everything is new"), ("same", "nothing to do"), ("changed", "everything is replaced")];

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let plan = example(bench, "mainstay-plan", "planning")?;
    let text = example(bench, "mainstay-declare", "text_to_plan")?;
    let mut usual = vec![Vec::new(); CASES.len()];
    let (mut large, mut from_text) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        for ((case, _), figures) in CASES.iter().zip(&mut usual) {
            figures.push(millis(&plan, USUAL, &[case])?);
        }
        large.push(millis(&plan, LARGE, &[])?);
        from_text.push(millis(&text, USUAL, &[])?);
    }
    let row = |((_, words), figures): (&(&str, &str), &Vec<f64>)| {
        Row::new(format!("plan: 1,000 × 10 replicas, {words}"), "ms", median(figures), Goal::AtMost(20.0))
    };
    let mut rows: Vec<Row> = CASES.iter().zip(&usual).map(row).collect();
    let growth = median(&large) / rows[0].ours / (LARGE / USUAL) as f64;
    rows.push(Row::new("plan: 1,000 × 10 replicas, from text", "ms", median(&from_text), Goal::AtMost(150.0)));
    // 1.0 is exactly linear; what no longer fits the processor's caches costs the rest.
    let name = "plan: time per service, 10,000 services against 1,000";
    rows.push(Row::new(name, "×", growth, Goal::AtMost(2.0)));
    Ok(rows)
}

fn example(bench: &Bench, package: &str, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let arguments = [
        "build",
        "--quiet",
        "--release",
        "--package",
        package,
        "--example",
        name,
        "--message-format=json-render-diagnostics",
    ];
    executable(&bench.root, &arguments, name)
}

/// The figure that an example prints for so many services.
fn millis(example: &Path, services: usize, case: &[&str]) -> anyhow::Result<f64> {
    let output = Command::new(example).args([services.to_string(), REPLICAS.to_string()]).args(case).output();
    let output = output.with_context(|| format!("run {}", example.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{} failed: {}", example.display(), String::from_utf8_lossy(&output.stderr));
    text.trim().parse().with_context(|| format!("{} printed `{text}`", example.display()))
}
