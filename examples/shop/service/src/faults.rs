//! Knobs that make a service misbehave on purpose, set through `FAULT_*` variables.
//!
//! Demonstrations and tests use them to see what the platform around the shop does. Nothing here is random: a
//! ratio of 0.25 fails every fourth answer, so that a run can be repeated. The README's table says what each
//! knob does in the API and in the worker; [`Faults::from_environment`] is where to start reading.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::environment::{Environment, SettingError, error};

/// The knobs of one process. The default breaks nothing.
#[derive(Debug, Default)]
pub struct Faults {
    slow: Duration,
    fail_ratio: f64,
    asked: AtomicU64,
    leak_kb_per_s: u64,
    crash_after: Option<Duration>,
    ignore_sigterm: bool,
    unhealthy: bool,
    never_listen: bool,
    listen: Option<IpAddr>,
    start_delay: Duration,
    exit_code: Option<u8>,
}

const NAMES: [&str; 10] = [
    "FAULT_SLOW_MS",
    "FAULT_FAIL_RATIO",
    "FAULT_LEAK_KB_PER_S",
    "FAULT_CRASH_AFTER_S",
    "FAULT_IGNORE_SIGTERM",
    "FAULT_UNHEALTHY",
    "FAULT_NEVER_LISTEN",
    "FAULT_LISTEN",
    "FAULT_START_DELAY_MS",
    "FAULT_EXIT_CODE",
];

impl Faults {
    /// Reads the knobs; an unknown `FAULT_*` variable is left alone, a wrong value is an error.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        for name in NAMES {
            if let Some(value) = environment.text(name) {
                tracing::warn!(knob = name, value, "a fault is set on purpose");
            }
        }
        let milliseconds = |name| environment.or(name, 0, "a number of milliseconds").map(Duration::from_millis);
        Ok(Self {
            slow: milliseconds("FAULT_SLOW_MS")?,
            fail_ratio: ratio(environment)?,
            asked: AtomicU64::new(0),
            leak_kb_per_s: environment.or("FAULT_LEAK_KB_PER_S", 0, "a number of KiB a second")?,
            crash_after: seconds(environment)?,
            ignore_sigterm: environment.switch("FAULT_IGNORE_SIGTERM")?,
            unhealthy: environment.switch("FAULT_UNHEALTHY")?,
            never_listen: environment.switch("FAULT_NEVER_LISTEN")?,
            listen: environment.optional("FAULT_LISTEN", "an IP address")?,
            start_delay: milliseconds("FAULT_START_DELAY_MS")?,
            exit_code: environment.optional("FAULT_EXIT_CODE", "an exit code from 0 to 255")?,
        })
    }

    /// The code to end with before doing anything else, if one is set.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        self.exit_code
    }

    /// Is SIGTERM to be ignored?
    #[must_use]
    pub fn ignores_sigterm(&self) -> bool {
        self.ignore_sigterm
    }

    /// Are the probes to say 503?
    #[must_use]
    pub fn is_unhealthy(&self) -> bool {
        self.unhealthy
    }

    /// Is this answer (or job) one of those that fail? Spreads the failures evenly.
    pub fn fails_now(&self) -> bool {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        // u64 to f64 is exact for the first 2^53 answers.
        #[expect(clippy::cast_precision_loss, reason = "9e15 answers are more than a demonstration gives")]
        let due = |n: u64| (n as f64 * self.fail_ratio).floor();
        due(n + 1) > due(n)
    }

    /// Waits as long as each answer (or job) is to be slower.
    pub async fn slow_down(&self) {
        if !self.slow.is_zero() {
            tokio::time::sleep(self.slow).await;
        }
    }

    /// Waits as long as the start is to be delayed.
    pub async fn delay_start(&self) {
        if !self.start_delay.is_zero() {
            tokio::time::sleep(self.start_delay).await;
        }
    }

    /// Opens the service's port: on all addresses, or on the one the knobs name, or never.
    pub async fn listen(&self, port: u16) -> std::io::Result<TcpListener> {
        if self.never_listen {
            std::future::pending::<()>().await;
        }
        let address = self.listen.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        TcpListener::bind(SocketAddr::new(address, port)).await
    }

    /// Starts what goes wrong by the clock: the leak and the crash.
    pub fn start_clock(&self) {
        if self.leak_kb_per_s > 0 {
            tokio::spawn(leak(self.leak_kb_per_s));
        }
        if let Some(after) = self.crash_after {
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                tracing::error!("crashing on purpose");
                std::process::abort();
            });
        }
    }
}

fn ratio(environment: &Environment) -> Result<f64, SettingError> {
    const NAME: &str = "FAULT_FAIL_RATIO";
    const WANT: &str = "a number from 0 to 1";
    let ratio = environment.or(NAME, 0.0, WANT)?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(error(NAME, &ratio.to_string(), WANT)) }
}

fn seconds(environment: &Environment) -> Result<Option<Duration>, SettingError> {
    const NAME: &str = "FAULT_CRASH_AFTER_S";
    const WANT: &str = "a number of seconds";
    let seconds: Option<f64> = environment.optional(NAME, WANT)?;
    let duration =
        |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|_| error(NAME, &seconds.to_string(), WANT));
    seconds.map(duration).transpose()
}

/// Takes memory ten times a second and writes to it, so that it is resident and never given back.
async fn leak(kb_per_s: u64) {
    let piece = usize::try_from(kb_per_s).unwrap_or(usize::MAX).saturating_mul(1024) / 10;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        std::mem::forget(vec![1_u8; piece]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: [(&str, &str); 1]) -> Result<Faults, String> {
        Faults::from_environment(&Environment::from(variables)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_ratio_fails_exactly_its_share() {
        for (ratio, share) in [("0", 0), ("0.25", 25), ("0.5", 50), ("1", 100)] {
            let faults = check([("FAULT_FAIL_RATIO", ratio)]).unwrap();
            assert_eq!((0..100).filter(|_| faults.fails_now()).count(), share, "ratio {ratio}");
        }
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (name, value, want) in [
            ("FAULT_FAIL_RATIO", "1.5", "a number from 0 to 1"),
            ("FAULT_CRASH_AFTER_S", "-1", "a number of seconds"),
            ("FAULT_SLOW_MS", "soon", "a number of milliseconds"),
            ("FAULT_LISTEN", "localhost", "an IP address"),
            ("FAULT_EXIT_CODE", "256", "an exit code from 0 to 255"),
        ] {
            assert_eq!(check([(name, value)]).unwrap_err(), format!("{name} is `{value}`: write {want}"));
        }
    }

    #[test]
    fn every_knob_is_in_the_readme() {
        let readme = include_str!("../../README.md");
        for name in NAMES {
            assert!(readme.contains(&format!("`{name}")), "{name} is missing in README.md");
        }
    }
}
