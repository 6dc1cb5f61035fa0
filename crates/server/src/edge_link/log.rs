//! The file of the access log, kept from growing without end.
//!
//! The edge only writes: it may not touch the folder. Which file it writes into is said here, and passed to it. The
//! form of a line is in `docs/access-log.md`.

use runtime::files::{self, FileError};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A file that is larger makes room for a new one.
const MOST: u64 = 64 << 20;

/// So many full files are kept beside the one that is written.
const KEPT: u32 = 4;

/// The access log's files: `access.log` is written, `access.log.1` is the newest full one.
pub struct AccessLog {
    path: PathBuf,
    most: u64,
}

impl AccessLog {
    /// The log in this folder.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("access.log"), most: MOST }
    }

    /// Whether the file is full, or gone.
    pub fn is_full(&self) -> bool {
        files::metadata(&self.path).is_ok_and(|found| found.is_none_or(|found| found.len() > self.most))
    }

    /// The file to write into from now on; a full one is put aside first.
    pub fn open(&self) -> Result<File, FileError> {
        if self.is_full() && files::metadata(&self.path)?.is_some() {
            for number in (1..KEPT).rev() {
                if files::metadata(&self.aside(number))?.is_some() {
                    files::rename(&self.aside(number), &self.aside(number + 1))?;
                }
            }
            files::rename(&self.path, &self.aside(1))?;
        }
        files::open_append(&self.path, 0o640)
    }

    fn aside(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_full_log_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = AccessLog { most: 3, ..AccessLog::new(folder.path()) };
        for number in 0..8 {
            writeln!(log.open().expect("a file"), "line {number}").expect("written");
        }
        let text = |name: &str| files::read_text(&folder.path().join(name)).expect("a file");
        assert_eq!((text("access.log"), text("access.log.1")), ("line 7\n".into(), "line 6\n".into()));
        assert_eq!(text("access.log.4"), "line 3\n");
        assert_eq!(files::list(folder.path()).expect("a list").len(), 5);
    }

    #[test]
    fn a_log_that_is_not_full_is_gone_on_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = AccessLog::new(folder.path());
        for _ in 0..2 {
            writeln!(log.open().expect("a file"), "x").expect("written");
        }
        assert_eq!(files::read_text(&folder.path().join("access.log")).expect("a file"), "x\nx\n");
    }
}
