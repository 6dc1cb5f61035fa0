//! What was taken over, written down: labels cannot be put on a container or a volume that exists.
//!
//! One file a stack, durable. Whoever lists containers has the labels that they would bear filled in from here, so that
//! nothing else has to know where they came from.

use crate::error::Error;
use crate::labels::{self, StartedWith};
use crate::layout::Layout;
use crate::names::Names;
use model::{ReplicaId, StackId, VolumeName};
use runtime::files;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What of one stack was offered and taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// Containers to be taken over by a start, by replica.
    #[serde(default)]
    pub offers: BTreeMap<String, String>,
    /// Containers that were taken over, by id.
    #[serde(default)]
    pub taken: BTreeMap<String, Taken>,
    /// The names of volumes that were taken over, by ours.
    #[serde(default)]
    pub volumes: BTreeMap<String, String>,
}

/// A container that was taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// As which replica.
    pub replica: String,
    /// As it would have been started.
    pub with: StartedWith,
}

impl Ledger {
    /// The container that goes on as this replica.
    pub fn container_of(&self, id: &ReplicaId) -> Option<&str> {
        let name = id.to_string();
        self.taken.iter().find(|(_, taken)| taken.replica == name).map(|(container, _)| container.as_str())
    }

    /// The replicas that containers go on as.
    pub fn replicas(&self) -> BTreeSet<String> {
        self.taken.values().map(|taken| taken.replica.clone()).collect()
    }

    /// What the Engine calls a volume that was taken over.
    pub fn volume(&self, name: &VolumeName) -> Option<&str> {
        self.volumes.get(name.as_str()).map(String::as_str)
    }
}

/// The ledgers of all stacks.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    /// By stack; why one cannot be read, in words.
    all: Mutex<BTreeMap<StackId, Result<Ledger, String>>>,
    /// Why the folder itself cannot be read, in words: then nobody knows whose data was taken over.
    unread: Option<String>,
}

impl Ledgers {
    /// What is written down.
    pub fn read(layout: &Layout) -> Self {
        let mut all = BTreeMap::new();
        let (listed, unread) = match files::list(&layout.ledgers) {
            Ok(listed) => (listed, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        for path in listed {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Ok(stack) = name.parse::<StackId>() {
                let read = || {
                    serde_json::from_slice(&files::read(&path).map_err(|e| e.to_string())?).map_err(|e| e.to_string())
                };
                all.insert(stack, read());
            }
        }
        Self { all: Mutex::new(all), unread }
    }

    /// What is known of a stack. Without its ledger a stack must not be touched: its data would seem to be missing.
    pub fn of(&self, stack: &StackId) -> Result<Ledger, Error> {
        self.known(&self.lock(), stack)
    }

    fn known(&self, all: &BTreeMap<StackId, Result<Ledger, String>>, stack: &StackId) -> Result<Ledger, Error> {
        match (all.get(stack), &self.unread) {
            (Some(Ok(ledger)), _) => Ok(ledger.clone()),
            (Some(Err(why)), _) | (None, Some(why)) => Err(unreadable(stack, why)),
            (None, None) => Ok(Ledger::default()),
        }
    }

    /// Every stack of which something was taken over, as far as it can be read.
    pub fn all(&self) -> BTreeMap<StackId, Ledger> {
        let read = |(stack, ledger): (&StackId, &Result<Ledger, String>)| Some((stack.clone(), ledger.clone().ok()?));
        self.lock().iter().filter_map(read).collect()
    }

    /// Refuses while one cannot be read: what it says is somebody's.
    pub fn check(&self) -> Result<(), Error> {
        let bad =
            |(stack, ledger): (&StackId, &Result<Ledger, String>)| Some(unreadable(stack, ledger.as_ref().err()?));
        self.lock().iter().find_map(bad).map_or(Ok(()), Err)
    }

    /// The stack of a container that was taken over.
    pub fn stack_of(&self, container: &str) -> Option<StackId> {
        let has =
            |ledger: &Result<Ledger, String>| ledger.as_ref().is_ok_and(|ledger| ledger.taken.contains_key(container));
        self.lock().iter().find(|(_, ledger)| has(ledger)).map(|(stack, _)| stack.clone())
    }

    /// Changes what is known of a stack, on disk first.
    pub fn change(&self, layout: &Layout, stack: &StackId, change: impl FnOnce(&mut Ledger)) -> Result<(), Error> {
        let mut all = self.lock();
        let before = self.known(&all, stack)?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        let path = layout.ledgers.join(stack.to_string());
        if after == Ledger::default() {
            files::remove(&path)?;
            all.remove(stack);
            return Ok(());
        }
        files::create_dir(&layout.ledgers, 0o700)?;
        let text = serde_json::to_vec(&after).expect("a ledger is plain data");
        files::write(&path, &text, 0o600)?;
        all.insert(stack.clone(), Ok(after));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StackId, Result<Ledger, String>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(stack: &StackId, why: &str) -> Error {
    Error::Unreadable { subject: format!("what was taken over for {stack}"), why: why.to_owned() }
}

/// Fills in the labels that a container would bear had we made it.
pub(crate) fn dress(labels: &mut HashMap<String, String>, names: &Names, stack: &StackId, taken: &Taken) {
    labels.extend([
        (labels::OWNER.to_owned(), names.owner.clone()),
        (labels::STACK.to_owned(), stack.to_string()),
        (labels::ID.to_owned(), taken.replica.clone()),
        (labels::REPLICA.to_owned(), serde_json::to_string(&taken.with).expect("labels are plain data")),
    ]);
}
