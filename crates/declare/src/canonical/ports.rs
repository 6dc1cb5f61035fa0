//! `ports`: `[[host:]published:]target[/protocol]`, ranges, and the long form.

use super::{Forms, MAX_PORTS};
use crate::codes;
use crate::findings::{Findings, error};
use crate::syntax::{Map, Node, Value};
use model::span::Span;

impl Forms<'_> {
    pub(super) fn ports(&mut self, node: &mut Node) {
        let Value::List(items) = &mut node.value else { return };
        let mut long = Vec::with_capacity(items.len());
        for item in std::mem::take(items) {
            let Some(scalar) = item.as_scalar().filter(|scalar| !scalar.is_null()) else {
                long.push(item);
                continue;
            };
            match Short::parse(&scalar.to_text()) {
                Ok(short) => self.expand_ports(&short, item.span, &mut long),
                Err(problem) => self.bad_port(&scalar.to_text(), problem, item.span),
            }
        }
        node.value = Value::List(long);
    }

    fn bad_port(&mut self, text: &str, problem: &str, span: Span) {
        self.found.push(
            error(codes::PORT, format!("`{text}` is no port: {problem}"))
                .at(span, "")
                .help("write `published:target`, for example `\"8080:80\"`"),
        );
    }

    fn expand_ports(&mut self, short: &Short<'_>, span: Span, long: &mut Vec<Node>) {
        self.ports += short.target.len();
        if self.ports > MAX_PORTS {
            if self.ports - short.target.len() <= MAX_PORTS {
                too_many(self.found, span);
            }
            return;
        }
        let mut entries = Vec::with_capacity(short.target.len());
        for offset in 0..short.target.len() {
            let mut map = Map::default();
            let choice = short.published.filter(|range| range.len() != short.target.len());
            let number = |range: Range| Node::plain((usize::from(range.first) + offset).to_string(), span);
            map.push("target", number(short.target));
            if let Some(Range { first, last }) = choice {
                map.push("published", Node::text(format!("{first}-{last}"), span));
            } else if let Some(published) = short.published {
                map.push("published", Node::text((usize::from(published.first) + offset).to_string(), span));
            }
            if let Some(host) = short.host {
                map.push("host_ip", Node::text(host, span));
            }
            map.push("protocol", Node::text(short.protocol.to_ascii_lowercase(), span));
            entries.push((usize::from(short.target.first) + offset, Node::map(map, span)));
        }
        // The order of the reference: by their text, so that 100 comes before 99.
        entries.sort_by_key(|(port, _)| port.to_string());
        long.extend(entries.into_iter().map(|(_, entry)| entry));
    }
}

fn too_many(found: &mut Findings, span: Span) {
    found.push(
        error(codes::TOO_LARGE, format!("more than {MAX_PORTS} ports in one file"))
            .at(span, "the limit is passed here")
            .help("publish fewer ports"),
    );
}

/// Ports from the first to the last.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Range {
    /// One port or two with a dash between.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let range = Self { first: port(first)?, last: port(last)? };
        (range.first <= range.last).then_some(range)
    }

    fn len(self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

struct Short<'a> {
    host: Option<&'a str>,
    published: Option<Range>,
    target: Range,
    protocol: &'a str,
}

impl<'a> Short<'a> {
    fn parse(text: &'a str) -> Result<Self, &'static str> {
        const NUMBER: &str = "a port is a number from 1 to 65535, or a range of them";
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = if protocol.is_empty() { "tcp" } else { protocol };
        if !matches!(&*protocol.to_ascii_lowercase(), "tcp" | "udp" | "sctp") {
            return Err("the protocol is `tcp`, `udp` or `sctp`");
        }
        let (rest, target) = match ports.rsplit_once(':') {
            Some((rest, target)) => (Some(rest), target),
            None => (None, ports),
        };
        let target = Range::parse(target).ok_or(NUMBER)?;
        let Some(rest) = rest else {
            return Ok(Self { host: None, published: None, target, protocol });
        };
        let (host, published) = match rest.rsplit_once(':') {
            Some((host, published)) => (Some(host), published),
            None => (None, rest),
        };
        let host = host.map(|host| host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host));
        let published = match published {
            "" => None,
            text => Some(Range::parse(text).ok_or(NUMBER)?),
        };
        // Several published ports for one target leave the choice to the machine.
        if published.is_some_and(|range| range.len() != target.len() && target.len() > 1) {
            return Err("both ranges must have the same length");
        }
        Ok(Self { host: host.filter(|host| !host.is_empty()), published, target, protocol })
    }
}
