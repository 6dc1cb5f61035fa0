//! Time as an argument: the clock that production reads and tests set.
//!
//! Wall time ([`Clock::now`]) is for what people read and for what survives a restart; it may jump. Intervals
//! are measured with [`Clock::monotonic`]. The manual clock for tests lives in `testkit`.

use jiff::Timestamp;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A wait that a clock hands out; dropping it ends the wait.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where time comes from.
pub trait Clock: Send + Sync + Debug {
    /// The time on the wall.
    fn now(&self) -> Timestamp;

    /// Time that never jumps, for intervals only.
    fn monotonic(&self) -> Instant;

    /// Waits so long.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock, ready to be passed around.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Something took longer than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("took longer than {0:?}")]
pub struct Elapsed(pub Duration);

/// Waits for `future`, at most so long; what has not ended by then is dropped, so it must be cancel-safe.
pub async fn timeout<F: Future>(clock: &dyn Clock, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut sleep = clock.sleep(limit);
    tokio::select! {
        // What is done in time counts, even when both are ready.
        biased;
        output = future => Ok(output),
        () = &mut sleep => Err(Elapsed(limit)),
    }
}
