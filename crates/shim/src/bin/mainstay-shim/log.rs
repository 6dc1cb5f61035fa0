//! The workload's output on disk, in the CRI log format: `<time> <stdout|stderr> <F|P> <text>`.
//!
//! The workload never waits for the disk: what cannot be written is dropped and counted, and a line says so as soon
//! as the disk takes one again. A torn line never stays in the file.

use crate::clock;
use shim::spec;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A line longer than this is written in parts (`P`), as containerd does.
const MAX_LINE: usize = 16 * 1024;

/// Which of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts one stream into lines.
pub(crate) struct Lines {
    stream: Stream,
    rest: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Takes in what the workload wrote and hands whole lines to the log.
    pub(crate) fn push(&mut self, mut bytes: &[u8], log: &mut Log) {
        let time = clock::now();
        let mut batch = Batch::default();
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.rest.extend_from_slice(&bytes[..end]);
            self.cut(&time, &mut batch);
            batch.line(&time, self.stream, "F", &self.rest);
            self.rest.clear();
            bytes = &bytes[end + 1..];
        }
        self.rest.extend_from_slice(bytes);
        self.cut(&time, &mut batch);
        log.write(&batch);
    }

    /// Writes what has no line end, for the stream has ended.
    pub(crate) fn finish(&mut self, log: &mut Log) {
        if !self.rest.is_empty() {
            let mut batch = Batch::default();
            batch.line(&clock::now(), self.stream, "F", &self.rest);
            self.rest = Vec::new();
            log.write(&batch);
        }
    }

    fn cut(&mut self, time: &str, batch: &mut Batch) {
        while self.rest.len() > MAX_LINE {
            let part: Vec<u8> = self.rest.drain(..MAX_LINE).collect();
            batch.line(time, self.stream, "P", &part);
        }
    }
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

impl Batch {
    fn line(&mut self, time: &str, stream: Stream, tag: &str, text: &[u8]) {
        self.bytes.extend_from_slice(format!("{time} {} {tag} ", stream.name()).as_bytes());
        self.bytes.extend_from_slice(text);
        self.bytes.push(b'\n');
        self.lines += 1;
    }
}

/// The file, and those put aside.
pub(crate) struct Log {
    settings: spec::Log,
    open: Option<Open>,
    lost: u64,
    why: String,
}

struct Open {
    file: File,
    bytes: u64,
}

impl Log {
    pub(crate) fn new(settings: spec::Log) -> Self {
        let mut log = Self { settings, open: None, lost: 0, why: String::new() };
        log.open();
        log
    }

    /// Lines are missing that the log has not confessed yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.lost > 0
    }

    fn write(&mut self, batch: &Batch) {
        if batch.lines == 0 {
            return;
        }
        if self.lost > 0 {
            self.confess();
        }
        if self.lost > 0 || self.append(&batch.bytes).is_err() {
            self.lost += batch.lines;
        }
    }

    /// Says something of the shim's own, where the workload's user looks first.
    pub(crate) fn say(&mut self, text: &str) {
        let mut batch = Batch::default();
        batch.line(&clock::now(), Stream::Stderr, "F", format!("mainstay: {text}").as_bytes());
        self.write(&batch);
    }

    /// Says how many lines are missing, once the disk takes it.
    pub(crate) fn confess(&mut self) {
        if self.lost == 0 {
            return;
        }
        let text = format!("mainstay: {} lines before this one could not be kept: {}", self.lost, self.why);
        let mut batch = Batch::default();
        batch.line(&clock::now(), Stream::Stderr, "F", text.as_bytes());
        if self.append(&batch.bytes).is_ok() {
            self.lost = 0;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let is_full = |open: &Open| open.bytes > 0 && open.bytes + bytes.len() as u64 > self.settings.max_bytes;
        if self.open.as_ref().is_some_and(is_full) {
            self.rotate();
        }
        if self.open.is_none() {
            self.open();
        }
        let Some(open) = &mut self.open else { return Err(()) };
        match open.file.write_all(bytes) {
            Ok(()) => {
                open.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Whatever part did fit is taken back, so that the file ends with a whole line.
                if open.file.set_len(open.bytes).is_err() {
                    self.open = None;
                }
                self.why = error.to_string();
                Err(())
            }
        }
    }

    fn open(&mut self) {
        let opened = (|| {
            let file = File::options().append(true).create(true).open(&self.settings.file)?;
            let bytes = file.metadata()?.len();
            io::Result::Ok(Open { file, bytes })
        })();
        match opened {
            Ok(open) => self.open = Some(open),
            Err(error) => self.why = error.to_string(),
        }
    }

    /// Puts the file aside; when that fails, the same file goes on, for a long log is better than none.
    fn rotate(&mut self) {
        let file = &self.settings.file;
        if self.settings.files <= 1 {
            if let Some(open) = &mut self.open
                && open.file.set_len(0).is_ok()
            {
                open.bytes = 0;
            }
            return;
        }
        for number in (1..self.settings.files - 1).rev() {
            let _ = std::fs::rename(aside(file, number), aside(file, number + 1));
        }
        if std::fs::rename(file, aside(file, 1)).is_ok() {
            self.open = None;
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.confess();
        if let Some(open) = &mut self.open {
            let _ = open.file.flush();
        }
    }
}

fn aside(file: &Path, number: u32) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, max_bytes: u64, files: u32, input: &[&[u8]]) -> Vec<String> {
        let dir = std::env::temp_dir().join(format!("mainstay-log-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("makes a folder");
        let file = dir.join("log");
        let mut log = Log::new(spec::Log { file: file.clone(), max_bytes, files });
        let mut lines = Lines::new(Stream::Stdout);
        input.iter().for_each(|bytes| lines.push(bytes, &mut log));
        lines.finish(&mut log);
        drop(log);
        let mut found: Vec<_> = std::fs::read_dir(&dir).expect("lists").map(|e| e.expect("entry").path()).collect();
        found.sort();
        let texts = found.iter().map(|path| std::fs::read_to_string(path).expect("reads"));
        // Without the time, which is 30 characters long.
        let texts = texts.map(|text| text.lines().map(|line| format!("{}\n", &line[31..])).collect()).collect();
        std::fs::remove_dir_all(&dir).expect("cleans up");
        texts
    }

    #[test]
    fn lines_are_put_together_from_what_arrives() {
        let texts = check("lines", 1 << 20, 3, &[b"one\ntw", b"o\n", b"\nrest"]);
        assert_eq!(texts, ["stdout F one\nstdout F two\nstdout F \nstdout F rest\n"]);
    }

    #[test]
    fn a_line_without_end_is_written_in_parts() {
        let long = vec![b'x'; MAX_LINE + 2];
        let texts = check("parts", 1 << 20, 3, &[&long, b"\n"]);
        let want = format!("stdout P {}\nstdout F xx\n", "x".repeat(MAX_LINE));
        assert_eq!(texts, [want]);
    }

    #[test]
    fn only_so_many_files_are_kept() {
        // Each line is 44 bytes long with its time.
        let texts = check("rotate", 50, 3, &[b"1\n", b"2\n", b"3\n", b"4\n"]);
        assert_eq!(texts, ["stdout F 4\n", "stdout F 3\n", "stdout F 2\n"]);
        assert_eq!(check("single", 50, 1, &[b"1\n", b"2\n"]), ["stdout F 2\n"]);
    }
}
