//! One replica's log: its last lines, then what is added, across rotation.

use super::cri::{Joiner, LONGEST};
use crate::api::status::LogLine;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// At most this much is read per call, so that a chatty replica does not starve the others.
const CHUNK: u64 = 1 << 20;

/// Follows one log file.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    replica: String,
    file: Option<BufReader<File>>,
    /// Files that come after the one that is being read, the next one last.
    newer: Vec<File>,
    inode: u64,
    torn: String,
    joiner: Joiner,
}

impl Tail {
    /// A reader of `replica`'s log at `path`; nothing is opened yet.
    pub fn new(path: PathBuf, replica: String) -> Self {
        let joiner = Joiner::default();
        Self { path, replica, file: None, newer: Vec::new(), inode: 0, torn: String::new(), joiner }
    }

    /// The last `count` lines, across rotated files, and stands at the end afterwards. Never holds more than those and
    /// a piece of a file.
    ///
    /// Blocks on the disk. A log that does not exist yet has no lines.
    pub fn last(&mut self, count: usize) -> std::io::Result<Vec<LogLine>> {
        self.reopen()?;
        let mut lines = VecDeque::new();
        self.keep(count, &mut lines)?;
        for age in 1.. {
            let rotated = rotated(&self.path, age);
            if lines.len() >= count || !exists(&rotated) {
                break;
            }
            let mut tail = Self::new(rotated, self.replica.clone());
            tail.reopen()?;
            let mut older = VecDeque::new();
            tail.keep(count - lines.len(), &mut older)?;
            older.append(&mut lines);
            lines = older;
        }
        Ok(lines.into())
    }

    /// Stands at the very beginning, in the oldest rotated file; [`Tail::added`] reads on from there.
    pub fn rewind(&mut self) -> std::io::Result<()> {
        // All are opened at once, the newest first: a rotation meanwhile renames what we hold and loses nothing.
        let mut newer = Vec::new();
        let mut inodes = BTreeSet::new();
        let paths = std::iter::once(self.path.clone()).chain((1..).map(|age| rotated(&self.path, age)));
        for path in paths {
            match runtime::files::open(&path) {
                Ok(file) => {
                    if inodes.insert(file.metadata()?.ino()) {
                        newer.push(file);
                    }
                }
                Err(error) if error.is_missing() && newer.is_empty() && path == self.path => {}
                Err(error) if error.is_missing() => break,
                Err(error) => return Err(error.source),
            }
        }
        self.newer = newer;
        self.next_file()?;
        Ok(())
    }

    fn next_file(&mut self) -> std::io::Result<bool> {
        let Some(file) = self.newer.pop() else {
            return Ok(false);
        };
        self.inode = file.metadata()?.ino();
        self.file = Some(BufReader::new(file));
        self.torn.clear();
        Ok(true)
    }

    /// The lines added since the last call. Blocks on the disk.
    pub fn added(&mut self) -> std::io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        self.read_into(&mut lines)?;
        while lines.is_empty() && self.next_file()? {
            self.read_into(&mut lines)?;
        }
        // Only once the old file is read to its end may the reader move on to its successor.
        if lines.is_empty() && self.was_rotated() {
            self.reopen()?;
            self.read_into(&mut lines)?;
        }
        Ok(lines)
    }

    /// Reads to the end of the file and keeps the last `count` lines.
    fn keep(&mut self, count: usize, kept: &mut VecDeque<LogLine>) -> std::io::Result<()> {
        let mut lines = Vec::new();
        while self.read_into(&mut lines)? {
            kept.extend(lines.drain(..));
            kept.drain(..kept.len().saturating_sub(count));
        }
        Ok(())
    }

    /// Reads a piece of the file; whether there was one.
    fn read_into(&mut self, lines: &mut Vec<LogLine>) -> std::io::Result<bool> {
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        let mut limited = file.take(CHUNK);
        let mut bytes = Vec::new();
        let mut some = false;
        while limited.read_until(b'\n', &mut bytes)? > 0 {
            some = true;
            self.torn.push_str(&String::from_utf8_lossy(&bytes));
            bytes.clear();
            // What goes on for so long is no log line, and is given out in parts.
            let line = self.torn.strip_suffix('\n').or((self.torn.len() > 2 * LONGEST).then_some(&self.torn[..]));
            if let Some(line) = line {
                lines.extend(self.joiner.push(line, &self.replica));
                self.torn.clear();
            }
        }
        Ok(some)
    }

    fn reopen(&mut self) -> std::io::Result<()> {
        match runtime::files::open(&self.path) {
            Ok(file) => {
                self.newer = vec![file];
                self.next_file().map(drop)
            }
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error.source),
        }
    }

    fn was_rotated(&self) -> bool {
        match self.path.metadata() {
            Ok(now) => self.file.is_none() || now.ino() != self.inode,
            Err(_) => false,
        }
    }
}

fn rotated(path: &Path, age: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

fn exists(path: &Path) -> bool {
    path.metadata().is_ok()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests touch the machine")]
mod tests {
    use super::*;
    use std::io::Write;

    fn append(path: &Path, text: &str) {
        let mut file = File::options().create(true).append(true).open(path).expect("temporary folder is writable");
        file.write_all(text.as_bytes()).expect("disk has room");
    }

    fn texts(lines: std::io::Result<Vec<LogLine>>) -> Vec<String> {
        lines.expect("readable").into_iter().map(|l| l.line).collect()
    }

    #[test]
    fn a_log_is_followed_across_rotation_without_losing_a_line() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("log");
        let mut tail = Tail::new(path.clone(), "api.1".into());
        assert!(texts(tail.last(2)).is_empty());
        append(&path, "1 stdout F a\n2 stdout F b\n3 stdout F c\n4 stdout F torn");
        assert_eq!(texts(tail.added()), ["a", "b", "c"]);
        append(&path, " line\n");
        std::fs::rename(&path, dir.path().join("log.1")).expect("rename");
        append(&path, "5 stdout F next\n");
        assert_eq!(texts(tail.added()), ["torn line"]);
        assert_eq!(texts(tail.added()), ["next"]);
        assert!(texts(tail.added()).is_empty());
    }

    #[test]
    fn the_last_lines_reach_back_into_rotated_files() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("log");
        append(&dir.path().join("log.2"), "1 stdout F a\n");
        append(&dir.path().join("log.1"), "2 stdout F b\n3 stdout F c\n");
        append(&path, "4 stdout F d\n");
        assert_eq!(texts(Tail::new(path.clone(), "x.1".into()).last(2)), ["c", "d"]);
        let mut tail = Tail::new(path, "x.1".into());
        tail.rewind().expect("readable");
        let mut all = Vec::new();
        loop {
            match texts(tail.added()) {
                lines if lines.is_empty() => break,
                lines => all.extend(lines),
            }
        }
        assert_eq!(all, ["a", "b", "c", "d"]);
    }
}
