//! SIGTERM and SIGINT, the two ways in which a service is asked to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals of this process, from the moment it is made: none is lost between two waits.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    ignore_terminate: bool,
}

impl Signals {
    /// Takes the signals over; with `ignore_terminate` a SIGTERM is only written to the log.
    pub fn install(ignore_terminate: bool) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            ignore_terminate,
        })
    }

    /// Waits until the process is asked to end. A second call waits for the second signal.
    pub async fn wait(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => {}
            }
            if !self.ignore_terminate {
                return;
            }
            tracing::warn!("ignoring SIGTERM on purpose");
        }
    }
}
