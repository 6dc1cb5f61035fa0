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
use model::project::Role;
use model::{ReleaseNumber, ServiceName, SpecHash, StackId};
use plan::allocate::Allocation;
use plan::observed::{Exit, Phase};
use plan::{Generation, Observed};
use runtime::OnError;
use std::collections::BTreeMap;
use store::{
    Completion, EventId, EventQuery, NewEvent, NewRelease, ReleaseState, StackChange, StoreError, Tx, UidBlocks,
};
use tokio::sync::mpsc;

/// User numbers of stacks begin here and are given out in blocks of 65,536: beyond every range that Debian,
/// systemd and container engines use by default (subordinate ids end at 600,100,000 on a machine with 9,000 users).
const UIDS: UidBlocks = UidBlocks { first: 0x4000_0000, size: 0x1_0000, count: 0x2000 };

/// What became of a release, written down together with the record.
#[derive(Debug, Clone)]
pub enum News {
    /// It begins, under this number.
    Begun(ReleaseNumber, NewRelease),
    /// It has ended.
    Ended(ReleaseNumber, ReleaseState, Option<Explanation>),
}

impl News {
    /// A release ended with this outcome of its run.
    pub fn ended(number: ReleaseNumber, outcome: &str, why: Option<Explanation>) -> Self {
        let state = match outcome {
            "done" => ReleaseState::Done,
            "superseded" => ReleaseState::Superseded,
            _ => ReleaseState::Failed,
        };
        Self::Ended(number, state, why)
    }

    fn write(self, tx: &Tx<'_>, stack: &StackId, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Begun(expected, new) => {
                let number = tx.add_release(stack, &new)?;
                if number != expected {
                    // Only the stack's actor adds releases, so this is a bug; nothing is kept.
                    let why = format!("the number of the next release is {number}");
                    return Err(StoreError::Stored { what: "release", value: expected.to_string(), why });
                }
                tx.set_release_state(stack, number, ReleaseState::Running, new.created_at, None)
            }
            Self::Ended(number, state, why) => {
                let why = why.map(|why| serde_json::to_string(&why).expect("an explanation is plain data"));
                tx.set_release_state(stack, number, state, now, why.as_deref())
            }
        }
    }
}

/// So many releases are listed.
const LISTED: u32 = 200;

/// So many of the newest events are shown when nobody says how many, and at most when somebody does.
const LATEST: usize = 50;
const MOST_LATEST: u32 = 10_000;

/// So many events are read at once.
const PAGE: u32 = 256;

/// There is none of this number.
pub fn no_release(id: &StackId, number: ReleaseNumber) -> ApiError {
    ApiError::new(404, "MS0203", format!("`{id}` has no release {number}")).help("see `mainstay releases`")
}

fn refused(error: &StoreError) -> ApiError {
    let failed = ApiError::new(500, "MS0225", crate::chain(error));
    match error.cure() {
        Some(cure) => failed.help(cure),
        None => failed,
    }
}

impl World {
    /// What the store knows of a stack for a plan; of one nobody has heard of, nothing.
    pub async fn known(&self, id: &StackId) -> Result<(Generation, Vec<Completion>), StoreError> {
        let stack = id.clone();
        let read = move |tx: &Tx<'_>| {
            let generation = tx.stack(&stack)?.map(|state| state.generation).unwrap_or_default();
            Ok((generation, tx.completions(&stack)?))
        };
        self.store.run("read a stack", read).await
    }

    /// The record of a stack that is not there yet. Nothing of it is kept before somebody orders something.
    pub async fn new_record(&self, id: &StackId) -> Result<Record, ApiError> {
        let stack = id.clone();
        let uids = self.store.run("find user numbers", move |tx| tx.free_uids(&stack, UIDS)).await;
        Ok(Record::new(uids.map_err(|error| refused(&error))?, self.clock.now()))
    }

    /// Every record there is, or why it cannot be read.
    pub async fn records(&self) -> Result<Vec<(StackId, Result<Record, String>)>, ApiError> {
        let read = self.store.run("read the stacks", |tx| {
            let states = tx.stacks()?.into_iter();
            states
                .map(|state| tx.setting(&stored::key(&state.id)).map(|rest| (state, rest)))
                .collect::<Result<Vec<_>, _>>()
        });
        let found = read.await.map_err(|error| refused(&error))?;
        Ok(found.into_iter().map(|(state, rest)| (state.id.clone(), stored::read(state, rest.as_deref()))).collect())
    }

    /// Writes a record down, and what became of releases, all of it or nothing. One that orders a stack down makes
    /// its jobs run again with the next release: their work may go with the volumes.
    pub async fn save(&self, id: &StackId, record: &Record, news: Vec<News>) -> Result<(), ApiError> {
        let (stack, desire, rest) = (id.clone(), stored::desire(record), stored::rest(record));
        let (uid_base, allocation, now) = (record.uid_base, record.allocation.to_text(), self.clock.now());
        let is_down = desire.down.is_some();
        let saved = self.store.run("save a stack", move |tx| {
            let state = match tx.stack(&stack)? {
                Some(state) => state,
                None => tx.add_stack(&stack, uid_base, now)?,
            };
            let change = StackChange { desire: Some(desire), allocation: Some(allocation) };
            tx.change_stack(&stack, state.generation, change)?;
            tx.set_setting(&stored::key(&stack), &rest)?;
            if is_down {
                tx.forget_completions(&stack)?;
            }
            news.into_iter().try_for_each(|news| news.write(tx, &stack, now))
        });
        saved.await.map_err(|error| refused(&error))
    }

    /// Writes down which jobs are seen to have done their work, so that a reboot does not run them again.
    pub async fn note_completions(&self, id: &StackId, have: &Observed) {
        let known = |service: &ServiceName, hash: &SpecHash, n: u32| {
            have.completed.get(&(service.clone(), *hash)).is_some_and(|done| done.replicas >= n)
        };
        let mut done: BTreeMap<(ServiceName, SpecHash), u32> = BTreeMap::new();
        for (replica, seen) in &have.placed.replicas {
            let is_done = matches!(seen.phase, Phase::Exited { how: Exit::Code(0), .. });
            if is_done && seen.role == Role::Job && replica.slot.number() < plan::FIRST_ONE_OFF_SLOT {
                *done.entry((replica.service.clone(), seen.hash)).or_default() += 1;
            }
        }
        done.retain(|(service, hash), n| !known(service, hash, *n));
        if done.is_empty() {
            return;
        }
        let (stack, at) = (id.clone(), self.clock.now());
        let written = self.store.run("write down what jobs have done", move |tx| {
            done.into_iter().try_for_each(|((service, hash), replicas)| {
                tx.complete(&stack, &Completion { service, hash, replicas, at })
            })
        });
        if let Err(error) = written.await {
            tracing::error!(stack = %id, error = crate::chain(&error), "could not write down what jobs have done");
        }
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
        let newest = self.store.run("read releases", move |tx| match tx.stack(&stack)? {
            Some(_) => tx.releases(&stack, 1),
            None => Ok(Vec::new()),
        });
        let newest = newest.await.map_err(|error| refused(&error))?;
        Ok(ReleaseNumber(newest.first().map_or(1, |release| release.number.0 + 1)))
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
            images: release.new.images,
            again: release.new.again.map(|number| number.0),
            kept: release.kept,
            explanation: release.outcome.and_then(|text| serde_json::from_str(&text).ok()),
        };
        Ok(releases.into_iter().map(view).collect())
    }

    /// Has what a release runs from stay, however many come after it, or not.
    pub async fn keep(&self, id: &StackId, number: ReleaseNumber, kept: bool) -> Result<(), ApiError> {
        let stack = id.clone();
        let keep = self.store.run("keep a release", move |tx| tx.keep_release(&stack, number, kept));
        keep.await.map_err(|error| match error {
            StoreError::NoSuchRelease { .. } => no_release(id, number),
            error => refused(&error),
        })
    }

    /// Writes an event of a stack down. It is on its way when this returns; the log keeps the order.
    pub fn event(&self, id: &StackId, subject: &str, kind: &str, actor: &str, text: String) {
        self.tell(id, subject, kind, actor, None, text);
    }

    /// The same with the event or order that led to it.
    pub fn tell(&self, id: &StackId, subject: &str, kind: &str, actor: &str, cause: Option<String>, text: String) {
        tracing::info!(stack = %id, subject, kind, actor, cause, "{text}");
        self.write_event(Some(id.clone()), subject, kind, actor, cause, text);
    }

    /// Writes an event of the daemon itself down.
    pub fn event_of_daemon(&self, kind: &str, text: String) {
        tracing::info!(kind, "{text}");
        self.write_event(None, "daemon", kind, "mainstay", None, text);
    }

    fn write_event(
        &self,
        stack: Option<StackId>,
        subject: &str,
        kind: &str,
        actor: &str,
        cause: Option<String>,
        text: String,
    ) {
        let event = NewEvent {
            time: self.clock.now(),
            subject: subject.to_owned(),
            kind: kind.to_owned(),
            actor: actor.to_owned(),
            cause,
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
