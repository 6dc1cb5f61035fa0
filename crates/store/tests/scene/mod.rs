//! An open store in a folder of its own.

#![allow(dead_code, reason = "not every test file needs all of it")]

use jiff::Timestamp;
use mainstay_store::{Opened, StackState, Store, StoreError, Tx, UidBlocks};
use model::StackId;
use runtime::{Rng, Tasks};
use std::path::Path;
use testkit::ManualClock;

pub const BLOCKS: UidBlocks = UidBlocks { first: 1000, size: 100, count: 3 };

pub fn tasks() -> Tasks {
    Tasks::new(ManualClock::new().shared())
}

pub async fn open(state: &Path) -> Result<Opened, StoreError> {
    Store::open(state, "process 7", &tasks(), &Rng::from_number(1)).await
}

pub async fn store(state: &Path) -> Store {
    open(state).await.expect("it can be opened").store
}

/// A stack, made if it is not there.
pub fn make(tx: &Tx<'_>, id: &StackId, now: Timestamp) -> Result<StackState, StoreError> {
    match tx.stack(id)? {
        Some(stack) => Ok(stack),
        None => tx.add_stack(id, tx.free_uids(id, BLOCKS)?, now),
    }
}

pub fn stack(name: &str) -> StackId {
    format!("{name}@production").parse().expect("a legal name")
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("within jiff's range")
}
