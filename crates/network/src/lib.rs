//! The machine's network, asked of the kernel: links, addresses and routes, and the packet rules around networks of ours.
//!
//! Owns how that is done; which networks there are, and what lies on them, is an engine's business. Start with
//! [`Netlink`] for links and addresses, with [`Rules`] for what may pass between networks.

pub mod balances;
pub mod detours;
mod error;
mod flows;
pub mod generation;
pub mod netlink;
mod nft;
pub mod passage;
mod rules;
pub mod walls;

pub use error::Error;
pub use netlink::{Address, FarEnd, Link, Netlink};
pub use rules::{Rules, Scope};
pub use walls::{Duty, Wall};

use ipnet::Ipv4Net;
use std::collections::BTreeSet;
use std::io;

/// Subnets that the machine has a route or an address in, apart from those behind links whose names begin with `links`.
pub fn subnets_in_use(links: &str) -> io::Result<Vec<Ipv4Net>> {
    let mut netlink = Netlink::open()?;
    let known = netlink.links()?;
    let is_ours = |index: u32| known.iter().any(|link| link.index == index && link.name.starts_with(links));
    let mut nets = BTreeSet::new();
    for (ip, prefix, link) in netlink.routes()? {
        // A default route leads everywhere and takes nothing.
        if prefix > 0 && !link.is_some_and(is_ours) {
            nets.extend(Ipv4Net::new(ip, prefix).map(|net| net.trunc()));
        }
    }
    for address in netlink.addresses()? {
        if !is_ours(address.link) {
            nets.extend(Ipv4Net::new(address.ip, address.prefix).map(|net| net.trunc()));
        }
    }
    Ok(nets.into_iter().collect())
}

/// Makes a bridge, unless there is a link of that name.
pub fn ensure_bridge(name: &str) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    match netlink.find(name)? {
        Some(_) => Ok(()),
        None => netlink.ensure_bridge(name),
    }
}

/// Removes a link; one that does not exist is fine.
pub fn remove_link(name: &str) -> io::Result<()> {
    Netlink::open()?.remove(name)
}

/// Gives a link exactly these addresses beside the one that `keeps` says is not ours to touch, and switches it on.
///
/// `ours` are the addresses it shall have, `prefix` the bits that name the network.
pub fn set_addresses(link: &str, ours: &BTreeSet<std::net::Ipv4Addr>, prefix: u8) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let index = netlink.index(link)?;
    for ip in ours {
        netlink.ensure_address(Address { link: index, ip: *ip, prefix })?;
    }
    for address in netlink.addresses()? {
        if address.link == index && !ours.contains(&address.ip) {
            netlink.remove_address(address)?;
        }
    }
    netlink.up(index)
}

/// The addresses of a link; none when there is no such link.
pub fn addresses_of(link: &str) -> io::Result<Option<BTreeSet<std::net::Ipv4Addr>>> {
    let mut netlink = Netlink::open()?;
    let Some(found) = netlink.find(link)? else { return Ok(None) };
    let all = netlink.addresses()?;
    Ok(Some(all.into_iter().filter(|address| address.link == found.index).map(|address| address.ip).collect()))
}
