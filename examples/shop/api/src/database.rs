//! The pool of connections to PostgreSQL. Connects when a request needs it, never before.

use std::time::Duration;

use deadpool_postgres::{BuildError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

use crate::settings::Settings;

/// A pool for `settings`. Opens nothing yet.
pub fn pool(settings: &Settings) -> Result<Pool, BuildError> {
    let recycle = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    Pool::builder(Manager::from_config(settings.postgres.clone(), NoTls, recycle))
        .max_size(settings.pool_size.max(1))
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(Duration::from_secs(2)))
        .create_timeout(Some(Duration::from_secs(3)))
        .build()
}
