//! What each replica of a service is started with.

use super::files::grants;
use super::service::{ServiceReader, WORKING_DIR, text_map, texts_of};
use super::{command, mounts, network, signal};
use crate::assemble::read::Reader;
use crate::codes;
use crate::findings::error;
use crate::policy::Recipe;
use crate::syntax::{Map, Node};
use model::container::Container;
use model::name::NetworkName;
use model::project::{Attachment, FileKind, Limits, Runs, Template};
use model::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// Compose's time between the stop signal and the kill.
const STOP_GRACE: Duration = Duration::from_secs(10);

const CAPABILITIES: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

impl ServiceReader<'_> {
    /// The template, for what it runs.
    pub(super) fn template(
        &mut self,
        map: &Map,
        deploy: Option<&Map>,
        runs: Runs,
        recipe: Option<&Recipe>,
    ) -> Template {
        let environment = map.get("environment").map(|node| text_map(node, "environment", &mut self.read));
        let environment = environment.unwrap_or_default();
        let is_process = matches!(runs, Runs::Process { .. });
        let working_dir = self.working_dir(map, recipe).or_else(|| is_process.then(|| WORKING_DIR.to_owned()));
        let labels = if self.is_docker() { self.labels(map, deploy) } else { BTreeMap::new() };
        let mut files = grants(map, FileKind::Secret, self.contents, self.references, &mut self.read);
        files.extend(grants(map, FileKind::Config, self.contents, self.references, &mut self.read));
        if !self.is_docker() {
            self.security_opt(map);
        }
        let mut mounts = mounts::mounts(map, &self.outside.volumes, self.references, &mut self.read);
        if matches!(runs, Runs::Static { .. }) {
            // No replica is there to see them; the folder that is served is the recipe's.
            files.clear();
            mounts.clear();
        }
        let flag =
            |read: &mut Reader<'_>, key: &str| map.get(key).is_some_and(|node| read.boolean(node, key) == Some(true));
        let user = command::user(map, &runs, self.engine, &mut self.read);
        let (networks, outside) = self.networks(map);
        let (extra_hosts, host_gateway) = self.extra_hosts(map);
        let container = match self.is_docker() && !matches!(runs, Runs::Static { .. }) {
            true => Container { external_networks: outside, host_gateway, ..self.container(map, deploy) },
            false => Container::default(),
        };
        Template {
            runs,
            environment: environment.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
            working_dir,
            user,
            hostname: map.get("hostname").filter(|n| !n.is_null()).and_then(|n| self.read.text(n, "hostname")),
            mounts,
            files,
            networks,
            extra_hosts,
            limits: self.limits(map, deploy),
            cap_add: self.capabilities(map, "cap_add"),
            cap_drop: self.capabilities(map, "cap_drop"),
            read_only: flag(&mut self.read, "read_only"),
            stop_signal: self.stop_signal(map),
            stop_grace: map
                .get("stop_grace_period")
                .and_then(|node| self.read.duration(node, "stop_grace_period"))
                .unwrap_or(STOP_GRACE),
            labels,
            container,
        }
    }

    /// Its labels; those of `deploy` win.
    fn labels(&mut self, map: &Map, deploy: Option<&Map>) -> BTreeMap<String, String> {
        let mut labels = texts_of(map, "labels", &mut self.read);
        labels.extend(deploy.map(|deploy| texts_of(deploy, "labels", &mut self.read)).unwrap_or_default());
        labels
    }

    fn security_opt(&mut self, map: &Map) {
        let Some(node) = map.get("security_opt") else { return };
        for item in self.read.list(node, "security_opt") {
            let Some(text) = self.read.scalar(item, "security_opt") else { continue };
            if !matches!(text.as_str(), "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true") {
                let message = format!("the security option `{text}` is not supported yet");
                self.read.wrong(codes::NOT_YET, item, message, "remove it; `no-new-privileges` always holds");
            }
        }
    }

    fn stop_signal(&mut self, map: &Map) -> Option<i32> {
        let node = map.get("stop_signal").filter(|node| !node.is_null())?;
        let text = self.read.scalar(node, "stop_signal")?;
        let number = signal::number(&text);
        if number.is_none() {
            self.read.wrong(codes::VALUE, node, format!("`{text}` is no signal"), "write for example `SIGTERM`");
        }
        number
    }

    /// The networks of the project and those of others. One on the machine's own network, or on none, has neither.
    fn networks(&mut self, map: &Map) -> (BTreeMap<NetworkName, Attachment>, BTreeMap<String, Attachment>) {
        if self.apart(map).is_some() {
            return Default::default();
        }
        let mut networks = network::attachments(map, &self.outside.networks, self.references, &mut self.read);
        let name = map.get("container_name").filter(|node| self.is_docker() && !node.is_null());
        if let Some(name) = name.and_then(|node| self.read.scalar(node, "container_name")) {
            for attachment in networks.own.values_mut().chain(networks.outside.values_mut()) {
                attachment.aliases.insert(name.clone());
            }
        }
        (networks.own, networks.outside)
    }

    /// Addresses by name, and the names that lead to the machine itself.
    pub(super) fn extra_hosts(&mut self, map: &Map) -> (BTreeMap<String, IpAddr>, BTreeSet<String>) {
        let mut hosts = BTreeMap::new();
        let mut gateways = BTreeSet::new();
        for entry in self.below(map, "extra_hosts").map_or(&[][..], |map| &map.entries) {
            for item in self.read.list(&entry.value, "extra_hosts") {
                let Some(text) = self.read.scalar(item, "extra_hosts") else { continue };
                let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
                match bare.parse() {
                    Ok(address) => {
                        hosts.entry(entry.key.to_string()).or_insert(address);
                    }
                    Err(_) if bare == "host-gateway" && self.is_docker() => {
                        gateways.insert(entry.key.to_string());
                    }
                    Err(_) if bare == "host-gateway" => {
                        let help = "publish what must be reached, or name the address";
                        self.read.wrong(codes::NOT_YET, item, "`host-gateway` is not supported yet", help);
                    }
                    Err(_) => {
                        let message = format!("`{text}` is no address for `{}`", entry.key);
                        self.read.wrong(codes::VALUE, item, message, "write `name:address`, for example `db:10.0.0.5`");
                    }
                }
            }
        }
        (hosts, gateways)
    }

    fn capabilities(&mut self, map: &Map, key: &str) -> BTreeSet<String> {
        let Some(node) = map.get(key) else { return BTreeSet::new() };
        let mut set = BTreeSet::new();
        for item in self.read.list(node, key) {
            let Some(text) = self.read.scalar(item, key) else { continue };
            let upper = text.to_ascii_uppercase();
            let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
            if CAPABILITIES.contains(&name) {
                set.insert(name.to_owned());
            } else {
                let help = self
                    .read
                    .found
                    .did_you_mean(name, CAPABILITIES.iter().copied(), || "write for example `NET_ADMIN`".into());
                self.read.wrong(codes::VALUE, item, format!("`{text}` is no capability"), help);
            }
        }
        set
    }

    fn limits(&mut self, map: &Map, deploy: Option<&Map>) -> Limits {
        let resources = deploy.and_then(|map| self.below(map, "resources"));
        let limits = resources.and_then(|map| self.below(map, "limits"));
        let of = |key: &str| limits.and_then(|map| map.get(key)).filter(|node| !node.is_null());
        let own = |key: &str| map.get(key).filter(|node| !node.is_null());
        let cpus = self.one_of(own("cpus"), of("cpus"), |read, node| read.parse(codes::VALUE, node, "cpus"));
        let memory = self.one_of(own("mem_limit"), of("memory"), |read, node| read.bytes(node, "memory"));
        let pids = self.one_of(own("pids_limit"), of("pids"), |read, node| {
            // Docker's -1 and 0 mean "no limit".
            let unlimited = node.as_scalar().is_some_and(|scalar| matches!(&*scalar.text, "-1" | "0"));
            if unlimited { None } else { read.number(node, "pids", 1, u32::MAX.into()) }
        });
        Limits {
            cpus: cpus.filter(|cpus: &model::units::MilliCpus| cpus.0 > 0),
            memory: memory.filter(|memory| memory.0 > 0),
            pids: pids.and_then(|n| NonZeroU32::new(n as u32)),
            shm: own("shm_size").and_then(|node| self.read.bytes(node, "shm_size")),
            ulimits: self.ulimits(map),
        }
    }

    /// A limit that may be written in two places, which agree.
    pub(super) fn one_of<T>(
        &mut self,
        own: Option<&Node>,
        deployed: Option<&Node>,
        parse: impl Fn(&mut Reader<'_>, &Node) -> Option<T>,
    ) -> Option<T> {
        let old = own.and_then(|node| parse(&mut self.read, node));
        let new = deployed.and_then(|node| parse(&mut self.read, node));
        new.or(old)
    }

    fn ulimits(&mut self, map: &Map) -> BTreeMap<String, (u64, u64)> {
        const NAMES: &[&str] = &[
            "as",
            "core",
            "cpu",
            "data",
            "fsize",
            "locks",
            "memlock",
            "msgqueue",
            "nice",
            "nofile",
            "nproc",
            "rss",
            "rtprio",
            "rttime",
            "sigpending",
            "stack",
        ];
        let mut limits = BTreeMap::new();
        for entry in self.below(map, "ulimits").map_or(&[][..], |map| &map.entries) {
            // The kernel knows a limit of addresses, a container engine does not.
            let is_docker = self.is_docker();
            let mut known = NAMES.iter().copied().filter(|name| !is_docker || *name != "as");
            if known.clone().all(|name| name != &*entry.key) {
                let help = self.read.found.did_you_mean(&entry.key, &mut known, || "write for example `nofile`".into());
                let message = format!("`{}` is no resource limit", entry.key);
                self.read.found.push(error(codes::VALUE, message).at(entry.key_span, "").help(help));
                continue;
            }
            // One number is both limits.
            let mut limit = |key: &str| {
                let node = match entry.value.as_map() {
                    Some(both) => both.get(key)?,
                    None => &entry.value,
                };
                let unlimited = node.as_scalar().is_some_and(|scalar| &*scalar.text == "-1");
                if unlimited { Some(u64::MAX) } else { self.read.number(node, key, 0, u64::MAX - 1) }
            };
            let (soft, hard) = (limit("soft"), limit("hard"));
            match (soft.or(hard), hard.or(soft)) {
                (Some(soft), Some(hard)) if soft <= hard => {
                    limits.insert(entry.key.to_string(), (soft, hard));
                }
                (Some(soft), Some(hard)) => {
                    let message = format!("the soft limit {soft} is above the hard limit {hard}");
                    self.read.wrong(
                        codes::CONFLICT,
                        &entry.value,
                        message,
                        "write a soft limit of at most the hard one",
                    );
                }
                _ => {}
            }
        }
        limits
    }
}
