//! One replica's log: its last lines, then what is added, across rotation.

use super::cri::Joiner;
use crate::api::status::LogLine;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
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
    inode: u64,
    torn: String,
    joiner: Joiner,
}

impl Tail {
    /// A reader of `replica`'s log at `path`; nothing is opened yet.
    pub fn new(path: PathBuf, replica: String) -> Self {
        Self { path, replica, file: None, inode: 0, torn: String::new(), joiner: Joiner::default() }
    }

    /// The last `count` lines (all when none), across rotated files, and stands at the end afterwards.
    ///
    /// Blocks on the disk. A log that does not exist yet has no lines.
    pub fn last(&mut self, count: Option<usize>) -> std::io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        self.reopen()?;
        loop {
            let mut more = self.added()?;
            if more.is_empty() {
                break;
            }
            lines.append(&mut more);
        }
        for age in 1.. {
            let rotated = rotated(&self.path, age);
            if count.is_some_and(|count| lines.len() >= count) || !exists(&rotated) {
                break;
            }
            let mut older = whole(&rotated, &self.replica)?;
            older.append(&mut lines);
            lines = older;
        }
        let keep = count.map_or(lines.len(), |count| count.min(lines.len()));
        Ok(lines.split_off(lines.len() - keep))
    }

    /// The lines added since the last call. Blocks on the disk.
    pub fn added(&mut self) -> std::io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        self.read_into(&mut lines)?;
        // Only once the old file is read to its end may the reader move on to its successor.
        if lines.is_empty() && self.was_rotated() {
            self.reopen()?;
            self.read_into(&mut lines)?;
        }
        Ok(lines)
    }

    fn read_into(&mut self, lines: &mut Vec<LogLine>) -> std::io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut limited = file.take(CHUNK);
        let mut bytes = Vec::new();
        while limited.read_until(b'\n', &mut bytes)? > 0 {
            self.torn.push_str(&String::from_utf8_lossy(&bytes));
            bytes.clear();
            if let Some(line) = self.torn.strip_suffix('\n') {
                lines.extend(self.joiner.push(line, &self.replica));
                self.torn.clear();
            }
        }
        Ok(())
    }

    fn reopen(&mut self) -> std::io::Result<()> {
        match runtime::files::open(&self.path) {
            Ok(file) => {
                self.inode = file.metadata()?.ino();
                let mut file = BufReader::new(file);
                file.seek(SeekFrom::Start(0))?;
                self.file = Some(file);
                self.torn.clear();
                Ok(())
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

fn whole(path: &Path, replica: &str) -> std::io::Result<Vec<LogLine>> {
    let mut tail = Tail::new(path.to_owned(), replica.to_owned());
    tail.reopen()?;
    let mut lines = Vec::new();
    loop {
        let before = lines.len();
        tail.read_into(&mut lines)?;
        if lines.len() == before {
            return Ok(lines);
        }
    }
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
        assert!(texts(tail.last(Some(2))).is_empty());
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
        assert_eq!(texts(Tail::new(path.clone(), "x.1".into()).last(Some(2))), ["c", "d"]);
        assert_eq!(texts(Tail::new(path, "x.1".into()).last(None)), ["a", "b", "c", "d"]);
    }
}
