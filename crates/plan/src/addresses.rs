//! The addresses of one replica: mostly one, which costs no memory of its own.

use model::NetworkName;
use std::fmt;
use std::net::Ipv4Addr;

/// The address of a replica on each of its networks, in order of their names.
#[derive(Clone, PartialEq, Eq)]
pub struct Addresses(Held);

#[derive(Clone, PartialEq, Eq)]
enum Held {
    /// None or one.
    Few(Option<(NetworkName, Ipv4Addr)>),
    /// Two or more.
    Many(Box<[(NetworkName, Ipv4Addr)]>),
}

impl Addresses {
    fn pairs(&self) -> &[(NetworkName, Ipv4Addr)] {
        match &self.0 {
            Held::Few(pair) => pair.as_slice(),
            Held::Many(pairs) => pairs,
        }
    }

    /// Networks and addresses.
    pub fn iter(&self) -> Iter<'_> {
        self.pairs().iter().map(|(network, address)| (network, address))
    }

    /// The networks.
    pub fn keys(&self) -> impl Iterator<Item = &NetworkName> {
        self.pairs().iter().map(|(network, _)| network)
    }

    /// The addresses.
    pub fn values(&self) -> impl Iterator<Item = &Ipv4Addr> {
        self.pairs().iter().map(|(_, address)| address)
    }

    /// The address on `network`.
    pub fn get(&self, network: &NetworkName) -> Option<&Ipv4Addr> {
        self.iter().find(|(name, _)| *name == network).map(|(_, address)| address)
    }

    /// Whether the replica stands on `network`.
    pub fn contains_key(&self, network: &NetworkName) -> bool {
        self.get(network).is_some()
    }
}

impl Default for Addresses {
    fn default() -> Self {
        Self(Held::Few(None))
    }
}

impl FromIterator<(NetworkName, Ipv4Addr)> for Addresses {
    /// In any order; of two on one network the later stays.
    fn from_iter<I: IntoIterator<Item = (NetworkName, Ipv4Addr)>>(pairs: I) -> Self {
        let mut pairs = pairs.into_iter();
        let first = pairs.next();
        let Some(second) = pairs.next() else { return Self(Held::Few(first)) };
        let mut all: Vec<_> = first.into_iter().chain([second]).chain(pairs).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.reverse();
        all.dedup_by(|(a, _), (b, _)| a == b);
        all.reverse();
        if all.len() < 2 { Self(Held::Few(all.pop())) } else { Self(Held::Many(all.into())) }
    }
}

impl<const N: usize> From<[(NetworkName, Ipv4Addr); N]> for Addresses {
    fn from(pairs: [(NetworkName, Ipv4Addr); N]) -> Self {
        pairs.into_iter().collect()
    }
}

/// Networks and addresses.
pub type Iter<'a> = std::iter::Map<
    std::slice::Iter<'a, (NetworkName, Ipv4Addr)>,
    fn(&(NetworkName, Ipv4Addr)) -> (&NetworkName, &Ipv4Addr),
>;

impl<'a> IntoIterator for &'a Addresses {
    type Item = (&'a NetworkName, &'a Ipv4Addr);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_a_map_whatever_they_are_made_from() {
        let check = |given: &[(&str, u8)], want: &str| {
            let pair = |(name, last): &(&str, u8)| (name.parse().expect("legal"), Ipv4Addr::new(10, 0, 0, *last));
            let addresses: Addresses = given.iter().map(pair).collect();
            let text = |(name, address): (&NetworkName, &Ipv4Addr)| format!("{name}:{}", address.octets()[3]);
            assert_eq!(addresses.iter().map(text).collect::<Vec<_>>().join(" "), want);
            for name in ["a", "b", "c"] {
                let network = name.parse().expect("legal");
                let last = given.iter().rfind(|(other, _)| *other == name).map(|pair| pair.1);
                assert_eq!(addresses.get(&network).map(|address| address.octets()[3]), last);
            }
        };
        check(&[], "");
        check(&[("b", 1)], "b:1");
        check(&[("b", 1), ("b", 2)], "b:2");
        check(&[("c", 3), ("a", 1), ("c", 2)], "a:1 c:2");
    }
}
