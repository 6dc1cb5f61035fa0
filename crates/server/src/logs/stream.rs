//! The logs of several replicas, merged by time.

use super::Tail;
use crate::api::ApiError;
use crate::api::status::LogLine;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use runtime::{CancellationToken, Clock, OnError, Tasks};
use std::collections::{BTreeMap, VecDeque};
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

    /// Logs on disk, those of replicas that are gone as well. Shown only to who names the replica.
    async fn left(&self) -> Result<BTreeMap<String, PathBuf>, ApiError>;
}

/// The lines asked for, each as JSON with a line end. A log that cannot be read ends it with an error.
///
/// Errors: a target that has no log.
pub async fn stream(
    source: Box<dyn Source>,
    request: Request,
    tasks: &Tasks,
    clock: Arc<dyn Clock>,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + use<>, ApiError> {
    let known = source.logs().await?;
    let left = source.left().await?.into_iter().filter(|(replica, _)| request.targets.contains(replica));
    let tails: BTreeMap<_, _> = left.map(|(replica, path)| (replica.clone(), Tail::new(path, replica))).collect();
    for target in &request.targets {
        let only = Request { targets: vec![target.clone()], ..request.clone() };
        if !known.keys().chain(tails.keys()).any(|replica| only.wants(replica)) {
            return Err(unknown(target, known.keys()));
        }
    }
    let (lines, read) = mpsc::channel(AHEAD);
    let worker = tasks.clone();
    tasks.spawn("follow logs", OnError::Log, move |stop| async move {
        let told = lines.clone();
        let ended = Follow { source, request, tails, lines }.run(&worker, &*clock, stop).await;
        if let Err(error) = &ended {
            // Whoever reads must not take what is there for all there is.
            let _ = told.send(Err(std::io::Error::other(crate::chain(&**error)))).await;
        }
        ended
    });
    Ok(futures_util::stream::unfold(read, |mut read| async { read.recv().await.map(|line| (line, read)) }))
}

fn unknown<'a>(target: &str, known: impl Iterator<Item = &'a String>) -> ApiError {
    let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
    let error = ApiError::new(404, "MS0208", format!("`{target}` is no service or replica with a log"));
    if known.is_empty() {
        error.help("see `mainstay status` for what runs; nothing of this stack has a log")
    } else {
        error.help(format!("name one of {}", known.join(", ")))
    }
}

struct Follow {
    source: Box<dyn Source>,
    request: Request,
    tails: BTreeMap<String, Tail>,
    lines: mpsc::Sender<std::io::Result<Bytes>>,
}

impl Follow {
    async fn run(mut self, tasks: &Tasks, clock: &dyn Clock, stop: CancellationToken) -> Result<(), runtime::BoxError> {
        self.find().await?;
        let first = match self.request.tail {
            Some(count) => {
                let lines = self.on_disk(tasks, move |tails| last(tails, count)).await?;
                self.send(lines).await?
            }
            None => self.all(tasks, &stop).await?,
        };
        if !first {
            return Ok(());
        }
        while self.request.follow {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.lines.closed() => return Ok(()),
                () = clock.sleep(POLL) => {}
            }
            self.find().await?;
            let lines = self.on_disk(tasks, added).await?;
            if !self.send(lines).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Finds the logs that are asked for, those of new replicas as well.
    async fn find(&mut self) -> Result<(), ApiError> {
        for (replica, path) in self.source.logs().await? {
            if self.request.wants(&replica) {
                self.tails.entry(replica.clone()).or_insert_with(|| Tail::new(path, replica));
            }
        }
        Ok(())
    }

    /// Every line there is, in pieces: memory holds a piece of each log, however long they are.
    async fn all(&mut self, tasks: &Tasks, stop: &CancellationToken) -> Result<bool, runtime::BoxError> {
        self.on_disk(tasks, |tails| tails.values_mut().try_for_each(Tail::rewind)).await?;
        let mut merge = Merge::default();
        while !stop.is_cancelled() {
            let (lines, back) = self
                .on_disk(tasks, move |tails| {
                    let lines = merge.next(tails)?;
                    Ok((lines, merge))
                })
                .await?;
            merge = back;
            if lines.is_empty() {
                return Ok(true);
            }
            if !self.send(lines).await? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    async fn on_disk<T: Send + 'static>(
        &mut self,
        tasks: &Tasks,
        read: impl FnOnce(&mut BTreeMap<String, Tail>) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, runtime::BoxError> {
        let mut tails = std::mem::take(&mut self.tails);
        let work = move || {
            let read = read(&mut tails);
            (tails, read)
        };
        let (tails, read) = tasks.blocking("read logs", work).await?;
        self.tails = tails;
        Ok(read?)
    }

    /// Whether somebody still reads.
    async fn send(&self, lines: Vec<LogLine>) -> Result<bool, runtime::BoxError> {
        for line in lines {
            let mut json = serde_json::to_vec(&line)?;
            json.push(b'\n');
            if self.lines.send(Ok(json.into())).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn last(tails: &mut BTreeMap<String, Tail>, count: usize) -> std::io::Result<Vec<LogLine>> {
    sorted(tails.values_mut().map(|tail| tail.last(count)))
}

fn added(tails: &mut BTreeMap<String, Tail>) -> std::io::Result<Vec<LogLine>> {
    sorted(tails.values_mut().map(Tail::added))
}

// Stable: lines of one replica keep their order even where their times are equal.
fn sorted(read: impl Iterator<Item = std::io::Result<Vec<LogLine>>>) -> std::io::Result<Vec<LogLine>> {
    let mut lines: Vec<_> = read.collect::<std::io::Result<Vec<_>>>()?.into_iter().flatten().collect();
    lines.sort_by(|a, b| a.time.cmp(&b.time));
    Ok(lines)
}

/// Merges whole logs piece by piece.
#[derive(Default)]
struct Merge {
    /// What was read of each log and not given out.
    ahead: BTreeMap<String, VecDeque<LogLine>>,
}

impl Merge {
    /// The next lines in order of time; none at the end of all logs.
    fn next(&mut self, tails: &mut BTreeMap<String, Tail>) -> std::io::Result<Vec<LogLine>> {
        for (replica, tail) in tails {
            let ahead = self.ahead.entry(replica.clone()).or_default();
            if ahead.is_empty() {
                *ahead = tail.added()?.into();
            }
        }
        self.ahead.retain(|_, ahead| !ahead.is_empty());
        let mut lines = Vec::new();
        // Up to the end of the first piece: what comes after it in its log may be older than what others hold.
        while !self.ahead.is_empty() && self.ahead.values().all(|ahead| !ahead.is_empty()) {
            let first = self.ahead.values_mut().min_by(|a, b| time(a).cmp(&time(b)));
            lines.extend(first.and_then(VecDeque::pop_front));
        }
        Ok(lines)
    }
}

fn time(ahead: &VecDeque<LogLine>) -> Option<&str> {
    ahead.front().map(|line| line.time.as_str())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests touch the machine")]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    struct Folder(tempfile::TempDir);

    #[async_trait]
    impl Source for Folder {
        async fn logs(&self) -> Result<BTreeMap<String, PathBuf>, ApiError> {
            Ok(["api.1", "db.1"].map(|name| (name.to_owned(), self.0.path().join(name))).into())
        }

        async fn left(&self) -> Result<BTreeMap<String, PathBuf>, ApiError> {
            Ok(["api.1", "api.2"].map(|name| (name.to_owned(), self.0.path().join(name))).into())
        }
    }

    async fn read(folder: Folder, targets: &[&str], tail: Option<usize>) -> Vec<std::io::Result<String>> {
        let clock: Arc<dyn Clock> = Arc::new(runtime::SystemClock);
        let tasks = Tasks::new(clock.clone());
        let request =
            Request { targets: targets.iter().map(|target| (*target).to_owned()).collect(), tail, follow: false };
        let lines = stream(Box::new(folder), request, &tasks, clock).await.expect("logs");
        let text = |bytes: Bytes| serde_json::from_slice::<LogLine>(&bytes).expect("a line").line;
        lines.map(|line| line.map(text)).collect().await
    }

    #[tokio::test]
    async fn all_lines_are_merged_by_time_whatever_their_number() {
        let folder = Folder(tempfile::tempdir().expect("temporary folder"));
        // More than is read at once of each, in two files.
        let line = |n: usize| format!("2026-01-01T00:00:00.{n:09}Z stdout F {n}\n");
        let of =
            |numbers: std::ops::Range<usize>, rest| numbers.filter(|n| n % 2 == rest).map(line).collect::<String>();
        let write = |name: &str, text: String| std::fs::write(folder.0.path().join(name), text).expect("written");
        write("api.1.1", of(0..30_000, 0));
        write("api.1", of(30_000..100_000, 0));
        write("db.1", of(0..100_000, 1));
        let lines = read(folder, &[], None).await;
        assert_eq!(lines.len(), 100_000);
        assert!(lines.iter().enumerate().all(|(n, line)| line.as_ref().is_ok_and(|line| *line == n.to_string())));
    }

    #[tokio::test]
    async fn the_log_of_a_replica_that_is_gone_is_read_by_its_name_only() {
        for (targets, want) in [(&["api.2"][..], &["b"][..]), (&["api"], &["a"])] {
            let folder = Folder(tempfile::tempdir().expect("temporary folder"));
            std::fs::write(folder.0.path().join("api.1"), "1 stdout F a\n").expect("written");
            std::fs::write(folder.0.path().join("api.2"), "2 stdout F b\n").expect("written");
            let lines: Vec<_> = read(folder, targets, Some(10)).await.into_iter().map(|l| l.expect("a line")).collect();
            assert_eq!(lines, want);
        }
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_read_ends_the_stream_with_an_error() {
        let folder = Folder(tempfile::tempdir().expect("temporary folder"));
        std::fs::write(folder.0.path().join("api.1"), "1 stdout F a\n").expect("written");
        std::fs::create_dir(folder.0.path().join("db.1")).expect("made");
        let lines = read(folder, &[], Some(10)).await;
        assert!(lines.last().is_some_and(Result::is_err), "{lines:?}");
    }
}
