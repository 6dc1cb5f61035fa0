//! What the world writes down: records, releases, events, the journal, bundles.

use super::journal::StoreJournal;
use super::record::Record;
use super::stored;
use super::world::World;
use crate::api::ApiError;
use crate::api::event::Event;
use crate::api::release::{Explanation, ReleaseView};
use jiff::Timestamp;
use model::fingerprint::HashKey;
use model::{BundleId, ReleaseNumber, StackId};
use plan::Generation;
use plan::allocate::Allocation;
use runtime::OnError;
use store::{EventId, EventQuery, NewEvent, NewRelease, ReleaseState, StackChange, StoreError, UidBlocks};
use tokio::sync::mpsc;

/// So many releases are listed.
const LISTED: u32 = 200;

/// So many of the newest events are shown when nobody says how many, and at most when somebody does.
const LATEST: usize = 50;
const MOST_LATEST: u32 = 10_000;

/// So many events are read at once.
const PAGE: u32 = 256;

fn refused(error: &StoreError) -> ApiError {
    let failed = ApiError::new(500, "MS0225", crate::chain(error));
    match error.cure() {
        Some(cure) => failed.help(cure),
        None => failed,
    }
}

impl World {
    /// Counts the changes of a stack; of one nobody has heard of there were none.
    pub async fn generation(&self, id: &StackId) -> Generation {
        let stack = id.clone();
        let found = self.store.run("read a stack", move |tx| tx.stack(&stack)).await;
        found.ok().flatten().map(|state| state.generation).unwrap_or_default()
    }

    /// The record of a stack, made if it is not there.
    pub async fn new_record(&self, id: &StackId, first_uid: u32) -> Result<Record, ApiError> {
        let (stack, now) = (id.clone(), self.clock.now());
        let blocks = UidBlocks { first: first_uid, size: 0x1_0000, count: 0x2000 };
        let state = self.store.run("make a stack", move |tx| tx.ensure_stack(&stack, blocks, now)).await;
        let state = state.map_err(|error| refused(&error))?;
        Ok(Record::new(state.uid_base, now))
    }

    /// Every record there is.
    pub async fn records(&self) -> Result<Vec<(StackId, Record)>, ApiError> {
        let read = self.store.run("read the stacks", |tx| {
            let states = tx.stacks()?.into_iter();
            states
                .map(|state| tx.setting(&stored::key(&state.id)).map(|rest| (state, rest)))
                .collect::<Result<Vec<_>, _>>()
        });
        let mut records = Vec::new();
        for (state, rest) in read.await.map_err(|error| refused(&error))? {
            let id = state.id.clone();
            match stored::read(state, rest.as_deref()) {
                Ok(record) => records.push((id, record)),
                Err(why) => self.event(
                    &id,
                    "stack",
                    "stack.unreadable",
                    "mainstay",
                    format!("its record cannot be read: {why}"),
                ),
            }
        }
        Ok(records)
    }

    /// Writes a record down.
    pub async fn save(&self, id: &StackId, record: &Record) -> Result<(), ApiError> {
        let (stack, desire, rest) = (id.clone(), stored::desire(record), stored::rest(record));
        let allocation = record.allocation.to_text();
        let saved = self.store.run("save a stack", move |tx| {
            let basis = tx.stack(&stack)?.map(|state| state.generation).unwrap_or_default();
            tx.change_stack(&stack, basis, StackChange { desire: Some(desire), allocation: Some(allocation) })?;
            tx.set_setting(&stored::key(&stack), &rest)
        });
        saved.await.map_err(|error| refused(&error))
    }

    /// What was given out to other stacks, so that nothing is given out twice.
    pub async fn other_allocations(&self, id: &StackId) -> Result<Vec<Allocation>, ApiError> {
        let states = self.store.run("read the stacks", |tx| tx.stacks()).await.map_err(|error| refused(&error))?;
        let others = states.into_iter().filter(|state| state.id != *id).filter_map(|state| state.allocation);
        Ok(others.filter_map(|text| Allocation::from_text(&text).ok()).collect())
    }

    /// The number the next release gets.
    pub async fn next_release(&self, id: &StackId) -> Result<ReleaseNumber, ApiError> {
        let stack = id.clone();
        let newest = self.store.run("read releases", move |tx| tx.releases(&stack, 1)).await;
        let newest = newest.map_err(|error| refused(&error))?;
        Ok(ReleaseNumber(newest.first().map_or(1, |release| release.number.0 + 1)))
    }

    /// Records a release that begins now.
    pub async fn begin_release(
        &self,
        id: &StackId,
        bundle: &BundleId,
        actor: &str,
        message: Option<&str>,
    ) -> Result<ReleaseNumber, ApiError> {
        let new = NewRelease {
            bundle: bundle.clone(),
            actor: actor.to_owned(),
            message: message.map(ToOwned::to_owned),
            config_hash: bundle.to_string(),
            created_at: self.clock.now(),
        };
        let stack = id.clone();
        let recorded = self.store.run("record a release", move |tx| {
            let number = tx.add_release(&stack, &new)?;
            tx.set_release_state(&stack, number, ReleaseState::Running, new.created_at, None)?;
            Ok(number)
        });
        recorded.await.map_err(|error| refused(&error))
    }

    /// Records how a release ended.
    pub async fn end_release(
        &self,
        id: &StackId,
        number: ReleaseNumber,
        outcome: &str,
        why: Option<&Explanation>,
    ) -> Result<(), ApiError> {
        let state = match outcome {
            "done" => ReleaseState::Done,
            "superseded" => ReleaseState::Superseded,
            _ => ReleaseState::Failed,
        };
        let why = why.map(|why| serde_json::to_string(why).expect("an explanation is plain data"));
        let (stack, now) = (id.clone(), self.clock.now());
        let ended = self.store.run("record the end of a release", move |tx| {
            tx.set_release_state(&stack, number, state, now, why.as_deref())
        });
        ended.await.map_err(|error| refused(&error))
    }

    /// The releases of a stack, newest first.
    pub async fn releases(&self, id: &StackId) -> Result<Vec<ReleaseView>, ApiError> {
        let stack = id.clone();
        let read = self.store.run("read releases", move |tx| Ok((tx.releases(&stack, LISTED)?, tx.stack(&stack)?)));
        let (releases, state) = read.await.map_err(|error| refused(&error))?;
        let current = state.and_then(|state| state.desire.release);
        let view = |release: store::Release| ReleaseView {
            number: release.number.0,
            bundle: release.new.bundle.to_string(),
            actor: release.new.actor,
            message: release.new.message,
            created: release.new.created_at.to_string(),
            finished: release.finished_at.map(|at| at.to_string()),
            state: release.state.to_string(),
            current: current == Some(release.number),
            explanation: release.outcome.and_then(|text| serde_json::from_str(&text).ok()),
        };
        Ok(releases.into_iter().map(view).collect())
    }

    /// Writes an event of a stack down. It is on its way when this returns; the log keeps the order.
    pub fn event(&self, id: &StackId, subject: &str, kind: &str, actor: &str, text: String) {
        tracing::info!(stack = %id, subject, kind, actor, "{text}");
        self.write_event(Some(id.clone()), subject, kind, actor, text);
    }

    /// Writes an event of the daemon itself down.
    pub fn event_of_daemon(&self, kind: &str, text: String) {
        tracing::info!(kind, "{text}");
        self.write_event(None, "daemon", kind, "mainstay", text);
    }

    fn write_event(&self, stack: Option<StackId>, subject: &str, kind: &str, actor: &str, text: String) {
        let event = NewEvent {
            time: self.clock.now(),
            subject: subject.to_owned(),
            kind: kind.to_owned(),
            actor: actor.to_owned(),
            cause: None,
            text,
            data: None,
        };
        // One task writes them all, in order. A log that cannot keep up (a disk that hangs) must not hold up a release.
        if self.events.try_send((stack, event)).is_err() {
            tracing::warn!(kind, subject, "the event log did not take an event");
        }
    }

    /// Events: what is recorded, then live.
    pub async fn events(
        &self,
        after: Option<u64>,
        last: Option<usize>,
        follow: bool,
        stack: Option<String>,
    ) -> Result<mpsc::Receiver<Event>, ApiError> {
        let wrong = |error: model::id::IdError| ApiError::new(400, "MS0202", error.to_string());
        let stack: Option<StackId> = stack.map(|text| text.parse().map_err(wrong)).transpose()?;
        // What was asked for from a number on is read page by page; the newest are few, and read at once with the place
        // where to go on.
        let most = u32::try_from(last.unwrap_or(LATEST)).unwrap_or(u32::MAX).min(MOST_LATEST);
        let of = stack.clone();
        let recorded = self.store.run("read events", move |tx| match after {
            Some(after) => Ok((Vec::new(), EventId(after))),
            None => Ok((tx.newest_events(of.as_ref(), most)?, tx.last_event()?)),
        });
        let (recorded, from) = recorded.await.map_err(|error| refused(&error))?;
        let (send, receive) = mpsc::channel(256);
        let store = self.store.clone();
        self.tasks.spawn("follow events", OnError::Log, move |stop| async move {
            let pass_on = async {
                for event in recorded {
                    send.send(on_the_wire(event)).await.map_err(|_| Gone::Reader)?;
                }
                if follow {
                    let mut live = store.follow(from, stack);
                    loop {
                        send.send(on_the_wire(live.next().await?)).await.map_err(|_| Gone::Reader)?;
                    }
                }
                let mut query = EventQuery { after: from, stack, most: PAGE };
                while after.is_some() {
                    let next = query.clone();
                    let page = store.run("read events", move |tx| tx.events(&next)).await?;
                    let Some(last) = page.last() else { break };
                    query.after = last.id;
                    for event in page {
                        send.send(on_the_wire(event)).await.map_err(|_| Gone::Reader)?;
                    }
                }
                Ok::<_, Gone>(())
            };
            let ended = tokio::select! {
                ended = pass_on => ended,
                () = send.closed() => Ok(()),
                () = stop.cancelled() => Ok(()),
            };
            match ended {
                Err(Gone::Store(error)) => Err(error),
                Ok(()) | Err(Gone::Reader) => Ok(()),
            }
        });
        Ok(receive)
    }

    /// The journal of a stack's runs.
    pub fn journal(&self) -> StoreJournal {
        StoreJournal { store: self.store.clone(), clock: self.clock.clone() }
    }

    /// The key of hashes.
    pub fn hash_key(&self) -> HashKey {
        self.keys.hash_key()
    }

    /// The time, for records.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Why a stream of events ended early.
enum Gone {
    Reader,
    Store(StoreError),
}

impl From<StoreError> for Gone {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn on_the_wire(event: store::Event) -> Event {
    let store::Event { id, event, stack } = event;
    Event {
        id: id.0,
        time: event.time.to_string(),
        stack: stack.map(|stack| stack.to_string()),
        subject: event.subject,
        kind: event.kind,
        actor: event.actor,
        cause: event.cause,
        text: event.text,
    }
}
