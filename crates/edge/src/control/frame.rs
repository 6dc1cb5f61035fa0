//! Frames: one JSON document per line, with file descriptors beside it.
//!
//! Owns the way from a value to bytes and descriptors on a unix stream socket and back. It never interprets them.
//!
//! A kernel message carries at most `SCM_MAX_FD` (253) descriptors, so a frame with more is sent in several messages
//! of at least one byte each, and the receiver queues what arrives until the frame that claims it is complete. All of a
//! frame's descriptors go out before its last byte, hence the queue is always full enough when the newline is seen.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Descriptors sent in one kernel message; the kernel allows 253.
pub const FDS_PER_MESSAGE: usize = 200;

/// The longest frame read. A table of 10,000 upstreams has about 1.5 MB.
pub const MAX_FRAME: usize = 64 << 20;

/// Descriptors that may wait for their frame; more comes only from a peer that does not keep to the protocol.
pub const MAX_QUEUED_FDS: usize = 4096;

/// How a conversation breaks.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed.
    #[error("could not {doing} the control socket")]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The peer left in the middle of a frame.
    #[error("the peer closed the control socket in the middle of a frame")]
    Torn,
    /// The frame is longer than [`MAX_FRAME`].
    #[error("a frame is longer than {MAX_FRAME} bytes")]
    TooLong,
    /// Descriptors got lost on the way, which happens when this process has no free ones.
    #[error("descriptors were lost on the way; raise the limit of open files")]
    DescriptorsLost,
    /// More than [`MAX_QUEUED_FDS`] descriptors came without a frame that claims them.
    #[error("the peer sent more than {MAX_QUEUED_FDS} descriptors that no frame claims")]
    TooManyDescriptors,
    /// The frame is no JSON of the expected form.
    #[error("could not understand a frame: {problem}")]
    Malformed {
        /// The parser's words.
        problem: String,
    },
}

/// The reading half: bytes and descriptors that wait for their frame.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// Up to here no newline was found, so that a long frame is not searched again with each piece.
    searched: usize,
    fds: VecDeque<OwnedFd>,
}

impl Reader {
    /// The next frame's bytes, or `None` when the peer is done. Cancel safe.
    pub async fn next(&mut self, socket: &UnixStream) -> Result<Option<Vec<u8>>, FrameError> {
        loop {
            if let Some(offset) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.bytes.split_off(self.searched + offset + 1);
                let mut frame = std::mem::replace(&mut self.bytes, rest);
                frame.pop();
                self.searched = 0;
                return Ok(Some(frame));
            }
            self.searched = self.bytes.len();
            if self.bytes.len() > MAX_FRAME {
                return Err(FrameError::TooLong);
            }
            let received = socket
                .async_io(Interest::READABLE, || self.receive(socket.as_fd()))
                .await
                .map_err(|source| FrameError::Io { doing: "read", source })?;
            match received {
                Received::Bytes(_) if self.fds.len() > MAX_QUEUED_FDS => return Err(FrameError::TooManyDescriptors),
                Received::Bytes(_) => {}
                Received::Truncated => return Err(FrameError::DescriptorsLost),
                Received::End if self.bytes.is_empty() => return Ok(None),
                Received::End => return Err(FrameError::Torn),
            }
        }
    }

    /// The descriptors that a frame claims, or `None` when fewer came.
    pub fn take_fds(&mut self, count: usize) -> Option<Vec<OwnedFd>> {
        (count <= self.fds.len()).then(|| self.fds.drain(..count).collect())
    }

    fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut piece = [0u8; 64 << 10];
        let message = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut piece)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        )?;
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = part {
                self.fds.extend(fds);
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Ok(Received::Truncated);
        }
        self.bytes.extend_from_slice(&piece[..message.bytes]);
        Ok(if message.bytes == 0 { Received::End } else { Received::Bytes(message.bytes) })
    }
}

enum Received {
    Bytes(#[expect(dead_code, reason = "read in tests and traces only")] usize),
    Truncated,
    End,
}

/// The bytes of `value` as one frame.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = serde_json::to_vec(value).map_err(|error| FrameError::Malformed { problem: error.to_string() })?;
    bytes.push(b'\n');
    if bytes.len() > MAX_FRAME { Err(FrameError::TooLong) } else { Ok(bytes) }
}

/// The value of one frame.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(frame).map_err(|error| FrameError::Malformed { problem: error.to_string() })
}

/// Writes one frame with its descriptors. Not cancel safe: whoever stops half-way has to close the socket.
pub async fn write(socket: &UnixStream, frame: &[u8], fds: &[OwnedFd]) -> Result<(), FrameError> {
    let mut rest = frame;
    for chunk in fds.chunks(FDS_PER_MESSAGE) {
        // One byte carries each chunk; the frame outlasts them, as it names every descriptor with more than that.
        let borrowed: Vec<BorrowedFd<'_>> = chunk.iter().map(AsFd::as_fd).collect();
        let sent = send(socket, &rest[..1], &borrowed).await?;
        rest = &rest[sent..];
    }
    while !rest.is_empty() {
        let sent = send(socket, rest, &[]).await?;
        rest = &rest[sent..];
    }
    Ok(())
}

async fn send(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, FrameError> {
    let attempt = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            let fits = ancillary.push(SendAncillaryMessage::ScmRights(fds));
            assert!(fits, "chunks are smaller than the space for them");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(rustix::net::sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut ancillary, flags)?)
    };
    socket.async_io(Interest::WRITABLE, attempt).await.map_err(|source| FrameError::Io { doing: "write", source })
}
