//! The keys of a container: what only a container engine can give.

use super::read::Reader;
use super::service::{ServiceReader, texts_of};
use crate::codes;
use crate::findings::note;
use crate::syntax::{Map, Node};
use model::container::{Container, Device, Logging, Namespaces};
use model::units::Bytes;
use std::net::IpAddr;

/// More than any engine takes of a number that has no bound of its own.
const MOST: i64 = i64::MAX;

impl ServiceReader<'_> {
    /// Where it is when it is on no network of the project: on the machine's own, or on none.
    pub(super) fn apart(&self, map: &Map) -> Option<&'static str> {
        let mode = map.get("network_mode").and_then(Node::as_scalar).map(|scalar| &*scalar.text);
        ["host", "none"].into_iter().find(|apart| self.is_docker() && mode == Some(apart))
    }

    /// What the keys of a container say; networks and hosts aside.
    pub(super) fn container(&mut self, map: &Map, deploy: Option<&Map>) -> Container {
        let mut container = Container {
            user: self.word_of(map, "user"),
            group_add: self.texts(map, "group_add"),
            platform: self.word_of(map, "platform"),
            runtime: self.word_of(map, "runtime"),
            devices: self.devices(map),
            device_cgroup_rules: self.texts(map, "device_cgroup_rules"),
            sysctls: texts_of(map, "sysctls", &mut self.read),
            security_opt: self.security_options(map),
            dns: self.name_servers(map),
            dns_opt: self.texts(map, "dns_opt"),
            dns_search: self.texts(map, "dns_search"),
            domainname: self.word_of(map, "domainname"),
            namespaces: self.namespaces(map),
            logging: self.logging(map),
            cpuset: self.word_of(map, "cpuset"),
            cgroup_parent: self.word_of(map, "cgroup_parent"),
            storage_opt: texts_of(map, "storage_opt", &mut self.read),
            annotations: texts_of(map, "annotations", &mut self.read),
            ..Container::default()
        };
        self.switches(map, &mut container);
        self.amounts(map, deploy, &mut container);
        self.judge_amounts(map, deploy, &container);
        container
    }

    fn switches(&mut self, map: &Map, container: &mut Container) {
        let mut is_on = |key: &str| {
            map.get(key).filter(|node| !node.is_null()).and_then(|node| self.read.boolean(node, key)) == Some(true)
        };
        container.init = is_on("init");
        container.privileged = is_on("privileged");
        container.tty = is_on("tty");
        container.stdin_open = is_on("stdin_open");
        container.oom_kill_disable = is_on("oom_kill_disable");
    }

    fn amounts(&mut self, map: &Map, deploy: Option<&Map>, container: &mut Container) {
        let reserved =
            deploy.and_then(|map| self.below(map, "resources")).and_then(|map| self.below(map, "reservations"));
        let own = |key: &str| map.get(key).filter(|node| !node.is_null());
        let reserved = reserved.and_then(|map| map.get("memory")).filter(|node| !node.is_null());
        let memory = self.one_of(own("mem_reservation"), reserved, |read, node| read.bytes(node, "mem_reservation"));
        container.memory_reservation = memory.map(|memory: Bytes| memory.0).filter(|bytes| *bytes > 0);
        container.memory_swap = own("memswap_limit").and_then(|node| self.swap(node));
        let mut number = |key: &str, least, most| {
            own(key).and_then(|node| signed(&mut self.read, node, key, least, most)).filter(|number| *number != 0)
        };
        container.cpu_shares = number("cpu_shares", 0, MOST).map(i64::unsigned_abs);
        container.cpu_period = number("cpu_period", 0, MOST).map(i64::unsigned_abs);
        container.cpu_quota = number("cpu_quota", -1, MOST);
        container.oom_score_adj = number("oom_score_adj", -1000, 1000).and_then(|n| i32::try_from(n).ok());
        // 0 keeps the memory of the replica from being swapped at all; -1 leaves it to the machine.
        let swappiness = own("mem_swappiness").and_then(|node| signed(&mut self.read, node, "mem_swappiness", -1, 100));
        container.mem_swappiness = swappiness.and_then(|n| u8::try_from(n).ok());
    }

    /// Memory and swap together; `-1` takes the bound away, 0 says nothing.
    fn swap(&mut self, node: &Node) -> Option<i64> {
        if node.as_scalar().is_some_and(|scalar| &*scalar.text == "-1") {
            return Some(-1);
        }
        let bytes: Bytes = self.read.bytes(node, "memswap_limit")?;
        i64::try_from(bytes.0).ok().filter(|bytes| *bytes > 0)
    }

    /// What an engine would refuse when it is too late.
    fn judge_amounts(&mut self, map: &Map, deploy: Option<&Map>, container: &Container) {
        let limits = deploy.and_then(|map| self.below(map, "resources")).and_then(|map| self.below(map, "limits"));
        let of = |own: &str, key: &str| {
            let deployed = limits.and_then(|map| map.get(key)).filter(|node| !node.is_null());
            deployed.or_else(|| map.get(own).filter(|node| !node.is_null()))
        };
        let memory = of("mem_limit", "memory").and_then(|node| node.as_scalar()?.text.parse::<Bytes>().ok());
        let memory = memory.map(|memory| memory.0).filter(|bytes| *bytes > 0);
        let at = |key: &str| map.get(key);
        let mut wrong = |node: Option<&Node>, message: &str, help: &str| {
            if let Some(node) = node {
                self.read.wrong(codes::CONFLICT, node, message, help);
            }
        };
        match (container.memory_swap, memory) {
            (Some(1..), None) => {
                wrong(at("memswap_limit"), "`memswap_limit` needs a `mem_limit` beside it", "write one, or remove it");
            }
            (Some(both @ 1..), Some(memory)) if both.unsigned_abs() < memory => {
                let message = "`memswap_limit` is memory and swap together, so it is at least `mem_limit`";
                wrong(at("memswap_limit"), message, "write a larger one");
            }
            _ => {}
        }
        if let (Some(kept), Some(memory)) = (container.memory_reservation, memory)
            && kept > memory
        {
            let message = "more memory is reserved than the limit allows";
            wrong(at("mem_reservation").or(at("deploy")), message, "write less, or raise the limit");
        }
        let has_cpus = of("cpus", "cpus").and_then(Node::as_scalar).is_some_and(|s| s.text.parse() != Ok(0.0));
        if has_cpus && (container.cpu_period.is_some() || container.cpu_quota.is_some()) {
            let node = at("cpu_quota").or(at("cpu_period"));
            wrong(node, "`cpus` stands beside `cpu_period` or `cpu_quota`, which say the same", "keep `cpus`");
        }
    }

    fn texts(&mut self, map: &Map, key: &str) -> Vec<String> {
        map.get(key).map(|node| self.read.scalars(node, key)).unwrap_or_default()
    }

    fn name_servers(&mut self, map: &Map) -> Vec<IpAddr> {
        let Some(node) = map.get("dns") else { return Vec::new() };
        let servers = self.read.list(node, "dns").iter();
        servers.filter_map(|node| self.read.parse::<IpAddr>(codes::VALUE, node, "dns")).collect()
    }

    fn devices(&mut self, map: &Map) -> Vec<Device> {
        let Some(node) = map.get("devices") else { return Vec::new() };
        let items = self.read.list(node, "devices").iter();
        items.filter_map(|item| self.device(item)).collect()
    }

    fn device(&mut self, item: &Node) -> Option<Device> {
        let map = self.read.map(item, "devices")?;
        let Some(host) = self.word_of(map, "source") else {
            self.read.wrong(codes::MISSING, item, "a device needs a `source`", "write its path, such as `/dev/fuse`");
            return None;
        };
        if !host.starts_with('/') {
            let message = format!("the device `{host}` is no path, and names of devices are not supported yet");
            self.read.wrong(codes::NOT_YET, item, message, "write its path, such as `/dev/fuse`");
            return None;
        }
        let inside = self.word_of(map, "target").unwrap_or_else(|| host.clone());
        let permissions = self.word_of(map, "permissions").unwrap_or_else(|| "rwm".to_owned());
        if permissions.chars().any(|c| !"rwm".contains(c)) {
            let message = format!("`{permissions}` are no permissions of a device");
            self.read.wrong(codes::VALUE, item, message, "write `r`, `w` and `m`, or some of them");
            return None;
        }
        Some(Device { host, inside, permissions })
    }

    fn security_options(&mut self, map: &Map) -> Vec<String> {
        let Some(node) = map.get("security_opt") else { return Vec::new() };
        let mut options = Vec::new();
        for item in self.read.list(node, "security_opt") {
            let Some(text) = self.read.scalar(item, "security_opt") else { continue };
            if text.starts_with("systempaths") {
                let message = format!("the security option `{text}` is not supported yet");
                self.read.wrong(codes::NOT_YET, item, message, "remove it, or write `privileged: true`");
                continue;
            }
            options.push(text);
        }
        options
    }

    fn logging(&mut self, map: &Map) -> Option<Logging> {
        let logging = self.below(map, "logging").filter(|map| !map.entries.is_empty())?;
        let options = texts_of(logging, "options", &mut self.read);
        Some(Logging { driver: self.word_of(logging, "driver"), options })
    }

    fn namespaces(&mut self, map: &Map) -> Namespaces {
        Namespaces {
            network: self.network_mode(map),
            ipc: self.namespace(map, "ipc", &["host", "private", "shareable"]),
            pid: self.namespace(map, "pid", &["host"]),
            uts: self.uts(map),
            user: self.namespace(map, "userns_mode", &["host"]),
            cgroup: self.namespace(map, "cgroup", &["host", "private"]),
        }
    }

    /// An engine refuses a name beside the machine's own when it is too late.
    fn uts(&mut self, map: &Map) -> Option<String> {
        let host = self.namespace(map, "uts", &["host"])?;
        if let Some(node) = map.get("hostname").filter(|node| !node.is_null()) {
            let message = "`hostname` stands beside `uts: host`, by which the machine's own name holds";
            self.read.wrong(codes::CONFLICT, node, message, "keep one of them");
        }
        Some(host)
    }

    fn network_mode(&mut self, map: &Map) -> Option<String> {
        let text = self.word_of(map, "network_mode")?;
        let node = map.get("network_mode").expect("read above");
        if matches!(text.as_str(), "bridge" | "default") {
            let message =
                format!("`network_mode: {text}` works differently: the service is on the project's own network");
            self.read.found.push(note(codes::EMULATED, message).at(node.span, ""));
            return None;
        }
        self.namespace(map, "network_mode", &["host", "none"])
    }

    /// One of a few words. That of another container is refused: a replica is replaced, and its namespaces go with it.
    fn namespace(&mut self, map: &Map, key: &str, known: &[&str]) -> Option<String> {
        let text = self.word_of(map, key)?;
        if known.contains(&text.as_str()) {
            return Some(text);
        }
        let node = map.get(key).expect("read above");
        let words: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
        let is_shared = text.starts_with("service:") || text.starts_with("container:");
        let help = match (is_shared, key) {
            (true, "network_mode") => {
                "put both on one network and use the service's name, or run both programs in one container".to_owned()
            }
            (true, _) => "run both programs in one container, or share a volume".to_owned(),
            (false, "network_mode") => {
                format!("write {}, or declare the network under `networks` as `external`", words.join(" or "))
            }
            (false, _) => format!("write {}, or remove it", words.join(" or ")),
        };
        self.read.wrong(codes::NOT_YET, node, format!("`{key}: {text}` is not supported yet"), help);
        None
    }
}

/// A whole number within bounds, which may be below zero.
fn signed(read: &mut Reader<'_>, node: &Node, key: &str, least: i64, most: i64) -> Option<i64> {
    let text = read.scalar(node, key)?;
    let number = text.trim().parse::<i64>().ok().filter(|number| (least..=most).contains(number));
    if number.is_none() {
        let message = match most {
            MOST => format!("`{key}` must be a whole number of at least {least}, not `{text}`"),
            _ => format!("`{key}` must be a whole number from {least} to {most}, not `{text}`"),
        };
        read.wrong(codes::VALUE, node, message, "write another number");
    }
    number
}
