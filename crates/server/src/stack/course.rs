//! What an actor goes by: the record, and the stacks it names, settled.

use super::record::{Good, Record, Wanted};
use super::settle::settle;
use super::world::World;
use crate::api::ApiError;
use model::stack::{Stack, Target};
use model::{ServiceName, SpecHash, StackId};
use plan::desired::{Desired, Down, Former, Up};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The record, and the stacks it names. Orders change a copy of it, which takes its place once it is durable.
#[derive(Debug, Clone)]
pub struct Course {
    /// What is durable.
    pub record: Record,
    /// The wanted release, settled; none while the stack is down, or when it cannot be read.
    pub wanted: Option<Arc<Stack>>,
    /// The release that last was good, settled.
    pub good: Option<Arc<Stack>>,
}

impl Course {
    /// Settles what a record names. One that cannot be settled any more is left out, with the reason if it is the
    /// wanted one: without the last good one nothing is lost but the way back.
    pub async fn of(world: &World, id: &StackId, record: Record) -> (Self, Option<ApiError>) {
        let (mut wanted, mut why) = (None, None);
        if let Wanted::Up(running) = &record.wanted {
            match settle(world, id, running, record.given()).await {
                Ok((stack, _)) => wanted = Some(stack),
                Err(error) => why = Some(error),
            }
        }
        let good = match &record.good {
            Some(good) if record.release() == Some(&good.running) => wanted.clone(),
            Some(good) => match settle(world, id, &good.running, record.given_good(good)).await {
                Ok((stack, _)) => Some(stack),
                Err(error) => {
                    let release = good.running.release;
                    let text = format!("release {release} cannot be gone back to any more: {}", error.message);
                    world.event(id, "release", "release.unreadable", "mainstay", text);
                    None
                }
            },
            None => None,
        };
        (Self { record, wanted, good }, why)
    }

    /// What plans are made for; none when nobody has ordered anything, or when what is wanted cannot be read.
    pub fn desired(&self) -> Option<Desired> {
        match &self.record.wanted {
            Wanted::Nothing => None,
            Wanted::Up(_) => {
                let stack = Stack::clone(self.wanted.as_deref()?);
                let (asked_at, restart) = (self.record.asked_at, self.record.restart.clone());
                Some(Desired::Up(Up { stack, asked_at, restart, former: self.former() }))
            }
            Wanted::Down(volumes) => {
                Some(Desired::Down(Down { volumes: volumes.clone(), depends_on: self.depends_on() }))
            }
        }
    }

    /// Goes back to the last good release, if there is one beside the wanted one.
    pub fn back(&self) -> Option<Self> {
        let (good, stack) = self.record.good.clone().zip(self.good.clone())?;
        if self.record.release() == Some(&good.running) {
            return None;
        }
        let mut back = self.clone();
        let Good { running, allocation, scale } = good;
        back.record.wanted = Wanted::Up(running);
        (back.record.allocation, back.record.scale) = (allocation, scale);
        back.wanted = Some(stack);
        Some(back)
    }

    /// What is wanted runs as a whole, or is gone as a whole.
    pub fn reached(&mut self, since: jiff::Timestamp) {
        let Wanted::Up(running) = self.record.wanted.clone() else {
            (self.record.up_since, self.record.good) = (None, None);
            (self.wanted, self.good) = (None, None);
            return;
        };
        let (allocation, scale) = (self.record.allocation.clone(), self.record.scale.clone());
        self.record.good = Some(Good { running, allocation, scale });
        self.record.up_since.get_or_insert(since);
        self.good = self.wanted.clone();
    }

    fn former(&self) -> BTreeMap<SpecHash, Former> {
        let Some(good) = &self.good else {
            return BTreeMap::new();
        };
        let former = |target: &Target| Former {
            template: target.template.clone(),
            release: good.release,
            bundle: good.bundle.clone(),
        };
        good.services.values().map(|target| (target.hash, former(target))).collect()
    }

    fn depends_on(&self) -> BTreeMap<ServiceName, BTreeSet<ServiceName>> {
        let last = self.wanted.as_ref().or(self.good.as_ref());
        let services = last.iter().flat_map(|stack| &stack.services);
        services.map(|(name, target)| (name.clone(), target.depends_on.keys().cloned().collect())).collect()
    }
}
