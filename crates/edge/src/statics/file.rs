//! Opening and reading files without holding up the worker.
//!
//! Owns the system calls. What the kernel has in memory is opened and read at once (`RESOLVE_CACHED`, `RWF_NOWAIT`);
//! what it would have to fetch from a disk is left to a thread of the blocking pool.

use std::future::Future as _;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

/// Files are sent in pieces of this size.
const PIECE: usize = 64 << 10;

/// A directory that the daemon passed.
#[derive(Debug)]
pub(crate) struct Dir {
    pub id: String,
    fd: OwnedFd,
}

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Found {
    File(Opened),
    /// A directory with an `index.html`, named without its slash.
    Directory,
    Nothing,
}

/// An open file and what tells its version.
#[derive(Debug)]
pub(crate) struct Opened {
    pub file: Arc<OwnedFd>,
    pub size: u64,
    pub inode: u64,
    /// Since 1970.
    pub modified: Duration,
    /// Since 1970: when content, name or rights last changed on this machine.
    pub changed: Duration,
}

impl Dir {
    /// Takes a descriptor over; refuses what is no directory.
    pub(crate) fn new(id: String, fd: OwnedFd) -> Result<Self, String> {
        match rustix::fs::fstat(&fd) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => Ok(Self { id, fd }),
            Ok(_) => Err("is no directory".to_owned()),
            Err(error) => Err(format!("cannot be looked at: {error}")),
        }
    }

    /// Opens what is called `name` below the directory.
    pub(crate) async fn open(self: &Arc<Self>, name: &str) -> io::Result<Found> {
        match self.open_now(name, ResolveFlags::CACHED) {
            // Not in memory, or a kernel that cannot tell (before 5.12).
            Err(Errno::AGAIN | Errno::INVAL) => {
                let (dir, name) = (self.clone(), name.to_owned());
                let opening = move || dir.open_now(&name, ResolveFlags::empty());
                Ok(tokio::task::spawn_blocking(opening).await.map_err(io::Error::other)??)
            }
            done => Ok(done?),
        }
    }

    fn open_now(&self, name: &str, extra: ResolveFlags) -> Result<Found, Errno> {
        let Some(file) = self.open_any(name, extra)? else { return Ok(Found::Nothing) };
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Found::File(Opened {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                inode: stat.st_ino,
                modified: since_epoch(stat.st_mtime, stat.st_mtime_nsec),
                changed: since_epoch(stat.st_ctime, stat.st_ctime_nsec),
                file: Arc::new(file),
            })),
            FileType::Directory => {
                let index = self.open_any(&format!("{name}/index.html"), extra)?;
                Ok(if index.is_some() { Found::Directory } else { Found::Nothing })
            }
            // Pipes, sockets and devices are not there.
            _ => Ok(Found::Nothing),
        }
    }

    fn open_any(&self, name: &str, extra: ResolveFlags) -> Result<Option<OwnedFd>, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | extra;
        // Without NONBLOCK the opening of a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        match rustix::fs::openat2(self.fd.as_fd(), name, flags, Mode::empty(), resolve) {
            Ok(file) => Ok(Some(file)),
            // Not there, a link, not ours to read, no file can have this name: all the same to a client.
            Err(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::LOOP
                | Errno::XDEV
                | Errno::ACCESS
                | Errno::NAMETOOLONG
                | Errno::NXIO,
            ) => Ok(None),
            Err(Errno::INVAL) if extra.is_empty() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn since_epoch(seconds: impl TryInto<u64>, nanos: impl TryInto<u32>) -> Duration {
    Duration::new(seconds.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0).min(999_999_999))
}

/// A part of a file on its way to a client.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: Arc<OwnedFd>,
    offset: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    pub(crate) fn new(file: Arc<OwnedFd>, offset: u64, length: u64) -> Self {
        Self { file, offset, left: length, reading: None }
    }

    /// Bytes still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let read = match &mut self.reading {
            Some(reading) => {
                let read = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other);
                self.reading = None;
                read.and_then(|read| read)
            }
            None => match read_at(&self.file, self.offset, piece, ReadWriteFlags::NOWAIT) {
                // Not in memory, or a file system that cannot tell.
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::AGAIN | Errno::OPNOTSUPP)) => {
                    let (file, offset) = (self.file.clone(), self.offset);
                    let reading = move || read_at(&file, offset, piece, ReadWriteFlags::empty());
                    self.reading = Some(tokio::task::spawn_blocking(reading));
                    return self.poll_chunk(cx);
                }
                read => read,
            },
        };
        Poll::Ready(Some(read.and_then(|bytes| self.advance(bytes))))
    }

    fn advance(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        if bytes.is_empty() {
            self.left = 0;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        self.offset += bytes.len() as u64;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Ok(bytes)
    }
}

fn read_at(file: &OwnedFd, offset: u64, length: usize, flags: ReadWriteFlags) -> io::Result<Bytes> {
    let mut buffer = vec![0u8; length];
    let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut buffer)], offset, flags)?;
    buffer.truncate(read);
    Ok(Bytes::from(buffer))
}
