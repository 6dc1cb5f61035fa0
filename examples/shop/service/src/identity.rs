//! Which replica this is: its host's name, its process, its start.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One process among the replicas of a service.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The host's name: in a container its short id.
    pub replica: String,
    /// The process id, in its own namespace: often 1.
    pub pid: u32,
    /// Different at every start, also where host name and process id are not.
    pub instance: String,
    /// When the process began.
    pub started_at: Timestamp,
    started: Instant,
}

impl Identity {
    /// Names this process. Call it once, at the start.
    #[must_use]
    pub fn of_process() -> Self {
        let from_kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let replica = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).or_else(from_kernel);
        Self {
            replica: replica.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned()),
            pid: std::process::id(),
            instance: random_name(),
            started_at: Timestamp::now(),
            started: Instant::now(),
        }
    }

    /// How long the process has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Sixteen hex digits that no other process has. Not a secret: taken from the hasher's random keys.
#[must_use]
pub fn random_name() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
