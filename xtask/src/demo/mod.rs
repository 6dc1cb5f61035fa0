//! The main job before an audience: the shop goes up, is released under load, broken on purpose, and taken down.
//!
//! Everything is done through the real binary and asserted from outside; [`story`] tells it in order, [`screen`]
//! prints. The demo never looks away: what it does not observe it does not say.

mod aim;
mod judge;
mod screen;
mod story;
mod watch;

use crate::machine::{catch_interrupts, take_interrupt};
use crate::shop::{self, Engine, Profile, Stage};
use anyhow::Context as _;
use screen::Screen;
use std::io::IsTerminal as _;
use std::path::Path;

/// Options of `demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// End after the job; else stay up on a terminal and show the address until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Leave the folder with copy, state and logs where it is
    #[arg(long)]
    keep: bool,
    /// Where replicas run
    #[arg(long, value_enum, default_value_t = Engine::Process)]
    engine: Engine,
    /// Requests a second
    #[arg(long, default_value_t = 400.0, value_parser = rate)]
    rate: f64,
    /// The least number of requests to send
    #[arg(long, default_value_t = 20_000)]
    requests: u64,
}

/// Reads a rate that a load can be sent at.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (1.0..=100_000.0).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is no rate: write a number from 1 to 100000"))
}

/// Tells the story; whether everything held.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("start tokio")?;
    runtime.block_on(async { catch_interrupts() }).context("listen for signals")?;
    let mut screen = Screen::new();
    let binary = screen.during("build mainstay", || shop::build(root, Profile::Dev))?;
    let mut stage = Stage::set(root, binary, options.engine)?;
    let stays = !options.once && std::io::stdout().is_terminal();
    let outcome = story::tell(&mut stage, &mut screen, &runtime, options, stays);
    let failed = outcome.as_ref().map_or(true, |is_fine| !is_fine);
    if failed {
        take_interrupt();
        screen.failure(&stage);
    }
    stage.clear();
    if options.keep {
        screen.note(&format!("kept: {}", stage.keep().display()));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_sends_nothing_is_refused() {
        assert_eq!(rate("400"), Ok(400.0));
        for text in ["0", "-1", "NaN", "inf", "fast"] {
            assert_eq!(rate(text), Err(format!("`{text}` is no rate: write a number from 1 to 100000")));
        }
    }
}
