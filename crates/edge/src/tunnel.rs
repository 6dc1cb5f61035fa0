//! Bytes carried both ways between two sockets.
//!
//! Owns the copying with half-close: when one side is done sending, the other is told, and the other direction goes
//! on. A quiet tunnel holds no buffer; all tunnels of a worker share one.

use std::cell::{Cell, RefCell};
use std::io;

use bytes::{Buf, Bytes};
use rustix::net::Shutdown;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const PIECE: usize = 64 << 10;

/// After so many bytes the worker's other tasks get a turn: two sockets that are always ready would keep it for ever.
const TURN: u64 = 256 << 10;

thread_local! {
    /// Read into and written from between two waits; what a full socket did not take is copied out.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into_boxed_slice());
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides were done.
    Closed,
    /// One side broke off.
    Broken,
    /// The drain's grace was over.
    Cut,
}

/// What a tunnel carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carried {
    pub end: End,
    pub from_client: u64,
    pub from_upstream: u64,
}

/// Carries bytes both ways until both sides are done, one breaks off, or `cut` says so. Each side comes with what was
/// read of it already.
pub(crate) async fn carry(
    client: (TcpStream, Bytes),
    upstream: (TcpStream, Bytes),
    cut: &CancellationToken,
) -> Carried {
    let (from_client, from_upstream) = (Cell::new(0), Cell::new(0));
    for stream in [&client.0, &upstream.0] {
        crate::io::let_peer_pause(stream);
    }
    let both = async {
        tokio::try_join!(
            pump(&client.0, &upstream.0, client.1.clone(), &from_client),
            pump(&upstream.0, &client.0, upstream.1.clone(), &from_upstream),
        )
    };
    let end = tokio::select! {
        ended = both => if ended.is_ok() { End::Closed } else { End::Broken },
        () = cut.cancelled() => End::Cut,
    };
    Carried { end, from_client: from_client.get(), from_upstream: from_upstream.get() }
}

async fn pump(from: &TcpStream, to: &TcpStream, mut left: Bytes, count: &Cell<u64>) -> io::Result<()> {
    let mut turn_ends = count.get() + TURN;
    loop {
        if count.get() >= turn_ends {
            turn_ends = count.get() + TURN;
            tokio::task::yield_now().await;
        }
        while !left.is_empty() {
            to.writable().await?;
            match to.try_write(&left) {
                Ok(written) => {
                    count.set(count.get() + written as u64);
                    left.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        from.readable().await?;
        match read_and_write(from, to, count) {
            Ok(Step::Moved(rest)) => left = rest,
            Ok(Step::End) => {
                // The other side may be gone already, which its own direction finds out.
                let _ = rustix::net::shutdown(to, Shutdown::Write);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

enum Step {
    /// Read, and all but this written.
    Moved(Bytes),
    End,
}

fn read_and_write(from: &TcpStream, to: &TcpStream, count: &Cell<u64>) -> io::Result<Step> {
    SCRATCH.with_borrow_mut(|scratch| {
        let read = from.try_read(scratch)?;
        if read == 0 {
            return Ok(Step::End);
        }
        let written = match to.try_write(&scratch[..read]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        count.set(count.get() + written as u64);
        Ok(Step::Moved(Bytes::copy_from_slice(&scratch[written..read])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream as StdStream};
    use std::rc::Rc;

    fn pair() -> (StdStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let ours = StdStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (theirs, _) = listener.accept().expect("accepted");
        for stream in [&ours, &theirs] {
            stream.set_nonblocking(true).expect("set");
        }
        (ours, TcpStream::from_std(theirs).expect("a stream"))
    }

    #[tokio::test]
    async fn a_tunnel_that_is_always_ready_leaves_others_their_turn() {
        let ((mut client, client_side), (server, server_side)) = (pair(), pair());
        // As much as the kernel takes, so that the tunnel needs nobody to go on.
        let mut filled = 0u64;
        while let Ok(written) = client.write(&[7; 64 << 10]) {
            filled += written as u64;
        }
        let cut = CancellationToken::new();
        let carrying = async { carry((client_side, Bytes::new()), (server_side, Bytes::new()), &cut).await };
        let arrived = || rustix::io::ioctl_fionread(&server).expect("a number");
        let most = Rc::new(Cell::new(0));
        let others = async {
            let mut before = 0;
            for _ in 0..10_000 {
                most.set(most.get().max(arrived() - before));
                before = arrived();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = carrying => panic!("nobody has closed"),
            () = others => {}
        }
        assert!(filled > 1 << 20 && arrived() > 1 << 20, "{filled} of which {} arrived", arrived());
        assert!(most.get() <= TURN + PIECE as u64, "{} in one turn", most.get());
    }
}
