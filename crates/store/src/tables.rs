//! The tables, as operations of one transaction.

pub mod completions;
pub mod events;
pub mod journal;
pub mod releases;
pub mod settings;
pub mod stacks;

use crate::error::StoreError;
use events::Event;
use jiff::Timestamp;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use std::cell::RefCell;
use std::fmt::Display;
use std::path::Path;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

/// A transaction: everything done through it is kept together or not at all.
#[derive(Debug)]
pub struct Tx<'a> {
    connection: &'a Connection,
    path: &'a Path,
    doing: &'static str,
    /// Events appended so far, told to subscribers after the commit.
    events: Rc<RefCell<Vec<Event>>>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(connection: &'a Connection, path: &'a Path) -> Self {
        Self { connection, path, doing: "use the store", events: Rc::default() }
    }

    pub(crate) fn doing(&self, doing: &'static str) -> Self {
        Self { connection: self.connection, path: self.path, doing, events: Rc::clone(&self.events) }
    }

    pub(crate) fn n_events(&self) -> usize {
        self.events.borrow().len()
    }

    pub(crate) fn drop_events(&self, from: usize) {
        self.events.borrow_mut().truncate(from);
    }

    pub(crate) fn into_events(self) -> Vec<Event> {
        self.events.take()
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::sql(self.doing, self.path, Arc::new(error))
    }

    /// Changes rows; tells how many.
    fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        let run = || self.connection.prepare_cached(sql)?.execute(params);
        run().map_err(|error| self.failed(error))
    }

    /// All rows, each read by `read`.
    fn query<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Columns<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.failed(error))?;
        let mut rows = statement.query(params).map_err(|error| self.failed(error))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(|error| self.failed(error))? {
            all.push(read(&Columns { row, tx: self })?);
        }
        Ok(all)
    }

    /// The one row, if there is one.
    fn find<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Columns<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.query(sql, params, read)?.into_iter().next())
    }

    /// The one value of the one row, if there is one.
    fn value<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<Option<T>, StoreError> {
        let run = || self.connection.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional();
        run().map_err(|error| self.failed(error))
    }
}

/// One row, its columns by name.
struct Columns<'a> {
    row: &'a Row<'a>,
    tx: &'a Tx<'a>,
}

impl Columns<'_> {
    fn get<T: FromSql>(&self, column: &str) -> Result<T, StoreError> {
        self.row.get(column).map_err(|error| self.tx.failed(error))
    }

    /// A value that was stored as text.
    fn parse<T: FromStr<Err: Display>>(&self, column: &'static str) -> Result<T, StoreError> {
        parse(column, &self.get::<String>(column)?)
    }

    fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        time(column, self.get(column)?)
    }

    fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        self.get::<Option<i64>>(column)?.map(|nanos| time(column, nanos)).transpose()
    }

    /// A number that was stored from an unsigned one.
    fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, StoreError> {
        let value: i64 = self.get(column)?;
        let wrong = |_| StoreError::Stored { what: column, value: value.to_string(), why: "out of range".to_owned() };
        T::try_from(value).map_err(wrong)
    }
}

fn parse<T: FromStr<Err: Display>>(what: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Stored { what, value: text.to_owned(), why: error.to_string() })
}

fn time(what: &'static str, nanos: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_nanosecond(nanos.into()).map_err(|error| StoreError::Stored {
        what,
        value: nanos.to_string(),
        why: error.to_string(),
    })
}

/// Nanoseconds since 1970: 64 bits last until 2262, and later times are stored as that.
fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(if time < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

/// Numbers of ours stay far below the 63 bits that SQLite has.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
