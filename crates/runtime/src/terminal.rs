//! Pseudo terminals for commands inside replicas.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both ends of a pseudo terminal.
#[derive(Debug)]
pub struct Pair {
    /// Our end: what is typed goes in, what is shown comes out.
    pub controller: OwnedFd,
    /// The command's end.
    pub user: OwnedFd,
}

/// Opens a pseudo terminal of this size in characters.
pub fn open(rows: u16, columns: u16) -> io::Result<Pair> {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    let name = ptsname(&controller, Vec::new())?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let user = rustix::fs::open(&*name, flags, rustix::fs::Mode::empty())?;
    resize(controller.as_fd(), rows, columns)?;
    Ok(Pair { controller, user })
}

/// Gives the terminal another size; whoever runs in it is told by a signal.
pub fn resize(controller: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    tcsetwinsize(controller, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok(())
}

/// Our end as a stream. It ends with an error once the last user of the terminal has gone.
#[derive(Debug)]
pub struct Stream(AsyncFd<OwnedFd>);

impl Stream {
    /// Takes our end over; needs a tokio runtime.
    #[expect(unsafe_code, reason = "a descriptor may only be registered by who promises to keep it")]
    pub fn new(controller: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&controller)?;
        rustix::fs::fcntl_setfl(&controller, flags | rustix::fs::OFlags::NONBLOCK)?;
        // SAFETY: an `OwnedFd` is the same open descriptor until it is dropped, which `AsyncFd` does after deregistering.
        let registered = unsafe { AsyncFd::register(controller) };
        registered.map(Self).map_err(Into::into)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let read = guard.try_io(|fd| Ok(rustix::io::read(fd, buf.initialize_unfilled())?));
            if let Ok(result) = read {
                return Poll::Ready(result.map(|count| buf.advance(count)));
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_is_typed_is_echoed_and_the_end_is_seen() {
        let pair = open(24, 80).expect("the machine has pseudo terminals");
        let mut stream = Stream::new(pair.controller).expect("our end can be polled");
        stream.write_all(b"hello\n").await.expect("typed");
        let mut shown = [0; 5];
        stream.read_exact(&mut shown).await.expect("echoed");
        assert_eq!(&shown, b"hello");
        drop(pair.user);
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).await.is_err(), "the last user has gone");
    }
}
