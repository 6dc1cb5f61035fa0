//! The way out of networks that are not internal, and the walls between networks, as one nftables table of our own.
//!
//! The whole table is rendered from all networks and replaced at once: there is no rule to be forgotten. Where
//! somebody else drops what is forwarded (Docker sets that policy), accepting in our own table is not enough, since
//! any one drop wins: then rules with our mark are put in front of theirs.

use ipnet::Ipv4Net;

/// A network, as far as the rules need to know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall {
    /// The machine's link into it.
    pub link: String,
    /// Its addresses.
    pub net: Ipv4Net,
    /// Nothing outside can be reached from it.
    pub internal: bool,
}

/// The rules for these networks; without networks only what removes the table.
///
/// `table` names it; `links` is the prefix that all our links share.
pub fn script(table: &str, links: &str, walls: &[Wall]) -> String {
    // Adding before deleting makes the deletion succeed whether or not the table existed.
    let mut text = format!("add table ip {table}\ndelete table ip {table}\n");
    if walls.is_empty() {
        return text;
    }
    let nets = |internal: Option<bool>| {
        let chosen = walls.iter().filter(|wall| internal.is_none_or(|internal| wall.internal == internal));
        chosen.map(|wall| wall.net.to_string()).collect::<Vec<_>>().join(", ")
    };
    text.push_str(&format!("table ip {table} {{\n\tchain forward {{\n"));
    text.push_str("\t\ttype filter hook forward priority filter; policy accept;\n");
    text.push_str("\t\tct state established,related accept\n");
    text.push_str(&format!("\t\tiifname \"{links}*\" oifname \"{links}*\" drop\n"));
    text.push_str(&format!("\t\toifname \"{links}*\" drop\n"));
    if walls.iter().any(|wall| wall.internal) {
        text.push_str(&format!("\t\tip saddr {{ {} }} drop\n", nets(Some(true))));
    }
    text.push_str("\t}\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n");
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

/// What has to be done so that another's dropping policy lets our traffic pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// Nothing: nobody drops, or it is done already.
    Open,
    /// A rule is put in front; a text for `nft -f -`.
    Rules(String),
}

/// The chain that Docker and other firewalls drop in, as `nft -a list chain ip filter FORWARD` prints it.
///
/// `is_needed` says whether any network has a way out; when not, our rules there are removed.
pub fn passage(chain: &str, mark: &str, links: &str, is_needed: bool) -> Passage {
    let drops = chain.contains("policy drop");
    let ours: Vec<&str> = chain.lines().filter(|line| line.contains(&format!("comment \"{mark}\""))).collect();
    if is_needed && drops {
        if !ours.is_empty() {
            return Passage::Open;
        }
        return Passage::Rules(format!(
            "insert rule ip filter FORWARD iifname \"{links}*\" accept comment \"{mark}\"\n\
             insert rule ip filter FORWARD oifname \"{links}*\" ct state established,related accept comment \"{mark}\"\n",
        ));
    }
    let handles = ours.iter().filter_map(|line| line.rsplit_once("# handle ")?.1.trim().parse::<u64>().ok());
    let removals: String = handles.map(|handle| format!("delete rule ip filter FORWARD handle {handle}\n")).collect();
    if removals.is_empty() { Passage::Open } else { Passage::Rules(removals) }
}

/// The same as [`passage`] for `iptables -S FORWARD`: arguments of `iptables`, one call each.
pub fn legacy_passage(listing: &str, mark: &str, links: &str, is_needed: bool) -> Vec<Vec<String>> {
    let drops = listing.lines().any(|line| line == "-P FORWARD DROP");
    let is_there = listing.contains(&format!("--comment {mark} "));
    let rules = [
        format!("FORWARD -i {links}+ -m comment --comment {mark} -j ACCEPT"),
        format!("FORWARD -o {links}+ -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment {mark} -j ACCEPT"),
    ];
    let verb = match (is_needed && drops, is_there) {
        (true, false) => "-I",
        (false, true) => "-D",
        _ => return Vec::new(),
    };
    rules.iter().map(|rule| format!("{verb} {rule}").split(' ').map(str::to_owned).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(link: &str, net: &str, internal: bool) -> Wall {
        Wall { link: link.into(), net: net.parse().expect("a subnet"), internal }
    }

    #[test]
    fn the_table_is_replaced_as_a_whole() {
        let walls = [wall("ms1", "10.1.0.0/24", false), wall("ms2", "10.2.0.0/24", true)];
        let text = script("mainstay", "ms", &walls);
        let want = "add table ip mainstay\ndelete table ip mainstay\ntable ip mainstay {\n\tchain forward {\n\
            \t\ttype filter hook forward priority filter; policy accept;\n\
            \t\tct state established,related accept\n\
            \t\tiifname \"ms*\" oifname \"ms*\" drop\n\
            \t\toifname \"ms*\" drop\n\
            \t\tip saddr { 10.2.0.0/24 } drop\n\t}\n\
            \tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\
            \t\tiifname \"ms1\" ip daddr { 10.2.0.0/24 } drop\n\
            \t\tiifname \"ms2\" ip daddr { 10.1.0.0/24 } drop\n\t}\n\
            \tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\
            \t\tip saddr { 10.1.0.0/24 } oifname != \"ms*\" masquerade\n\t}\n}\n";
        assert_eq!(text, want);
        assert_eq!(script("t", "ms", &[]), "add table ip t\ndelete table ip t\n");
    }

    #[test]
    fn a_dropping_policy_gets_rules_in_front_once() {
        let docker = "table ip filter {\n\tchain FORWARD { # handle 2\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        let Passage::Rules(rules) = passage(docker, "mainstay", "ms", true) else { panic!("rules are needed") };
        assert_eq!(rules.lines().count(), 2);
        let done =
            docker.replace("drop;\n", "drop;\n\t\tiifname \"ms*\" counter accept comment \"mainstay\" # handle 9\n");
        assert_eq!(passage(&done, "mainstay", "ms", true), Passage::Open);
        let removal = Passage::Rules("delete rule ip filter FORWARD handle 9\n".into());
        assert_eq!(passage(&done, "mainstay", "ms", false), removal);
        assert_eq!(passage(&docker.replace("policy drop", "policy accept"), "mainstay", "ms", true), Passage::Open);
        assert_eq!(passage("", "mainstay", "ms", true), Passage::Open);
    }

    #[test]
    fn older_rules_are_added_and_removed_as_a_pair() {
        let verbs = |listing: &str, is_needed| {
            let calls = legacy_passage(listing, "mainstay", "ms", is_needed);
            calls.iter().map(|call| call[0].clone()).collect::<String>()
        };
        assert_eq!(verbs("-P FORWARD ACCEPT\n", true), "");
        assert_eq!(verbs("-P FORWARD DROP\n", true), "-I-I");
        assert_eq!(verbs("-P FORWARD DROP\n", false), "");
        let done = "-P FORWARD DROP\n-A FORWARD -i ms+ -m comment --comment mainstay -j ACCEPT\n";
        assert_eq!((verbs(done, true), verbs(done, false)), (String::new(), "-D-D".to_owned()));
    }
}
