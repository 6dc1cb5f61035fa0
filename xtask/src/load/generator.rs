//! The clock of the load: sends each request when it is due, on a thread of its own.

use super::connection::{Broken, Pool};
use super::{Outcome, Phase, Report, Shot};
use crate::machine::{pause, wait_for};
use anyhow::{Context as _, ensure};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A load to put on one address.
pub struct Load {
    /// Where to.
    pub to: SocketAddr,
    /// The `Host` of every request.
    pub host: String,
    /// Requests a second.
    pub per_second: f64,
    /// Every so many requests go out on a connection of their own; 0 for never.
    pub fresh_every: u64,
    /// An answer later than this is a failure.
    pub patience: Duration,
    /// The n-th request.
    pub aim: Box<dyn Fn(u64) -> Shot + Send>,
}

/// A load under way.
pub struct Running {
    tally: Arc<Mutex<Report>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Load {
    /// Begins at once, in a phase of this name.
    pub fn start(self, phase: &str) -> anyhow::Result<Running> {
        let tally = Arc::new(Mutex::new(Report { phases: vec![Phase::new(phase)] }));
        let stop = CancellationToken::new();
        let (shared, token) = (tally.clone(), stop.clone());
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.send_all(shared, token));
            Ok(())
        };
        let thread = std::thread::Builder::new().name("load".into()).spawn(work).context("start the load's thread")?;
        Ok(Running { tally, stop, thread: Some(thread) })
    }

    /// Sends until it is stopped, then waits for what is under way.
    async fn send_all(self, tally: Arc<Mutex<Report>>, stop: CancellationToken) {
        let pool = Arc::new(Pool::new(self.to));
        let host: Arc<str> = self.host.into();
        let requests = TaskTracker::new();
        let start = Instant::now();
        for n in 0_u64.. {
            #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
            let due = start + Duration::from_secs_f64(n as f64 / self.per_second);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(due) => {}
            }
            let phase = {
                let phases = &mut tally.lock().expect(UNBROKEN).phases;
                phases.last_mut().expect("a load begins with a phase").begun += 1;
                phases.len() - 1
            };
            let sending = Sending {
                shot: (self.aim)(n),
                host: host.clone(),
                is_fresh: self.fresh_every > 0 && n % self.fresh_every == 0,
                patience: self.patience,
                due,
                phase,
            };
            requests.spawn(sending.finish(pool.clone(), tally.clone()));
        }
        requests.close();
        requests.wait().await;
    }
}

const UNBROKEN: &str = "nothing panics while it holds the tally";

/// One request on its way.
struct Sending {
    shot: Shot,
    host: Arc<str>,
    is_fresh: bool,
    patience: Duration,
    due: Instant,
    /// The phase it was due in; what it is counted for.
    phase: usize,
}

impl Sending {
    async fn finish(self, pool: Arc<Pool>, tally: Arc<Mutex<Report>>) {
        let (outcome, label) = self.outcome(&pool).await;
        let mut report = tally.lock().expect(UNBROKEN);
        let phase = &mut report.phases[self.phase];
        phase.add(self.shot.is_idempotent(), outcome, self.due.elapsed());
        if let Some(label) = label {
            *phase.labels.entry(label).or_default() += 1;
        }
    }

    async fn outcome(&self, pool: &Pool) -> (Outcome, Option<String>) {
        let what = format!("{} {}", self.shot.method, self.shot.path);
        let Ok(request) = self.shot.request(&self.host) else {
            return (Outcome::Failed(format!("{what}: no such request")), None);
        };
        match tokio::time::timeout(self.patience, pool.send(request, self.is_fresh)).await {
            Err(_) => (Outcome::Failed(format!("{what}: no answer within {:?}", self.patience)), None),
            Ok(Err(Broken::Before(error))) => (Outcome::Failed(format!("{what}: {error:#}")), None),
            Ok(Err(Broken::Within(error))) => (Outcome::Cut(format!("{what}: {error:#}")), None),
            Ok(Ok(answer)) if answer.status().as_u16() >= 400 => {
                let text = String::from_utf8_lossy(&answer.body()[..answer.body().len().min(200)]).into_owned();
                (Outcome::Failed(format!("{what}: {} {text}", answer.status())), None)
            }
            Ok(Ok(answer)) => match self.shot.judge(&answer) {
                Ok(label) => (Outcome::Answered, label),
                Err(why) => (Outcome::Failed(format!("{what}: {why}")), None),
            },
        }
    }
}

impl Running {
    /// From now on requests count for a new phase.
    pub fn begin(&self, phase: &str) {
        self.tally.lock().expect(UNBROKEN).phases.push(Phase::new(phase));
    }

    /// The same, and waits for the end of all requests of the phases before: what happens from now on is not theirs.
    pub fn begin_apart(&self, phase: &str, patience: Duration) -> anyhow::Result<()> {
        self.begin(phase);
        wait_for("the requests of the phase before", patience, || {
            let report = self.tally.lock().expect(UNBROKEN);
            let (_, before) = report.phases.split_last().expect("a load begins with a phase");
            Ok(before.iter().all(Phase::is_settled).then_some(()))
        })
    }

    /// Waits until so many idempotent requests have ended.
    ///
    /// Errors: the load ended before, or sends far more slowly than it was told to.
    pub fn wait_for_idempotent(&self, wanted: u64, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let sent = self.so_far().idempotent().sent;
            if sent >= wanted {
                return Ok(());
            }
            let is_over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            ensure!(!is_over, "the load ended after {sent} of {wanted} requests");
            ensure!(Instant::now() < deadline, "{sent} of {wanted} requests were sent within {patience:?}");
            pause(Duration::from_millis(200))?;
        }
    }

    /// The figures so far.
    pub fn so_far(&self) -> Report {
        self.tally.lock().expect(UNBROKEN).clone()
    }

    /// Stops sending, waits for the last answers, and tells all.
    pub fn stop(mut self) -> anyhow::Result<Report> {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the load's thread panicked"))??;
        }
        Ok(self.so_far())
    }
}

/// A load whose owner gave up must not go on.
impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
