//! `shop-api migrate`: brings the database to the newest schema, once, however many run it at a time.
//!
//! Numbered SQL files are carried in the program. Each runs in a transaction of its own, under an advisory lock, and
//! is noted in `schema_migrations` with a sum of its text: a landed migration that was edited is refused.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use service::faults::Faults;
use service::log;
use tokio_postgres::{Client, NoTls};

use crate::settings::Settings;

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 3] = [
    Migration { version: 1, name: "products", sql: include_str!("../migrations/0001_products.sql") },
    Migration { version: 2, name: "orders", sql: include_str!("../migrations/0002_orders.sql") },
    Migration { version: 3, name: "orders_queued", sql: include_str!("../migrations/0003_orders_queued.sql") },
];
const PRODUCTS: &str = include_str!("../seeds/products.sql");

/// Any number, as long as nothing else in this database locks it.
const LOCK: i64 = 0x5348_4f50;
const RETRY_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
enum MigrateError {
    #[error("could not connect to the database within {within:?}")]
    Connect { within: Duration, source: tokio_postgres::Error },
    #[error("could not {doing}")]
    Prepare { doing: &'static str, source: tokio_postgres::Error },
    #[error("migration {version} ({name}) failed and was undone")]
    Apply { version: i32, name: &'static str, source: tokio_postgres::Error },
    #[error("migration {version} ({name}) was edited after it had been applied: restore its text and add a new one")]
    Edited { version: i32, name: &'static str },
    #[error("the database is at version {found}, this program knows {known}: run a newer one")]
    TooNew { found: i32, known: i32 },
}

/// Exit code 0 when the database is up to date, also if it was before; 1 when it is not.
pub async fn run(settings: &Settings, faults: &Faults) -> ExitCode {
    faults.start_clock();
    faults.delay_start().await;
    match migrate(settings).await {
        Ok(applied) => {
            tracing::info!(applied, version = MIGRATIONS.len(), "the database is up to date");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tracing::error!(error = log::chain(&failure), "the database was not migrated");
            ExitCode::FAILURE
        }
    }
}

async fn migrate(settings: &Settings) -> Result<usize, MigrateError> {
    let mut database = connect(settings).await?;
    let prepare = |doing| move |source| MigrateError::Prepare { doing, source };
    // Migrations may take longer than a request. The lock ends with the connection, however the program ends.
    database.batch_execute("SET statement_timeout = 0").await.map_err(prepare("lift the time limit"))?;
    database.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(prepare("take the migration lock"))?;
    database
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                version integer PRIMARY KEY, name text NOT NULL, sum text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await
        .map_err(prepare("create schema_migrations"))?;
    refuse_newer(&database).await?;
    let mut applied = 0;
    for migration in &MIGRATIONS {
        applied += usize::from(apply(&mut database, migration).await?);
    }
    database.batch_execute(PRODUCTS).await.map_err(prepare("seed the products"))?;
    Ok(applied)
}

/// Tries until `migrate_wait` is over: a database that has just started may refuse for a moment.
async fn connect(settings: &Settings) -> Result<Client, MigrateError> {
    let begun = Instant::now();
    loop {
        match settings.postgres.connect(NoTls).await {
            Ok((database, connection)) => {
                tokio::spawn(async move {
                    if let Err(failure) = connection.await {
                        tracing::warn!(error = log::chain(&failure), "the database connection broke");
                    }
                });
                return Ok(database);
            }
            // What the server itself refuses (a wrong password, say) will not get better, except while it starts.
            Err(failure) if failure.as_db_error().is_none_or(|db| db.code().code() == "57P03") => {
                if begun.elapsed() >= settings.migrate_wait {
                    return Err(MigrateError::Connect { within: settings.migrate_wait, source: failure });
                }
                tracing::info!(error = log::chain(&failure), "the database does not answer yet");
                tokio::time::sleep(RETRY_EVERY).await;
            }
            Err(source) => return Err(MigrateError::Connect { within: begun.elapsed(), source }),
        }
    }
}

async fn refuse_newer(database: &Client) -> Result<(), MigrateError> {
    let newest = database.query_one("SELECT coalesce(max(version), 0) FROM schema_migrations", &[]).await;
    let found: i32 = newest.map_err(|source| MigrateError::Prepare { doing: "read schema_migrations", source })?.get(0);
    let known = MIGRATIONS.last().map_or(0, |last| last.version);
    if found > known { Err(MigrateError::TooNew { found, known }) } else { Ok(()) }
}

/// Applies one migration; false if it was applied before.
async fn apply(database: &mut Client, migration: &Migration) -> Result<bool, MigrateError> {
    let Migration { version, name, sql } = *migration;
    let failed = |source| MigrateError::Apply { version, name, source };
    let transaction = database.transaction().await.map_err(failed)?;
    let find = "SELECT sum = md5($2) FROM schema_migrations WHERE version = $1";
    if let Some(row) = transaction.query_opt(find, &[&version, &sql]).await.map_err(failed)? {
        return if row.get(0) { Ok(false) } else { Err(MigrateError::Edited { version, name }) };
    }
    transaction.batch_execute(sql).await.map_err(failed)?;
    let note = "INSERT INTO schema_migrations (version, name, sum) VALUES ($1, $2, md5($3))";
    transaction.execute(note, &[&version, &name, &sql]).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    tracing::info!(migration = version, name, "applied");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        let numbers: Vec<i32> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(numbers, (1..=3).collect::<Vec<_>>());
    }
}
