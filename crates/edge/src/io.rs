//! The two ends of a proxied connection as hyper sees them.
//!
//! Owns the stream types: a client's connection with the bytes that sniffing read ahead, and an upstream's connection
//! that can be looked at while hyper drives it. A later TLS stream takes the place of the `TcpStream` here.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::net::{RecvFlags, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A peer that is silent this long is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a peer may leave what was sent to it untaken, be it dead or not reading.
const UNTAKEN: Duration = Duration::from_secs(60);

/// Has the kernel end connections whose peer is gone or takes nothing. A listening socket hands it down to all that
/// are accepted from it.
pub(crate) fn watch_peer(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, SILENCE)?;
    sockopt::set_tcp_keepintvl(socket, SILENCE / 4)?;
    sockopt::set_tcp_keepcnt(socket, 4)?;
    let untaken = u32::try_from(UNTAKEN.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(socket, untaken)?)
}

/// Lets the peer of a tunnel read when it likes: how long it pauses is between the two ends. A dead one is still found.
pub(crate) fn let_peer_pause(socket: impl AsFd) {
    // A socket that refuses is gone, which the next read tells.
    let _ = sockopt::set_tcp_user_timeout(socket, 0);
}

/// A client's connection; what was read ahead comes first.
#[derive(Debug)]
pub(crate) struct ClientStream {
    ahead: Bytes,
    stream: TcpStream,
}

impl ClientStream {
    pub(crate) fn new(ahead: Bytes, stream: TcpStream) -> Self {
        Self { ahead, stream }
    }

    /// The bytes that nobody read yet, and the socket.
    pub(crate) fn into_parts(self) -> (Bytes, TcpStream) {
        (self.ahead, self.stream)
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The socket of an upstream connection, shared between hyper, which drives it, and the pool, which looks at it.
#[derive(Debug)]
pub(crate) struct UpstreamSocket {
    stream: RefCell<TcpStream>,
    received: Rc<Cell<u64>>,
    /// Who takes the stream when hyper is done with it: an upgrade.
    heir: RefCell<Option<oneshot::Sender<(TcpStream, Bytes)>>>,
}

impl UpstreamSocket {
    pub(crate) fn new(stream: TcpStream) -> Rc<Self> {
        Rc::new(Self { stream: RefCell::new(stream), received: Rc::default(), heir: RefCell::default() })
    }

    /// Bytes received so far, readable beyond the socket's end; whether it grew tells whether a response had begun.
    pub(crate) fn received(&self) -> Rc<Cell<u64>> {
        self.received.clone()
    }

    /// Whether an idle connection is still open as far as this machine knows.
    ///
    /// Asks the kernel, because the runtime learns of a close only when it next polls. Bytes on an idle connection are
    /// no answer to anything, so they make it unusable as well.
    pub(crate) fn is_quietly_open(&self) -> bool {
        let stream = self.stream.borrow();
        let mut byte = [0u8; 1];
        let looked = rustix::net::recv(&*stream, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(looked, Err(rustix::io::Errno::AGAIN))
    }

    /// Asks for the stream (and what was read of it beyond HTTP) once hyper lets go of it.
    pub(crate) fn inherit(&self) -> oneshot::Receiver<(TcpStream, Bytes)> {
        let (heir, inheritance) = oneshot::channel();
        self.heir.replace(Some(heir));
        inheritance
    }

    /// Gives the stream to whoever asked for it; closes it otherwise.
    pub(crate) fn hand_over(self: Rc<Self>, read_ahead: Bytes) {
        if let (Some(heir), Ok(socket)) = (self.heir.take(), Rc::try_unwrap(self)) {
            // An heir that is gone has no use for the stream: its client left.
            let _ = heir.send((socket.stream.into_inner(), read_ahead));
        }
    }
}

/// What hyper drives.
#[derive(Debug)]
pub(crate) struct UpstreamStream(pub Rc<UpstreamSocket>);

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, buf);
        self.0.received.set(self.0.received.get() + (buf.filled().len() - before) as u64);
        polled
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_watched_as_its_listener_says() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        watch_peer(&listener).expect("set");
        let _client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (accepted, _) = listener.accept().expect("accepted");
        assert!(sockopt::socket_keepalive(&accepted).expect("told"));
        assert_eq!(sockopt::tcp_keepidle(&accepted).expect("told"), SILENCE);
        assert_eq!(sockopt::tcp_user_timeout(&accepted).expect("told"), 60_000);
        let_peer_pause(&accepted);
        assert_eq!(sockopt::tcp_user_timeout(&accepted).expect("told"), 0);
    }
}
