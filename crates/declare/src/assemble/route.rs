//! Routes of the policy: hosts, path prefixes and where they lead.

use super::read::Reader;
use super::{Kind, Reference};
use crate::codes;
use crate::findings::error;
use crate::policy::{Policy, RouteRule};
use model::name::ServiceName;
use model::policy::{Route, RoutePath, RouteTarget};
use model::project::{Runs, Service};
use model::span::Spanned;
use std::collections::BTreeMap;

/// The port of a folder that the edge serves, where none is written.
const STATIC_PORT: u16 = 80;

/// The routes; each routed port is added to its service's known ports.
pub fn routes(
    policy: &Policy,
    services: &mut BTreeMap<ServiceName, Service>,
    references: &mut Vec<Reference>,
    read: &mut Reader<'_>,
) -> Vec<Route> {
    policy.routes.iter().filter_map(|rule| route(rule, services, references, read)).collect()
}

fn route(
    rule: &RouteRule,
    services: &mut BTreeMap<ServiceName, Service>,
    references: &mut Vec<Reference>,
    read: &mut Reader<'_>,
) -> Option<Route> {
    let host = rule.host.value.to_ascii_lowercase();
    if !is_host(&host) {
        let message = format!("`{}` is no host name", rule.host.value);
        let help = "write a name such as `example.org`, `*.example.org`, or `*` for every host";
        read.found.push(error(codes::ROUTE, message).at(rule.host.span, "").help(help));
        return None;
    }
    let mut paths = Vec::new();
    for (prefix, target) in &rule.paths {
        if !prefix.starts_with('/')
            || prefix.contains(|c: char| c.is_whitespace() || c.is_control() || "?#".contains(c))
        {
            let message = format!("`{}` is no path prefix", prefix.value);
            read.found.push(error(codes::ROUTE, message).at(prefix.span, "").help("begin it with `/`, without blanks"));
            continue;
        }
        if let Some(leads) = self::target(target, services, references, read) {
            // `/api` and `/api/` are the same prefix: it ends on a segment's border.
            let kept = match prefix.trim_end_matches('/') {
                "" => "/",
                kept => kept,
            };
            paths.push(RoutePath { prefix: kept.to_owned(), target: leads, at: prefix.span });
        }
    }
    Some(Route { host, paths, at: rule.host.span })
}

fn is_host(host: &str) -> bool {
    if host == "*" {
        return true;
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn target(
    target: &Spanned<String>,
    services: &mut BTreeMap<ServiceName, Service>,
    references: &mut Vec<Reference>,
    read: &mut Reader<'_>,
) -> Option<RouteTarget> {
    let wrong = |read: &mut Reader<'_>, message: String, help: String| {
        read.found.push(error(codes::ROUTE, message).at(target.span, "").help(help));
        None
    };
    match target.value.as_str() {
        "@health" => return Some(RouteTarget::Health),
        "@ready" => return Some(RouteTarget::Ready),
        text if text.starts_with('@') => {
            return wrong(
                read,
                format!("`{text}` leads nowhere"),
                "write `@health`, `@ready` or `service:port`".into(),
            );
        }
        _ => {}
    }
    let (name, port) = match target.value.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (target.value.as_str(), None),
    };
    references.push(Reference { kind: Kind::Service, name: name.to_owned(), at: target.span });
    let (key, _) = services.get_key_value(name)?;
    let key = key.clone();
    let service = services.get_mut(name)?;
    let port = match port {
        Some(text) => match text.parse::<u16>().ok().filter(|port| *port > 0) {
            Some(port) => port,
            None => return wrong(read, format!("`{text}` is no port"), "write `service:port` with a number".into()),
        },
        None if matches!(service.template.runs, Runs::Static { .. }) => STATIC_PORT,
        None => match (service.ports.first(), service.ports.len()) {
            (Some(only), 1) => *only,
            (_, known) => {
                let message = format!("`{name}` has {known} known ports, so the route must name one");
                return wrong(read, message, format!("write `{name}:<port>`"));
            }
        },
    };
    service.ports.insert(port);
    Some(RouteTarget::Service { service: key, port })
}
