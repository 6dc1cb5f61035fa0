//! What the worker takes from its environment; the README lists the same variables.

use std::time::Duration;

use service::environment::{Environment, SettingError, error};

use crate::calls::Target;

/// Everything the worker is told from outside.
pub struct Settings {
    /// Where its metrics and health are asked for.
    pub port: u16,
    pub api: Target,
    pub redis_url: String,
    pub calls_per_second: f64,
    /// How long packing an order takes.
    pub job: Duration,
    /// Jobs done at the same time.
    pub concurrency: usize,
}

impl Settings {
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            port: port(environment)?,
            api: environment.or("API_URL", Target::default(), "http://host:port")?,
            redis_url: environment.text("REDIS_URL").unwrap_or("redis://127.0.0.1:6379/0").to_owned(),
            calls_per_second: calls_per_second(environment)?,
            job: Duration::from_millis(environment.or("WORKER_JOB_MS", 100, "a number of milliseconds")?),
            concurrency: environment.or("WORKER_CONCURRENCY", 4, "a number of jobs")?,
        })
    }
}

pub fn port(environment: &Environment) -> Result<u16, SettingError> {
    environment.or("PORT", 9100, "a port from 0 (any free one) to 65535")
}

fn calls_per_second(environment: &Environment) -> Result<f64, SettingError> {
    const NAME: &str = "WORKER_CALLS_PER_SECOND";
    const WANT: &str = "a number from 0 (none) to 10000";
    let rate = environment.or(NAME, 20.0, WANT)?;
    if (0.0..=10_000.0).contains(&rate) { Ok(rate) } else { Err(error(NAME, &rate.to_string(), WANT)) }
}
