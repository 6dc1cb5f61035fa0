//! The stacks: what is wanted of each, and what was allotted to it.

use super::{Columns, Tx, nanos};
use crate::error::StoreError;
use jiff::Timestamp;
use model::{EnvironmentName, ProjectName, ReleaseNumber, ServiceName, StackId, VolumeName};
use plan::Generation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is kept of one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackState {
    /// Which.
    pub id: StackId,
    /// The begin of its block of user numbers; its own as long as it lives.
    pub uid_base: u32,
    /// Counts its changes.
    pub generation: Generation,
    /// What is wanted of it.
    pub desire: Desire,
    /// What was allotted to it (subnets, addresses, ports), as text whose form and version are the writer's.
    pub allocation: Option<String>,
    /// When it was first heard of.
    pub created_at: Timestamp,
}

/// What is wanted of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desire {
    /// The release that is wanted, or was before it was taken down; none when nothing was released yet.
    pub release: Option<ReleaseNumber>,
    /// It shall be down, and these volumes shall go with it.
    pub down: Option<BTreeSet<VolumeName>>,
    /// When somebody last asked for it.
    pub asked_at: Timestamp,
    /// How many replicas somebody asked for, against what is declared.
    pub scale: BTreeMap<ServiceName, u32>,
    /// Replicas of these services that were started before are to be replaced.
    pub restart: BTreeMap<ServiceName, Timestamp>,
}

/// A change of a stack; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StackChange {
    /// What is wanted from now on.
    pub desire: Option<Desire>,
    /// What is allotted from now on.
    pub allocation: Option<String>,
}

/// The user numbers of the machine that stacks get blocks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidBlocks {
    /// The begin of the first block.
    pub first: u32,
    /// How many numbers a block has.
    pub size: u32,
    /// How many blocks there are.
    pub count: u32,
}

impl Tx<'_> {
    /// All stacks, by name.
    pub fn stacks(&self) -> Result<Vec<StackState>, StoreError> {
        self.query("SELECT * FROM stacks ORDER BY project, environment", [], read)
    }

    /// One stack.
    pub fn stack(&self, id: &StackId) -> Result<Option<StackState>, StoreError> {
        let sql = "SELECT * FROM stacks WHERE project = ?1 AND environment = ?2";
        self.find(sql, (id.project.as_str(), id.environment.as_str()), read)
    }

    /// The lowest block of user numbers that no stack has; `id` is for whom, for the error.
    pub fn free_uids(&self, id: &StackId, blocks: UidBlocks) -> Result<u32, StoreError> {
        let taken: BTreeSet<u32> =
            self.query("SELECT uid_base FROM stacks", [], |row| row.number("uid_base"))?.into_iter().collect();
        let mut bases = (0..blocks.count).map_while(|n| blocks.first.checked_add(n.checked_mul(blocks.size)?));
        bases.find(|base| !taken.contains(base)).ok_or_else(|| StoreError::NoUids(id.clone()))
    }

    /// Makes a stack with this block of user numbers and nothing wanted yet.
    pub fn add_stack(&self, id: &StackId, uid_base: u32, now: Timestamp) -> Result<StackState, StoreError> {
        let desire =
            Desire { release: None, down: None, asked_at: now, scale: BTreeMap::new(), restart: BTreeMap::new() };
        let sql = "INSERT INTO stacks (project, environment, uid_base, generation, desire, created_at)
                   VALUES (?1, ?2, ?3, 0, ?4, ?5)";
        let params = (id.project.as_str(), id.environment.as_str(), uid_base, stored(&desire), nanos(now));
        self.execute(sql, params)?;
        Ok(StackState {
            id: id.clone(),
            uid_base,
            generation: Generation(0),
            desire,
            allocation: None,
            created_at: now,
        })
    }

    /// Changes a stack that is still in generation `basis`; tells the new generation.
    ///
    /// Errors: [`StoreError::Stale`] when it is in another one.
    pub fn change_stack(&self, id: &StackId, basis: Generation, change: StackChange) -> Result<Generation, StoreError> {
        self.next_generation(id, basis)?;
        let sql = "UPDATE stacks SET desire = coalesce(?3, desire), allocation = coalesce(?4, allocation)
                   WHERE project = ?1 AND environment = ?2";
        let desire = change.desire.as_ref().map(stored);
        self.execute(sql, (id.project.as_str(), id.environment.as_str(), desire, change.allocation))?;
        Ok(Generation(basis.0 + 1))
    }

    /// Counts a change of a stack that is still in generation `basis`; tells its row.
    pub(super) fn next_generation(&self, id: &StackId, basis: Generation) -> Result<i64, StoreError> {
        let sql = "SELECT id, generation FROM stacks WHERE project = ?1 AND environment = ?2";
        let found = self.find(sql, (id.project.as_str(), id.environment.as_str()), |row| {
            Ok((row.get::<i64>("id")?, Generation(row.number("generation")?)))
        })?;
        let (row, current) = found.ok_or_else(|| StoreError::NoSuchStack(id.clone()))?;
        if current != basis {
            return Err(StoreError::Stale { basis, current });
        }
        self.execute("UPDATE stacks SET generation = generation + 1 WHERE id = ?1", [row])?;
        Ok(row)
    }

    /// The row of a stack.
    pub(super) fn stack_row(&self, id: &StackId) -> Result<i64, StoreError> {
        let sql = "SELECT id FROM stacks WHERE project = ?1 AND environment = ?2";
        let row = self.value(sql, (id.project.as_str(), id.environment.as_str()))?;
        row.ok_or_else(|| StoreError::NoSuchStack(id.clone()))
    }
}

fn read(row: &Columns<'_>) -> Result<StackState, StoreError> {
    let project: ProjectName = row.parse("project")?;
    let environment: EnvironmentName = row.parse("environment")?;
    Ok(StackState {
        id: StackId { project, environment },
        uid_base: row.number("uid_base")?,
        generation: Generation(row.number("generation")?),
        desire: loaded(&row.get::<String>("desire")?)?,
        allocation: row.get("allocation")?,
        created_at: row.time("created_at")?,
    })
}

/// The stored forms of [`Desire`]: only the newest is written, all are read.
#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum StoredDesire {
    #[serde(rename = "1")]
    V1 {
        release: Option<u64>,
        down: Option<BTreeSet<String>>,
        asked_at: String,
        scale: BTreeMap<String, u32>,
        restart: BTreeMap<String, String>,
    },
}

fn stored(desire: &Desire) -> String {
    let form = StoredDesire::V1 {
        release: desire.release.map(|number| number.0),
        down: desire.down.as_ref().map(|volumes| volumes.iter().map(ToString::to_string).collect()),
        asked_at: desire.asked_at.to_string(),
        scale: desire.scale.iter().map(|(service, count)| (service.to_string(), *count)).collect(),
        restart: desire.restart.iter().map(|(service, at)| (service.to_string(), at.to_string())).collect(),
    };
    serde_json::to_string(&form).expect("texts and numbers always have a JSON form")
}

fn loaded(text: &str) -> Result<Desire, StoreError> {
    let wrong = |why: String| StoreError::Stored { what: "desire", value: text.to_owned(), why };
    let form: StoredDesire = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let StoredDesire::V1 { release, down, asked_at, scale, restart } = form;
    let services = scale.into_iter().map(|(name, count)| Ok((super::parse("service", &name)?, count)));
    let restarts =
        restart.into_iter().map(|(name, at)| Ok((super::parse("service", &name)?, super::parse("time", &at)?)));
    let volumes = |names: BTreeSet<String>| names.iter().map(|name| super::parse("volume", name)).collect();
    Ok(Desire {
        release: release.map(ReleaseNumber),
        down: down.map(volumes).transpose()?,
        asked_at: super::parse("time", &asked_at)?,
        scale: services.collect::<Result<_, StoreError>>()?,
        restart: restarts.collect::<Result<_, StoreError>>()?,
    })
}
