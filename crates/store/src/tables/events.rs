//! The event log: everything that happens, in order.

use super::{Columns, Tx, nanos, parse, signed};
use crate::error::StoreError;
use jiff::Timestamp;
use model::StackId;

/// The number of an event: grows by time, is never used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// What happened.
    pub event: NewEvent,
    /// Of which stack; none for the daemon itself.
    pub stack: Option<StackId>,
}

/// Something that happened just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// When.
    pub time: Timestamp,
    /// What it is about: a replica, a service, a release.
    pub subject: String,
    /// What sort, e.g. `release.started`, `replica.exited`.
    pub kind: String,
    /// Who: a user, or `mainstay`.
    pub actor: String,
    /// The event or order that led to it, in words.
    pub cause: Option<String>,
    /// For people; holds no secrets.
    pub text: String,
    /// More for machines, as JSON text; its form is the writer's, and it holds no secrets.
    pub data: Option<String>,
}

/// Which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQuery {
    /// Later than this one.
    pub after: EventId,
    /// Of this stack; of all when none.
    pub stack: Option<StackId>,
    /// At most so many, the oldest first.
    pub most: u32,
}

impl Tx<'_> {
    /// Adds an event; subscribers hear of it once it is durable.
    pub fn append_event(&self, stack: Option<&StackId>, event: NewEvent) -> Result<EventId, StoreError> {
        let sql = "INSERT INTO events (time, stack, subject, kind, actor, cause, text, data)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id";
        let NewEvent { time, subject, kind, actor, cause, text, data } = &event;
        let params = (nanos(*time), stack.map(StackId::to_string), subject, kind, actor, cause, text, data);
        let id: i64 = self.value(sql, params)?.expect("an insert that succeeds returns its row");
        let id = EventId(id.unsigned_abs());
        self.events.borrow_mut().push(Event { id, stack: stack.cloned(), event });
        Ok(id)
    }

    /// Events in order of their ids.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        let after = signed(query.after.0);
        match &query.stack {
            None => {
                let sql = "SELECT * FROM events WHERE id > ?1 ORDER BY id LIMIT ?2";
                self.query(sql, (after, query.most), read)
            }
            Some(stack) => {
                let sql = "SELECT * FROM events WHERE stack = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
                self.query(sql, (stack.to_string(), after, query.most), read)
            }
        }
    }

    /// The number of the newest event; 0 when there was none yet.
    pub fn last_event(&self) -> Result<EventId, StoreError> {
        let id: Option<i64> = self.value("SELECT max(id) FROM events", [])?.flatten();
        Ok(EventId(id.unwrap_or_default().unsigned_abs()))
    }

    /// The newest `most` events of a stack (of all when none), the oldest of them first.
    pub fn newest_events(&self, stack: Option<&StackId>, most: u32) -> Result<Vec<Event>, StoreError> {
        let mut events = match stack {
            None => self.query("SELECT * FROM events ORDER BY id DESC LIMIT ?1", [most], read),
            Some(stack) => {
                let sql = "SELECT * FROM events WHERE stack = ?1 ORDER BY id DESC LIMIT ?2";
                self.query(sql, (stack.to_string(), most), read)
            }
        }?;
        events.reverse();
        Ok(events)
    }

    /// Forgets events older than `before`, and of the others all but the newest `most`; tells how many.
    pub fn forget_events(&self, before: Timestamp, most: u64) -> Result<usize, StoreError> {
        let old = self.execute("DELETE FROM events WHERE time < ?1", [nanos(before)])?;
        let sql = "DELETE FROM events WHERE id <= (SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?1)";
        Ok(old + self.execute(sql, [signed(most)])?)
    }
}

fn read(row: &Columns<'_>) -> Result<Event, StoreError> {
    let stack = row.get::<Option<String>>("stack")?;
    Ok(Event {
        id: EventId(row.number("id")?),
        stack: stack.map(|text| parse("stack", &text)).transpose()?,
        event: NewEvent {
            time: row.time("time")?,
            subject: row.get("subject")?,
            kind: row.get("kind")?,
            actor: row.get("actor")?,
            cause: row.get("cause")?,
            text: row.get("text")?,
            data: row.get("data")?,
        },
    })
}
