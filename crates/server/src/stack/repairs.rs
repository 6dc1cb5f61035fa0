//! When a repair is tried again that failed, and what is told of it.
//!
//! One that fails again and again for the same reason is tried ever more rarely and told once.

use std::time::{Duration, Instant};

/// After the first failure.
const FIRST: Duration = Duration::from_secs(5);

/// At the most.
const MOST: Duration = Duration::from_secs(300);

/// The failures so far.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// How many in a row for the same reason.
    failures: u32,
    why: String,
    from: Option<Instant>,
}

impl Repairs {
    /// A repair failed; whether for another reason than the one before.
    pub(super) fn failed(&mut self, why: &str, now: Instant) -> bool {
        let is_new = self.failures == 0 || self.why != why;
        if is_new {
            (self.failures, self.why) = (0, why.to_owned());
        }
        let pause = FIRST.saturating_mul(1 << self.failures.min(16)).min(MOST);
        self.failures += 1;
        self.from = Some(now + pause);
        is_new
    }

    /// An order has just failed: what it left is not repaired at once.
    pub(super) fn pause(&mut self, now: Instant) {
        self.from = Some(now + FIRST);
    }

    /// The next one may begin then.
    pub(super) fn from(&self) -> Option<Instant> {
        self.from
    }

    /// Whether the next one is told: the first is, and those after it only once something has changed.
    pub(super) fn is_told(&self) -> bool {
        self.failures == 0
    }

    /// It was done, or somebody ordered something.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::ManualClock;

    #[test]
    fn the_same_failure_is_told_once_and_tried_ever_more_rarely() {
        let now = ManualClock::new().shared().monotonic();
        let mut repairs = Repairs::default();
        assert!(repairs.is_told() && repairs.failed("the disk is full", now));
        let pause = |repairs: &Repairs| repairs.from().expect("it failed") - now;
        let mut pauses = vec![pause(&repairs)];
        for _ in 0..8 {
            assert!(!repairs.is_told() && !repairs.failed("the disk is full", now));
            pauses.push(pause(&repairs));
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40].map(Duration::from_secs));
        assert_eq!(pauses[8], MOST);
        assert!(repairs.failed("no address is left", now), "another reason is news");
        assert_eq!(pause(&repairs), FIRST);
        repairs.reset();
        assert!(repairs.is_told() && repairs.from().is_none());
    }
}
