//! Folders sent to BuildKit, by the protocol it takes them with (fsutil).
//!
//! ```text
//! we: STAT of everything, in order, then an empty STAT      it: REQ of each file it wants, by its number in that order
//! we: DATA of the file, then an empty DATA                  it: FIN when it has all
//! we: FIN
//! ```
//!
//! BuildKit asks for parts of a folder by patterns; we send all of it, which it takes as well.

use super::context::{Entry, Folder, Kind};
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use jiff::Timestamp;
use runtime::{Tasks, files};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// How much of a file is sent at once: what BuildKit's own clients send.
const CHUNK: usize = 32 * 1024;

/// So many packets may wait.
pub const AHEAD: usize = 32;

/// Where packets go.
pub type Sender = mpsc::Sender<Result<Packet, Status>>;

/// What is sent under one name.
#[derive(Debug, Clone)]
pub enum Tree {
    /// A folder of the bundle.
    Folder(Folder),
    /// One file that is nowhere on the disk.
    File {
        /// What it is called.
        name: String,
        /// Its content.
        text: Arc<[u8]>,
    },
    /// Nothing.
    Empty,
}

/// Where the content of a file is.
#[derive(Debug, Clone)]
enum Content {
    None,
    Disk(PathBuf, u64),
    Memory(Arc<[u8]>),
}

/// Sends what BuildKit wants of a tree, until it has all.
pub async fn send(
    tasks: &Tasks,
    tree: Tree,
    now: Timestamp,
    mut wants: Streaming<Packet>,
    out: &Sender,
) -> Result<(), Status> {
    let listed = tasks.blocking("list a context", move || list(tree, now)).await;
    let listed = listed.map_err(|error| Status::internal(error.to_string()))?;
    let (stats, contents): (Vec<Stat>, Vec<Content>) = listed.map_err(Status::failed_precondition)?.into_iter().unzip();
    for stat in stats {
        put(out, packet(PacketType::PacketStat, 0, Some(stat))).await?;
    }
    put(out, packet(PacketType::PacketStat, 0, None)).await?;
    while let Some(want) = wants.message().await? {
        match want.r#type() {
            PacketType::PacketReq => {
                let content = contents.get(want.id as usize).cloned();
                let content = content.ok_or_else(|| Status::invalid_argument("there is no such file"))?;
                content_of(tasks, want.id, content, out).await?;
            }
            PacketType::PacketFin => return put(out, packet(PacketType::PacketFin, 0, None)).await,
            PacketType::PacketErr => return Err(Status::aborted(String::from_utf8_lossy(&want.data).into_owned())),
            PacketType::PacketStat | PacketType::PacketData => {}
        }
    }
    Ok(())
}

async fn put(out: &Sender, packet: Packet) -> Result<(), Status> {
    out.send(Ok(packet)).await.map_err(|_| Status::cancelled("the build was given up"))
}

async fn content_of(tasks: &Tasks, id: u32, content: Content, out: &Sender) -> Result<(), Status> {
    let data = move |data: &[u8]| Packet { data: data.to_vec(), ..packet(PacketType::PacketData, id, None) };
    match content {
        Content::None => {}
        Content::Memory(text) => {
            for chunk in text.chunks(CHUNK) {
                put(out, data(chunk)).await?;
            }
        }
        Content::Disk(path, size) => {
            let own = out.clone();
            let read = tasks.blocking("read a context", move || {
                read(&path, size, |chunk| own.blocking_send(Ok(data(chunk))).is_ok())
            });
            read.await.map_err(|error| Status::internal(error.to_string()))?.map_err(Status::failed_precondition)?;
        }
    }
    put(out, data(&[])).await
}

/// Reads a file in pieces, as long as they are taken.
fn read(path: &std::path::Path, size: u64, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), String> {
    let mut file = files::open(path).map_err(|error| error.to_string())?.take(size);
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) if take(&chunk[..n]) => {}
            Ok(_) => return Err("the build was given up".to_owned()),
            Err(error) => return Err(format!("could not read `{}`: {error}", path.display())),
        }
    }
}

fn list(tree: Tree, now: Timestamp) -> Result<Vec<(Stat, Content)>, String> {
    match tree {
        Tree::Empty => Ok(Vec::new()),
        Tree::File { name, text } => {
            let entry = Entry { at: PathBuf::new(), path: name, kind: Kind::File(text.len() as u64), mode: 0o644 };
            Ok(vec![(stat(&entry, now), Content::Memory(text))])
        }
        Tree::Folder(folder) => {
            let entries = folder.walk().map_err(|error| error.to_string())?;
            Ok(entries.into_iter().map(|entry| (stat(&entry, now), content(entry))).collect())
        }
    }
}

fn content(entry: Entry) -> Content {
    match entry.kind {
        Kind::File(size) => Content::Disk(entry.at, size),
        Kind::Folder | Kind::Link(_) => Content::None,
    }
}

/// What BuildKit is told of a file, in the terms of Go.
fn stat(entry: &Entry, now: Timestamp) -> Stat {
    const FOLDER: u32 = 1 << 31;
    const LINK: u32 = 1 << 27;
    const SET_USER: (u32, u32) = (0o4000, 1 << 23);
    const SET_GROUP: (u32, u32) = (0o2000, 1 << 22);
    const STICKY: (u32, u32) = (0o1000, 1 << 20);
    let special = [SET_USER, SET_GROUP, STICKY].into_iter().filter(|(ours, _)| entry.mode & ours != 0);
    let special = special.fold(0, |mode, (_, theirs)| mode | theirs);
    let (kind, size, linkname) = match &entry.kind {
        Kind::Folder => (FOLDER, 0, String::new()),
        Kind::Link(target) => (LINK, 0, target.clone()),
        Kind::File(size) => (0, *size, String::new()),
    };
    Stat {
        path: entry.path.clone(),
        mode: kind | special | (entry.mode & 0o777),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        mod_time: i64::try_from(now.as_nanosecond()).unwrap_or_default(),
        linkname,
        ..Stat::default()
    }
}

fn packet(kind: PacketType, id: u32, stat: Option<Stat>) -> Packet {
    Packet { r#type: kind.into(), stat, id, data: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_told_in_the_terms_of_go() {
        let check = |kind: Kind, mode: u32, expected: u32| {
            let entry = Entry { at: PathBuf::new(), path: "a".into(), kind, mode };
            assert_eq!(stat(&entry, Timestamp::UNIX_EPOCH).mode, expected);
        };
        check(Kind::File(1), 0o644, 0o644);
        check(Kind::File(1), 0o4755, 0o755 | 1 << 23);
        check(Kind::Folder, 0o1777, 0o777 | 1 << 20 | 1 << 31);
        check(Kind::Link("b".into()), 0o777, 0o777 | 1 << 27);
    }
}
