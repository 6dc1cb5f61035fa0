//! What replicas write, carried from the Engine into log files of ours, in CRI's form.
//!
//! A file of ours outlives its container. The Engine keeps what is written while we are away; from the last line's
//! time on it is read again, so that nothing is missing and nothing is there twice.

use crate::engine::Inner;
use crate::labels;
use crate::start::is_running;
use bollard::container::LogOutput;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use model::{ReplicaId, StackId};
use runtime::files::{self, FileError};
use runtime::{BoxError, Clock, OnError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A file that is longer is put aside.
const MAX_BYTES: u64 = 10 << 20;
/// So many are kept beside the newest.
const KEPT: u32 = 2;
/// As much of a file's end is looked at for its last line.
const END: u64 = 64 << 10;

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
        if known.contains_key(&id) {
            return;
        }
        let (done, told) = watch::channel(false);
        known.insert(id.clone(), told);
        drop(known);
        let (inner, path) = (Arc::clone(self), self.layout().log(stack, &replica));
        let follows = is_running(container);
        self.tasks.spawn(&format!("log of {stack}/{replica}"), OnError::Log, move |stop| async move {
            let carried = tokio::select! {
                carried = inner.carry(&id, &path, follows) => carried,
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
        let mut log = Log::open(path)?;
        let from = log.last;
        let since = from.map_or(0, |last| i32::try_from(last.as_second()).unwrap_or(0));
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
            log.take(stream, &bytes, from)?;
        }
        Ok(())
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
    /// The time of its last line.
    last: Option<Timestamp>,
}

impl Log {
    fn open(path: &Path) -> Result<Self, BoxError> {
        if let Some(folder) = path.parent() {
            files::create_dir(folder, 0o700)?;
        }
        let file = files::open_append(path, 0o600)?;
        let bytes = file.metadata()?.len();
        let last = if bytes > 0 { last_time(path)? } else { last_time(&put_aside(path, 1))? };
        Ok(Self { path: path.to_owned(), file, bytes, last })
    }

    /// Takes in a piece of output: a time, a space, and a line or a part of one.
    fn take(&mut self, stream: &str, bytes: &[u8], after: Option<Timestamp>) -> Result<(), BoxError> {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
            let (time, text) = (String::from_utf8_lossy(&line[..space]), &line[space + 1..]);
            let is_known = |at: Timestamp| after.is_some_and(|after| at <= after);
            if time.parse::<Timestamp>().is_ok_and(is_known) {
                continue;
            }
            let (text, tag) = match text.strip_suffix(b"\n") {
                Some(text) => (text, "F"),
                None => (text, "P"),
            };
            let mut whole = format!("{time} {stream} {tag} ").into_bytes();
            whole.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
            whole.push(b'\n');
            self.write(&whole)?;
        }
        Ok(())
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

/// The time of a file's last whole line.
fn last_time(path: &Path) -> Result<Option<Timestamp>, BoxError> {
    if files::metadata(path)?.is_none() {
        return Ok(None);
    }
    let mut file = files::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let text = String::from_utf8_lossy(&end);
    Ok(text.lines().rev().find_map(|line| line.split(' ').next()?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_written_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.1/log");
        let output = b"2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:02Z two\r\n2026-01-01T00:00:03Z part";
        let mut log = Log::open(&path).expect("opens");
        log.take("stdout", output, None).expect("writes");
        let whole = "2026-01-01T00:00:01.000000001Z stdout F one\n2026-01-01T00:00:02Z stdout F two\n\
            2026-01-01T00:00:03Z stdout P part\n";
        assert_eq!(files::read_text(&path).expect("reads"), whole);
        let mut again = Log::open(&path).expect("opens");
        assert_eq!(again.last, "2026-01-01T00:00:03Z".parse().ok());
        let from = again.last;
        again.take("stderr", b"2026-01-01T00:00:03Z part", from).expect("writes");
        again.take("stderr", b"2026-01-01T00:00:04Z new\n", from).expect("writes");
        assert_eq!(files::read_text(&path).expect("reads"), format!("{whole}2026-01-01T00:00:04Z stderr F new\n"));
    }

    #[test]
    fn a_long_file_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = Log::open(&path).expect("opens");
        for name in ["one", "two", "three", "four"] {
            log.take("stdout", format!("2026-01-01T00:00:01Z {name}\n").as_bytes(), None).expect("writes");
            log.bytes = MAX_BYTES;
        }
        let text = |path: &Path| files::read_text(path).expect("reads");
        assert!(text(&path).contains("four"));
        assert!(text(&put_aside(&path, 1)).contains("three"));
        assert!(text(&put_aside(&path, 2)).contains("two"));
    }
}
