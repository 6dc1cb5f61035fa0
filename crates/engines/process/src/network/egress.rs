//! The way out of networks that are not internal, and the walls around networks, as one nftables table of our own.
//!
//! The whole table is rendered from all networks and replaced at once: there is no rule to be forgotten. A link of
//! ours that no network is known of reaches nothing, so that a damaged network never stands open. Rules that others
//! drop our packets by are met in [`super::passage`]. Pure; `crate::rules` carries it out.

use ipnet::{Ipv4Net, Ipv4Subnets};
use std::net::Ipv4Addr;

/// A network, as far as the rules need to know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall {
    /// The machine's link into it.
    pub link: String,
    /// Its addresses.
    pub net: Ipv4Net,
    /// The first and the last address that the edge may answer on, none when there is no such address.
    pub stable: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Nothing outside can be reached from it.
    pub internal: bool,
}

impl Wall {
    /// The addresses the edge may answer on, as subnets.
    pub fn stable_nets(&self) -> Vec<Ipv4Net> {
        self.stable.map(|(first, last)| Ipv4Subnets::new(first, last, 0).collect()).unwrap_or_default()
    }
}

/// The rules for these networks; without networks only what removes the table.
///
/// `table` names it; `links` is the prefix that all our links share; `sign` is told by the table when it is listed.
pub fn script(table: &str, links: &str, walls: &[Wall], sign: &str) -> String {
    // Adding before deleting makes the deletion succeed whether or not the table existed.
    let mut text = format!("add table ip {table}\ndelete table ip {table}\n");
    if walls.is_empty() {
        return text;
    }
    let nets = |internal: Option<bool>| {
        let chosen = walls.iter().filter(|wall| internal.is_none_or(|internal| wall.internal == internal));
        chosen.map(|wall| wall.net.to_string()).collect::<Vec<_>>().join(", ")
    };
    let known = walls.iter().map(|wall| format!("\"{}\"", wall.link)).collect::<Vec<_>>().join(", ");
    let strangers = format!("\t\tiifname \"{links}*\" iifname != {{ {known} }} drop");
    text.push_str(&format!("table ip {table} {{\n\tchain forward {{\n"));
    text.push_str("\t\ttype filter hook forward priority filter; policy accept;\n");
    text.push_str(&format!("{strangers} comment \"{sign}\"\n"));
    text.push_str("\t\tct state established,related accept\n");
    text.push_str(&format!("\t\tiifname \"{links}*\" oifname \"{links}*\" drop\n"));
    text.push_str(&format!("\t\toifname \"{links}*\" drop\n"));
    if walls.iter().any(|wall| wall.internal) {
        text.push_str(&format!("\t\tip saddr {{ {} }} drop\n", nets(Some(true))));
    }
    text.push_str("\t}\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n");
    text.push_str(&format!("{strangers} comment \"{sign}\"\n"));
    // Stable addresses are the machine's: without this whoever can route to it could call what is not published.
    text.push_str(&format!("\t\tiifname != \"lo\" iifname != \"{links}*\" ip daddr {{ {} }} drop\n", nets(None)));
    for wall in walls {
        let others: Vec<String> = walls.iter().filter(|w| w.net != wall.net).map(|w| w.net.to_string()).collect();
        if !others.is_empty() {
            // The machine answers for every network's stable addresses; each is for its own network only.
            text.push_str(&format!("\t\tiifname \"{}\" ip daddr {{ {} }} drop\n", wall.link, others.join(", ")));
        }
    }
    text.push_str("\t}\n");
    if walls.iter().any(|wall| !wall.internal) {
        text.push_str("\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
        text.push_str(&format!("\t\tip saddr {{ {} }} oifname != \"{links}*\" masquerade\n", nets(Some(false))));
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(link: &str, net: &str, internal: bool) -> Wall {
        Wall { link: link.into(), net: net.parse().expect("a subnet"), stable: None, internal }
    }

    #[test]
    fn the_table_is_replaced_as_a_whole() {
        let walls = [wall("ms1", "10.1.0.0/24", false), wall("ms2", "10.2.0.0/24", true)];
        let text = script("mainstay", "ms", &walls, "mainstay 7");
        let want = "add table ip mainstay\ndelete table ip mainstay\ntable ip mainstay {\n\tchain forward {\n\
            \t\ttype filter hook forward priority filter; policy accept;\n\
            \t\tiifname \"ms*\" iifname != { \"ms1\", \"ms2\" } drop comment \"mainstay 7\"\n\
            \t\tct state established,related accept\n\
            \t\tiifname \"ms*\" oifname \"ms*\" drop\n\
            \t\toifname \"ms*\" drop\n\
            \t\tip saddr { 10.2.0.0/24 } drop\n\t}\n\
            \tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\
            \t\tiifname \"ms*\" iifname != { \"ms1\", \"ms2\" } drop comment \"mainstay 7\"\n\
            \t\tiifname != \"lo\" iifname != \"ms*\" ip daddr { 10.1.0.0/24, 10.2.0.0/24 } drop\n\
            \t\tiifname \"ms1\" ip daddr { 10.2.0.0/24 } drop\n\
            \t\tiifname \"ms2\" ip daddr { 10.1.0.0/24 } drop\n\t}\n\
            \tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\
            \t\tip saddr { 10.1.0.0/24 } oifname != \"ms*\" masquerade\n\t}\n}\n";
        assert_eq!(text, want);
        assert_eq!(script("t", "ms", &[], ""), "add table ip t\ndelete table ip t\n");
    }

    #[test]
    fn stable_addresses_are_told_without_the_gateway() {
        let ends = ["10.1.0.2", "10.1.0.9"].map(|text| text.parse().expect("an address"));
        let wall = Wall { stable: Some(ends.into()), ..wall("ms1", "10.1.0.0/24", false) };
        let nets: Vec<String> = wall.stable_nets().iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["10.1.0.2/31", "10.1.0.4/30", "10.1.0.8/31"]);
    }
}
