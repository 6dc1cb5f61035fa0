//! What is known of one watched replica.

use crate::judge::Verdict;
use jiff::Timestamp;
use model::probe::Probes as Spec;
use model::{ReplicaId, StackId};
use plan::observed::Health;
use std::fmt;
use std::time::Duration;

/// What is known of one watched replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Its health. The reason in it is the one of the change; newer answers are in `ready` and `live`.
    pub health: Health,
    /// Since when it has this health.
    pub since: Timestamp,
    /// The last answer to the ready probe.
    pub ready: Option<Answer>,
    /// The last answer to the live probe.
    pub live: Option<Answer>,
}

/// One answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// When the check ended.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// Whether it passed.
    pub passed: bool,
    /// What was asked and what came back, in words.
    pub detail: String,
    /// Failures in a row that count, this one included.
    pub failures: u32,
}

/// A replica's health changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of which stack.
    pub stack: StackId,
    /// Which replica.
    pub id: ReplicaId,
    /// When.
    pub at: Timestamp,
    /// Before; none when it was not watched, or ran another process.
    pub from: Option<Health>,
    /// After; none when it is no longer watched.
    pub to: Option<Health>,
}

/// A replica did not become ready in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// Which.
    pub id: ReplicaId,
    /// How long it had.
    pub deadline: Duration,
    /// What is known of it; none when it was never seen running.
    pub observation: Option<Observation>,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` did not become ready within {:?}: {}", self.id, self.deadline, self.why())
    }
}

impl std::error::Error for NotReady {}

impl NotReady {
    /// What its probe answered last, in words.
    pub fn why(&self) -> String {
        match &self.observation {
            None => "it was not seen running".to_owned(),
            Some(Observation { health: Health::Dead(why), .. }) => why.clone(),
            Some(Observation { ready: Some(answer), .. }) => answer.detail.clone(),
            Some(_) => "its probe has not answered yet".to_owned(),
        }
    }
}

/// Which of a replica's two probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ready,
    Live,
}

/// The answers and verdicts so far.
#[derive(Debug)]
pub(super) struct Seen {
    /// None without a ready probe.
    ready: Option<Verdict>,
    live: Verdict,
    observation: Observation,
}

impl Seen {
    pub(super) fn begin(probes: &Spec, now: Timestamp) -> Self {
        let ready = probes.ready.as_ref().map(|_| Verdict::Starting);
        let health = if ready.is_some() { Health::Starting } else { Health::Ready };
        let observation = Observation { health, since: now, ready: None, live: None };
        Self { ready, live: Verdict::Starting, observation }
    }

    pub(super) fn health(&self) -> &Health {
        &self.observation.health
    }

    pub(super) fn observation(&self) -> Observation {
        self.observation.clone()
    }

    /// Whether the ready probe has answered, or there is none.
    pub(super) fn is_asked(&self) -> bool {
        self.ready.is_none() || self.observation.ready.is_some()
    }

    /// Keeps an answer; tells whether the health is another one now.
    pub(super) fn record(&mut self, kind: Kind, verdict: Verdict, answer: Answer) -> bool {
        let at = answer.at;
        match kind {
            Kind::Ready => (self.ready, self.observation.ready) = (Some(verdict), Some(answer)),
            Kind::Live => (self.live, self.observation.live) = (verdict, Some(answer)),
        }
        let health = self.judged();
        // A newer reason for the same health is no change.
        let changed = std::mem::discriminant(&health) != std::mem::discriminant(&self.observation.health);
        if changed {
            (self.observation.health, self.observation.since) = (health, at);
        }
        changed
    }

    fn judged(&self) -> Health {
        let why = |answer: &Option<Answer>| answer.as_ref().map(|answer| answer.detail.clone()).unwrap_or_default();
        match (self.live, self.ready) {
            (Verdict::Failing, _) => Health::Dead(why(&self.observation.live)),
            (_, None | Some(Verdict::Passing)) => Health::Ready,
            (_, Some(Verdict::Starting)) => Health::Starting,
            (_, Some(Verdict::Failing)) => Health::Unready(why(&self.observation.ready)),
        }
    }
}
