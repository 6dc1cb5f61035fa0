//! What happens during runs, kept for those who follow them.

use crate::api::release::RunEvent;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// So many finished runs per stack stay readable.
const KEPT: usize = 20;

/// The runs of one stack in this daemon's life.
#[derive(Debug, Default)]
pub struct Runs {
    logs: Mutex<BTreeMap<u64, Arc<RunLog>>>,
}

impl Runs {
    /// Begins the log of a run.
    pub fn begin(&self, run: u64) -> Arc<RunLog> {
        let mut logs = lock(&self.logs);
        while logs.len() >= KEPT {
            logs.pop_first();
        }
        let log = Arc::new(RunLog::default());
        logs.insert(run, log.clone());
        log
    }

    /// The log of a run.
    pub fn get(&self, run: u64) -> Option<Arc<RunLog>> {
        lock(&self.logs).get(&run).cloned()
    }
}

/// What happened during one run, from its beginning.
#[derive(Debug)]
pub struct RunLog {
    events: Mutex<Vec<RunEvent>>,
    length: watch::Sender<usize>,
}

impl Default for RunLog {
    fn default() -> Self {
        Self { events: Mutex::default(), length: watch::channel(0).0 }
    }
}

impl RunLog {
    /// Adds an event.
    pub fn push(&self, event: RunEvent) {
        let mut events = lock(&self.events);
        events.push(event);
        self.length.send_replace(events.len());
    }

    /// Whether the run is over.
    pub fn is_finished(&self) -> bool {
        matches!(lock(&self.events).last(), Some(RunEvent::Finished { .. }))
    }

    /// The event with this number, from 0, as soon as it is there; none after the last one.
    pub async fn event(&self, number: usize) -> Option<RunEvent> {
        let mut length = self.length.subscribe();
        loop {
            {
                let events = lock(&self.events);
                if let Some(event) = events.get(number) {
                    return Some(event.clone());
                }
                if matches!(events.last(), Some(RunEvent::Finished { .. })) {
                    return None;
                }
            }
            length.changed().await.ok()?;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished() -> RunEvent {
        RunEvent::Finished { outcome: "done".into(), explanation: None, millis: 1 }
    }

    #[tokio::test]
    async fn whoever_follows_late_sees_everything_and_then_the_end() {
        let runs = Runs::default();
        let log = runs.begin(7);
        log.push(RunEvent::Began { step: 1, at: "t".into() });
        let follower = runs.get(7).expect("it was begun");
        assert!(matches!(follower.event(0).await, Some(RunEvent::Began { step: 1, .. })));
        let (event, ()) = tokio::join!(follower.event(1), async { log.push(finished()) });
        assert_eq!(event, Some(finished()));
        assert_eq!(follower.event(2).await, None);
        assert!(runs.get(8).is_none());
    }
}
