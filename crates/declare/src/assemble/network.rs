//! Networks, published ports and the ports a service is known to listen on.

use super::read::Reader;
use super::{Kind, Reference, is_external, own_name, parse_name, section, service};
use crate::canonical::ports::Range;
use crate::codes;
use crate::findings::{error, warning};
use crate::policy::{Asks, Policy};
use crate::syntax::{Map, Node};
use ipnet::{IpNet, Ipv4Net};
use model::name::{NetworkName, ServiceName};
use model::policy::EngineKind;
use model::probe::{Check, Probe};
use model::project::{Attachment, Network, PortProtocol, PublishedPort, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The network of services that name none.
pub const DEFAULT: &str = "default";

/// The networks that services are attached to; Compose makes no others either.
pub fn networks(
    top: &Map,
    engine: EngineKind,
    services: &BTreeMap<ServiceName, Service>,
    read: &mut Reader<'_>,
) -> BTreeMap<NetworkName, Network> {
    let used: BTreeSet<&str> =
        services.values().flat_map(|service| service.template.networks.keys().map(NetworkName::as_str)).collect();
    let mut networks = BTreeMap::new();
    for entry in section(top, "networks", read) {
        let Some(name) = parse_name::<NetworkName>(entry, read) else { continue };
        let Some(network) = network(&entry.value, engine, read) else { continue };
        if used.contains(name.as_str()) {
            networks.insert(name, network);
        }
    }
    if used.contains(DEFAULT) {
        let name = DEFAULT.parse().expect("`default` is a legal name");
        networks.entry(name).or_default();
    }
    networks
}

fn network(node: &Node, engine: EngineKind, read: &mut Reader<'_>) -> Option<Network> {
    let map = read.map(node, "networks")?;
    let is_docker = engine == EngineKind::Docker;
    if is_docker && is_external(map) {
        return None;
    }
    if let Some(driver) = map.get("driver").filter(|node| !node.is_null()) {
        let text = read.text(driver, "driver")?;
        let known: &[&str] = if is_docker { &["bridge", "default"] } else { &["bridge", "overlay", "default"] };
        if !known.contains(&text.as_str()) {
            let message = format!("the network driver `{text}` is not supported yet");
            let help = match text.as_str() {
                "host" | "none" => format!("remove the network, and write `network_mode: {text}` for its services"),
                _ => "remove it: the network is a bridge".to_owned(),
            };
            read.wrong(codes::NOT_YET, driver, message, help);
        }
    }
    let internal = map.get("internal").and_then(|node| read.boolean(node, "internal")).unwrap_or(false);
    let ipam = map.get("ipam").and_then(|node| read.map(node, "ipam"));
    let pools = ipam.and_then(|ipam| ipam.get("config")).map(|node| read.list(node, "config")).unwrap_or_default();
    let mut subnet = None;
    for pool in pools {
        let Some(node) = read.map(pool, "config").and_then(|map| map.get("subnet")) else { continue };
        match read.parse::<IpNet>(codes::VALUE, node, "subnet") {
            Some(IpNet::V4(net)) if subnet.is_none() => subnet = Some(checked(net, node, read)),
            Some(IpNet::V4(_)) => read.found.push(
                warning(codes::IGNORED, "a network has one subnet, this further one has no effect")
                    .at(node.span, "")
                    .help("remove it"),
            ),
            Some(IpNet::V6(_)) => read.found.push(
                warning(codes::IGNORED, "networks have IPv4 only, this subnet has no effect")
                    .at(node.span, "")
                    .help("remove it"),
            ),
            None => {}
        }
    }
    let mut network = Network { internal, subnet: subnet.flatten(), ..Network::default() };
    if is_docker {
        network.name = own_name(map, read);
        network.driver_opts = service::texts_of(map, "driver_opts", read);
    }
    Some(network)
}

fn checked(net: Ipv4Net, node: &Node, read: &mut Reader<'_>) -> Option<Ipv4Net> {
    // The gateway, a stable address and a replica are the least that must fit.
    if net.prefix_len() > 28 {
        let message = format!("the subnet `{net}` has too few addresses");
        read.wrong(codes::VALUE, node, message, "write a prefix length of at most 28");
        return None;
    }
    Some(net.trunc())
}

/// Where a service is attached: to networks of the project, and to others by their names on the engine.
#[derive(Default)]
pub struct Attachments {
    /// Those of the project.
    pub own: BTreeMap<NetworkName, Attachment>,
    /// Those of others.
    pub outside: BTreeMap<String, Attachment>,
}

/// The networks of a service; the default one when it names none.
pub fn attachments(
    service: &Map,
    outside: &BTreeMap<String, String>,
    references: &mut Vec<Reference>,
    read: &mut Reader<'_>,
) -> Attachments {
    let mut attachments = Attachments::default();
    let node = service.get("networks");
    let map = node.and_then(|node| read.map(node, "networks")).filter(|map| !map.entries.is_empty());
    let Some(map) = map else {
        match outside.get(DEFAULT) {
            Some(name) => drop(attachments.outside.insert(name.clone(), Attachment::default())),
            None => {
                let name = DEFAULT.parse().expect("`default` is a legal name");
                attachments.own.insert(name, Attachment::default());
            }
        }
        return attachments;
    };
    for entry in &map.entries {
        let name = entry.key.to_string();
        let on_engine = outside.get(&name).cloned();
        references.push(Reference { kind: Kind::Network, name, at: entry.key_span });
        let Some(options) = read.map(&entry.value, "networks") else { continue };
        let aliases = options.get("aliases").map(|node| read.scalars(node, "aliases")).unwrap_or_default();
        let attachment = Attachment { aliases: aliases.into_iter().collect() };
        match on_engine {
            Some(name) => drop(attachments.outside.insert(name, attachment)),
            None => drop(parse_name(entry, read).map(|name| attachments.own.insert(name, attachment))),
        }
    }
    attachments
}

/// The ports of the machine that lead to a service.
pub fn published(service: &Map, is_store: bool, read: &mut Reader<'_>) -> Vec<PublishedPort> {
    let Some(node) = service.get("ports") else { return Vec::new() };
    let mut ports = Vec::new();
    for item in read.list(node, "ports") {
        ports.extend(publish(item, is_store, read));
    }
    ports
}

fn publish(item: &Node, is_store: bool, read: &mut Reader<'_>) -> Option<PublishedPort> {
    let map = read.map(item, "ports")?;
    let Some(target) = map.get("target") else {
        read.wrong(codes::MISSING, item, "an entry of `ports` needs a `target`", "write the port inside the replica");
        return None;
    };
    let target = read.number(target, "target", 1, 65535)? as u16;
    let published = map.get("published").filter(|node| !node.is_null());
    let published = match published {
        Some(node) if node.as_scalar().is_some_and(|scalar| scalar.text.contains('-')) => {
            read.wrong(codes::NOT_YET, node, "a choice of published ports is not supported yet", "write one port");
            return None;
        }
        // Compose's 0 and empty text leave the choice to the machine.
        Some(node) if node.as_scalar().is_some_and(|scalar| matches!(&*scalar.text, "" | "0")) => None,
        Some(node) => Some(read.number(node, "published", 1, 65535)? as u16),
        None => None,
    };
    let protocol = map.get("protocol").filter(|node| !node.is_null()).map(|node| (node, read.scalar(node, "protocol")));
    if let Some((node, Some(text))) = &protocol
        && text != "tcp"
    {
        let message = format!("publishing `{text}` ports is not supported yet");
        read.wrong(codes::NOT_YET, node, message, "remove the port; other services still reach it by name");
        return None;
    }
    let protocol = match map.get("app_protocol").and_then(|node| read.scalar(node, "app_protocol")).as_deref() {
        Some("http") => PortProtocol::Http,
        Some("tcp") => PortProtocol::Tcp,
        _ => PortProtocol::Auto,
    };
    let host = match map.get("host_ip").filter(|node| !node.is_null()) {
        Some(node) => Some(read.parse::<IpAddr>(codes::VALUE, node, "host_ip")?),
        None => is_store.then(|| loopback(item, read)),
    };
    Some(PublishedPort { host, published, target, protocol, at: item.span })
}

/// The ports of `expose`. Datagrams pass untouched by the edge's listeners, so only streams are listed.
pub fn exposed(node: &Node, read: &mut Reader<'_>) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for item in read.list(node, "expose") {
        let Some(text) = read.scalar(item, "expose") else { continue };
        let (range, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
        match Range::parse(range).filter(|_| matches!(protocol, "tcp" | "udp")) {
            Some(range) if protocol == "tcp" => ports.extend(range.first..=range.last),
            Some(_) => {}
            None => {
                let message = format!("`{text}` is no port: it is no number from 1 to 65535");
                read.wrong(codes::PORT, item, message, "write a port, or a range such as `3000-3005`");
            }
        }
    }
    ports
}

/// A data store is published to the machine itself only: databases that listen to the world get robbed.
fn loopback(item: &Node, read: &mut Reader<'_>) -> IpAddr {
    read.found.push(
        warning(codes::EMULATED, "a data store is published on 127.0.0.1 only")
            .at(item.span, "")
            .help("write the address before the port, for example `0.0.0.0:5432:5432`, if the world shall reach it"),
    );
    Ipv4Addr::LOCALHOST.into()
}

/// Settles http probes that name no port: the service's only port is meant.
pub fn default_probe_ports(policy: &Policy, services: &mut BTreeMap<ServiceName, Service>, read: &mut Reader<'_>) {
    for (name, rules) in &policy.probes {
        let Some(service) = services.get_mut(name.as_str()) else { continue };
        let ports = &service.ports;
        let rules = [(&rules.value.ready, &mut service.probes.ready), (&rules.value.live, &mut service.probes.live)];
        for (rule, probe) in rules {
            let Some(rule) = rule.as_ref().filter(|rule| matches!(rule.value.asks, Asks::Http(_, None))) else {
                continue;
            };
            let Some(Probe { check: Check::Http { port, .. }, .. }) = probe else { continue };
            let mut known = ports.iter();
            match (known.next(), known.next()) {
                (Some(only), None) => *port = *only,
                _ => read.found.push(
                    error(
                        codes::PROBE,
                        format!("`{name}` has {} known ports, so this probe must name one", ports.len()),
                    )
                    .at(rule.span, "")
                    .help("add `port: <number>` to the probe"),
                ),
            }
        }
    }
}
