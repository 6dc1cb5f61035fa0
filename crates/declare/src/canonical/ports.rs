//! `ports` and `expose`: `[[host:]published:]target[/protocol]`, ranges, and the long form.

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
            match Short::parse(&scalar.text) {
                Ok(short) => self.expand_ports(&short, item.span, &mut long),
                Err(problem) => self.bad_port(&scalar.text, problem, item.span),
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
        for offset in 0..short.target.len() {
            let mut map = Map::default();
            let choice = short.published.filter(|range| range.len() != short.target.len());
            let number = |range: Range| Node::plain((usize::from(range.first) + offset).to_string(), span);
            map.push("target", number(short.target));
            if let Some(Range { first, last }) = choice {
                map.push("published", Node::text(format!("{first}-{last}"), span));
            } else if let Some(published) = short.published {
                map.push("published", number(published));
            }
            if let Some(host) = short.host {
                map.push("host_ip", Node::text(host, span));
            }
            map.push("protocol", Node::text(short.protocol.to_ascii_lowercase(), span));
            long.push(Node::map(map, span));
        }
    }

    pub(super) fn expose(&mut self, node: &mut Node) {
        let Value::List(items) = &mut node.value else { return };
        let mut single = Vec::with_capacity(items.len());
        for item in std::mem::take(items) {
            let text = item.as_scalar().map(|scalar| scalar.text.clone()).unwrap_or_default();
            let (ports, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
            let Some(range) = Range::parse(ports).filter(|_| matches!(protocol, "tcp" | "udp")) else {
                self.bad_port(&text, "it is no number from 1 to 65535", item.span);
                continue;
            };
            self.ports += range.len();
            if self.ports > MAX_PORTS {
                too_many(self.found, item.span);
                break;
            }
            // Datagrams pass untouched by the edge's listeners, so only streams are listed.
            if protocol == "tcp" {
                let number = |port: u16| Node::plain(port.to_string(), item.span);
                single.extend((range.first..=range.last).map(number));
            }
        }
        node.value = Value::List(single);
    }
}

fn too_many(found: &mut Findings, span: Span) {
    found.push(
        error(codes::TOO_LARGE, format!("more than {MAX_PORTS} ports in one file"))
            .at(span, "the limit is passed here")
            .help("publish fewer ports"),
    );
}

#[derive(Clone, Copy)]
struct Range {
    first: u16,
    last: u16,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
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
