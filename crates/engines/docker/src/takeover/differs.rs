//! Whether a container that another tool has made is as we would make it. Pure.
//!
//! What is ours to decide does not count: names, networks, published ports, restarts, health checks, and how output is kept
//! unless the file says so.

use crate::container::Request;
use crate::phase;
use bollard::models::{ContainerInspectResponse, ImageConfig, MountPoint};
use model::project::{MountSource, Template};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Of the machine's side, by the Engine's names, and the keys they come from. The Engine fills in values of its own
/// where nobody asks: those are only compared where we ask.
const COMPARED: [(&str, &str); 26] = [
    ("CapAdd", "cap_add"),
    ("CapDrop", "cap_drop"),
    ("Privileged", "privileged"),
    ("ReadonlyRootfs", "read_only"),
    ("Init", "init"),
    ("GroupAdd", "group_add"),
    ("Devices", "devices"),
    ("DeviceCgroupRules", "device_cgroup_rules"),
    ("Sysctls", "sysctls"),
    ("SecurityOpt", "security_opt"),
    ("Dns", "dns"),
    ("DnsOptions", "dns_opt"),
    ("DnsSearch", "dns_search"),
    ("PidMode", "pid"),
    ("UTSMode", "uts"),
    ("UsernsMode", "userns_mode"),
    ("CgroupParent", "cgroup_parent"),
    ("NanoCpus", "cpus"),
    ("CpuShares", "cpu_shares"),
    ("CpuPeriod", "cpu_period"),
    ("CpuQuota", "cpu_quota"),
    ("CpusetCpus", "cpuset"),
    ("Memory", "mem_limit"),
    ("MemoryReservation", "mem_reservation"),
    ("PidsLimit", "pids_limit"),
    ("Ulimits", "ulimits"),
];
const COMPARED_WHERE_ASKED: [(&str, &str); 7] = [
    ("MemorySwap", "memswap_limit"),
    ("MemorySwappiness", "mem_swappiness"),
    ("ShmSize", "shm_size"),
    ("IpcMode", "ipc"),
    ("CgroupnsMode", "cgroup"),
    ("Runtime", "runtime"),
    ("OomScoreAdj", "oom_score_adj"),
];
/// A volume that the Engine has named itself.
const UNNAMED: usize = 64;

/// The keys of a service in which a container differs from what would be asked for, in the file's words.
pub(crate) fn differs(
    request: &Request,
    template: &Template,
    image: &ImageConfig,
    volumes: &BTreeMap<String, String>,
    found: &ContainerInspectResponse,
) -> Vec<String> {
    let mut keys = of_program(request, template, image, found);
    let wanted = serde_json::to_value(&request.body.host_config).unwrap_or_default();
    let there = serde_json::to_value(&found.host_config).unwrap_or_default();
    let value = |of: &Value, key: &str| plain(of.get(key).cloned().unwrap_or_default());
    let is_other = |(key, _): &&(&str, &str)| value(&wanted, key) != value(&there, key);
    let is_asked = |(key, _): &&(&str, &str)| value(&wanted, key) != Value::Null;
    let asked = COMPARED_WHERE_ASKED.iter().filter(is_asked);
    keys.extend(COMPARED.iter().chain(asked).filter(is_other).map(|(_, name)| *name));
    if !is_same_mode(template, &value(&there, "NetworkMode")) {
        keys.push("network_mode");
    }
    if hosts(template) != listed_hosts(&value(&there, "ExtraHosts")) {
        keys.push("extra_hosts");
    }
    if let Some(logging) = &template.container.logging {
        let config = value(&there, "LogConfig");
        let options = value(&config, "Config");
        let wanted = plain(serde_json::to_value(&logging.options).unwrap_or_default());
        let is_driver =
            logging.driver.as_ref().is_none_or(|driver| config.get("Type").and_then(Value::as_str) == Some(driver));
        if !is_driver || options != wanted {
            keys.push("logging");
        }
    }
    let mut keys: BTreeSet<String> = keys.into_iter().map(str::to_owned).collect();
    keys.extend(of_mounts(template, image, volumes, found));
    keys.into_iter().collect()
}

/// The program, its surroundings and its labels.
fn of_program(
    request: &Request,
    template: &Template,
    image: &ImageConfig,
    found: &ContainerInspectResponse,
) -> Vec<&'static str> {
    let (body, there) = (&request.body, found.config.clone().unwrap_or_default());
    let mut keys = Vec::new();
    let mut note = |is_same: bool, key: &'static str| {
        if !is_same {
            keys.push(key);
        }
    };
    note(body.image == found.image, "image");
    let has_entrypoint = body.entrypoint.is_some();
    note(
        list(&there.entrypoint) == list(if has_entrypoint { &body.entrypoint } else { &image.entrypoint }),
        "entrypoint",
    );
    let command = if body.cmd.is_some() || has_entrypoint { &body.cmd } else { &image.cmd };
    note(list(&there.cmd) == list(command), "command");
    let mut wanted = variables(&image.env);
    wanted.extend(variables(&body.env));
    note(variables(&there.env) == wanted, "environment");
    let text = |own: &Option<String>, usual: &Option<String>| own.clone().or_else(|| usual.clone()).unwrap_or_default();
    note(text(&there.user, &None) == text(&body.user, &image.user), "user");
    note(text(&there.working_dir, &None) == text(&body.working_dir, &image.working_dir), "working_dir");
    note(template.hostname.is_none() || there.hostname == template.hostname, "hostname");
    note(text(&there.domainname, &None) == text(&body.domainname, &None), "domainname");
    note(there.tty.unwrap_or_default() == template.container.tty, "tty");
    note(there.open_stdin.unwrap_or_default() == template.container.stdin_open, "stdin_open");
    let asked = there.stop_signal.as_deref().and_then(phase::signal);
    note(template.stop_signal.is_none_or(|signal| asked == Some(signal)), "stop_signal");
    let own = |labels: &HashMap<String, String>| -> BTreeMap<String, String> {
        let usual = image.labels.clone().unwrap_or_default();
        let counts = |(key, value): &(&String, &String)| {
            !key.starts_with("com.docker.compose.")
                && !key.starts_with("desktop.docker.io/")
                && usual.get(*key) != Some(*value)
        };
        labels.iter().filter(counts).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let wanted: HashMap<String, String> = template.labels.clone().into_iter().collect();
    note(own(&there.labels.unwrap_or_default()) == own(&wanted), "labels");
    keys
}

fn list(list: &Option<Vec<String>>) -> &[String] {
    list.as_deref().unwrap_or_default()
}

fn variables(list: &Option<Vec<String>>) -> BTreeMap<String, String> {
    let split = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    list.iter().flatten().filter_map(split).collect()
}

/// Nothing, zero, no and empty are all nothing; the order of a list says nothing, nor do the prefix of a capability and
/// the empty fields of an object.
fn plain(value: Value) -> Value {
    match value {
        Value::Bool(false) => Value::Null,
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::Null,
        Value::String(text) if text.is_empty() => Value::Null,
        Value::String(text) => Value::String(text.strip_prefix("CAP_").unwrap_or(&text).to_owned()),
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(plain).collect();
            list.sort_by_key(ToString::to_string);
            if list.is_empty() { Value::Null } else { Value::Array(list) }
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (key, plain(value)));
            let fields: serde_json::Map<String, Value> = fields.filter(|(_, value)| !value.is_null()).collect();
            if fields.is_empty() { Value::Null } else { Value::Object(fields) }
        }
        other => other,
    }
}

/// The machine's network and none are modes of their own; every other one is a matter of networks.
fn is_same_mode(template: &Template, there: &Value) -> bool {
    let named = |mode: &str| if ["host", "none"].contains(&mode) { Some(mode.to_owned()) } else { None };
    template.container.namespaces.network.as_deref().and_then(named) == there.as_str().and_then(named)
}

fn hosts(template: &Template) -> BTreeSet<String> {
    let fixed = template.extra_hosts.iter().map(|(name, ip)| format!("{name}:{ip}"));
    let gateways = template.container.host_gateway.iter().map(|name| format!("{name}:host-gateway"));
    fixed.chain(gateways).collect()
}

fn listed_hosts(there: &Value) -> BTreeSet<String> {
    let list = there.as_array().into_iter().flatten().filter_map(Value::as_str);
    // Older tools write `name:ip`, newer ones `name=ip`.
    list.map(|line| if line.contains(':') { line.to_owned() } else { line.replacen('=', ":", 1) }).collect()
}

/// Mounts, secrets and configs, each by where it is mounted.
fn of_mounts(
    template: &Template,
    image: &ImageConfig,
    volumes: &BTreeMap<String, String>,
    found: &ContainerInspectResponse,
) -> Vec<String> {
    let clean = |path: &str| if path == "/" { path.to_owned() } else { path.trim_end_matches('/').to_owned() };
    let points = found.mounts.iter().flatten();
    let mut there: BTreeMap<String, MountPoint> =
        points.map(|point| (clean(point.destination.as_deref().unwrap_or_default()), point.clone())).collect();
    let tmpfs = found.host_config.as_ref().and_then(|host| host.tmpfs.clone()).unwrap_or_default();
    for target in tmpfs.keys() {
        there.insert(clean(target), MountPoint { typ: Some("tmpfs".into()), rw: Some(true), ..MountPoint::default() });
    }
    let mut keys = Vec::new();
    for mount in &template.mounts {
        let is_same = there.remove(&clean(&mount.target)).is_some_and(|point| {
            let is = |kind: &str| point.typ.as_deref() == Some(kind);
            let is_named = |name: Option<&String>| is("volume") && name.is_some() && point.name.as_ref() == name;
            let is_writable = point.rw.unwrap_or_default();
            match &mount.source {
                MountSource::Volume(name) => is_named(volumes.get(name.as_str())) && is_writable != mount.read_only,
                MountSource::External(name) => is_named(Some(name)) && is_writable != mount.read_only,
                MountSource::Anonymous => is_unnamed(&point),
                MountSource::Host(path) => {
                    is("bind")
                        && point.source.as_deref().map(clean) == Some(clean(path))
                        && is_writable != mount.read_only
                }
                // The same files of the same folder, where the other tool found them.
                MountSource::Bundle(_) => is("bind"),
                MountSource::Tmpfs { .. } => is("tmpfs"),
            }
        });
        if !is_same {
            keys.push(format!("volumes ({})", mount.target));
        }
    }
    for file in &template.files {
        let source = there.remove(&clean(&file.target)).and_then(|point| point.source);
        let content = source.and_then(|source| runtime::files::read(source.as_ref()).ok());
        if content.is_none_or(|content| content != file.content.reveal()) {
            keys.push(format!(
                "{} ({})",
                if file.kind == model::project::FileKind::Secret { "secrets" } else { "configs" },
                file.target
            ));
        }
    }
    let wants = |target: &String| list(&image.volumes).iter().any(|wanted| clean(wanted) == *target);
    let strange = there.iter().filter(|(target, point)| !(is_unnamed(point) && wants(target)));
    keys.extend(strange.map(|(target, _)| format!("volumes ({target})")));
    keys
}

/// Whether a mount is a volume without a name of its own.
pub(crate) fn is_unnamed(point: &MountPoint) -> bool {
    let is_digest = |name: &String| name.len() == UNNAMED && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    point.typ.as_deref() == Some("volume") && point.name.as_ref().is_some_and(is_digest)
}
