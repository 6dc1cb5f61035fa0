//! The control socket: connections, their lines and the file descriptors that come with them.
//!
//! Only root reaches the socket (its folder is 0700), but a slow or broken client must not hold up the shim:
//! nothing here ever blocks, and a client that does not read its answers is dropped.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use shim::control::{self, Answer, Request};
use std::fs::File;
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// A status has a few kilobytes; a client that lets this much pile up does not read at all.
const MAX_UNREAD: usize = 256 * 1024;

/// Opens the control socket in a replica's folder, in place of one that an earlier shim left.
pub(crate) fn listen(dir: &Path) -> io::Result<UnixListener> {
    let dir = File::open(dir)?;
    let path = control::socket_path(&dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// One client.
pub(crate) struct Connection {
    pub(crate) id: u64,
    stream: UnixStream,
    /// Wants every change of the status.
    pub(crate) is_watching: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    fds: Vec<OwnedFd>,
    is_open: bool,
    is_done: bool,
}

impl Connection {
    pub(crate) fn new(id: u64, stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (input, output, fds) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { id, stream, is_watching: false, input, output, fds, is_open: true, is_done: false })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether it can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        !self.is_open || (self.is_done && self.output.is_empty())
    }

    /// No more answers follow.
    pub(crate) fn finish(&mut self) {
        self.is_done = true;
    }

    /// Reads what there is and returns the whole requests; an unreadable one is answered at once.
    pub(crate) fn receive(&mut self) -> Vec<(Request, Vec<OwnedFd>)> {
        self.fill();
        let mut requests = Vec::new();
        while let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let fds = std::mem::take(&mut self.fds);
            match serde_json::from_slice(&line) {
                Ok(request) => requests.push((request, fds)),
                Err(error) => self.send(&Answer::Refused { message: format!("no request: {error}") }),
            }
        }
        if self.input.len() > control::MAX_LINE {
            self.send(&Answer::Refused { message: format!("a request has at most {} bytes", control::MAX_LINE) });
            self.input.clear();
            self.finish();
        }
        requests
    }

    fn fill(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let received = rustix::net::recvmsg(&self.stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.fds.extend(fds);
                }
            }
            match received {
                Ok(message) if message.bytes > 0 => self.input.extend_from_slice(&bytes[..message.bytes]),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                _ => {
                    self.is_open = false;
                    return;
                }
            }
            if self.input.len() > control::MAX_LINE || self.fds.len() > 3 {
                return;
            }
        }
    }

    /// Queues an answer and sends as much as the client takes.
    pub(crate) fn send(&mut self, answer: &Answer) {
        let line = serde_json::to_vec(answer).unwrap_or_default();
        self.output.extend_from_slice(&line);
        self.output.push(b'\n');
        self.flush();
        if self.output.len() > MAX_UNREAD {
            self.is_open = false;
        }
    }

    pub(crate) fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return,
                Ok(n) => drop(self.output.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.is_open = false;
                    return;
                }
            }
        }
    }
}
