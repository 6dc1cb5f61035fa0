//! What names resolve to inside a replica: its `/etc/hosts`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The text of a replica's `/etc/hosts`.
///
/// A name that more than one network knows resolves to the address on the first of `networks`.
pub fn hosts(
    hostname: &str,
    addresses: &[Ipv4Addr],
    networks: &[&BTreeMap<String, Ipv4Addr>],
    extra: &BTreeMap<String, IpAddr>,
) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let own = addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST);
    text.push_str(&format!("{own}\t{hostname}\n"));
    for (name, address) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    let mut known: BTreeMap<&str, Ipv4Addr> = BTreeMap::new();
    for (name, address) in networks.iter().flat_map(|names| names.iter()) {
        known.entry(name).or_insert(*address);
    }
    for (name, address) in known {
        if !extra.contains_key(name) {
            text.push_str(&format!("{address}\t{name}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_line() {
        let ip = |last| Ipv4Addr::new(10, 0, 0, last);
        let front = BTreeMap::from([("api".to_owned(), ip(2)), ("db".to_owned(), ip(3))]);
        let back = BTreeMap::from([("db".to_owned(), ip(9))]);
        let extra = BTreeMap::from([("api".to_owned(), IpAddr::V4(ip(200)))]);
        let text = hosts("api-1", &[ip(50), ip(60)], &[&front, &back], &extra);
        let want = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.50\tapi-1\n\
            10.0.0.200\tapi\n10.0.0.3\tdb\n";
        assert_eq!(text, want);
    }
}
