//! A clock that stands still until a test moves it.

#![expect(
    clippy::disallowed_methods,
    reason = "a manual clock counts from an instant, which only the machine can give"
)]

use jiff::Timestamp;
use runtime::clock::Sleep;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// A clock that stands still until [`ManualClock::advance`]; clones are the same clock.
#[derive(Debug, Clone)]
pub struct ManualClock {
    base: Instant,
    start: Timestamp,
    state: Arc<Mutex<State>>,
    /// Counts sleepers coming and going, so that a test can wait for them.
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    passed: Duration,
    next: u64,
    // By time of waking, then by order of going to sleep.
    sleeping: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// Stands at 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        let start = Timestamp::from_second(1_767_225_600).expect("within jiff's range");
        Self { base: Instant::now(), start, state: Arc::default(), moved: watch::Sender::new(0) }
    }

    /// The same clock as a trait object.
    pub fn shared(&self) -> Arc<dyn runtime::Clock> {
        Arc::new(self.clone())
    }

    /// Moves time on and wakes whoever's time has come, in order.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.passed += by;
        let after = (state.passed + Duration::from_nanos(1), 0);
        let later = state.sleeping.split_off(&after);
        for (_, sleeper) in std::mem::replace(&mut state.sleeping, later) {
            // A sleeper that has given up has dropped its end.
            let _gone = sleeper.send(());
        }
        self.tell(state);
    }

    /// When the next sleeper wakes, counted from now.
    pub fn next_wake(&self) -> Option<Duration> {
        let state = self.state();
        let (at, _) = *state.sleeping.first_key_value()?.0;
        Some(at - state.passed)
    }

    /// Waits until somebody sleeps who wakes within `at_most`: the point where time may be moved on. Who sleeps
    /// for longer (a timeout over real work) does not count.
    pub async fn asleep_within(&self, at_most: Duration) {
        // The sender lives in `self`, so the wait cannot fail.
        let mut moved = self.moved.subscribe();
        let _seen = moved.wait_for(|_| self.next_wake().is_some_and(|wake| wake <= at_most)).await;
    }

    /// Waits until so many are asleep.
    pub async fn asleep(&self, at_least: usize) {
        let mut moved = self.moved.subscribe();
        let _seen = moved.wait_for(|_| self.state().sleeping.len() >= at_least).await;
    }

    /// Waits until somebody sleeps, then moves time to that waking; tells how far that was.
    pub async fn advance_to_next(&self) -> Duration {
        self.advance_within(Duration::MAX).await
    }

    /// Waits as [`ManualClock::asleep_within`] does, then moves time to that waking; tells how far that was.
    pub async fn advance_within(&self, at_most: Duration) -> Duration {
        self.asleep_within(at_most).await;
        let by = self.next_wake().unwrap_or_default();
        self.advance(by);
        by
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells waiting tests, after the state is unlocked: they look at it.
    fn tell(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.moved.send_modify(|moved| *moved += 1);
    }
}

impl runtime::Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start + self.state().passed
    }

    fn monotonic(&self) -> Instant {
        self.base + self.state().passed
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let (wake, woken) = oneshot::channel();
        let mut state = self.state();
        if duration.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let key = (state.passed + duration, state.next);
        state.next += 1;
        state.sleeping.insert(key, wake);
        self.tell(state);
        let clock = self.clone();
        let guard = Asleep { clock, key };
        Box::pin(async move {
            let _guard = guard;
            // An error would mean that the clock is gone, and it is kept by the guard.
            let _woken = woken.await;
        })
    }
}

/// Takes a sleeper off the list when its wait is dropped.
struct Asleep {
    clock: ManualClock,
    key: (Duration, u64),
}

impl Drop for Asleep {
    fn drop(&mut self) {
        let mut state = self.clock.state();
        state.sleeping.remove(&self.key);
        self.clock.tell(state);
    }
}
