//! Ctrl-C: one watcher for all phases of a command that has several.
//!
//! Owns the signal from the first question on; until then it ends the program as it ends every other.

use std::cell::OnceCell;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Whether Ctrl-C was pressed.
#[derive(Debug, Default)]
pub struct Interrupt(OnceCell<CancellationToken>);

impl Interrupt {
    /// Returns once Ctrl-C was pressed, since the first call, which need not be awaited; cancel-safe.
    pub fn pressed(&self) -> impl Future<Output = ()> {
        self.0.get_or_init(watch).cancelled()
    }
}

fn watch() -> CancellationToken {
    let pressed = CancellationToken::new();
    // Where signals cannot be watched, Ctrl-C goes on to end the program.
    if let Ok(mut interrupt) = signal(SignalKind::interrupt()) {
        let pressed = pressed.clone();
        tokio::spawn(async move {
            interrupt.recv().await;
            pressed.cancel();
        });
    }
    pressed
}
