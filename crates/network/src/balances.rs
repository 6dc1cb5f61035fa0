//! Stable addresses that lead to replicas: the kernel chooses one for each connection, on every port but those that
//! somebody on the machine answers on.
//!
//! One table of packet rules for all of them, replaced as a whole whenever a replica comes or goes. A connection keeps
//! the replica that was chosen for it. Replies come back through the machine: it stands in as the sender, because
//! replica and caller see each other on the bridge and would not find their connection again.
#![expect(clippy::disallowed_methods, reason = "kernel settings")]

use crate::error::Error;
use crate::{Netlink, flows, generation, nft, rules};
use model::fingerprint::short_hash;
use runtime::{Clock, Tasks};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

/// Before Docker's chains, which have -100 and 100.
const LEADS: i32 = -101;
const MASKS: i32 = 99;
const UDP: u8 = 17;

/// What becomes of connections to each stable address.
pub type Balances = BTreeMap<Ipv4Addr, Balance>;

/// What becomes of connections to a stable address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balance {
    /// Ports of it that are answered on the machine.
    pub known: BTreeSet<u16>,
    /// Where all others lead, in turns. None: they are refused.
    pub replicas: BTreeSet<Ipv4Addr>,
}

/// Keeps the rules as they are wanted.
pub struct Balancer {
    table: String,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    /// None before anything was set; changes go one at a time.
    state: tokio::sync::Mutex<Option<State>>,
}

struct State {
    balances: Balances,
    script: Script,
    /// The kernel's count of changes at which the rules were seen in force.
    seen_at: Option<u32>,
}

impl Balancer {
    /// One whose rules are in a table of that name.
    pub fn new(table: String, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        Self { table, clock, tasks, state: tokio::sync::Mutex::default() }
    }

    /// Whether the machine has all that is needed. Changes nothing.
    pub async fn is_able(&self) -> bool {
        let wanted = Balance { known: [80].into(), replicas: [Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST].into() };
        let address = Ipv4Addr::new(127, 0, 0, 2);
        let script = script(&self.table, &[(address, "lo".to_owned(), &wanted)]);
        let checked = nft::check(&script.text, &*self.clock).await;
        if let Err(error) = &checked {
            tracing::info!(error = %error, "calls to ports that nobody knows of cannot be led to replicas");
        }
        checked.is_ok()
    }

    /// Has exactly these rules be in force.
    pub async fn set(&self, balances: Balances) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        if balances.is_empty() && state.as_ref().is_some_and(|before| before.balances.is_empty()) {
            return Ok(());
        }
        let links = self.links(&balances).await?;
        let found = balances.iter().filter_map(|(address, balance)| {
            // A network that is gone takes its addresses with it.
            Some((*address, links.get(address)?.clone(), balance))
        });
        let script = script(&self.table, &found.collect::<Vec<_>>());
        let before = state.take();
        if before.as_ref().is_some_and(|before| before.script == script)
            && let Some(seen_at) = self.seen(&script.sign).await?
        {
            *state = Some(State { balances, script, seen_at: Some(seen_at) });
            return Ok(());
        }
        match nft::feed(&script.text, &*self.clock).await {
            Err(Error::NoNft) if balances.is_empty() => {}
            // Nothing is wanted, and nobody has seen that anything was there: not every kernel knows such rules.
            Err(error) if balances.is_empty() && before.is_none() => {
                tracing::debug!(%error, "packet rules of an earlier daemon, if any, stay");
            }
            result => result?,
        }
        let gone = gone(before.as_ref().map(|before| &before.balances), &balances);
        let links: BTreeSet<String> = links.into_values().collect();
        self.tasks.blocking("open bridges to their own", move || hairpin(&links)).await?;
        if !balances.is_empty() {
            self.tasks.blocking("switch forwarding on", rules::forward).await??;
        }
        if let Err(error) = self.forget(gone).await {
            // Only who speaks UDP without a pause notices, and no release waits for a kernel that cannot tell.
            tracing::warn!(%error, "flows over UDP may still lead to replicas that are gone");
        }
        *state = Some(State { balances, script, seen_at: None });
        Ok(())
    }

    /// Whether nobody has changed any rule of the machine since ours were seen in force.
    pub async fn stands(&self) -> Result<bool, Error> {
        let seen_at = match &*self.state.lock().await {
            Some(state) if state.balances.is_empty() => return Ok(true),
            state => state.as_ref().and_then(|state| state.seen_at),
        };
        Ok(seen_at.is_some() && seen_at == self.generation().await?)
    }

    /// How many TCP connections to one of these stable addresses lead to one of these replicas.
    pub async fn n_open(&self, stable: BTreeSet<Ipv4Addr>, replicas: BTreeSet<Ipv4Addr>) -> Result<usize, Error> {
        let flows = self.flows().await?;
        let leads = |flow: &&flows::Flow| stable.contains(&flow.wanted) && replicas.contains(&flow.to);
        Ok(flows.iter().filter(leads).filter(|flow| flow.is_open == Some(true)).count())
    }

    /// The kernel's count of changes, if the rules are in force.
    async fn seen(&self, sign: &str) -> Result<Option<u32>, Error> {
        // Asked for first: a change while we look makes us look again.
        let generation = self.generation().await?;
        match nft::list(&self.table, &*self.clock).await {
            Err(Error::NoNft) => Ok(None),
            result => Ok(result?.is_some_and(|text| text.contains(sign)).then_some(generation).flatten()),
        }
    }

    async fn generation(&self) -> Result<Option<u32>, Error> {
        let kernel = |source| Error::Kernel { doing: "ask for the count of rule changes", source };
        self.tasks.blocking("count rule changes", generation::now).await?.map_err(kernel)
    }

    async fn flows(&self) -> Result<Vec<flows::Flow>, Error> {
        let kernel = |source| Error::Kernel { doing: "list connections", source };
        self.tasks.blocking("list connections", flows::led).await?.map_err(kernel)
    }

    /// Whoever speaks UDP and never pauses would be led to a replica that is gone for ever.
    async fn forget(&self, gone: BTreeSet<(Ipv4Addr, Ipv4Addr)>) -> Result<(), Error> {
        if gone.is_empty() {
            return Ok(());
        }
        let flows = self.flows().await?;
        let is_stale = move |flow: &flows::Flow| flow.protocol == UDP && gone.contains(&(flow.wanted, flow.to));
        let kernel = |source| Error::Kernel { doing: "have connections led anew", source };
        let forget = move || flows.iter().filter(|flow| is_stale(flow)).try_for_each(flows::forget);
        self.tasks.blocking("forget connections", forget).await?.map_err(kernel)
    }

    /// The link that each of these addresses lies on.
    async fn links(&self, balances: &Balances) -> Result<BTreeMap<Ipv4Addr, String>, Error> {
        if balances.is_empty() {
            return Ok(BTreeMap::new());
        }
        let kernel = |source| Error::Kernel { doing: "list addresses", source };
        self.tasks.blocking("list addresses", links).await?.map_err(kernel)
    }
}

fn links() -> io::Result<BTreeMap<Ipv4Addr, String>> {
    let mut netlink = Netlink::open()?;
    let names: BTreeMap<u32, String> = netlink.links()?.into_iter().map(|link| (link.index, link.name)).collect();
    let addresses = netlink.addresses()?.into_iter();
    Ok(addresses.filter_map(|address| Some((address.ip, names.get(&address.link)?.clone()))).collect())
}

/// Has each port of these bridges take back what came from it: a replica may call its own service, and be chosen.
///
/// Only bridges whose packets pass the packet filter before they are routed need it; a port that goes away meanwhile
/// needs nothing.
fn hairpin(links: &BTreeSet<String>) {
    for link in links {
        let ports = std::fs::read_dir(Path::new("/sys/class/net").join(link).join("brif"));
        for port in ports.into_iter().flatten().flatten() {
            if let Err(error) = std::fs::write(port.path().join("hairpin_mode"), "1") {
                tracing::debug!(port = ?port.path(), %error, "a bridge does not lead packets back");
            }
        }
    }
}

/// Replicas that a stable address led to and leads to no more.
fn gone(before: Option<&Balances>, after: &Balances) -> BTreeSet<(Ipv4Addr, Ipv4Addr)> {
    let stays =
        |address: &Ipv4Addr, replica: &Ipv4Addr| after.get(address).is_some_and(|now| now.replicas.contains(replica));
    let before = before.into_iter().flatten();
    let pairs = before.flat_map(|(address, was)| was.replicas.iter().map(move |replica| (*address, *replica)));
    pairs.filter(|(address, replica)| !stays(address, replica)).collect()
}

/// The rules, and by what they are known again in a listing.
#[derive(Debug, PartialEq, Eq)]
struct Script {
    text: String,
    sign: String,
}

/// Stands for the sign where it is written.
const SIGN: &str = "@sign@";

fn script(table: &str, balances: &[(Ipv4Addr, String, &Balance)]) -> Script {
    let text = text(table, balances);
    let sign = format!("comment \"{table} {}\"", short_hash(&text));
    Script { text: text.replace(SIGN, &sign), sign }
}

fn text(table: &str, balances: &[(Ipv4Addr, String, &Balance)]) -> String {
    // Made first, so that it can be deleted whether it was there or not.
    let mut text = format!("table ip {table}\ndelete table ip {table}\n");
    if balances.is_empty() {
        return text;
    }
    let all = join(balances.iter().map(|(address, ..)| address.to_string()));
    let links = join(balances.iter().map(|(_, link, _)| link).collect::<BTreeSet<_>>().into_iter().map(quoted));
    let led = || balances.iter().enumerate().filter(|(_, (.., balance))| !balance.replicas.is_empty());
    let _ = writeln!(text, "table ip {table} {{");
    for (n, (_, _, balance)) in led() {
        let to = choice(&balance.replicas);
        chain(
            &mut text,
            &format!("to-{n}"),
            [format!("{} dnat to {to}", unknown(&balance.known)), format!("meta l4proto udp dnat to {to}")],
        );
    }
    for (n, (_, _, balance)) in balances.iter().enumerate() {
        chain(
            &mut text,
            &format!("refuse-{n}"),
            [format!("{} reject with tcp reset", unknown(&balance.known)), "meta l4proto udp reject".to_owned()],
        );
    }
    // What comes from elsewhere is not let in; see the rules around networks.
    let come = join(led().map(|(n, (address, link, _))| format!("{} . {address} : goto to-{n}", quoted(link))));
    let made = join(led().map(|(n, (address, ..))| format!("{address} : goto to-{n}")));
    let refused = join(balances.iter().enumerate().map(|(n, (address, ..))| format!("{address} : goto refuse-{n}")));
    let some = |rule: String| led().next().map(|_| rule);
    hook(&mut text, "nat", "prerouting", LEADS, some(format!("iifname . ip daddr vmap {{ {come} }}")));
    hook(&mut text, "nat", "output", LEADS, some(format!("ip daddr vmap {{ {made} }}")));
    hook(
        &mut text,
        "nat",
        "postrouting",
        MASKS,
        [format!("ct status dnat ct original ip daddr {{ {all} }} masquerade")],
    );
    // A reply may come to the same address: only what is new is refused.
    hook(&mut text, "filter", "input", 0, [format!("ct state new ip daddr vmap {{ {refused} }} {SIGN}")]);
    // The way through the machine looks like a detour, and is meant.
    hook(&mut text, "filter", "output", 0, [format!("oifname {{ {links} }} icmp type redirect drop")]);
    text.push_str("}\n");
    text
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn quoted(name: &String) -> String {
    format!("\"{name}\"")
}

/// The TCP ports beside these.
fn unknown(known: &BTreeSet<u16>) -> String {
    match known.is_empty() {
        true => "meta l4proto tcp".to_owned(),
        false => format!("tcp dport != {{ {} }}", join(known.iter().map(ToString::to_string))),
    }
}

/// One of them, in turns.
fn choice(replicas: &BTreeSet<Ipv4Addr>) -> String {
    let each = replicas.iter().enumerate().map(|(n, replica)| format!("{n} : {replica}"));
    match replicas.first() {
        Some(only) if replicas.len() == 1 => only.to_string(),
        _ => format!("numgen inc mod {} map {{ {} }}", replicas.len(), join(each)),
    }
}

fn chain(text: &mut String, name: &str, rules: impl IntoIterator<Item = String>) {
    let _ = writeln!(text, "\tchain {name} {{");
    for rule in rules {
        let _ = writeln!(text, "\t\t{rule}");
    }
    text.push_str("\t}\n");
}

fn hook(text: &mut String, kind: &str, hook: &str, priority: i32, rules: impl IntoIterator<Item = String>) {
    let begin = format!("type {kind} hook {hook} priority {priority};");
    chain(text, &format!("{kind}-{hook}"), [begin].into_iter().chain(rules));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 1, 0, last)
    }

    fn balance<const N: usize, const M: usize>(known: [u16; N], replicas: [u8; M]) -> Balance {
        Balance { known: known.into(), replicas: replicas.map(ip).into() }
    }

    #[test]
    fn each_address_leads_to_its_replicas_but_for_known_ports() {
        let (api, web, idle) = (balance([], [11, 12]), balance([80, 443], [13]), balance([], []));
        let all = [(ip(2), "b1".into(), &api), (ip(3), "b1".into(), &web), (ip(4), "b2".into(), &idle)];
        let Script { text, sign } = script("t", &all);
        for line in [
            "\t\tmeta l4proto tcp dnat to numgen inc mod 2 map { 0 : 10.1.0.11, 1 : 10.1.0.12 }\n",
            "\t\ttcp dport != { 80, 443 } dnat to 10.1.0.13\n",
            "\t\tiifname . ip daddr vmap { \"b1\" . 10.1.0.2 : goto to-0, \"b1\" . 10.1.0.3 : goto to-1 }\n",
            "10.1.0.4 : goto refuse-2 }",
            "oifname { \"b1\", \"b2\" } icmp type redirect drop",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.contains(&sign) && sign.starts_with("comment \"t "), "{sign} is not in\n{text}");
        assert_eq!(script("t", &[]).text, "table ip t\ndelete table ip t\n");
    }

    #[test]
    fn only_what_an_address_no_longer_leads_to_is_gone() {
        let before = Balances::from([(ip(2), balance([], [11, 12])), (ip(3), balance([], [13]))]);
        let after = Balances::from([(ip(2), balance([], [12, 14]))]);
        assert_eq!(gone(Some(&before), &after), [(ip(2), ip(11)), (ip(3), ip(13))].into());
        assert_eq!(gone(None, &after), BTreeSet::new());
    }
}
