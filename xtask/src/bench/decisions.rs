//! The pure part: from a stack, or from the text it is declared in, to a plan. Measured by examples of the crates that
//! decide, built as users get them; each run prints one figure, from cold.

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
/// Runs of each case and size in one round: a run is one figure.
const RUNS: usize = 5;

/// What the example of planning can be asked for, how people call it, and what it may take for the usual measure.
const CASES: &[(&str, &str, Goal)] = &[
    ("nothing", "everything is new", Goal::AtMost(20.0)),
    ("same", "nothing to do", Goal::AtMost(20.0)),
    ("changed", "everything is replaced", Goal::AtMost(20.0)),
    ("check", "everything is replaced, checked", Goal::Low),
];

/// Figures of one case in two sizes.
#[derive(Default)]
struct Figures {
    usual: Vec<f64>,
    large: Vec<f64>,
}

impl Figures {
    fn take(&mut self, example: &Path, case: &[&str]) -> anyhow::Result<()> {
        for _ in 0..RUNS {
            self.usual.push(millis(example, USUAL, case)?);
            self.large.push(millis(example, LARGE, case)?);
        }
        Ok(())
    }

    /// The usual figure, and how it grows; 1.0 is exactly linear.
    fn rows(&self, words: &str, goal: Goal) -> [Row; 2] {
        let usual = median(&self.usual);
        let growth = median(&self.large) / usual / (LARGE / USUAL) as f64;
        let name = format!("plan: time per service, 10,000 services against 1,000, {words}");
        [
            Row::new(format!("plan: 1,000 × 10 replicas, {words}"), "ms", usual, goal),
            Row::new(name, "×", growth, Goal::AtMost(2.0)),
        ]
    }
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let plan = example(bench, "mainstay-plan", "planning")?;
    let text = example(bench, "mainstay-declare", "text_to_plan")?;
    let mut planned: Vec<Figures> = CASES.iter().map(|_| Figures::default()).collect();
    let mut from_text = Figures::default();
    for _ in 0..bench.rounds {
        for ((case, ..), figures) in CASES.iter().zip(&mut planned) {
            figures.take(&plan, &[case])?;
        }
        from_text.take(&text, &[])?;
    }
    let mut rows: Vec<Row> =
        CASES.iter().zip(&planned).flat_map(|((_, words, goal), figures)| figures.rows(words, *goal)).collect();
    rows.extend(from_text.rows("from text", Goal::AtMost(150.0)));
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
