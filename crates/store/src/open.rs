//! Opening the state folder: lock, key, state file, migrations; and the copy to fall back on.
//!
//! A state file that is damaged is never repaired, deleted or replaced by an empty one: the daemon says what is
//! wrong and how to go on, and a person decides.

use crate::actor::Store;
use crate::error::StoreError;
use crate::seal::Keys;
use jiff::Timestamp;
use runtime::files::{self, Lock, LockError};
use runtime::{Rng, Tasks};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rusqlite_migration::{M, Migrations};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// Numbered, append-only: a landed one is never edited.
static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| {
    Migrations::new(vec![
        M::up(include_str!("../migrations/0001-begin.sql")),
        M::up(include_str!("../migrations/0002-completions.sql")),
        M::up(include_str!("../migrations/0003-releases-again.sql")),
    ])
});

/// The schema this version writes.
const SCHEMA: i64 = 3;

/// An open state folder.
#[derive(Debug)]
pub struct Opened {
    /// The tables.
    pub store: Store,
    /// The key of sealed values and of keyed hashes.
    pub keys: Keys,
    /// Whether the folder was new.
    pub is_new: bool,
}

/// A copy of the state file was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Where it lies.
    pub path: PathBuf,
}

impl Store {
    /// Opens a state folder, or makes a new one. `owner` says in words who we are, for a second daemon to read.
    ///
    /// The store's thread belongs to `tasks`: when that tree is shut down, what was handed in is still written.
    /// So give it a tree of its own and shut it down last.
    pub async fn open(state: &Path, owner: &str, tasks: &Tasks, rng: &Rng) -> Result<Opened, StoreError> {
        let (state, owner, rng) = (state.to_owned(), owner.to_owned(), rng.clone());
        let path = state.join("state.db");
        let opened = tasks.blocking("open the store", move || open(&state, &owner, &rng)).await;
        let (connection, lock, keys, is_new) = opened.map_err(|_| StoreError::Closed { doing: "open the store" })??;
        Ok(Opened { store: Self::start(connection, lock, path, tasks)?, keys, is_new })
    }
}

fn open(state: &Path, owner: &str, rng: &Rng) -> Result<(Connection, Lock, Keys, bool), StoreError> {
    // Others may pass through to what is meant for them (static files), not look around.
    files::create_dir(state, 0o711)?;
    let lock = files::lock(&state.join("lock"), owner).map_err(|error| match error {
        LockError::File(error) => StoreError::Folder(error),
        held => StoreError::InUse(held),
    })?;
    let path = state.join("state.db");
    let is_new = files::metadata(&path)?.is_none();
    if is_new && let Some(left) = left_behind(&path)? {
        return Err(damaged(&path, format!("it is missing, and `{}` beside it is not", left.display())));
    }
    // The key before the file: a state file without a key is a loss, a key without a state file is nothing.
    let keys = Keys::open(&state.join("secrets"), is_new, rng).map_err(StoreError::Key)?;
    if is_new {
        create(&path)?;
    }
    let connection = connect(&path)?;
    Ok((connection, lock, keys, is_new))
}

/// What only lies there when there was a state file: then one that is not there was lost, and is not made anew.
fn left_behind(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    for name in ["state.db-wal", "state.db.copy"] {
        let beside = path.with_file_name(name);
        if files::metadata(&beside)?.is_some() {
            return Ok(Some(beside));
        }
    }
    let manifests = path.with_file_name("bundles").join("manifests");
    let has_bundles = files::metadata(&manifests)?.is_some() && !files::list(&manifests)?.is_empty();
    Ok(has_bundles.then_some(manifests))
}

/// Makes the file beside its place and renames it, so that a state file is complete or not there: one of no
/// bytes is always a damage.
fn create(path: &Path) -> Result<(), StoreError> {
    let temp = path.with_extension("db.new");
    for leftover in ["db.new", "db.new-journal", "db.new-wal", "db.new-shm"] {
        files::remove(&path.with_extension(leftover))?;
    }
    files::write(&temp, b"", 0o600)?;
    let failed = |error| StoreError::sql("make the state file", path, Arc::new(error));
    let mut connection = Connection::open(&temp).map_err(failed)?;
    migrate(&mut connection, path)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    Ok(files::rename(&temp, path)?)
}

/// Opens a state file that is there, looks whether it is whole, and brings it to the newest schema.
pub(crate) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let checked = || {
        if files::metadata(path).is_ok_and(|metadata| metadata.is_some_and(|metadata| metadata.len() == 0)) {
            return Ok(Err("it is empty".to_owned()));
        }
        let connection = Connection::open_with_flags(path, flags)?;
        // A damaged file is left as it is: also its write-ahead log is not worked into it at the end.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Ok(Err(found));
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        // Every commit is on the disk before anybody hears of it; readers do not wait for it.
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(Ok(connection))
    };
    let mut connection = match checked() {
        Ok(Ok(connection)) => connection,
        Ok(Err(found)) => return Err(damaged(path, found)),
        Err(error) if is_damage(&error) => return Err(damaged(path, error.to_string())),
        Err(error) => return Err(StoreError::sql("open the state file", path, Arc::new(error))),
    };
    migrate(&mut connection, path)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::sql("read the state file's schema", path, Arc::new(error));
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if found > SCHEMA {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known: SCHEMA });
    }
    MIGRATIONS.to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => {
            StoreError::sql("migrate the state file", path, Arc::new(err))
        }
        other => StoreError::Stored { what: "schema", value: found.to_string(), why: other.to_string() },
    })
}

pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// The error for a state file that is not what it was, with the way on.
pub(crate) fn damaged(path: &Path, found: String) -> StoreError {
    let (file, folder) = (path.display(), path.with_file_name("damaged"));
    // With its write-ahead log, which would be worked into whatever takes its place.
    let aside = format!("mkdir {0} && mv {file}* {0}", folder.display());
    let cure = match files::metadata(&copy_path(path)) {
        Ok(Some(metadata)) => {
            let made = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            let made = made.map_or_else(String::new, |time| format!(" of {time:.0}"));
            let back = format!("cp {} {file}", folder.join("state.db.copy").display());
            format!("put the automatic copy{made} in its place: `{aside} && {back}`")
        }
        _ => {
            // Bundles without a state file are as much a sign of a loss as the rest.
            let bundles = path.with_file_name("bundles");
            let bundles = format!("mv {} {}", bundles.display(), folder.display());
            format!(
                "put a backup of it in its place, or begin with an empty one (what runs goes on \
                 and is adopted by the next `up`): `mkdir -p {0}; mv {file}* {0}; {bundles}`",
                folder.display()
            )
        }
    };
    StoreError::Damaged { path: path.to_owned(), found, cure }
}

fn copy_path(path: &Path) -> PathBuf {
    path.with_extension("db.copy")
}

/// Writes a whole, compact copy of the state file beside it, over the last one.
pub(crate) fn copy(path: &Path) -> Result<Copied, StoreError> {
    let doing = "copy the state file";
    let failed = |error| StoreError::sql(doing, path, Arc::new(error));
    let (target, temp) = (copy_path(path), path.with_extension("db.copy.new"));
    files::remove(&temp)?;
    // VACUUM refuses to write over a file, but an empty one is none to it: so nobody else can read the copy.
    files::write(&temp, b"", 0o600)?;
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let text = temp.to_string_lossy().into_owned();
    connection.execute("VACUUM INTO ?1", [text]).map_err(failed)?;
    files::open(&temp)?.sync_all().map_err(|error| files::FileError::new("write", &temp, error))?;
    files::rename(&temp, &target)?;
    Ok(Copied { path: target })
}
