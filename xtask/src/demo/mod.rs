//! The main job before an audience: the shop goes up, is released under load, broken on purpose, and taken down.
//!
//! Everything is done through the real binary and asserted from outside; [`story`] tells it in order, [`screen`]
//! prints. The demo never looks away: what it does not observe it does not say.

mod aim;
mod screen;
mod story;
mod watch;

use crate::machine::catch_interrupts;
use crate::shop::{self, Profile, Stage};
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
    /// Requests a second
    #[arg(long, default_value_t = 400.0)]
    rate: f64,
    /// The least number of requests to send
    #[arg(long, default_value_t = 20_000)]
    requests: u64,
}

/// Tells the story; whether everything held.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("start tokio")?;
    runtime.block_on(async { catch_interrupts() }).context("listen for signals")?;
    let mut screen = Screen::new();
    let binary = screen.during("build mainstay", || shop::build(root, Profile::Dev))?;
    let mut stage = Stage::set(root, binary)?;
    let stays = !options.once && std::io::stdout().is_terminal();
    let outcome = story::tell(&mut stage, &mut screen, &runtime, options, stays);
    let failed = outcome.as_ref().map_or(true, |is_fine| !is_fine);
    if failed {
        screen.failure(&stage);
    }
    stage.clear();
    if options.keep {
        screen.note(&format!("kept: {}", stage.keep().display()));
    }
    outcome
}
