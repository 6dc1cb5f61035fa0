//! The access log: one JSON line per request or TCP connection.
//!
//! Owns the form of a line, a buffer per worker, and the thread that writes. Traffic never waits for it: what the
//! thread cannot take or the file does not hold is dropped and counted. Query strings are never written, since secrets
//! live in them.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// A buffer goes to the thread when it is this full, or with the next chores.
const FLUSH_AT: usize = 64 << 10;

/// Buffers that may wait for the thread: with 64 KiB each, 8 MiB at most.
const QUEUE: usize = 128;

/// What is written about a request. Field names follow the documentation of the log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    pub client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(rename = "durationMs", serialize_with = "as_millis")]
    pub duration: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub project: &'a str,
    pub service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'a str>,
    pub retries: u32,
    pub protocol: &'a str,
    /// The answer or connection broke off, or the edge could not answer.
    #[serde(skip_serializing_if = "is_false")]
    pub broken: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Microseconds are enough, and a float of whole microseconds prints short.
    serializer.serialize_f64(duration.as_micros() as f64 / 1000.0)
}

/// Where workers send full buffers.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    queue: SyncSender<Chunk>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    lines: u64,
}

impl Sink {
    /// Starts a thread that appends to `file` until all copies of the sink are gone.
    ///
    /// A thread per file, so that a file that blocks for ever holds up only itself.
    pub(crate) fn start(file: OwnedFd, dropped: Arc<AtomicU64>) -> io::Result<(Self, std::thread::JoinHandle<()>)> {
        // Two edges share the file while one replaces the other: whole lines only, at the end.
        if let Ok(flags) = rustix::fs::fcntl_getfl(&file) {
            // A pipe or terminal does not append and needs not to.
            let _ = rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::APPEND);
        }
        let (queue, chunks) = sync_channel(QUEUE);
        let counter = dropped.clone();
        let thread = std::thread::Builder::new()
            .name("edge-log".to_owned())
            .spawn(move || write_chunks(&chunks, File::from(file), &counter))?;
        Ok((Self { queue, dropped }, thread))
    }

    fn send(&self, chunk: Chunk) {
        let lines = chunk.lines;
        if self.queue.try_send(chunk).is_err() {
            self.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

fn write_chunks(chunks: &Receiver<Chunk>, mut file: File, dropped: &AtomicU64) {
    let mut is_torn = false;
    while let Ok(chunk) = chunks.recv() {
        if is_torn && file.write_all(b"\n").is_ok() {
            is_torn = false;
        }
        if let Err(error) = file.write_all(&chunk.bytes) {
            // How many of the chunk's lines made it is not known; all of them are counted.
            dropped.fetch_add(chunk.lines, Ordering::Relaxed);
            is_torn = true;
            tracing::debug!(%error, lines = chunk.lines, "the access log did not take lines");
        }
    }
}

/// A worker's buffer.
#[derive(Debug, Default)]
pub(crate) struct LogBuffer {
    sink: RefCell<Option<Sink>>,
    bytes: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    clock: RefCell<Clock>,
}

impl LogBuffer {
    /// Whether anybody reads the log.
    pub(crate) fn is_on(&self) -> bool {
        self.sink.borrow().is_some()
    }

    /// Writes to another file from now on.
    pub(crate) fn switch(&self, sink: Sink) {
        self.flush();
        self.sink.replace(Some(sink));
    }

    /// Adds a line.
    pub(crate) fn write(&self, line: &Line<'_>) {
        if !self.is_on() {
            return;
        }
        let mut bytes = self.bytes.borrow_mut();
        bytes.extend_from_slice(b"{\"time\":\"");
        self.clock.borrow_mut().write_now(&mut bytes);
        bytes.extend_from_slice(b"\",");
        // The line's own brace is written over with the comma above.
        let at = bytes.len() - 1;
        bytes.truncate(at);
        serde_json::to_writer(&mut *bytes, line).expect("a line holds no map with odd keys, and memory takes all");
        bytes[at] = b',';
        bytes.push(b'\n');
        self.lines.set(self.lines.get() + 1);
        if bytes.len() >= FLUSH_AT {
            drop(bytes);
            self.flush();
        }
    }

    /// Sends what there is to the thread.
    pub(crate) fn flush(&self) {
        let bytes = self.bytes.take();
        let lines = self.lines.take();
        if let (Some(sink), false) = (&*self.sink.borrow(), bytes.is_empty()) {
            self.bytes.replace(Vec::with_capacity(bytes.len().min(FLUSH_AT)));
            sink.send(Chunk { bytes, lines });
        }
    }
}

/// The time in RFC 3339 with milliseconds; all but the milliseconds is kept from line to line.
#[derive(Debug, Default)]
struct Clock {
    second: u64,
    text: String,
}

impl Clock {
    fn write_now(&mut self, out: &mut Vec<u8>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.text.is_empty() || self.second != now.as_secs() {
            self.second = now.as_secs();
            self.text = to_second(now.as_secs());
        }
        out.extend_from_slice(self.text.as_bytes());
        let millis = now.subsec_millis();
        let digit = |value: u32| b'0' + u8::try_from(value % 10).unwrap_or(0);
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
    }
}

fn to_second(seconds: u64) -> String {
    // `Sun, 06 Nov 1994 08:49:37 GMT` holds all that is needed; httpdate has the calendar.
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == &date[8..11]).map_or(1, |at| at + 1);
    format!("{}-{month:02}-{}T{}", &date[12..16], &date[5..7], &date[17..25])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(to_second(784_111_777), "1994-11-06T08:49:37");
        assert_eq!(to_second(1_709_164_800), "2024-02-29T00:00:00");
    }

    #[test]
    fn a_line_is_json_whatever_the_client_sent() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let dropped = Arc::new(AtomicU64::new(0));
        let (sink, thread) = Sink::start(writer, dropped).expect("a thread");
        let buffer = LogBuffer::default();
        buffer.switch(sink);
        let line = Line {
            request_id: Some("id"),
            client: IpAddr::from([10, 0, 0, 1]),
            host: Some(Cow::Borrowed("a\"\n\u{fffd}")),
            method: Some("GET"),
            path: Some("/\u{1}"),
            status: Some(200),
            duration: Duration::from_micros(1500),
            bytes_in: 0,
            bytes_out: 7,
            project: "shop",
            service: "api",
            upstream: Some("api-1"),
            retries: 1,
            protocol: "HTTP/1.1",
            broken: false,
        };
        buffer.write(&line);
        buffer.flush();
        drop(buffer);
        thread.join().expect("the thread ends with its sinks");
        let text = io::read_to_string(File::from(reader)).expect("lines");
        let value: serde_json::Value = serde_json::from_str(text.trim_end()).expect("JSON");
        assert_eq!(value["host"], "a\"\n\u{fffd}");
        assert_eq!(value["durationMs"], 1.5);
        assert_eq!(value["path"], "/\u{1}");
        assert!(value["time"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{value}");
    }

    #[test]
    fn a_full_disk_costs_lines_and_nothing_else() {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let dropped = Arc::new(AtomicU64::new(0));
        let (sink, thread) = Sink::start(full.into(), dropped.clone()).expect("a thread");
        sink.send(Chunk { bytes: b"{}\n{}\n".to_vec(), lines: 2 });
        drop(sink);
        thread.join().expect("the thread ends with its sinks");
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
