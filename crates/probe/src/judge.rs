//! What the answers to one probe mean, and when to ask next. Pure: times are arguments.
//!
//! All times are ages: how long the replica has been running. Compose's rules hold to the letter:
//!
//! - failures of checks that began within `start_period` do not count before the first success;
//! - one success makes it pass, `retries` counted failures in a row make it fail;
//! - the next check begins `interval` after the last one ended, `start_interval` in the start period before the
//!   first success.
//!
//! Beside them a ready probe is asked *early*: Compose would ask for the first time after a whole interval, so
//! with its defaults no release could be quicker than half a minute. Early checks come right after the start
//! with doubling pauses until the first regular one is due. Their failures never count, so a replica fails no
//! sooner than with Compose; it only passes sooner.

use model::probe::Probe;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// What the answers so far mean.
///
/// ```text
///            success                  `retries` failures in a row
/// Starting ──────────► Passing ───────────────────────────────────► Failing
///    │                    ▲                    success                 │ ▲
///    │                    └────────────────────────────────────────────┘ │
///    └───────────────────────────────────────────────────────────────────┘
///              `retries` failures in a row, begun after the start period
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// No success yet, and not enough failures that count.
    Starting,
    /// The last success is younger than `retries` failures.
    Passing,
    /// It failed `retries` times in a row.
    Failing,
}

/// When to ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// At this age of the replica; at once when it is older.
    pub at: Duration,
    /// The answer must be there within this time.
    pub timeout: Duration,
}

/// Whether a probe is asked before its first regular check is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// Ready probes: to know it sooner.
    Yes,
    /// Live probes: a replica counts as live until told otherwise.
    No,
}

/// The pause after the first early check; doubled after each.
const EARLY_PAUSE: Duration = Duration::from_millis(50);

/// Judges the answers to one probe of one replica.
#[derive(Debug, Clone)]
pub struct Judge {
    probe: Probe,
    verdict: Verdict,
    streak: u32,
    next: Duration,
    regular_from: Duration,
    early_pause: Duration,
}

impl Judge {
    /// Begins with a replica of this age: zero when it was just started, more when it was adopted.
    pub fn new(probe: Probe, age: Duration, early: Early) -> Self {
        let mut judge = Self {
            probe,
            verdict: Verdict::Starting,
            streak: 0,
            next: age,
            regular_from: Duration::ZERO,
            early_pause: EARLY_PAUSE,
        };
        judge.regular_from = age + judge.pause(age);
        if early == Early::No {
            judge.next = judge.regular_from;
        }
        judge
    }

    /// What the answers so far mean.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// How many failures in a row have counted.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// When to ask next.
    pub fn next(&self) -> Next {
        // An early check must not still run when the regular one is due.
        let timeout = match self.regular_from.checked_sub(self.next) {
            Some(left) if !left.is_zero() => self.probe.timeout.min(left),
            _ => self.probe.timeout,
        };
        Next { at: self.next, timeout }
    }

    /// Takes an answer: the check began and ended at these ages. Tells the new verdict when it changed.
    pub fn record(&mut self, began: Duration, ended: Duration, passed: bool) -> Option<Verdict> {
        let before = self.verdict;
        // By when it was due, not by when it began: a loop that came late asked with the shortened timeout all the same.
        let early = self.next < self.regular_from;
        if passed {
            self.streak = 0;
            self.verdict = Verdict::Passing;
        } else if !early && (self.verdict != Verdict::Starting || began >= self.probe.start_period) {
            self.streak = self.streak.saturating_add(1);
            if self.streak >= self.probe.retries.get() {
                self.verdict = Verdict::Failing;
            }
        }
        self.next = if early && self.verdict == Verdict::Starting {
            let next = (ended + self.early_pause).min(self.regular_from.max(ended));
            self.early_pause *= 2;
            next
        } else {
            // Once it has passed there is nothing left to be early for.
            self.regular_from = self.regular_from.min(ended);
            ended + self.pause(ended)
        };
        (self.verdict != before).then_some(self.verdict)
    }

    fn pause(&self, age: Duration) -> Duration {
        let starting = self.verdict == Verdict::Starting && age < self.probe.start_period;
        if starting { self.probe.start_interval } else { self.probe.interval }
    }
}
