//! What replicas write, carried from the Engine into log files of ours, in CRI's form.
//!
//! A file of ours outlives its container. The Engine keeps what is written while we are away; from shortly before the
//! last line's time on it is read again, and what the file has already is left out. Times alone do not tell the two
//! apart: parts of a long line bear the same, and two streams are not in order.

use crate::engine::Inner;
use crate::labels;
use crate::start::is_running;
use bollard::container::LogOutput;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use model::{ReplicaId, StackId};
use runtime::files::{self, FileError};
use runtime::{BoxError, Clock, OnError};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A file that is longer is put aside.
const MAX_BYTES: u64 = 10 << 20;
/// So many are kept beside the newest.
const KEPT: u32 = 2;
/// As much of a file's end is looked at first.
const END: u64 = 64 << 10;
/// The Engine writes down what two streams say in the order it hears of it: a line may be so much older than the one
/// before it.
const DISORDER: SignedDuration = SignedDuration::from_secs(1);

/// Whose output is being carried, by container.
#[derive(Default)]
pub(crate) struct Followers {
    /// Whether all of it is in the file; a container that is not named is followed by nobody.
    known: Mutex<BTreeMap<String, watch::Receiver<bool>>>,
}

impl Followers {
    /// Waits until everything that a container wrote is in its file, within reason.
    pub(crate) async fn finished(&self, container: &str, clock: &dyn Clock, limit: Duration) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(container).cloned();
        if let Some(mut done) = known {
            // Lines that come later than that are lost with the container, and with the disk that is that slow.
            let _ = runtime::clock::timeout(clock, limit, done.wait_for(|done| *done)).await;
        }
    }

    /// Forgets a container that is gone.
    pub(crate) fn forget(&self, container: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }
}

impl Inner {
    /// Has a container's output carried, unless it is already.
    pub(crate) fn follow(self: &Arc<Self>, stack: &StackId, container: &ContainerInspectResponse) {
        let labels = container.config.as_ref().and_then(|config| config.labels.as_ref());
        let replica = labels.and_then(|labels| labels.get(labels::ID)?.parse::<ReplicaId>().ok());
        let has_begun = container.state.as_ref().is_some_and(|state| state.pid.unwrap_or(0) > 0 || !is_fresh(state));
        let (Some(id), Some(replica), true) = (container.id.clone(), replica, has_begun) else { return };
        let mut known = self.followers.known.lock().unwrap_or_else(PoisonError::into_inner);
        // One that somebody started again by hand has an end behind it, and goes on.
        if known.get(&id).is_some_and(|done| !*done.borrow() || !is_running(container)) {
            return;
        }
        let (done, told) = watch::channel(false);
        known.insert(id.clone(), told);
        drop(known);
        let (inner, path) = (Arc::clone(self), self.layout().log(stack, &replica));
        let follows = is_running(container);
        self.tasks.spawn(&format!("log of {stack}/{replica}"), OnError::Log, move |stop| async move {
            let carry = async {
                inner.carry(&id, &path, follows).await?;
                // Whoever follows may be told of the end before the last line.
                if follows { inner.carry(&id, &path, false).await } else { Ok(()) }
            };
            let carried = tokio::select! {
                carried = carry => carried,
                () = stop.cancelled() => Ok(()),
            };
            if carried.is_err() {
                // Whoever looks next begins where this left off.
                inner.followers.forget(&id);
            }
            let _ = done.send(true);
            carried
        });
    }

    async fn carry(&self, container: &str, path: &Path, follows: bool) -> Result<(), BoxError> {
        let docker = self.docker().await?;
        let mut log = Log::open(path, self.clock.now())?;
        let since = i32::try_from(log.since.as_second()).unwrap_or(0);
        let options = LogsOptionsBuilder::default().follow(follows).stdout(true).stderr(true).timestamps(true);
        let mut lines = docker.logs(container, Some(options.since(since).build()));
        while let Some(piece) = lines.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => match self.refused(error) {
                    // Removed since it was looked at, and then all of it is in the file.
                    error if error.is_missing() => {
                        self.followers.forget(container);
                        return Ok(());
                    }
                    error => return Err(error.into()),
                },
            };
            let (stream, bytes) = match piece {
                LogOutput::StdErr { message } => ("stderr", message),
                LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                    ("stdout", message)
                }
            };
            log.take(stream, &bytes)?;
        }
        log.close()
    }
}

fn is_fresh(state: &bollard::models::ContainerState) -> bool {
    state.started_at.as_deref().is_none_or(|at| at.starts_with("0001-"))
}

/// A log file that is written to.
struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// What the Engine tells from then on may be missing; the epoch for all of it.
    since: Timestamp,
    /// The lines that the file has of that time, hashed, and how often.
    known: HashMap<u64, u32>,
    /// The times of lines whose end was not told yet, by stream.
    open: BTreeMap<&'static str, String>,
}

impl Log {
    fn open(path: &Path, now: Timestamp) -> Result<Self, BoxError> {
        if let Some(folder) = path.parent() {
            files::create_dir(folder, 0o700)?;
        }
        let file = files::open_append(path, 0o600)?;
        let bytes = mend(&file, path)?;
        let (since, known, open) = (Timestamp::UNIX_EPOCH, HashMap::new(), BTreeMap::new());
        let mut log = Self { path: path.to_owned(), file, bytes, since, known, open };
        let aside = put_aside(path, 1);
        let last = match last_time(path)? {
            None => last_time(&aside)?,
            last => last,
        };
        // When the clock was set back, what was written since then is older than the last line.
        log.since = last.filter(|last| *last <= now).map_or(log.since, |last| last - DISORDER);
        if last.is_some() && !log.note_known(path)? {
            log.note_known(&aside)?;
        }
        Ok(log)
    }

    /// Notes which lines of a file are not older than `since`; whether it has some that are.
    fn note_known(&mut self, path: &Path) -> Result<bool, BoxError> {
        let mut size = END;
        let end = loop {
            let (end, is_whole) = end_of(path, size)?;
            let first = lines(&end).find_map(time_of);
            if is_whole || first.is_some_and(|first| first < self.since) {
                break end;
            }
            size *= 4;
        };
        let mut is_older = false;
        for line in lines(&end) {
            match time_of(line) {
                Some(time) if time < self.since => is_older = true,
                Some(_) => *self.known.entry(hash(line)).or_default() += 1,
                None => {}
            }
        }
        Ok(is_older)
    }

    /// Takes in a piece of output: a time, a space, and a line or a part of one.
    fn take(&mut self, stream: &'static str, bytes: &[u8]) -> Result<(), BoxError> {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
            let (time, text) = (String::from_utf8_lossy(&line[..space]), &line[space + 1..]);
            let (text, tag) = match text.strip_suffix(b"\n") {
                Some(text) => (text, "F"),
                None => (text, "P"),
            };
            let mut whole = format!("{time} {stream} {tag} ").into_bytes();
            whole.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
            match tag {
                "P" => drop(self.open.insert(stream, time.into_owned())),
                _ => drop(self.open.remove(stream)),
            }
            self.write_new(whole)?;
        }
        Ok(())
    }

    /// Ends lines that nobody ended: nothing more is said.
    fn close(&mut self) -> Result<(), BoxError> {
        let open = std::mem::take(&mut self.open);
        open.into_iter().try_for_each(|(stream, time)| self.write_new(format!("{time} {stream} F ").into_bytes()))
    }

    fn write_new(&mut self, mut line: Vec<u8>) -> Result<(), BoxError> {
        if self.is_known(&line) {
            return Ok(());
        }
        line.push(b'\n');
        self.write(&line)
    }

    fn is_known(&mut self, line: &[u8]) -> bool {
        // Once all is told again, nothing more is looked up.
        if self.known.is_empty() {
            return false;
        }
        let key = hash(line);
        let Some(left) = self.known.get_mut(&key) else { return false };
        *left -= 1;
        if *left == 0 {
            self.known.remove(&key);
        }
        true
    }

    fn write(&mut self, line: &[u8]) -> Result<(), BoxError> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > MAX_BYTES {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), FileError> {
        for number in (1..KEPT).rev() {
            let from = put_aside(&self.path, number);
            if files::metadata(&from)?.is_some() {
                files::rename(&from, &put_aside(&self.path, number + 1))?;
            }
        }
        files::rename(&self.path, &put_aside(&self.path, 1))?;
        self.file = files::open_append(&self.path, 0o600)?;
        self.bytes = 0;
        Ok(())
    }
}

fn put_aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn hash(line: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(line)
}

/// Cuts off a line that a full disk or a crash has left without its end; the Engine tells it again. The length then.
fn mend(file: &File, path: &Path) -> Result<u64, BoxError> {
    let length = file.metadata()?.len();
    let (end, _) = read_end(path, END)?;
    let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
    let torn = end.len() as u64 - whole;
    if torn > 0 {
        file.set_len(length - torn)?;
    }
    Ok(length - torn)
}

/// The time of a file's last line.
fn last_time(path: &Path) -> Result<Option<Timestamp>, BoxError> {
    let (end, _) = end_of(path, END)?;
    Ok(lines(&end).filter_map(time_of).last())
}

/// Lines as bytes: output need not be text.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

fn time_of(line: &[u8]) -> Option<Timestamp> {
    let time = line.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(time).ok()?.parse().ok()
}

/// The whole lines at a file's end, and whether they are all it has; nothing of a file that is not there.
fn end_of(path: &Path, bytes: u64) -> Result<(Vec<u8>, bool), BoxError> {
    let (mut end, is_whole) = read_end(path, bytes)?;
    if !is_whole {
        let begun = end.iter().position(|byte| *byte == b'\n').map_or(end.len(), |at| at + 1);
        end.drain(..begun);
    }
    Ok((end, is_whole))
}

fn read_end(path: &Path, bytes: u64) -> Result<(Vec<u8>, bool), BoxError> {
    if files::metadata(path)?.is_none() {
        return Ok((Vec::new(), true));
    }
    let mut file = files::open(path)?;
    let start = file.metadata()?.len().saturating_sub(bytes);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok((end, start == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Log {
        Log::open(path, "2026-01-02T00:00:00Z".parse().expect("a time")).expect("opens")
    }

    fn text(path: &Path) -> String {
        files::read_text(path).expect("reads")
    }

    #[test]
    fn what_is_known_is_not_written_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.1/log");
        let mut log = open(&path);
        let told = b"2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:02Z two\r\n2026-01-01T00:00:03Z part";
        log.take("stdout", told).expect("writes");
        let whole = "2026-01-01T00:00:01.000000001Z stdout F one\n2026-01-01T00:00:02Z stdout F two\n\
            2026-01-01T00:00:03Z stdout P part\n";
        assert_eq!(text(&path), whole);
        let mut again = open(&path);
        assert_eq!(again.since.to_string(), "2026-01-01T00:00:02Z");
        again.take("stdout", b"2026-01-01T00:00:02Z two\r\n").expect("writes");
        again.take("stdout", b"2026-01-01T00:00:03Z part").expect("writes");
        // The rest of the same line, at the same time; then what another stream said a little earlier.
        again.take("stdout", b"2026-01-01T00:00:03Z part").expect("writes");
        again.take("stderr", b"2026-01-01T00:00:02.9Z new\n").expect("writes");
        let more = "2026-01-01T00:00:03Z stdout P part\n2026-01-01T00:00:02.9Z stderr F new\n";
        assert_eq!(text(&path), format!("{whole}{more}"));
    }

    #[test]
    fn a_last_line_that_nobody_ended_is_ended_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        for _ in 0..2 {
            let mut log = open(&path);
            log.take("stdout", b"2026-01-01T00:00:01Z one\n").expect("writes");
            log.take("stderr", b"2026-01-01T00:00:02Z last").expect("writes");
            log.close().expect("writes");
        }
        let whole = "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr P last\n\
            2026-01-01T00:00:02Z stderr F \n";
        assert_eq!(text(&path), whole);
    }

    #[test]
    fn a_line_without_its_end_is_written_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        open(&path).take("stdout", b"2026-01-01T00:00:01Z one\n").expect("writes");
        let whole = text(&path);
        files::write_in_place(&path, format!("{whole}2026-01-01T00:00:02Z stdo").as_bytes(), 0o600).expect("writes");
        let mut log = open(&path);
        assert_eq!(text(&path), whole);
        log.take("stdout", b"2026-01-01T00:00:01Z one\n2026-01-01T00:00:02Z two\n").expect("writes");
        assert_eq!(text(&path), format!("{whole}2026-01-01T00:00:02Z stdout F two\n"));
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        open(&path).take("stdout", b"2026-01-01T00:00:01Z one\n2026-01-01T09:00:00Z two\n").expect("writes");
        let mut log = Log::open(&path, "2026-01-01T08:00:00Z".parse().expect("a time")).expect("opens");
        assert_eq!(log.since, Timestamp::UNIX_EPOCH, "the Engine is asked for everything");
        let told = b"2026-01-01T00:00:01Z one\n2026-01-01T09:00:00Z two\n2026-01-01T08:00:00Z three\n";
        log.take("stdout", told).expect("writes");
        assert_eq!(text(&path).lines().count(), 3);
    }

    #[test]
    fn lines_that_were_put_aside_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = open(&path);
        log.take("stdout", b"2026-01-01T00:00:01Z one\n").expect("writes");
        log.bytes = MAX_BYTES;
        log.take("stdout", b"2026-01-01T00:00:01.5Z two\n").expect("writes");
        open(&path).take("stdout", b"2026-01-01T00:00:01Z one\n2026-01-01T00:00:01.5Z two\n").expect("writes");
        assert_eq!(text(&path), "2026-01-01T00:00:01.5Z stdout F two\n");
    }

    #[test]
    fn a_long_file_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = open(&path);
        for name in ["one", "two", "three", "four"] {
            log.take("stdout", format!("2026-01-01T00:00:01Z {name}\n").as_bytes()).expect("writes");
            log.bytes = MAX_BYTES;
        }
        assert!(text(&path).contains("four"));
        assert!(text(&put_aside(&path, 1)).contains("three"));
        assert!(text(&put_aside(&path, 2)).contains("two"));
    }
}
