//! What a service runs: image, entry point and command, or its recipe; its health check and its user.

use super::datastore;
use super::read::Reader;
use crate::codes;
use crate::findings::{error, warning};
use crate::policy::{Asks, ProbeRule};
use crate::syntax::{Map, Node};
use model::policy::EngineKind;
use model::probe::{Check, Probe};
use model::project::{Runs, User};
use std::num::NonZeroU32;
use std::time::Duration;

/// The words of `command` or `entrypoint`; none when nothing is said.
pub fn words(service: &Map, key: &str, read: &mut Reader<'_>) -> Option<Vec<String>> {
    let node = service.get(key).filter(|node| !node.is_null())?;
    Some(read.scalars(node, key))
}

/// Compose's `healthcheck` as a probe; none when it is switched off or says nothing.
pub fn healthcheck(service: &Map, read: &mut Reader<'_>) -> Option<Probe> {
    let entry = service.entry("healthcheck")?;
    let map = read.map(&entry.value, "healthcheck")?;
    if map.get("disable").and_then(|node| read.boolean(node, "disable")) == Some(true) {
        return None;
    }
    let Some(test) = map.get("test").filter(|node| !node.is_null()) else {
        if !map.entries.is_empty() {
            read.found.push(
                warning(codes::HEALTHCHECK, "this health check asks nothing, and that of the image is not known")
                    .at(entry.key_span, "")
                    .help("write a `test`"),
            );
        }
        return None;
    };
    let argv = test_argv(test, read)?;
    let mut probe = Probe::with_defaults(Check::Command { argv });
    let mut time = |key: &str, into: &mut Duration, zero_is_default: bool| {
        let value = map.get(key).filter(|node| !node.is_null()).and_then(|node| read.duration(node, key));
        if let Some(value) = value.filter(|value| !(zero_is_default && value.is_zero())) {
            *into = value;
        }
    };
    time("interval", &mut probe.interval, true);
    time("timeout", &mut probe.timeout, true);
    time("start_period", &mut probe.start_period, false);
    time("start_interval", &mut probe.start_interval, true);
    let retries = map.get("retries").filter(|node| !node.is_null());
    let retries = retries.and_then(|node| read.number(node, "retries", 0, 1_000_000));
    // Compose's 0 means "as the image says", which is the default.
    if let Some(retries) = retries.and_then(|n| NonZeroU32::new(n as u32)) {
        probe.retries = retries;
    }
    Some(probe)
}

fn test_argv(test: &Node, read: &mut Reader<'_>) -> Option<Vec<String>> {
    let words = read.scalars(test, "test");
    let wrong = |read: &mut Reader<'_>, message: &str| {
        read.wrong(
            codes::HEALTHCHECK,
            test,
            message,
            "write `[\"CMD\", \"program\", …]` or `[\"CMD-SHELL\", \"line\"]`",
        );
        None
    };
    match words.split_first() {
        Some((kind, [])) if kind == "NONE" => None,
        Some((kind, argv)) if kind == "CMD" && !argv.is_empty() => Some(argv.to_vec()),
        Some((kind, words)) if kind == "CMD-SHELL" && !words.is_empty() => {
            Some(["/bin/sh", "-c", &words.join(" ")].map(str::to_owned).to_vec())
        }
        Some((kind, _)) if ["CMD", "CMD-SHELL", "NONE"].contains(&kind.as_str()) => {
            wrong(read, &format!("a health check with `{kind}` has another number of words"))
        }
        // Reported with what the specification says of it.
        Some(_) => None,
        None => wrong(read, "this health check asks nothing"),
    }
}

/// A probe of the policy; an http probe without port gets port 0, which is settled once the ports are known.
pub fn probe(rule: &ProbeRule) -> Probe {
    let check = match &rule.asks {
        Asks::Http(path, port) => Check::Http { port: port.unwrap_or(0), path: path.clone() },
        Asks::Tcp(port) => Check::Tcp { port: *port },
        Asks::Command(argv) => Check::Command { argv: argv.clone() },
    };
    let mut probe = Probe::with_defaults(check);
    probe.interval = rule.interval.filter(|value| !value.is_zero()).unwrap_or(probe.interval);
    // A probe need not wait longer than to the next one.
    probe.timeout = rule.timeout.filter(|value| !value.is_zero()).unwrap_or(probe.timeout.min(probe.interval));
    probe.retries = rule.retries.unwrap_or(probe.retries);
    probe.start_period = rule.start_period.unwrap_or(probe.start_period);
    probe.start_interval =
        rule.start_interval.filter(|v| !v.is_zero()).unwrap_or(probe.start_interval.min(probe.interval));
    probe
}

/// The user: numbers, or `root`; none for the name that the image runs as anyway, or that only the engine can look up.
pub fn user(service: &Map, runs: &Runs, engine: EngineKind, read: &mut Reader<'_>) -> Option<User> {
    let node = service.get("user").filter(|node| !node.is_null())?;
    let text = read.scalar(node, "user")?;
    if let Runs::Image { image, .. } = runs
        && datastore::user(image) == Some(text.as_str())
    {
        return None;
    }
    let (uid, gid) = text.split_once(':').unwrap_or((&text, "0"));
    let number = |part: &str| if part == "root" { Some(0) } else { part.parse::<u32>().ok() };
    match (number(uid), number(gid)) {
        (Some(uid), Some(gid)) => Some(User { uid, gid }),
        _ if engine == EngineKind::Docker => None,
        _ => {
            read.found.push(
                error(codes::USER, format!("the user `{text}` is no number, and the image's user list is not known"))
                    .at(node.span, "")
                    .help("write the numbers, for example `\"1000:1000\"`"),
            );
            None
        }
    }
}

/// Whether a `healthcheck` says that nothing is asked, whatever check the image brings.
pub(super) fn is_disabled(map: &Map) -> bool {
    let Some(check) = map.get("healthcheck").and_then(Node::as_map) else { return false };
    let is = |node: Option<&Node>, text: &str| {
        node.and_then(Node::as_scalar).is_some_and(|scalar| scalar.to_text().eq_ignore_ascii_case(text))
    };
    let test = check.get("test");
    let first = test.and_then(Node::as_list).and_then(|items| items.first());
    is(check.get("disable"), "true") || is(test, "NONE") || is(first, "NONE")
}
