//! Lines that rewrite themselves on a terminal, and say nothing elsewhere.

use super::Ui;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// A block of lines at the bottom of the terminal; gone when dropped.
#[derive(Debug)]
pub struct Live {
    bar: Option<ProgressBar>,
    frame: usize,
}

impl Live {
    /// A block that shows only where lines may be rewritten.
    pub fn new(ui: &Ui) -> Self {
        let bar = ui.is_live().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(20));
            bar.set_style(ProgressStyle::with_template("{msg}").expect("a constant template"));
            bar
        });
        Self { bar, frame: 0 }
    }

    /// Whether anything shows.
    pub fn is_on(&self) -> bool {
        self.bar.is_some()
    }

    /// Replaces the block; `lines` gets the sign that turns.
    pub fn show(&mut self, lines: impl FnOnce(&'static str) -> Vec<String>) {
        if let Some(bar) = &self.bar {
            self.frame = (self.frame + 1) % SPINNER.len();
            bar.set_message(lines(SPINNER[self.frame]).join("\n"));
            bar.tick();
        }
    }

    /// Says something above the block.
    pub fn above(&self, ui: &Ui, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| ui.note(text)),
            None => ui.note(text),
        }
    }

    /// Takes the block away.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}
