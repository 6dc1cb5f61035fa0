//! Connections that the kernel leads to another address than the one they were made to, asked of it directly.
//!
//! The kernel keeps the choice it made for a connection until the connection ends, for UDP until nothing was said for
//! a while: a change of rules is for new connections only.
//! Source of the numbers: `linux/netfilter/nfnetlink_conntrack.h`, `nf_conntrack_tcp.h`, `nf_conntrack_common.h`.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NlaBuffer, NlasIterator,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::net::Ipv4Addr;

/// `NFNL_SUBSYS_CTNETLINK`.
const CONNTRACK: u16 = 1 << 8;
const GET: u16 = CONNTRACK | 1;
const DELETE: u16 = CONNTRACK | 2;
/// The header of every netlink message, and that of every netfilter message after it.
const HEADER: usize = 16;
const FAMILY: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];
/// `CTA_TUPLE_ORIG` and so on: what a flow tells of itself.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
/// `CTA_TUPLE_IP` and `CTA_TUPLE_PROTO`, what each end tells.
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
const SOURCE: u16 = 1;
const DESTINATION: u16 = 2;
/// `IPS_DST_NAT`.
const IS_LED: u32 = 1 << 5;
/// `TCP_CONNTRACK_CLOSE_WAIT`: up to here something may still be said.
const LAST_OPEN: u8 = 5;

/// A connection that is led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The address it was made to.
    pub wanted: Ipv4Addr,
    /// The address it leads to.
    pub to: Ipv4Addr,
    /// What it speaks, by its number.
    pub protocol: u8,
    /// Whether both ends may still say something; none where nobody can tell, as of UDP.
    pub is_open: Option<bool>,
    /// The attribute by which the kernel finds it.
    name: Vec<u8>,
}

/// Every connection over IPv4 that is led.
pub fn led() -> io::Result<Vec<Flow>> {
    let mut flows = Vec::new();
    ask(GET, NLM_F_DUMP, &[], &mut |attributes| flows.extend(flow(attributes)))?;
    Ok(flows)
}

/// Has the kernel choose anew where the next packet of a flow goes; one that has ended is fine.
pub fn forget(flow: &Flow) -> io::Result<()> {
    match ask(DELETE, NLM_F_ACK, &flow.name, &mut |_| {}) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn ask(kind: u16, flags: u16, attributes: &[u8], each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let body = [&FAMILY, attributes].concat();
    let mut request = vec![0; HEADER + body.len()];
    let mut buffer = NetlinkBuffer::new(&mut request[..]);
    buffer.set_length((HEADER + body.len()) as u32);
    buffer.set_message_type(kind);
    buffer.set_flags(NLM_F_REQUEST | flags);
    request[HEADER..].copy_from_slice(&body);
    socket.send(&request, 0)?;
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let packet = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            let (kind, payload) = (packet.message_type(), packet.payload());
            match kind {
                NLMSG_DONE => return Ok(()),
                // An acknowledgement is an error of number 0.
                NLMSG_ERROR => return outcome(payload),
                _ => each(payload.get(FAMILY.len()..).unwrap_or_default()),
            }
            let length = (packet.length() as usize).next_multiple_of(4).clamp(HEADER, rest.len());
            rest = &rest[length..];
        }
    }
}

fn outcome(payload: &[u8]) -> io::Result<()> {
    let code = payload.first_chunk().map_or(-libc::EPROTO, |bytes| i32::from_ne_bytes(*bytes));
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// What these attributes tell of a flow; none when it is not led.
fn flow(attributes: &[u8]) -> Option<Flow> {
    let status = value(attributes, STATUS)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))?;
    if status & IS_LED == 0 {
        return None;
    }
    let (original, reply) = (value(attributes, ORIGINAL)?, value(attributes, REPLY)?);
    let state = value(attributes, PROTOCOL_INFO).and_then(|info| value(value(info, 1)?, 1)?.first());
    Some(Flow {
        wanted: address(original, DESTINATION)?,
        to: address(reply, SOURCE)?,
        protocol: *value(value(original, PROTOCOL)?, 1)?.first()?,
        is_open: state.map(|state| *state <= LAST_OPEN),
        name: find(attributes, ORIGINAL)?.into_inner().get(..original.len() + 4)?.to_vec(),
    })
}

fn address(end: &[u8], which: u16) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = value(value(end, ADDRESSES)?, which)?.try_into().ok()?;
    Some(bytes.into())
}

fn value(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let found = find(attributes, kind)?;
    let length = usize::from(found.length());
    found.into_inner().get(4..length)
}

fn find(attributes: &[u8], kind: u16) -> Option<NlaBuffer<&[u8]>> {
    NlasIterator::new(attributes).map_while(Result::ok).find(|attribute| attribute.kind() == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = value.len() as u16 + 4;
        let mut bytes = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn end(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let addresses = [attribute(SOURCE, &source), attribute(DESTINATION, &destination)].concat();
        let protocol = attribute(PROTOCOL, &attribute(1, &[6]));
        [attribute(ADDRESSES, &addresses), protocol].concat()
    }

    #[test]
    fn a_led_connection_is_told_from_one_that_goes_where_it_was_sent() {
        let told = |status: u32, state: u8| {
            let original = attribute(ORIGINAL, &end([10, 0, 0, 9], [10, 0, 0, 2]));
            let reply = attribute(REPLY, &end([10, 0, 0, 11], [10, 0, 0, 1]));
            let info = attribute(PROTOCOL_INFO, &attribute(1, &attribute(1, &[state])));
            [original, reply, attribute(STATUS, &status.to_be_bytes()), info].concat()
        };
        let found = flow(&told(IS_LED | 2, 3)).expect("it is led");
        assert_eq!((found.wanted, found.to), ([10, 0, 0, 2].into(), [10, 0, 0, 11].into()));
        assert_eq!((found.protocol, found.is_open), (6, Some(true)));
        assert_eq!(found.name, attribute(ORIGINAL, &end([10, 0, 0, 9], [10, 0, 0, 2])));
        assert_eq!(flow(&told(IS_LED, 7)).expect("it is led").is_open, Some(false), "it waits only");
        assert_eq!(flow(&told(2, 3)), None);
        assert_eq!(flow(&told(IS_LED, 3)[..40]), None, "cut short");
    }
}
