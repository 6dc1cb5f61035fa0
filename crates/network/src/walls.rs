//! The way out of networks that are not internal, and the walls around networks, as one nftables table of our own.
//!
//! The whole table is rendered from all networks and replaced at once: there is no rule to be forgotten. A link of
//! ours that no network is known of reaches nothing, so that a damaged network never stands open. Rules that others
//! drop our packets by are met in [`crate::passage`]. Pure; [`crate::Rules`] carries it out.

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

/// What the table has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Everything: what may come in, what may pass through, and the way out.
    Whole,
    /// Only what may come in: somebody else (Docker) sees to what passes through.
    Input,
}

impl Duty {
    /// How many chains carry the sign.
    pub fn n_chains(self) -> usize {
        match self {
            Self::Whole => 2,
            Self::Input => 1,
        }
    }
}

/// The rules for these networks; without networks only what removes the table.
///
/// `table` names it; `links` is the prefix that all our links share; `sign` is told by the table when it is listed.
pub fn script(duty: Duty, table: &str, links: &str, walls: &[Wall], sign: &str) -> String {
    // Adding before deleting makes the deletion succeed whether or not the table existed.
    let mut text = format!("add table ip {table}\ndelete table ip {table}\n");
    if walls.is_empty() {
        return text;
    }
    let known = walls.iter().map(|wall| format!("\"{}\"", wall.link)).collect::<Vec<_>>().join(", ");
    let strangers = format!("\t\tiifname \"{links}*\" iifname != {{ {known} }} drop comment \"{sign}\"\n");
    text.push_str(&format!("table ip {table} {{\n"));
    if duty == Duty::Whole {
        forward(links, walls, &strangers, &mut text);
    }
    input(links, walls, &strangers, &mut text);
    if duty == Duty::Whole && walls.iter().any(|wall| !wall.internal) {
        text.push_str("\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
        let nets = nets(walls, Some(false));
        text.push_str(&format!("\t\tip saddr {{ {nets} }} oifname != \"{links}*\" masquerade\n\t}}\n"));
    }
    text.push_str("}\n");
    text
}

fn nets(walls: &[Wall], internal: Option<bool>) -> String {
    let chosen = walls.iter().filter(|wall| internal.is_none_or(|internal| wall.internal == internal));
    chosen.map(|wall| wall.net.to_string()).collect::<Vec<_>>().join(", ")
}

fn forward(links: &str, walls: &[Wall], strangers: &str, text: &mut String) {
    text.push_str("\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n");
    text.push_str(strangers);
    text.push_str("\t\tct state established,related accept\n");
    // From a stable address to a replica: see [`crate::balances`].
    text.push_str(&format!("\t\tiifname \"{links}*\" oifname \"{links}*\" ct status dnat accept\n"));
    text.push_str(&format!("\t\tiifname \"{links}*\" oifname \"{links}*\" drop\n"));
    text.push_str(&format!("\t\toifname \"{links}*\" drop\n"));
    if walls.iter().any(|wall| wall.internal) {
        text.push_str(&format!("\t\tip saddr {{ {} }} drop\n", nets(walls, Some(true))));
    }
    text.push_str("\t}\n");
}

fn input(links: &str, walls: &[Wall], strangers: &str, text: &mut String) {
    text.push_str("\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n");
    text.push_str(strangers);
    // Stable addresses are the machine's: without this whoever can route to it could call what is not published.
    let all = nets(walls, None);
    text.push_str(&format!("\t\tiifname != \"lo\" iifname != \"{links}*\" ip daddr {{ {all} }} drop\n"));
    for wall in walls {
        let others: Vec<String> = walls.iter().filter(|w| w.net != wall.net).map(|w| w.net.to_string()).collect();
        if !others.is_empty() {
            // The machine answers for every network's stable addresses; each is for its own network only.
            text.push_str(&format!("\t\tiifname \"{}\" ip daddr {{ {} }} drop\n", wall.link, others.join(", ")));
        }
    }
    text.push_str("\t}\n");
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
        let text = script(Duty::Whole, "mainstay", "ms", &walls, "mainstay 7");
        let want = "add table ip mainstay\ndelete table ip mainstay\ntable ip mainstay {\n\tchain forward {\n\
            \t\ttype filter hook forward priority filter; policy accept;\n\
            \t\tiifname \"ms*\" iifname != { \"ms1\", \"ms2\" } drop comment \"mainstay 7\"\n\
            \t\tct state established,related accept\n\
            \t\tiifname \"ms*\" oifname \"ms*\" ct status dnat accept\n\
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
        assert_eq!(script(Duty::Whole, "t", "ms", &[], ""), "add table ip t\ndelete table ip t\n");
    }

    #[test]
    fn what_passes_through_may_be_somebody_elses_matter() {
        let walls = [wall("ms1", "10.1.0.0/24", false)];
        let text = script(Duty::Input, "mainstay", "ms", &walls, "mainstay 7");
        assert!(
            text.contains("hook input") && !text.contains("hook forward") && !text.contains("masquerade"),
            "{text}"
        );
    }

    #[test]
    fn stable_addresses_are_told_without_the_gateway() {
        let ends = ["10.1.0.2", "10.1.0.9"].map(|text| text.parse().expect("an address"));
        let wall = Wall { stable: Some(ends.into()), ..wall("ms1", "10.1.0.0/24", false) };
        let nets: Vec<String> = wall.stable_nets().iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["10.1.0.2/31", "10.1.0.4/30", "10.1.0.8/31"]);
    }
}
