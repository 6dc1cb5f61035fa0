//! What the API takes from its environment; the README lists the same variables.

use std::time::Duration;

use service::environment::{Environment, SettingError, error};
use tokio_postgres::Config as PostgresConfig;

/// Everything the API is told from outside.
pub struct Settings {
    pub port: u16,
    pub postgres: PostgresConfig,
    pub pool_size: usize,
    pub redis_url: String,
    pub cache_for: Duration,
    /// How long it serves on, not ready, after it was asked to end.
    pub drain: Duration,
    /// How long requests under way may take after that.
    pub shutdown: Duration,
    /// How long `migrate` tries to reach the database.
    pub migrate_wait: Duration,
}

impl Settings {
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let milliseconds =
            |name, default| environment.or(name, default, "a number of milliseconds").map(Duration::from_millis);
        Ok(Self {
            port: port(environment)?,
            postgres: postgres(environment)?,
            pool_size: environment.or("DATABASE_POOL_SIZE", 8, "a number of connections")?,
            redis_url: environment.text("REDIS_URL").unwrap_or("redis://127.0.0.1:6379/0").to_owned(),
            cache_for: Duration::from_secs(environment.or("CACHE_TTL_SECONDS", 30, "a number of seconds")?),
            drain: milliseconds("DRAIN_MS", 1000)?,
            shutdown: milliseconds("SHUTDOWN_TIMEOUT_MS", 8000)?,
            migrate_wait: milliseconds("MIGRATE_WAIT_MS", 10_000)?,
        })
    }
}

pub fn port(environment: &Environment) -> Result<u16, SettingError> {
    environment.or("PORT", 3000, "a port from 0 (any free one) to 65535")
}

/// `DATABASE_URL` as a whole, or its parts with the password in a file, as orchestrators hand out secrets.
fn postgres(environment: &Environment) -> Result<PostgresConfig, SettingError> {
    let mut config = match environment.text("DATABASE_URL") {
        // The value may hold a password, so the error does not show it.
        Some(url) => {
            url.parse().map_err(|_| error("DATABASE_URL", "…", "postgres://user:password@host:port/database"))?
        }
        None => from_parts(environment)?,
    };
    config.application_name("shop-api").connect_timeout(Duration::from_secs(2)).options("-c statement_timeout=5s");
    Ok(config)
}

fn from_parts(environment: &Environment) -> Result<PostgresConfig, SettingError> {
    let mut config = PostgresConfig::new();
    config
        .host(environment.text("DATABASE_HOST").unwrap_or("127.0.0.1"))
        .port(environment.or("DATABASE_PORT", 5432, "a port")?)
        .user(environment.text("DATABASE_USER").unwrap_or("shop"))
        .dbname(environment.text("DATABASE_NAME").unwrap_or("shop"));
    if let Some(path) = environment.text("DATABASE_PASSWORD_FILE") {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| error("DATABASE_PASSWORD_FILE", path, &format!("a file that can be read ({cause})")))?;
        config.password(text.trim_end_matches(['\r', '\n']));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_without_showing_it() {
        let environment = Environment::from([("DATABASE_URL", "postgres://shop:s3cret@db:nope/shop")]);
        let refusal = Settings::from_environment(&environment).err().map(|error| error.to_string());
        assert_eq!(refusal.as_deref(), Some("DATABASE_URL is `…`: write postgres://user:password@host:port/database"));
    }

    #[test]
    fn a_missing_password_file_is_named() {
        let environment = Environment::from([("DATABASE_PASSWORD_FILE", "/nowhere/password")]);
        let refusal = Settings::from_environment(&environment).err().map(|error| error.to_string()).unwrap();
        assert!(
            refusal.starts_with("DATABASE_PASSWORD_FILE is `/nowhere/password`: write a file that can be read"),
            "{refusal}"
        );
    }
}
