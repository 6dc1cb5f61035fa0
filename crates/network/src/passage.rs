//! Rules in front of those by which others drop what is ours: any one drop wins, so accepting in our own table is not
//! enough.
//!
//! Docker drops what is forwarded; a firewall (ufw, firewalld, a hand-written one) drops what comes in, and with it
//! every call to a stable address. Each such chain gets our rules in front, with our mark and a hash of them, so that
//! they are put there once, renewed when networks change, and removed when nothing needs them. Pure.

use crate::walls::Wall;
use model::fingerprint::short_hash;

/// Where in the kernel's path of a packet a chain sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// What is for the machine itself.
    Input,
    /// What passes through it.
    Forward,
}

/// A chain that can drop what is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain<'a> {
    /// `ip`, or `inet` for both versions at once.
    pub family: &'a str,
    /// Its table.
    pub table: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Where it sits.
    pub hook: Hook,
    /// Its lines.
    pub text: &'a str,
}

impl Chain<'_> {
    /// As `nft` takes it.
    fn path(&self) -> String {
        format!("{} {} {}", self.family, self.table, self.name)
    }

    /// Whether it is the one that `iptables` calls by that name.
    pub fn is_iptables(&self) -> bool {
        self.family == "ip" && self.table == "filter" && ["INPUT", "FORWARD"].contains(&self.name)
    }

    /// Whether a daemon like this one made it: it lets pass what is not its own.
    fn is_of_a_daemon(&self) -> bool {
        self.text.contains(&format!("comment \"{} ", self.table))
    }
}

/// The chains in what `nft -a list ruleset` prints that see our packets.
pub fn chains(listing: &str) -> Vec<Chain<'_>> {
    let mut chains = Vec::new();
    for table in blocks(listing, "table ") {
        let mut head = table.split_whitespace().skip(1);
        let (Some(family), Some(name)) = (head.next(), head.next()) else { continue };
        if ["ip", "inet"].contains(&family) {
            chains.extend(blocks(table, "\tchain ").filter_map(|text| chain(family, name, text)));
        }
    }
    chains
}

/// The parts of a text that begin with a line that begins so.
fn blocks<'a>(text: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    let mut starts: Vec<usize> = text.match_indices(begin).map(|(at, _)| at).collect();
    starts.retain(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n');
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([text.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| &text[start..end])
}

fn chain<'a>(family: &'a str, table: &'a str, text: &'a str) -> Option<Chain<'a>> {
    // What follows the chain's end is not its own.
    let text = text.find("\n\t}").map_or(text, |end| &text[..end]);
    let name = text.split_whitespace().nth(1)?;
    let kinds = [("type filter hook input ", Hook::Input), ("type filter hook forward ", Hook::Forward)];
    let (_, hook) = kinds.into_iter().find(|(kind, _)| text.contains(kind))?;
    Some(Chain { family, table, name, hook, text })
}

/// What our packets need of a chain that drops: matches, each followed by acceptance.
fn needs(hook: Hook, links: &str, walls: &[Wall]) -> Vec<String> {
    match hook {
        Hook::Forward if walls.iter().any(|wall| !wall.internal) => {
            vec![format!("iifname \"{links}*\""), format!("oifname \"{links}*\" ct state established,related")]
        }
        // From a stable address to a replica: see [`crate::balances`].
        Hook::Forward if !walls.is_empty() => {
            vec![format!("iifname \"{links}*\" oifname \"{links}*\" ct status dnat")]
        }
        Hook::Input => {
            // Not the gateway: the machine's own services stay behind its firewall.
            let stable: Vec<String> = walls.iter().flat_map(Wall::stable_nets).map(|net| net.to_string()).collect();
            let rule = format!("iifname \"{links}*\" ip daddr {{ {} }}", stable.join(", "));
            (!stable.is_empty()).then_some(rule).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// What has to be done so that a chain lets our packets pass: a text for `nft -f -`, none when nothing has to be.
///
/// `mark` begins the comment of each of our rules.
pub fn rules(chain: &Chain<'_>, mark: &str, links: &str, walls: &[Wall]) -> Option<String> {
    if chain.is_of_a_daemon() {
        return None;
    }
    let prefix = format!("comment \"{mark} ");
    let (ours, others): (Vec<&str>, Vec<&str>) = chain.text.lines().partition(|line| line.contains(&prefix));
    let is_refusal = |word: &str| matches!(word, "drop" | "reject");
    let drops = others.iter().any(|line| line.split([' ', '\t', ';']).any(is_refusal));
    let wanted = if drops { needs(chain.hook, links, walls) } else { Vec::new() };
    let sign = format!("comment \"{mark} {}\"", short_hash(wanted.join("\n")));
    if ours.len() == wanted.len() && ours.iter().all(|line| line.contains(&sign)) {
        return None;
    }
    let path = chain.path();
    let handles = ours.iter().filter_map(|line| line.rsplit_once("# handle ")?.1.trim().parse::<u64>().ok());
    let mut text: String = handles.map(|handle| format!("delete rule {path} handle {handle}\n")).collect();
    text.extend(wanted.iter().map(|rule| format!("insert rule {path} {rule} accept {sign}\n")));
    Some(text)
}

/// The same for a chain of `iptables`, as `iptables -S` prints it: arguments of `iptables`, one call each.
///
/// Where that program manages a chain it is asked itself: it refuses a table with rules that it could not have written.
pub fn legacy_rules(name: &str, listing: &str, mark: &str, links: &str, walls: &[Wall]) -> Vec<Vec<String>> {
    let has_way_out = walls.iter().any(|wall| !wall.internal);
    let comment = format!("-m comment --comment {mark} -j ACCEPT");
    let wanted: Vec<String> = match name {
        "FORWARD" if has_way_out => vec![
            format!("-i {links}+ {comment}"),
            format!("-o {links}+ -m conntrack --ctstate RELATED,ESTABLISHED {comment}"),
        ],
        "FORWARD" if !walls.is_empty() => {
            vec![format!("-i {links}+ -o {links}+ -m conntrack --ctstate DNAT {comment}")]
        }
        "INPUT" => {
            walls.iter().flat_map(Wall::stable_nets).map(|net| format!("-d {net} -i {links}+ {comment}")).collect()
        }
        _ => Vec::new(),
    };
    let appended = format!("-A {name} ");
    let is_ours = |line: &&str| line.ends_with(&comment);
    let ours: Vec<&str> = listing.lines().filter(is_ours).filter_map(|line| line.strip_prefix(&appended)).collect();
    let blocks =
        |line: &str| line == format!("-P {name} DROP") || line.ends_with("-j DROP") || line.contains("-j REJECT");
    let wanted = if listing.lines().any(blocks) { wanted } else { Vec::new() };
    let gone = ours.iter().filter(|rule| !wanted.iter().any(|w| w == *rule)).map(|rule| format!("-D {name} {rule}"));
    let new = wanted.iter().filter(|rule| !ours.contains(&rule.as_str())).map(|rule| format!("-I {name} {rule}"));
    gone.chain(new).map(|call| call.split(' ').map(str::to_owned).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walls(internal: bool) -> Vec<Wall> {
        let ip = |text: &str| text.parse().expect("an address");
        let stable = Some((ip("10.1.0.2"), ip("10.1.0.3")));
        vec![Wall { link: "ms1".into(), net: "10.1.0.0/24".parse().expect("a subnet"), stable, internal }]
    }

    #[test]
    fn chains_that_see_our_packets_are_read_from_the_listing() {
        let listing = "table ip mainstay { # handle 1\n\tchain input { # handle 1\n\
            \t\ttype filter hook input priority filter; policy accept;\n\
            \t\tiifname \"ms*\" drop comment \"mainstay 1\" # handle 2\n\t}\n}\n\
            table inet filter { # handle 2\n\tset x {\n\t\ttype ipv4_addr\n\t}\n\n\tchain input { # handle 1\n\
            \t\ttype filter hook input priority filter; policy accept;\n\t\tiif \"lo\" accept # handle 5\n\t}\n\n\
            \tchain output {\n\t\ttype filter hook output priority filter; policy drop;\n\t}\n}\n\
            table ip6 filter {\n\tchain y {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n\
            table ip filter {\n\tchain DOCKER {\n\t\tdrop\n\t}\n\n\tchain FORWARD {\n\
            \t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        let found = chains(listing);
        let paths: Vec<String> = found.iter().map(|chain| format!("{} {:?}", chain.path(), chain.hook)).collect();
        assert_eq!(paths, ["ip mainstay input Input", "inet filter input Input", "ip filter FORWARD Forward"]);
        assert_eq!(found.iter().map(Chain::is_iptables).collect::<Vec<_>>(), [false, false, true]);
        let rules: Vec<_> = found.iter().map(|chain| rules(chain, "other", "ms", &walls(false))).collect();
        assert_eq!((&rules[0], &rules[1]), (&None, &None), "neither a daemon's own nor one that lets pass");
        assert!(rules[2].is_some());
    }

    #[test]
    fn a_chain_that_drops_gets_rules_in_front_once() {
        let ask = |hook, text: &str, walls: &[Wall]| {
            rules(&Chain { family: "inet", table: "filter", name: "c", hook, text }, "mainstay", "ms", walls)
        };
        let drops = "\tchain c { # handle 2\n\t\ttype filter hook input priority filter; policy drop;\n";
        let text = ask(Hook::Input, drops, &walls(true)).expect("rules are needed");
        let rule = "iifname \"ms*\" ip daddr { 10.1.0.2/31 } accept comment \"mainstay ";
        assert!(text.starts_with(&format!("insert rule inet filter c {rule}")), "{text}");
        let done = format!("{drops}{} # handle 9\n", text.trim_start_matches("insert rule inet filter c ").trim());
        assert_eq!(ask(Hook::Input, &done, &walls(true)), None);
        assert_eq!(ask(Hook::Input, &done, &[]), Some("delete rule inet filter c handle 9\n".into()));
        let mut more = walls(true);
        more[0].stable = more[0].stable.map(|(first, _)| (first, "10.1.0.9".parse().expect("an address")));
        let renewed = ask(Hook::Input, &done, &more).expect("the networks have changed");
        assert!(renewed.starts_with("delete rule inet filter c handle 9\ninsert rule"), "{renewed}");
        assert_eq!(ask(Hook::Input, "policy accept; counter accept", &walls(true)), None);
        let within = ask(Hook::Forward, drops, &walls(true)).expect("calls to a name pass");
        assert!(within.contains(" iifname \"ms*\" oifname \"ms*\" ct status dnat accept "), "no way out: {within}");
        assert_eq!(ask(Hook::Forward, drops, &[]), None);
        assert_eq!(ask(Hook::Forward, drops, &walls(false)).expect("needs some").lines().count(), 2);
        assert!(ask(Hook::Input, "policy accept;\n\t\treject with icmpx admin-prohibited", &walls(true)).is_some());
    }

    #[test]
    fn iptables_is_asked_in_its_own_words() {
        let calls = |name: &str, listing: &str, walls: &[Wall]| {
            let calls = legacy_rules(name, listing, "mainstay", "ms", walls);
            calls.iter().map(|call| call.join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(calls("FORWARD", "-P FORWARD ACCEPT\n", &walls(false)), [""; 0]);
        assert_eq!(calls("FORWARD", "-P FORWARD DROP\n", &walls(false)).len(), 2);
        let within = "-i ms+ -o ms+ -m conntrack --ctstate DNAT -m comment --comment mainstay -j ACCEPT";
        assert_eq!(calls("FORWARD", "-P FORWARD DROP\n", &walls(true)), [format!("-I FORWARD {within}")]);
        let rule = "-d 10.1.0.2/31 -i ms+ -m comment --comment mainstay -j ACCEPT";
        assert_eq!(calls("INPUT", "-P INPUT DROP\n", &walls(true)), [format!("-I INPUT {rule}")]);
        let done = format!("-P INPUT DROP\n-A INPUT {rule}\n");
        assert_eq!(calls("INPUT", &done, &walls(true)), [""; 0]);
        assert_eq!(calls("INPUT", &done, &[]), [format!("-D INPUT {rule}")]);
    }
}
