//! The kernel's count of changes to its packet rules, asked directly: two system calls tell that nothing has changed.

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use std::io;

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_GETGEN`, the request's type.
const GET: u16 = (10 << 8) | 16;
/// `NFTA_GEN_ID`, a number in network order.
const ID: u16 = 1;
const REQUEST: u16 = 1;
/// A message's header, and that of every netfilter message.
const HEADERS: usize = 16 + 4;

/// The count now; none where the kernel does not know such rules.
pub fn now() -> io::Result<Option<u32>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(HEADERS);
    request.extend_from_slice(&(HEADERS as u32).to_ne_bytes());
    request.extend_from_slice(&GET.to_ne_bytes());
    request.extend_from_slice(&REQUEST.to_ne_bytes());
    // Sequence and port, then family, version and resource: all of them zero.
    request.resize(HEADERS, 0);
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    Ok(id(&answer))
}

fn id(answer: &[u8]) -> Option<u32> {
    let mut rest = answer.get(HEADERS..)?;
    loop {
        let len = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        if kind == ID {
            return Some(u32::from_be_bytes(rest.get(4..8)?.try_into().ok()?));
        }
        // Attributes begin at multiples of four; one without a length would never end.
        rest = rest.get(len.max(4).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_other_attributes() {
        let mut answer = vec![0; HEADERS];
        answer.extend_from_slice(&[5_u16.to_ne_bytes(), 3_u16.to_ne_bytes(), [9, 0], [0, 0]].concat());
        answer.extend_from_slice(&[8_u16.to_ne_bytes(), ID.to_ne_bytes(), [0, 0], [1, 2]].concat());
        assert_eq!(id(&answer), Some(258));
        assert_eq!(id(&answer[..HEADERS]), None);
        assert_eq!(id(&[]), None);
    }
}
