//! Looks at a service's replicas while something else goes on, to see that enough were ready at every moment.

use crate::shop::{Api, StackStatus, Stage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Often enough to see a replica that is away for a blink.
const EVERY: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How often the daemon was asked.
    pub looks: u32,
    /// The fewest replicas that were ready and got traffic.
    pub fewest: usize,
    /// The most replicas that ran at once.
    pub most: usize,
}

/// Looking.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    /// Looks at `service` from now on.
    pub fn start(stage: &Stage, service: &'static str) -> Self {
        let (api, path) = (stage.api(), stage.stack_path());
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen { looks: 0, fewest: usize::MAX, most: 0 };
            while !is_over.load(Ordering::Relaxed) {
                look(&api, &path, service, &mut seen);
                std::thread::sleep(EVERY);
            }
            seen
        });
        Self { stop, thread }
    }

    /// What was seen until now.
    pub fn stop(self) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the watch panicked"))
    }
}

/// A daemon that does not answer is not what is watched here: the load and the acts would show it.
fn look(api: &Api, path: &str, service: &str, seen: &mut Seen) {
    let Ok(status) = api.get::<StackStatus>(path) else { return };
    let Ok(service) = status.service(service) else { return };
    let serving = service.instances.iter().filter(|replica| replica.routed && replica.health == "ready").count();
    let running = service.instances.iter().filter(|replica| replica.phase == "running").count();
    seen.looks += 1;
    seen.fewest = seen.fewest.min(serving);
    seen.most = seen.most.max(running);
}
