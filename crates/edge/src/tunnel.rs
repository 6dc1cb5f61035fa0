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
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream as StdStream};

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
        let ((mut client, client_side), (mut server, server_side)) = (pair(), pair());
        // As much as the kernel takes, so that the tunnel needs nobody to go on.
        let mut filled = 0;
        while let Ok(written) = client.write(&[7; 64 << 10]) {
            filled += written as u64;
        }
        let (carried, most) = (Cell::new(0), Cell::new(0));
        let others = async {
            let mut seen = 0;
            while carried.get() < filled {
                most.set(most.get().max(carried.get() - seen));
                seen = carried.get();
                while server.read(&mut [0; 64 << 10]).is_ok() {}
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            ended = pump(&client_side, &server_side, Bytes::new(), &carried) => panic!("nobody has closed: {ended:?}"),
            () = others => {}
        }
        assert!(filled > 2 * TURN, "{filled}");
        assert!(most.get() <= TURN + PIECE as u64, "{} in one turn", most.get());
    }
}
