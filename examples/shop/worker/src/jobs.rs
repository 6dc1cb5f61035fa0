//! The work: takes jobs from the queue, packs and ships each order through the API, loses none.
//!
//! A job is moved from the queue into this worker's own list, done, and only then removed. Each worker renews a sign
//! of life; the lists of those whose sign has expired are moved back to the queue by any other, at its start and once
//! a second. A failed attempt goes to the end of the queue after a pause; a job that can never succeed to the dead ones.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use redis::{Cmd, Direction, Pipeline, RedisResult};
use service::queue::{self, Job};
use tokio::task::JoinSet;

use crate::Worker;
use crate::calls::CallError;

/// A blocking wait must end before this does.
pub const REDIS_ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// How long one wait for a job blocks; also the longest an idle worker takes to end.
const WAIT_FOR_JOB_S: f64 = 0.25;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(1);
/// A worker that is silent for so long is taken for gone. If it is not, its jobs are done twice, which changes nothing.
const GONE_AFTER_S: u64 = 5;

/// Works until the worker stops; returns when the jobs under way are done.
pub async fn run(worker: Arc<Worker>) {
    let mut loops = JoinSet::new();
    let name = worker.identity.instance.clone();
    tracing::info!(worker = name, jobs = worker.settings.concurrency, "taking jobs");
    let life = tokio::spawn(stay_alive(worker.clone()));
    for _ in 0..worker.settings.concurrency.max(1) {
        loops.spawn(work(worker.clone()));
    }
    while let Some(ended) = loops.join_next().await {
        if ended.is_err() {
            tracing::error!("a job ended by a bug; another worker will take it over");
        }
    }
    life.abort();
    let mut leave = Pipeline::new();
    leave.del(queue::alive(&name)).ignore();
    if let Err(failure) = worker.redis.run::<()>(&leave).await {
        tracing::warn!(error = %failure, "could not sign off; the sign of life expires by itself");
    }
}

/// One of the loops that do jobs. Each has a connection of its own, as waiting for a job blocks it.
async fn work(worker: Arc<Worker>) {
    let redis = match service::redis_link::Link::new(&worker.settings.redis_url, REDIS_ANSWERS_WITHIN) {
        Ok(redis) => redis,
        Err(failure) => return tracing::error!(error = %failure, "cannot take jobs"),
    };
    let mine = queue::processing(&worker.identity.instance);
    while !worker.stop.is_cancelled() {
        let take = Cmd::blmove(queue::QUEUE, &mine, Direction::Right, Direction::Left, WAIT_FOR_JOB_S);
        match redis.query::<Option<String>>(&take).await {
            Ok(Some(text)) => handle(&worker, &mine, &text).await,
            Ok(None) => {}
            Err(failure) => {
                tracing::debug!(error = %failure, "the queue does not answer");
                pause(&worker).await;
            }
        }
    }
}

async fn pause(worker: &Worker) {
    tokio::select! {
        () = tokio::time::sleep(PAUSE_AFTER_FAILURE) => {}
        () = worker.stop.cancelled() => {}
    }
}

/// How an attempt at a job ended.
enum End {
    Done,
    Again(Job),
    Dead(String),
}

/// Does one job and takes it off this worker's list, in one step with what becomes of it.
async fn handle(worker: &Worker, mine: &str, text: &str) {
    let end = match serde_json::from_str::<Job>(text) {
        Ok(job) => attempt(worker, job).await,
        Err(failure) => End::Dead(format!("not a job: {failure}")),
    };
    let mut settle = Pipeline::new();
    settle.atomic().lrem(mine, 1, text).ignore();
    match &end {
        End::Done => worker.counts.jobs_done.inc(),
        End::Again(job) => {
            worker.counts.jobs_failed.inc();
            settle.lpush(queue::QUEUE, job.to_text()).ignore();
            pause(worker).await;
        }
        End::Dead(reason) => {
            worker.counts.jobs_failed.inc();
            tracing::error!(job = text, reason, "the job can never be done");
            settle.lpush(queue::DEAD, serde_json::json!({ "job": text, "reason": reason }).to_string()).ignore();
        }
    }
    if let Err(failure) = worker.redis.run::<()>(&settle).await {
        // It stays on the list: when this worker is gone, another does it once more.
        tracing::warn!(error = %failure, job = text, "the job could not be settled");
    }
}

async fn attempt(worker: &Worker, job: Job) -> End {
    let order = job.order;
    match carry_out(worker, order).await {
        Ok(()) => {
            tracing::info!(order, attempts = job.attempts + 1, "shipped");
            End::Done
        }
        Err(Failed::Call(CallError::Status(status)))
            if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT =>
        {
            End::Dead(format!("the API answered {status}"))
        }
        Err(_) => End::Again(Job { order, attempts: job.attempts.saturating_add(1) }),
    }
}

/// Why an order was not carried out. Calls write their own log line.
enum Failed {
    OnPurpose,
    Call(CallError),
}

async fn carry_out(worker: &Worker, order: i64) -> Result<(), Failed> {
    worker.faults.slow_down().await;
    if worker.faults.fails_now() {
        tracing::error!(order, "failed on purpose");
        return Err(Failed::OnPurpose);
    }
    move_to(worker, order, "packing").await?;
    tokio::time::sleep(worker.settings.job).await;
    move_to(worker, order, "shipped").await
}

async fn move_to(worker: &Worker, order: i64, state: &str) -> Result<(), Failed> {
    let body = Bytes::from(serde_json::json!({ "state": state }).to_string());
    let path = format!("/api/orders/{order}/state");
    worker.calls.call(Method::PUT, &path, body).await.map(drop).map_err(Failed::Call)
}

/// Renews the sign of life and takes over the jobs of those who have none any more.
async fn stay_alive(worker: Arc<Worker>) {
    let mut tick = tokio::time::interval(SIGN_OF_LIFE_EVERY);
    loop {
        tick.tick().await;
        if let Err(failure) = sign_and_recover(&worker).await {
            tracing::debug!(error = %failure, "no sign of life: the queue does not answer");
        }
    }
}

async fn sign_and_recover(worker: &Worker) -> RedisResult<()> {
    let me = worker.identity.instance.as_str();
    let mut sign = Pipeline::new();
    sign.set_ex(queue::alive(me), &worker.identity.replica, GONE_AFTER_S).ignore();
    sign.sadd(queue::WORKERS, me).ignore();
    worker.redis.run::<()>(&sign).await?;
    let known: Vec<String> = worker.redis.query(&Cmd::smembers(queue::WORKERS)).await?;
    for other in known.iter().filter(|other| *other != me) {
        if !worker.redis.query::<bool>(&Cmd::exists(queue::alive(other))).await? {
            recover(worker, other).await?;
        }
    }
    Ok(())
}

/// Moves a lost worker's jobs back to the front of the queue, one by one, so that a crash here loses none either.
async fn recover(worker: &Worker, lost: &str) -> RedisResult<()> {
    let step = Cmd::lmove(queue::processing(lost), queue::QUEUE, Direction::Right, Direction::Right);
    while let Some(job) = worker.redis.query::<Option<String>>(&step).await? {
        worker.counts.jobs_recovered.inc();
        tracing::warn!(worker = lost, job, "took over the job of a lost worker");
    }
    worker.redis.query::<()>(&Cmd::srem(queue::WORKERS, lost)).await
}
