//! A conversation with a shim over its control socket.
#![expect(clippy::disallowed_methods, reason = "a replica's folder, opened for its socket")]

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use shim::control::{Answer, Request};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::net::UnixStream;

/// One connection: a request, then answers.
pub(crate) struct Conversation {
    answers: tokio::io::Lines<BufReader<UnixStream>>,
}

impl Conversation {
    /// Asks the shim of the replica in `dir`; `fds` go along with the request.
    ///
    /// The descriptors go with the first byte; a shim that is slow to read holds up nobody else.
    pub(crate) async fn open(dir: &Path, request: &Request, fds: &[OwnedFd]) -> io::Result<Self> {
        // The path leads through the open folder.
        let folder = std::fs::File::open(dir)?;
        let mut stream = UnixStream::connect(shim::control::socket_path(&folder)).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let sent = stream.async_io(Interest::WRITABLE, || send(&stream, &line, fds)).await?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, &line[sent..]).await?;
        Ok(Self { answers: BufReader::new(stream).lines() })
    }

    /// The next answer, none when the shim has ended the conversation. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Answer>> {
        let Some(line) = self.answers.next_line().await? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&line)?))
    }
}

fn send(stream: &UnixStream, line: &[u8], fds: &[OwnedFd]) -> io::Result<usize> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("at most three descriptors go along with a request"));
    }
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL)?)
}
