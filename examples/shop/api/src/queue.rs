//! Brings orders to the worker's queue, also those whose first push failed.
//!
//! The order's row is the truth (`queued`), the list in Redis only carries it. Every replica sweeps up rows that are
//! still unqueued after a moment; a row that is pushed twice is a job done twice, which changes nothing.

use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;
use service::log;
use service::queue::{Job, QUEUE};

use crate::app::App;
use crate::error::ApiError;

const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("the queue did not take the job")]
    Queue(#[from] redis::RedisError),
    #[error("the order could not be marked as queued")]
    Mark(#[from] ApiError),
}

/// Pushes an order's job; what fails is left to the sweep.
pub async fn push_or_leave(app: &App, order: i64) {
    if let Err(failure) = push(app, &[order]).await {
        tracing::warn!(order, error = log::chain(&failure), "the order waits for the queue");
    }
}

async fn push(app: &App, orders: &[i64]) -> Result<(), PushError> {
    let jobs: Vec<String> = orders.iter().map(|&order| Job { order, attempts: 0 }.to_text()).collect();
    app.redis.query::<()>(&Cmd::lpush(QUEUE, jobs)).await?;
    let database = app.pool.get().await.map_err(ApiError::from)?;
    let mark =
        database.prepare_cached("UPDATE orders SET queued = true WHERE id = ANY($1)").await.map_err(ApiError::from)?;
    database.execute(&mark, &[&orders]).await.map_err(ApiError::from)?;
    Ok(())
}

/// Sweeps for as long as the process lives. Silent while the database or the queue is away: probes say so.
pub async fn sweep(app: Arc<App>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match unqueued(&app).await {
            Ok(orders) if orders.is_empty() => {}
            Ok(orders) => match push(&app, &orders).await {
                Ok(()) => tracing::info!(orders = orders.len(), "pushed orders that were waiting for the queue"),
                Err(failure) => tracing::debug!(error = log::chain(&failure), "orders still wait for the queue"),
            },
            Err(failure) => tracing::debug!(error = log::chain(&failure), "could not look for unqueued orders"),
        }
    }
}

async fn unqueued(app: &App) -> Result<Vec<i64>, ApiError> {
    let text =
        "SELECT id FROM orders WHERE NOT queued AND created_at < now() - interval '2 seconds' ORDER BY id LIMIT 500";
    let database = app.pool.get().await?;
    let statement = database.prepare_cached(text).await?;
    let rows = database.query(&statement, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
