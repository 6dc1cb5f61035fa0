//! Values of a service whose form no shape tells: ranges, sizes, durations, names.

use super::{list, text_of, wrong};
use crate::codes;
use crate::export::units;
use crate::findings::Findings;
use crate::syntax::scalar::Meaning;
use crate::syntax::{Map, Node};
use std::collections::BTreeSet;

/// A way of keys within a service.
type Way = &'static [&'static str];

/// Judges the values of one service.
pub(super) fn check(service: &Map, found: &mut Findings) {
    ranges(service, found);
    amounts(service, found);
    words(service, found);
    devices(service, found);
    mounts(service, found);
    modes(service, found);
}

/// What is written at the end of a way.
pub(super) fn at<'m>(service: &'m Map, way: &[&str]) -> Option<&'m Node> {
    let (last, before) = way.split_last()?;
    let map = before.iter().try_fold(service, |map, key| map.get(key)?.as_map())?;
    map.get(last).filter(|node| !node.is_null())
}

fn ranges(service: &Map, found: &mut Findings) {
    const RANGES: &[(Way, i64, i64)] = &[
        (&["cpu_count"], 0, i64::MAX),
        (&["cpu_percent"], 0, 100),
        (&["oom_score_adj"], -1000, 1000),
        (&["healthcheck", "retries"], 0, i64::MAX),
        (&["deploy", "update_config", "parallelism"], 0, i64::MAX),
        (&["deploy", "rollback_config", "parallelism"], 0, i64::MAX),
        (&["deploy", "restart_policy", "max_attempts"], 0, i64::MAX),
        (&["deploy", "placement", "max_replicas_per_node"], 0, i64::MAX),
    ];
    for (path, least, most) in RANGES {
        let Some(node) = at(service, path) else { continue };
        let number = text_of(node).parse::<f64>().unwrap_or_default();
        let is_whole = path[0] != "cpu_percent" || number.fract() == 0.0;
        if number < *least as f64 || number > *most as f64 || !is_whole {
            let key = path[path.len() - 1];
            let message = match *most {
                i64::MAX => format!("`{key}` must be at least {least}, this is `{}`", text_of(node)),
                most => format!("`{key}` must be a whole number from {least} to {most}, this is `{}`", text_of(node)),
            };
            wrong(found, codes::VALUE, node.span, message, "write another number");
        }
    }
}

fn amounts(service: &Map, found: &mut Findings) {
    const SIZES: &[Way] = &[
        &["mem_limit"],
        &["mem_reservation"],
        &["memswap_limit"],
        &["mem_swappiness"],
        &["shm_size"],
        &["build", "shm_size"],
        &["deploy", "resources", "limits", "memory"],
        &["deploy", "resources", "reservations", "memory"],
    ];
    SIZES.iter().filter_map(|path| at(service, path)).for_each(|node| size(node, "size", found));
    const TIMES: &[Way] = &[
        &["stop_grace_period"],
        &["healthcheck", "interval"],
        &["healthcheck", "timeout"],
        &["healthcheck", "start_period"],
        &["healthcheck", "start_interval"],
        &["deploy", "update_config", "delay"],
        &["deploy", "update_config", "monitor"],
        &["deploy", "rollback_config", "delay"],
        &["deploy", "rollback_config", "monitor"],
        &["deploy", "restart_policy", "delay"],
        &["deploy", "restart_policy", "window"],
    ];
    for node in
        TIMES.iter().filter_map(|path| at(service, path)).filter(|node| units::duration(text_of(node)).is_none())
    {
        let message = format!("`{}` is no duration", text_of(node));
        wrong(found, codes::VALUE, node.span, message, "write a number with a unit, for example `30s`");
    }
    let of_build = at(service, &["build", "ulimits"]).and_then(Node::as_map).map_or(&[][..], |map| &map.entries);
    for node in of_build.iter().map(|entry| &entry.value).filter(|node| node.as_map().is_none()) {
        if text_of(node).parse::<i64>().is_err() {
            let message = format!("`{}` is no limit", text_of(node));
            wrong(found, codes::VALUE, node.span, message, "write a number, or `soft` and `hard`");
        }
    }
    for path in [&["deploy", "resources", "limits", "cpus"][..], &["deploy", "resources", "reservations", "cpus"]] {
        if let Some(node) = at(service, path).filter(|node| text_of(node).parse::<f64>().is_err()) {
            let message = format!("`{}` is no number of processors", text_of(node));
            wrong(found, codes::VALUE, node.span, message, "write for example `0.5`");
        }
    }
}

fn words(service: &Map, found: &mut Findings) {
    if let Some(node) = at(service, &["pull_policy"]).filter(|node| !is_pull_policy(text_of(node))) {
        let message = format!("`{}` is no `pull_policy`", text_of(node));
        wrong(found, codes::VALUE, node.span, message, "write `always`, `missing`, `never`, `build` or `every_12h`");
    }
    if let Some(node) = at(service, &["container_name"]).filter(|node| !is_container_name(text_of(node))) {
        let message = format!("`{}` is no name of a container", text_of(node));
        wrong(found, codes::NAME, node.span, message, "begin with a letter or digit, and write at least two of them");
    }
}

/// Lists whose items must differ.
pub(super) fn repeated(service: &Map, found: &mut Findings) {
    for key in ["device_cgroup_rules", "external_links", "group_add", "security_opt", "volumes_from"] {
        differ(key, list(service, key), found);
    }
    for device in requests(service) {
        for key in ["device_ids", "capabilities"] {
            differ(key, device.as_map().map_or(&[], |map| list(map, key)), found);
        }
    }
}

fn differ(key: &str, items: &[Node], found: &mut Findings) {
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for item in items {
        let kind = item.as_scalar().map_or("", |scalar| scalar.kind());
        if !seen.insert((text_of(item), kind)) {
            let message = format!("`{}` is written twice under `{key}`", text_of(item));
            wrong(found, codes::VALUE, item.span, message, "keep one of the two");
        }
    }
}

/// Requests for devices: of `gpus` and of `deploy`.
fn requests(service: &Map) -> impl Iterator<Item = &Node> {
    let reserved = at(service, &["deploy", "resources", "reservations", "devices"]).and_then(Node::as_list);
    list(service, "gpus").iter().chain(reserved.unwrap_or_default())
}

fn devices(service: &Map, found: &mut Findings) {
    for device in requests(service) {
        let Some(count) = device.as_map().and_then(|map| map.get("count")) else { continue };
        if !text_of(count).eq_ignore_ascii_case("all") && text_of(count).parse::<i64>().is_err() {
            let message = format!("`{}` is no number of devices", text_of(count));
            wrong(found, codes::VALUE, count.span, message, "write a number, or `all`");
        }
    }
    for key in ["device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"] {
        let items = at(service, &["blkio_config", key]).and_then(Node::as_list).unwrap_or_default();
        items.iter().filter_map(|item| item.as_map()?.get("rate")).for_each(|rate| size(rate, "rate", found));
    }
}

fn size(node: &Node, what: &str, found: &mut Findings) {
    if node.as_scalar().is_none_or(|scalar| units::bytes(&scalar.to_text()).is_none()) {
        let message = format!("`{}` is no {what}", text_of(node));
        wrong(found, codes::VALUE, node.span, message, "write a number with a unit, for example `512m`");
    }
}

fn mounts(service: &Map, found: &mut Findings) {
    for item in list(service, "volumes") {
        let Some(map) = item.as_map() else { continue };
        if map.get("type").map(text_of) == Some("bind") && map.get("source").is_none() {
            let message = "a bind mount needs a `source`".into();
            wrong(found, codes::MISSING, item.span, message, "write the path of this machine");
        }
        if let Some(node) = map.get("tmpfs").and_then(Node::as_map).and_then(|tmpfs| tmpfs.get("size")) {
            size(node, "size", found);
        }
    }
}

/// The mode of a file is text in octal digits, or a number.
fn modes(service: &Map, found: &mut Findings) {
    for key in ["secrets", "configs"] {
        for item in list(service, key) {
            let mode = item.as_map().and_then(|map| map.get("mode"));
            let is_octal = |node: &Node| match node.as_scalar().map(|scalar| scalar.meaning()) {
                Some(Meaning::Text) => i64::from_str_radix(text_of(node), 8).is_ok(),
                Some(Meaning::Float(number)) => number.fract() == 0.0,
                _ => true,
            };
            if let Some(mode) = mode.filter(|node| !is_octal(node)) {
                let message = format!("`{}` is no mode of a file", text_of(mode));
                wrong(found, codes::VALUE, mode.span, message, "write octal digits, for example `0440`");
            }
        }
    }
}

fn is_pull_policy(text: &str) -> bool {
    let words = ["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];
    let is_every = |rest: &str| {
        let mut rest = rest;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let unit = rest[digits..].chars().next();
            if digits == 0 || !unit.is_some_and(|unit| "wdhms".contains(unit)) {
                return false;
            }
            rest = &rest[digits + 1..];
        }
        true
    };
    words.contains(&text) || text.strip_prefix("every_").is_some_and(|rest| !rest.is_empty() && is_every(rest))
}

/// Anywhere a letter or digit with something legal behind it, which is all the reference asks.
fn is_container_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(2).any(|two| {
        two[0].is_ascii_alphanumeric() && (two[1].is_ascii_alphanumeric() || matches!(two[1], b'_' | b'.' | b'-'))
    })
}
