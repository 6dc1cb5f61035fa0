//! `exec` and `run`: a connection upgraded to frames.
//!
//! The client sends `GET …/exec` with `Connection: upgrade` and `Upgrade: mainstay-exec`; after `101` both sides
//! send frames: one byte of [`Frame`] kind, four bytes of length (big endian), then so many bytes.
//! The first frame is the client's [`ExecRequest`]; the last is the daemon's [`ExecResult`] or an error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The protocol's name in the `Upgrade` header.
pub const PROTOCOL: &str = "mainstay-exec";

/// A frame longer than this is refused.
pub const MAX_FRAME: u32 = 1 << 20;

/// So many bytes of standard input may be sent ahead of those the daemon has [taken](Frame::Taken).
pub const WINDOW: usize = 256 << 10;

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Frame {
    /// Client: an [`ExecRequest`] as JSON.
    Request = 0,
    /// Client: bytes for standard input.
    Stdin = 1,
    /// Daemon: bytes of standard output (of the terminal with `tty`).
    Stdout = 2,
    /// Daemon: bytes of standard error.
    Stderr = 3,
    /// Client: a [`Resize`] as JSON.
    Resize = 4,
    /// Daemon: an [`ExecResult`] as JSON; the end.
    Result = 5,
    /// Client: standard input has ended.
    StdinEnd = 6,
    /// Daemon: an [`super::ApiError`] as JSON; the end.
    Error = 7,
    /// Client: a signal number as one byte; the command is ended, and its result is that of the signal.
    Signal = 8,
    /// Daemon: so many bytes of standard input were taken (four bytes, big endian): as many more may be sent.
    Taken = 9,
}

impl Frame {
    /// The kind with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Request,
            Self::Stdin,
            Self::Stdout,
            Self::Stderr,
            Self::Resize,
            Self::Result,
            Self::StdinEnd,
            Self::Error,
            Self::Signal,
            Self::Taken,
        ]
        .into_iter()
        .find(|frame| *frame as u8 == byte)
    }
}

/// What to run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequest {
    /// `api` (any running replica) or `api.2`; for `run` the service.
    pub target: String,
    /// Program and arguments; for `run` empty means the service's own command.
    pub argv: Vec<String>,
    /// Variables beside the replica's own.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Working directory.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// User number inside the replica.
    #[serde(default)]
    pub user: Option<u32>,
    /// Give it a terminal of this size.
    #[serde(default)]
    pub tty: Option<Resize>,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecResult {
    /// Exit code as a shell gives it: 128 + n for signal n, 127 for a missing program.
    pub code: i32,
    /// In words.
    pub text: String,
}
