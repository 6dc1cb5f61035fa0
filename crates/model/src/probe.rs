//! What is asked of a replica to know its health.

use std::num::NonZeroU32;
use std::time::Duration;

/// One question to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// `GET path` on this port of the replica answers 200–399.
    Http {
        /// The replica's port.
        port: u16,
        /// Path and query, begins with `/`.
        path: String,
    },
    /// A connection to this port of the replica is taken.
    Tcp {
        /// The replica's port.
        port: u16,
    },
    /// This command, run inside the replica, exits with 0.
    Command {
        /// Program and arguments; never empty.
        argv: Vec<String>,
    },
}

/// A check and its timing, with the meaning of Compose's `healthcheck`.
///
/// A replica is healthy after one success. It is unhealthy after `retries` failures in a row, where failures
/// within `start_period` do not count until the first success. Checks come every `start_interval` during the
/// start period, else every `interval`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// From the end of one check to the begin of the next.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// Failures in a row until it counts as unhealthy.
    pub retries: NonZeroU32,
    /// How long failures do not count after the start.
    pub start_period: Duration,
    /// The interval during the start period.
    pub start_interval: Duration,
}

impl Probe {
    /// A check with Compose's default timing: 30 s interval and timeout, 3 retries, no start period, 5 s start interval.
    pub fn with_defaults(check: Check) -> Self {
        Self {
            check,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            retries: NonZeroU32::MIN.saturating_add(2),
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(5),
        }
    }
}

/// The probes of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes {
    /// Decides whether traffic is routed and whether dependents may start. Compose's `healthcheck` is this one.
    pub ready: Option<Probe>,
    /// Decides whether the replica is restarted.
    pub live: Option<Probe>,
    /// The files say that nothing is asked, whatever check the image brings.
    pub disabled: bool,
}
