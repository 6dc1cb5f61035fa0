//! Links, addresses and routes, asked of the kernel directly: no `ip` program is needed.
//!
//! A socket belongs to the network namespace it was opened in. Every call waits for
//! the kernel's answer, which takes microseconds; each is a request and its acknowledgement, nothing is kept.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The number of its link.
    pub link: u32,
    /// The address.
    pub ip: Ipv4Addr,
    /// How many bits of it name the network.
    pub prefix: u8,
}

/// The far end of a pair of links.
#[derive(Debug, Clone, Copy)]
pub struct FarEnd<'a> {
    /// Its name there.
    pub name: &'a str,
    /// The namespace it is put into.
    pub namespace: BorrowedFd<'a>,
    /// Its hardware address.
    pub hardware: Option<[u8; 6]>,
}

/// A connection to the kernel's routing tables.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens one in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The link of this name, none when there is none.
    pub fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.request(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(link)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The number of the link of this name.
    pub fn index(&mut self, name: &str) -> io::Result<u32> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no link `{name}`"));
        Ok(self.find(name)?.ok_or_else(missing)?.index)
    }

    /// All links.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(link).collect())
    }

    /// Makes a bridge; one that exists already is fine.
    pub fn ensure_bridge(&mut self, name: &str) -> io::Result<()> {
        // No spanning tree: nothing here can form a loop, and its listening delay would cost half a minute.
        let data = InfoData::Bridge(vec![InfoBridge::StpState(netlink_packet_route::link::BridgeStpState::Disabled)]);
        let info = vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(data)];
        self.create(vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::LinkInfo(info)])
    }

    /// Makes a pair of links, its near end here; a pair that exists already is fine.
    pub fn ensure_pair(&mut self, name: &str, far: FarEnd<'_>) -> io::Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(far.name.to_owned()));
        peer.attributes.push(LinkAttribute::NetNsFd(far.namespace.as_raw_fd()));
        peer.attributes.extend(far.hardware.map(|address| LinkAttribute::Address(address.to_vec())));
        let info = vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer)))];
        self.create(vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::LinkInfo(info)])
    }

    fn create(&mut self, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = attributes;
        let result = self.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
        unless(result, libc::EEXIST)
    }

    /// Removes a link; one that does not exist is fine.
    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        let Some(found) = self.find(name)? else { return Ok(()) };
        let mut message = LinkMessage::default();
        message.header.index = found.index;
        unless(self.request(RouteNetlinkMessage::DelLink(message), NLM_F_ACK), libc::ENODEV)
    }

    /// Switches a link on.
    pub fn up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Makes a link a port of a bridge.
    pub fn put_on_bridge(&mut self, index: u32, bridge: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::Controller(bridge));
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Gives a link an address; one it has already is fine.
    pub fn ensure_address(&mut self, address: Address) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewAddress(address_message(address));
        unless(self.request(message, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK), libc::EEXIST)
    }

    /// Takes an address from a link; one it does not have is fine.
    pub fn remove_address(&mut self, address: Address) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelAddress(address_message(address));
        unless(self.request(message, NLM_F_ACK), libc::EADDRNOTAVAIL)
    }

    /// All IPv4 addresses.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let answers = self.request(RouteNetlinkMessage::GetAddress(message), NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(address).collect())
    }

    /// Sends everything without a route of its own to `gateway`; a default route that exists already is fine.
    pub fn ensure_default_route(&mut self, gateway: Ipv4Addr) -> io::Result<()> {
        let mut message = route_message();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        let result = self.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
        unless(result, libc::EEXIST)
    }

    /// Destinations of all IPv4 routes, with the number of the link each leads to.
    pub fn routes(&mut self) -> io::Result<Vec<(Ipv4Addr, u8, Option<u32>)>> {
        let answers = self.request(RouteNetlinkMessage::GetRoute(route_message()), NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(route).collect())
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let is_dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        self.answers(is_dump)
    }

    fn answers(&mut self, is_dump: bool) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut answers = Vec::new();
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let packet = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
                let length = (packet.header.length as usize).next_multiple_of(4).clamp(1, rest.len());
                rest = &rest[length..];
                if packet.header.sequence_number != self.sequence {
                    continue;
                }
                match packet.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) => match error.code {
                        Some(_) => return Err(error.to_io()),
                        None => return Ok(answers),
                    },
                    NetlinkPayload::InnerMessage(answer) => {
                        answers.push(answer);
                        // A question about one thing has one answer, which no acknowledgement follows.
                        if !is_dump {
                            return Ok(answers);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

fn unless<T>(result: io::Result<T>, harmless: i32) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(harmless) => Ok(()),
        other => other.map(drop),
    }
}

fn link(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    Some(Link { index: message.header.index, name })
}

fn address_message(address: Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix;
    message.header.index = address.link;
    message.attributes.push(AddressAttribute::Local(IpAddr::V4(address.ip)));
    message.attributes.push(AddressAttribute::Address(IpAddr::V4(address.ip)));
    message
}

fn address(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let ip = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
        _ => None,
    })?;
    Some(Address { link: message.header.index, ip, prefix: message.header.prefix_len })
}

fn route_message() -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message
}

fn route(message: RouteNetlinkMessage) -> Option<(Ipv4Addr, u8, Option<u32>)> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let mut link = None;
    let mut destination = None;
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = Some(ip),
            RouteAttribute::Oif(index) => link = Some(index),
            _ => {}
        }
    }
    Some((destination?, message.header.destination_prefix_length, link))
}
