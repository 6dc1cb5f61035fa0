//! The logs of several replicas, merged by time.

use super::Tail;
use crate::api::ApiError;
use crate::api::status::LogLine;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use runtime::{CancellationToken, Clock, OnError, Tasks};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a followed log is looked at. Short enough to feel live, long enough to cost nothing.
const POLL: Duration = Duration::from_millis(200);

/// So many lines may wait for a slow reader; then reading waits too.
const AHEAD: usize = 1024;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Services or replicas; all when empty.
    pub targets: Vec<String>,
    /// Lines per replica to begin with; all when none.
    pub tail: Option<usize>,
    /// Goes on with what is added.
    pub follow: bool,
}

impl Request {
    fn wants(&self, replica: &str) -> bool {
        let service = replica.rsplit_once('.').map_or(replica, |(service, _)| service);
        self.targets.is_empty() || self.targets.iter().any(|target| target == replica || target == service)
    }
}

/// Where logs are found.
#[async_trait]
pub trait Source: Send + Sync {
    /// Replicas that have a log, by id, with its path. New ones appear while a log is followed.
    async fn logs(&self) -> Result<BTreeMap<String, PathBuf>, ApiError>;
}

/// The lines asked for, each as JSON with a line end.
///
/// Errors: a target that has no log.
pub async fn stream(
    source: Box<dyn Source>,
    request: Request,
    tasks: &Tasks,
    clock: Arc<dyn Clock>,
) -> Result<impl Stream<Item = Bytes> + use<>, ApiError> {
    let known = source.logs().await?;
    for target in &request.targets {
        let only = Request { targets: vec![target.clone()], ..request.clone() };
        if !known.keys().any(|replica| only.wants(replica)) {
            return Err(unknown(target, known.keys()));
        }
    }
    let (lines, read) = mpsc::channel(AHEAD);
    let worker = tasks.clone();
    tasks.spawn("follow logs", OnError::Log, move |stop| async move {
        Follow { source, request, tails: BTreeMap::new(), lines }.run(&worker, &*clock, stop).await
    });
    Ok(futures_util::stream::unfold(read, |mut read| async { read.recv().await.map(|line| (line, read)) }))
}

fn unknown<'a>(target: &str, known: impl Iterator<Item = &'a String>) -> ApiError {
    let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
    let error = ApiError::new(404, "MS0208", format!("`{target}` is no service or replica with a log"));
    if known.is_empty() {
        error.help("start the stack first: `mainstay up`")
    } else {
        error.help(format!("name one of {}", known.join(", ")))
    }
}

struct Follow {
    source: Box<dyn Source>,
    request: Request,
    tails: BTreeMap<String, Tail>,
    lines: mpsc::Sender<Bytes>,
}

impl Follow {
    async fn run(mut self, tasks: &Tasks, clock: &dyn Clock, stop: CancellationToken) -> Result<(), runtime::BoxError> {
        let mut first = true;
        loop {
            let known = self.source.logs().await?;
            for (replica, path) in known {
                if self.request.wants(&replica) {
                    self.tails.entry(replica.clone()).or_insert_with(|| Tail::new(path, replica));
                }
            }
            let mut tails = std::mem::take(&mut self.tails);
            let tail = self.request.tail;
            let (tails, read) = tasks
                .blocking("read logs", move || {
                    let read = read(&mut tails, first, tail);
                    (tails, read)
                })
                .await?;
            self.tails = tails;
            for line in read? {
                let mut json = serde_json::to_vec(&line)?;
                json.push(b'\n');
                if self.lines.send(json.into()).await.is_err() {
                    return Ok(());
                }
            }
            if !self.request.follow {
                return Ok(());
            }
            first = false;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.lines.closed() => return Ok(()),
                () = clock.sleep(POLL) => {}
            }
        }
    }
}

fn read(tails: &mut BTreeMap<String, Tail>, first: bool, count: Option<usize>) -> std::io::Result<Vec<LogLine>> {
    let mut lines = Vec::new();
    for tail in tails.values_mut() {
        lines.extend(if first { tail.last(count)? } else { tail.added()? });
    }
    // Stable: lines of one replica keep their order even where their times are equal.
    lines.sort_by(|a, b| a.time.cmp(&b.time));
    Ok(lines)
}
