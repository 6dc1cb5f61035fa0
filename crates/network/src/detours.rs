//! Detours: connections to a port that somebody else holds are led to another port, until it is free.
//!
//! Connections that are open already go on as they were: the kernel asks for new ones only. The rules stand in front of
//! Docker's, which would lead the same connections to a container.

use crate::error::Error;
use crate::nft;
use runtime::Clock;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Before Docker's chains, which have -100.
const PRIORITY: i32 = -101;

/// A port that is reached at another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Detour {
    /// What clients connect to; an unspecified address stands for every address of the machine.
    pub wanted: SocketAddr,
    /// Where they are led, at the same address.
    pub port: u16,
}

/// Whether there can be any.
///
/// Errors: [`Error::NoDetour`] when `nft` is missing.
pub async fn check(clock: &dyn Clock) -> Result<(), Error> {
    nft::feed("", clock).await.map_err(without_nft)
}

fn without_nft(error: Error) -> Error {
    if matches!(error, Error::NoNft) { Error::NoDetour } else { error }
}

/// Has exactly these detours be there, in a table of that name.
///
/// Errors: [`Error::NoDetour`] when there are some and `nft` is missing.
pub async fn set(table: &str, detours: &[Detour], clock: &dyn Clock) -> Result<(), Error> {
    match nft::feed(&script(table, detours), clock).await {
        Err(Error::NoNft) if detours.is_empty() => Ok(()),
        result => result.map_err(without_nft),
    }
}

fn script(table: &str, detours: &[Detour]) -> String {
    // Made first, so that it can be deleted whether it was there or not.
    let mut text = format!("table inet {table}\ndelete table inet {table}\n");
    if detours.is_empty() {
        return text;
    }
    let _ = writeln!(text, "table inet {table} {{");
    for hook in ["prerouting", "output"] {
        let _ = writeln!(text, "\tchain {hook} {{\n\t\ttype nat hook {hook} priority {PRIORITY};");
        for detour in detours {
            let _ = writeln!(text, "\t\t{}", rule(detour));
        }
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    text
}

fn rule(Detour { wanted, port }: &Detour) -> String {
    let (ip, from) = (wanted.ip(), wanted.port());
    let family = if ip.is_ipv4() { "ip" } else { "ip6" };
    if ip.is_unspecified() {
        let version = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
        return format!("meta nfproto {version} fib daddr type local tcp dport {from} redirect to :{port}");
    }
    format!("{family} daddr {ip} tcp dport {from} dnat {family} to {}", SocketAddr::new(ip, *port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_led_to_the_same_address() {
        let detour = |wanted: &str, port| Detour { wanted: wanted.parse().expect("a socket"), port };
        let text = script("t", &[detour("0.0.0.0:80", 4001), detour("10.1.0.2:80", 4002), detour("[::1]:80", 4003)]);
        let chain: Vec<&str> = text.lines().skip(4).take(4).map(str::trim).collect();
        assert_eq!(
            chain,
            [
                "type nat hook prerouting priority -101;",
                "meta nfproto ipv4 fib daddr type local tcp dport 80 redirect to :4001",
                "ip daddr 10.1.0.2 tcp dport 80 dnat ip to 10.1.0.2:4002",
                "ip6 daddr ::1 tcp dport 80 dnat ip6 to [::1]:4003",
            ]
        );
        assert_eq!(script("t", &[]), "table inet t\ndelete table inet t\n");
    }
}
