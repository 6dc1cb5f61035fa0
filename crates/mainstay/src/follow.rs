//! Follows a run to its end: a live list of rows on a terminal, plain lines elsewhere.
//!
//! Owns coming back when the daemon dies in between: the run goes on without us, and so does the list. Never decides
//! anything about the run.

use crate::cli::Context;
use crate::client::{self, of_stack, stream::Messages};
use crate::exit::Failure;
use crate::progress::{Ending, Progress, words};
use crate::ui::live::Live;
use crate::ui::paint::{Tone, tame};
use jiff::Timestamp;
use model::StackId;
use server::api::release::{Accepted, ReleaseView, RunEvent};
use server::api::status::StackStatus;
use std::time::Duration;
use tokio::time::Instant;

/// A daemon that is restarted by systemd is back within a few seconds; a reboot is no restart.
const ABSENCE: Duration = Duration::from_secs(30);

/// Between two tries to reach the daemon again, twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(3);

/// In plain output, how often something that takes long is mentioned.
const REMINDER: Duration = Duration::from_secs(10);

/// How following ended.
#[derive(Debug)]
pub enum Followed {
    /// The run is over.
    Ended(Box<Ending>),
    /// Somebody pressed Ctrl-C; the run goes on.
    Detached,
}

/// Follows a run and shows what happens.
pub async fn follow(cx: &Context, stack: &StackId, accepted: &Accepted) -> Result<Followed, Failure> {
    let mut follower = Follower {
        cx,
        stack,
        accepted,
        progress: Progress::new(&accepted.steps),
        seen: Vec::new(),
        live: Live::new(&cx.ui),
        said: Instant::now(),
    };
    let followed = tokio::select! {
        ending = follower.until_over() => ending.map(|ending| Followed::Ended(Box::new(ending))),
        () = cx.interrupted() => Ok(Followed::Detached),
    };
    follower.leave(&followed);
    followed
}

struct Follower<'a> {
    cx: &'a Context,
    stack: &'a StackId,
    accepted: &'a Accepted,
    progress: Progress,
    // A stream that is read again begins anew: what it repeats is skipped.
    seen: Vec<RunEvent>,
    live: Live,
    said: Instant,
}

impl Follower<'_> {
    async fn until_over(&mut self) -> Result<Ending, Failure> {
        let mut gone: Option<Instant> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.seen.len();
            let ended = self.read().await;
            if let Some(ending) = self.progress.ending() {
                return Ok(ending.clone());
            }
            let error = match ended {
                Ok(()) => None,
                Err(client::Error::Refused(refused)) if refused.status == 404 && !self.seen.is_empty() => {
                    return self.look_up().await;
                }
                Err(error) if error.is_absence() => Some(error),
                Err(error) => return Err(error.into()),
            };
            if self.seen.len() > before {
                gone = None;
            }
            let since = *gone.get_or_insert_with(|| {
                let (ui, what) = (&self.cx.ui, self.what_is_gone());
                self.live.above(ui, &format!("  {} {what}", ui.err.tone(Tone::Warn, "!")));
                pause = FIRST_PAUSE;
                Instant::now()
            });
            if since.elapsed() > ABSENCE {
                let failure = error.map_or_else(|| Failure::failed("the daemon ended the stream"), Failure::from);
                return Err(failure.help(self.how_to_look()));
            }
            self.pause(pause).await;
            // A try at our own socket costs nothing, one at another machine is a login.
            pause = if self.cx.client().host().is_some() { (2 * pause).min(LAST_PAUSE) } else { FIRST_PAUSE };
        }
    }

    fn what_is_gone(&self) -> String {
        match self.cx.client().host() {
            None => "the daemon is gone; waiting for it".to_owned(),
            Some(host) => format!("the connection broke; reaching {} again", host.machine()),
        }
    }

    fn how_to_look(&self) -> String {
        match self.cx.client().host() {
            None => "start the daemon with `mainstay serve`, then look at `mainstay status`".to_owned(),
            Some(host) => format!(
                "what was ordered goes on in the daemon; once {} can be reached, look with `mainstay status` and \
                 `mainstay events -f`",
                host.machine()
            ),
        }
    }

    async fn read(&mut self) -> Result<(), client::Error> {
        let path = of_stack(self.stack, &format!("/runs/{}", self.accepted.run));
        let mut messages = Messages::events(&path, self.cx.client().open(&path).await?);
        let mut number = 0;
        loop {
            let event = tokio::select! {
                event = messages.next::<RunEvent>() => event?,
                () = tokio::time::sleep(Duration::from_millis(80)) => {
                    self.show();
                    continue;
                }
            };
            let Some(event) = event else { return Ok(()) };
            if self.seen.get(number) != Some(&event) {
                self.seen.truncate(number);
                self.seen.push(event.clone());
                self.say(&event);
                self.progress.take(event);
            }
            number += 1;
            if self.progress.ending().is_some() {
                return Ok(());
            }
        }
    }

    // The daemon that is back does not know the run any more: what it recorded tells how it ended.
    async fn look_up(&self) -> Result<Ending, Failure> {
        let client = self.cx.client();
        loop {
            match self.accepted.release {
                Some(number) => {
                    let release: ReleaseView =
                        client.get(&of_stack(self.stack, &format!("/releases/{number}"))).await?;
                    if release.state != "running" {
                        let millis = lasted(&release);
                        return Ok(Ending { outcome: release.state, explanation: release.explanation, millis });
                    }
                }
                None => {
                    let status: StackStatus = client.get(&of_stack(self.stack, "")).await?;
                    if status.run.is_none() {
                        return Ok(Ending { outcome: "done".into(), explanation: None, millis: 0 });
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn pause(&mut self, pause: Duration) {
        self.show();
        tokio::time::sleep(pause).await;
    }

    fn show(&mut self) {
        let paint = self.cx.ui.err;
        if self.live.is_on() {
            let (rows, columns) = console::Term::stderr().size();
            let height = usize::from(rows).saturating_sub(4).max(3);
            let progress = &self.progress;
            self.live.show(|spinner| progress.lines(Timestamp::now(), spinner, paint, columns.into(), height));
        } else if self.said.elapsed() > REMINDER {
            self.said = Instant::now();
            let (done, all) = self.progress.count();
            self.cx.ui.note(format!("  {} {done} of {all} steps done", paint.tone(Tone::Dim, "…")));
            for line in self.progress.lines(Timestamp::now(), "…", paint, 200, 0) {
                self.cx.ui.detail(line);
            }
        }
    }

    // Plain lines: one for each step that ended.
    fn say(&mut self, event: &RunEvent) {
        if self.live.is_on() {
            return;
        }
        let (ui, paint) = (&self.cx.ui, self.cx.ui.err);
        self.said = Instant::now();
        let step = |id: &u32| self.progress.step(*id);
        match event {
            RunEvent::Began { step: id, .. } => {
                if let Some(step) = step(id) {
                    ui.detail(format!("  · {}  {}", words::thing(step), words::doing(step)));
                }
            }
            RunEvent::Ended { step: id, millis, .. } => {
                if let Some(step) = step(id) {
                    let took = paint.tone(Tone::Dim, &words::seconds(*millis));
                    let done = words::done(step);
                    ui.note(format!("  {} {}  {done}  {took}", paint.tone(Tone::Good, "✔"), words::thing(step)));
                }
            }
            RunEvent::Failed { step: id, error, .. } => {
                if let Some(step) = step(id) {
                    let what = format!("{} failed: {}", words::doing(step), tame(&error.replace('\n', ": "), false));
                    ui.say(&format!("  {} {}  {what}", paint.tone(Tone::Bad, "✘"), words::thing(step)));
                }
            }
            // The first plan is no news.
            RunEvent::Replanned { steps } if self.progress.has_begun() => {
                ui.note(format!("  · planned again: {} left", words::count(steps.len(), "step")));
            }
            RunEvent::Replanned { .. } | RunEvent::Finished { .. } | RunEvent::Unknown => {}
        }
    }

    fn leave(&mut self, followed: &Result<Followed, Failure>) {
        let was_on = self.live.is_on();
        self.live.clear();
        if was_on && matches!(followed, Ok(Followed::Ended(_))) {
            for line in self.progress.summary(Timestamp::now(), self.cx.ui.err) {
                self.cx.ui.note(line);
            }
        }
    }
}

fn lasted(release: &ReleaseView) -> u64 {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let ended = release.finished.as_deref().and_then(time);
    match (time(&release.created), ended) {
        (Some(created), Some(ended)) => u64::try_from(ended.duration_since(created).as_millis()).unwrap_or(0),
        _ => 0,
    }
}
