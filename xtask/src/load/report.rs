//! What a load was answered with: counts and latencies per phase.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Failures are counted all, and kept in words up to this many per phase.
const MOST_WORDS: usize = 5;

/// How one request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer below 400.
    Answered,
    /// An answer that had begun and broke off, in words: nobody between can put that right.
    Cut(String),
    /// Anything else, in words.
    Failed(String),
}

/// Sent, failed, cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests whose time came.
    pub sent: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them whose answer had begun and broke off.
    pub cut: u64,
}

/// One stretch of time under load.
#[derive(Debug, Clone, Default)]
pub struct Phase {
    /// What was done meanwhile.
    pub name: String,
    /// Requests that were begun.
    pub begun: u64,
    /// Idempotent requests that have ended.
    pub idempotent: Count,
    /// All others that have ended: they cannot be repeated by whoever passes them on.
    pub others: Count,
    /// The first failures and cuts in words.
    pub failures: Vec<String>,
    /// How often each label was seen in answers.
    pub labels: BTreeMap<String, u64>,
    /// When the last failure or cut was known.
    pub last_loss: Option<Instant>,
    /// Due time to complete answer, of those answered.
    latencies: Vec<Duration>,
}

impl Phase {
    /// A phase without requests.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds one request.
    pub fn add(&mut self, is_idempotent: bool, outcome: Outcome, latency: Duration) {
        let count = if is_idempotent { &mut self.idempotent } else { &mut self.others };
        count.sent += 1;
        let words = match outcome {
            Outcome::Answered => return self.latencies.push(latency),
            Outcome::Cut(words) => {
                count.cut += 1;
                words
            }
            Outcome::Failed(words) => {
                count.failed += 1;
                words
            }
        };
        self.last_loss = Some(Instant::now());
        if self.failures.len() < MOST_WORDS {
            self.failures.push(words);
        }
    }

    /// Requests that failed or were cut.
    pub fn lost(&self) -> u64 {
        self.idempotent.failed + self.idempotent.cut + self.others.failed + self.others.cut
    }

    /// Whether every request has ended.
    pub fn is_settled(&self) -> bool {
        self.begun == self.idempotent.sent + self.others.sent
    }

    /// The latency that `share` of the answered requests stayed within; none without any.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length is an index")]
        let at = (sorted.len() as f64 * share).ceil() as usize;
        Some(sorted[at.saturating_sub(1).min(last)])
    }
}

/// All phases, in order.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In the order they were begun.
    pub phases: Vec<Phase>,
}

impl Report {
    /// Idempotent requests of all phases.
    pub fn idempotent(&self) -> Count {
        self.sum(|phase| phase.idempotent)
    }

    /// Requests of all phases that are not idempotent.
    pub fn others(&self) -> Count {
        self.sum(|phase| phase.others)
    }

    fn sum(&self, of: impl Fn(&Phase) -> Count) -> Count {
        self.phases.iter().map(of).fold(Count::default(), |all, one| Count {
            sent: all.sent + one.sent,
            failed: all.failed + one.failed,
            cut: all.cut + one.cut,
        })
    }

    /// All phases as one.
    pub fn total(&self) -> Phase {
        let mut total = Phase::new("all");
        for phase in &self.phases {
            total.latencies.extend_from_slice(&phase.latencies);
            total.failures.extend(phase.failures.iter().cloned());
            for (label, count) in &phase.labels {
                *total.labels.entry(label.clone()).or_default() += count;
            }
        }
        total.idempotent = self.idempotent();
        total.others = self.others();
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut phase = Phase::new("x");
        assert_eq!(phase.quantile(0.5), None);
        for millis in (1..=100).rev() {
            phase.add(true, Outcome::Answered, Duration::from_millis(millis));
        }
        assert_eq!(phase.quantile(0.5), Some(Duration::from_millis(50)));
        assert_eq!(phase.quantile(0.99), Some(Duration::from_millis(99)));
        assert_eq!(phase.quantile(1.0), Some(Duration::from_millis(100)));
    }

    #[test]
    fn failures_are_counted_by_kind_and_have_no_latency() {
        let mut phase = Phase::new("x");
        phase.add(true, Outcome::Failed("503".into()), Duration::from_secs(9));
        phase.add(false, Outcome::Failed("reset".into()), Duration::from_secs(9));
        phase.add(false, Outcome::Answered, Duration::from_millis(1));
        phase.add(true, Outcome::Cut("half".into()), Duration::from_secs(9));
        let report = Report { phases: vec![phase.clone(), phase] };
        assert_eq!(report.idempotent(), Count { sent: 4, failed: 2, cut: 2 });
        assert_eq!(report.others(), Count { sent: 4, failed: 2, cut: 0 });
        assert_eq!(report.total().quantile(1.0), Some(Duration::from_millis(1)));
        assert_eq!(report.total().failures.len(), 6);
    }
}
