//! Removing what nobody needs any more, and keeping a copy of the state file: at the start, after each release, daily.

use crate::daemon::Daemon;
use model::BundleId;
use runtime::{CancellationToken, OnError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often when nothing happens.
const PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Events are kept so long, at most so many.
const EVENTS: (Duration, u64) = (Duration::from_secs(90 * 24 * 3600), 100_000);

/// Runs are kept in the journal so long, at most so many of a stack.
const RUNS: (Duration, u64) = (Duration::from_secs(30 * 24 * 3600), 500);

/// The bundles of so many releases of a stack are kept, beside those that are wanted, gone back to, run or kept by order.
const RELEASES: u32 = 10;

/// Keeps house as long as the daemon lives.
pub fn spawn(daemon: &Arc<Daemon>) {
    let daemon = daemon.clone();
    let tasks = daemon.tasks().clone();
    tasks.spawn("keep house", OnError::Log, move |stop| async move {
        while stop.run_until_cancelled(keep_house(&daemon, &stop)).await.is_some() {
            tokio::select! {
                () = daemon.world().tidy.notified() => {}
                () = daemon.clock().sleep(PAUSE) => {}
                () = stop.cancelled() => return,
            }
        }
    });
}

/// Each part on its own: what keeps one from being done does not keep the others.
async fn keep_house(daemon: &Daemon, stop: &CancellationToken) {
    let parts = [("the journal and the event log", forget(daemon).await), ("the bundles", collect(daemon).await)];
    let copied = daemon.world().store.copy().await.map(drop).map_err(|error| crate::chain(&error));
    for (what, done) in parts.into_iter().chain([("the copy of the state file", copied)]) {
        if let Err(error) = done
            && !stop.is_cancelled()
        {
            tracing::warn!(error, "could not keep {what} in order");
        }
    }
}

async fn forget(daemon: &Daemon) -> Result<(), String> {
    let now = daemon.clock().now();
    let before = |age: Duration| now.checked_sub(age).unwrap_or(jiff::Timestamp::MIN);
    let (events, runs) = (before(EVENTS.0), before(RUNS.0));
    let forgotten = daemon.world().store.run("forget what is old", move |tx| {
        tx.forget_events(events, EVENTS.1)?;
        tx.forget_runs(runs, RUNS.1)
    });
    forgotten.await.map(drop).map_err(|error| crate::chain(&error))
}

/// Bundles that nothing can need. As long as one stack cannot be read, what it needs is not known, and all stay.
async fn collect(daemon: &Daemon) -> Result<(), String> {
    let world = daemon.world();
    let mut keep = BTreeSet::new();
    for handle in daemon.stacks() {
        keep.extend(handle.needs().await.map_err(|error| error.message)?);
    }
    keep.extend(recent(daemon).await?);
    // Also of stacks that are not known here: what runs, runs from its bundle.
    for (id, engine) in world.engines.stacks().await.map_err(|error| crate::chain(&error))? {
        let placed = engine.observe(&id).await.map_err(|error| crate::chain(&error))?;
        keep.extend(placed.replicas.into_values().map(|replica| replica.bundle));
    }
    let (bundles, now) = (world.bundles.clone(), world.clock.now());
    let collected = world.tasks.blocking("collect bundles", move || bundles.collect(&keep, now)).await;
    let collected = collected.map_err(|error| crate::chain(&error))?.map_err(|error| crate::chain(&error))?;
    if collected.bundles + collected.blobs > 0 {
        let text = format!("{} bundles and {} bytes of their contents", collected.bundles, collected.bytes);
        world.event_of_daemon("bundles.removed", text);
    }
    Ok(())
}

async fn recent(daemon: &Daemon) -> Result<BTreeSet<BundleId>, String> {
    let read = daemon.world().store.run("read releases", |tx| {
        let mut bundles = BTreeSet::new();
        for stack in tx.stacks()? {
            let (newest, kept) = (tx.releases(&stack.id, RELEASES)?, tx.kept_releases(&stack.id)?);
            bundles.extend(newest.into_iter().chain(kept).map(|release| release.new.bundle));
        }
        Ok(bundles)
    });
    read.await.map_err(|error| crate::chain(&error))
}
