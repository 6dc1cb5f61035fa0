//! A context as a stream of tar, for the classic builder: made while it is sent, never held.

use super::super::wire::Body;
use super::context::{Entry, Folder, Kind};
use bytes::Bytes;
use engine::BoxError;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;
use runtime::{OnError, Tasks, files};
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use tokio::sync::mpsc;

/// How much is sent at once.
const CHUNK: usize = 128 * 1024;

/// So many chunks may wait for a slow Engine.
const AHEAD: usize = 8;

/// A file that is added to the context.
pub struct Extra {
    /// What it is wanted to be called; it gets another name when that one is taken.
    pub name: String,
    /// Its text.
    pub text: Vec<u8>,
}

/// A context that is ready to be sent.
pub struct Tarball {
    /// What is sent.
    pub body: Body,
    /// What the extra file is called.
    pub extra: Option<String>,
}

/// Begins to make the archive of a folder. The builder does not compare times, but what runs in a step may: all files are as
/// new as `now`, so that nothing an earlier build left in a cache is newer.
pub fn of(tasks: &Tasks, entries: Vec<Entry>, extra: Option<Extra>, now: Timestamp) -> Tarball {
    let extra = extra.map(|extra| Extra { name: free_name(&entries, &extra.name), ..extra });
    let name = extra.as_ref().map(|extra| extra.name.clone());
    let (send, receive) = mpsc::channel(AHEAD);
    let (own, failed) = (tasks.clone(), send.clone());
    tasks.spawn("context of a build", OnError::Log, move |_| async move {
        let write = move || write(&entries, extra.as_ref(), now, send);
        match own.blocking("tar", write).await {
            Ok(Ok(())) => {}
            // The receiver is gone when the build was given up: then nobody waits for this.
            Ok(Err(error)) => drop(failed.send(Err(error)).await),
            Err(error) => drop(failed.send(Err(io::Error::other(error))).await),
        }
    });
    let chunks = stream::unfold(receive, |mut receive| async {
        let chunk: io::Result<Bytes> = receive.recv().await?;
        Some((chunk.map(Frame::data), receive))
    });
    Tarball { body: StreamBody::new(chunks).boxed_unsync(), extra: name }
}

/// All of a folder.
pub async fn walk(tasks: &Tasks, folder: &Folder) -> Result<Vec<Entry>, super::Error> {
    let folder = folder.clone();
    tasks.blocking("list a context", move || folder.walk()).await?
}

fn free_name(entries: &[Entry], wanted: &str) -> String {
    let taken: BTreeSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let mut name = wanted.to_owned();
    while taken.contains(name.as_str()) {
        name.push('_');
    }
    name
}

fn write(
    entries: &[Entry],
    extra: Option<&Extra>,
    now: Timestamp,
    send: mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(BufWriter::with_capacity(CHUNK, Chunks(send)));
    for entry in entries {
        append(&mut tar, entry, now)
            .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", entry.path)))?;
    }
    if let Some(extra) = extra {
        let mut header = header(0o444, tar::EntryType::Regular, extra.text.len() as u64, now);
        tar.append_data(&mut header, &extra.name, extra.text.as_slice())?;
    }
    tar.into_inner()?.flush()
}

fn append(tar: &mut tar::Builder<impl Write>, entry: &Entry, now: Timestamp) -> io::Result<()> {
    match &entry.kind {
        Kind::Folder => {
            let mut header = header(entry.mode, tar::EntryType::Directory, 0, now);
            tar.append_data(&mut header, &entry.path, io::empty())
        }
        Kind::Link(target) => {
            let mut header = header(entry.mode, tar::EntryType::Symlink, 0, now);
            tar.append_link(&mut header, &entry.path, target)
        }
        Kind::File(size) => {
            let file = files::open(&entry.at).map_err(|error| io::Error::other(BoxError::from(error)))?;
            let mut header = header(entry.mode, tar::EntryType::Regular, *size, now);
            tar.append_data(&mut header, &entry.path, io::Read::take(file, *size))
        }
    }
}

fn header(mode: u32, kind: tar::EntryType, size: u64, now: Timestamp) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Passes on what is written, waiting for the Engine to take it.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
