//! What a shim is told to run: one JSON document, handed over by an inherited file, never by argv.
//!
//! The engine has made every decision before it writes one: ids are the machine's, paths absolute, order final.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of [`Spec`] that this build writes and reads. Both sides come out of one build, so only one is known.
pub const VERSION: u32 = 1;

/// The file number a spec is read from.
pub const SPEC_FD: i32 = 0;

/// One attempt to run one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// [`VERSION`].
    pub version: u32,
    /// What people and process lists call it: `shop@production/api.1`.
    pub name: String,
    /// The replica's folder in the run folder: lock, status, control socket.
    pub dir: PathBuf,
    /// What runs.
    pub workload: Workload,
    /// Who it is.
    pub identity: Identity,
    /// The prepared network namespace; the machine's own when none.
    pub network: Option<PathBuf>,
    /// What it sees of the file system.
    pub root: Root,
    /// Control groups that the workload is put into.
    pub cgroups: Vec<Cgroup>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// What it may do beyond an ordinary user.
    pub capabilities: Capabilities,
    /// How willingly the kernel kills it when memory runs out.
    pub oom_score_adj: Option<i32>,
    /// Where its output goes.
    pub log: Log,
    /// How it is asked to stop.
    pub stop: Stop,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Program and arguments; never empty. A program without `/` is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory, made when it is missing.
    pub cwd: String,
    /// What is done before, as the workload's user and inside its root.
    pub prepare: Option<Prepare>,
}

/// Work done once before the workload takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Prepare {
    /// Makes a PostgreSQL cluster in an empty data folder.
    Postgres(PostgresInit),
}

/// The first start of a PostgreSQL data folder, with the contract of the `postgres` image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresInit {
    /// Folder of `initdb` and `postgres`.
    pub bin: PathBuf,
    /// The major version of those programs.
    pub major: u32,
    /// `PGDATA`.
    pub data: PathBuf,
    /// The superuser.
    pub user: String,
    /// The database made for it.
    pub database: String,
    /// The superuser's password, or where it is read from.
    pub password: Password,
    /// `POSTGRES_HOST_AUTH_METHOD`.
    pub host_auth: String,
    /// Extra arguments of `initdb`.
    pub initdb_args: Vec<String>,
    /// Scripts run once, in order of their names.
    pub scripts: PathBuf,
}

/// Where a password comes from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Password {
    /// Given.
    Text(String),
    /// The first line of this file inside the root.
    File(PathBuf),
    /// None is asked for: only with `trust`.
    None,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(***)"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::None => f.write_str("None"),
        }
    }
}

/// Who the workload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The machine's user number; never 0.
    pub uid: u32,
    /// The machine's group number; never 0.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Host name inside.
    pub hostname: String,
    /// File creation mask.
    pub umask: u32,
}

/// What the workload sees of the file system: an overlay of the machine's `/`, with things mounted over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// An empty folder that the new root is mounted on.
    pub at: PathBuf,
    /// Where changes are kept while it runs.
    pub changes: Changes,
    /// Cannot be written, apart from mounts.
    pub read_only: bool,
    /// Paths of the machine covered with nothing.
    pub hidden: Vec<PathBuf>,
    /// Mounts, carried out in this order.
    pub mounts: Vec<Mount>,
    /// Files made for this replica alone, kept in memory.
    pub files: Vec<File>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
}

/// Where changes to the private root are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// A folder on disk; when an overlay cannot have it, memory is used and a note says so.
    pub dir: Option<PathBuf>,
    /// The limit of the memory used instead.
    pub memory_bytes: u64,
}

/// Something mounted over the private root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside; made when it is missing.
    pub target: PathBuf,
    /// What is mounted.
    pub what: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MountKind {
    /// A file or folder of the machine.
    Bind {
        /// Absolute path of the machine.
        source: PathBuf,
        /// Cannot be written.
        read_only: bool,
    },
    /// Memory.
    Tmpfs {
        /// The limit; the kernel's default when none.
        bytes: Option<u64>,
        /// Permission bits of its top folder.
        mode: u32,
    },
}

/// A file made for one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute path inside.
    pub target: PathBuf,
    /// What it holds.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Owner, as the machine counts.
    pub uid: u32,
    /// Group, as the machine counts.
    pub gid: u32,
}

/// Bytes in JSON: text where they are text, else hexadecimal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// UTF-8.
    Text(String),
    /// Two hexadecimal digits a byte.
    Hex(String),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}

impl Content {
    /// The bytes; none when the hexadecimal form is damaged.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.as_bytes().to_vec()),
            Self::Hex(hex) if hex.len().is_multiple_of(2) && hex.is_ascii() => {
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
            }
            Self::Hex(_) => None,
        }
    }
}

/// A control group of the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its folder.
    pub dir: PathBuf,
    /// The file in it that counts processes killed for want of memory, if it has one:
    /// `memory.oom_control` (v1) or `memory.events` (v2), each with a line `oom_kill N`.
    pub oom_file: Option<String>,
}

/// A resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Compose's name: `nofile`.
    pub resource: String,
    /// What applies.
    pub soft: u64,
    /// How far the workload may raise it.
    pub hard: u64,
    /// The service asks for it, so that a note tells when it cannot be had; else it is a default.
    pub is_wanted: bool,
}

/// Capabilities as bit sets: bit `n` is the capability with the kernel's number `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What could be gained at all.
    pub bounding: u64,
    /// What an ordinary user has from the start.
    pub ambient: u64,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The file written now; older ones are `<file>.1`, `<file>.2`, …
    pub file: PathBuf,
    /// A file is put aside before it grows beyond this.
    pub max_bytes: u64,
    /// Files kept in all, at least 1.
    pub files: u32,
}

/// How a workload is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal.
    pub signal: i32,
    /// How long it has afterwards.
    pub grace_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_survives_the_way_through_json() {
        for bytes in [&b"plain"[..], b"", b"\xff\x00\x80", "grün".as_bytes()] {
            let json = serde_json::to_string(&Content::from(bytes)).expect("writes");
            let back: Content = serde_json::from_str(&json).expect("reads");
            assert_eq!(back.bytes().as_deref(), Some(bytes), "{json}");
        }
        assert_eq!(Content::Hex("abc".into()).bytes(), None);
        assert_eq!(Content::Hex("zz".into()).bytes(), None);
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}{:?}", Content::Text("s3".into()), Password::Text("s3".into())), "***Text(***)");
    }
}
