//! Compose files made up from the table of shapes: legal for the most part, and whatever nobody would think of.

#![allow(dead_code, reason = "each test file uses its own part")]

use mainstay_declare::shape::grammar::{self, Fields, Shape};
use mainstay_declare::shape::table;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Numbers that follow from a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }

    /// True `n` times of a hundred.
    pub fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    pub fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// A value as it is written.
#[derive(Debug, Clone)]
enum Made {
    /// As it stands: a number, a word, a tag with a value.
    Bare(String),
    Text(String),
    List(Vec<Made>),
    Map(Vec<(String, Made)>),
}

/// Files by path, of which `compose.yaml` comes first; one file of eight is not meant to be legal.
pub fn files(seed: u64) -> Vec<(String, String)> {
    let mut dice = Dice::new(seed);
    let wild = if dice.percent(12) { 5 } else { 0 };
    made(dice, wild)
}

/// Files of which `wild` values of a hundred are of another kind than they should be.
pub fn wild_files(seed: u64, wild: usize) -> Vec<(String, String)> {
    made(Dice::new(seed), wild)
}

fn made(dice: Dice, wild: usize) -> Vec<(String, String)> {
    let shapes = grammar::read(table::TABLE);
    let mut maker = Maker { shapes: &shapes, dice, wild, tags: false };
    let mut files = vec![("compose.yaml".to_owned(), maker.file(true))];
    if maker.dice.percent(50) {
        maker.tags = maker.dice.percent(40);
        files.push(("over.yaml".into(), maker.file(false)));
        maker.tags = false;
    }
    files.push(("base.yaml".into(), maker.lent()));
    files.push(("more.yaml".into(), "services: { more: { image: more, depends_on: [] } }\n".into()));
    files.push((".env".into(), "V0=zero\nV1=1\nV2=\nV3='two words'\n".into()));
    files.push(("a.env".into(), "A=from file\nB=${V0}\nexport C=3\n".into()));
    files.push(("secret.txt".into(), "x\n".into()));
    files
}

struct Maker<'a> {
    shapes: &'a BTreeMap<&'static str, Shape>,
    dice: Dice,
    /// How many values of a hundred are of another kind.
    wild: usize,
    tags: bool,
}

const SIZES: &[&str] = &["mem_limit", "mem_reservation", "memswap_limit", "shm_size", "memory", "size", "rate"];
const SERVICES: &[&str] = &["s0", "s1", "s2", "s3"];

impl Maker<'_> {
    fn file(&mut self, is_base: bool) -> String {
        let mut top: Vec<(String, Made)> = Vec::new();
        let shared = is_base && self.dice.percent(40);
        if shared {
            let common = self.fields_of("service", "x-common", 3, 2);
            top.push((
                "x-common".into(),
                Made::Bare(format!("&common {}", flow(&Made::Map(without(common, "extends"))))),
            ));
        }
        if is_base && self.dice.percent(15) {
            top.push(("include".into(), Made::List(vec![Made::Text("more.yaml".into())])));
        }
        if self.dice.percent(20) {
            top.push(("name".into(), Made::Text(self.dice.pick(&["app", "my-app", "a_b"]).into())));
        }
        let mut services = Vec::new();
        for name in SERVICES.iter().filter(|_| is_base || self.dice.percent(60)).collect::<Vec<_>>() {
            let keys = 1 + self.dice.below(7);
            let mut service = self.fields_of("service", name, keys, 0);
            if is_base && service.iter().all(|(key, _)| key != "image" && key != "build" && key != "extends") {
                service.insert(0, ("image".into(), Made::Text("nginx:1".into())));
            }
            if shared && self.dice.percent(30) {
                service.push(("<<".into(), Made::Bare("*common".into())));
            }
            services.push(((*name).to_owned(), Made::Map(service)));
        }
        top.push(("services".into(), Made::Map(services)));
        if is_base {
            for (section, names) in [("networks", ["n0", "n1"]), ("volumes", ["v0", "v1"])] {
                let shape = &section[..section.len() - 1];
                let of = |maker: &mut Self, name: &str| {
                    let n = maker.dice.below(3);
                    let value =
                        if n == 0 { Made::Bare("null".into()) } else { Made::Map(maker.fields_of(shape, name, n, 1)) };
                    (name.to_owned(), value)
                };
                let objects = names.map(|name| of(self, name));
                top.push((section.into(), Made::Map(objects.into())));
            }
            let text = |key: &str, value: &str| Made::Map(vec![(key.into(), Made::Text(value.into()))]);
            let secrets = [("c0", text("file", "./secret.txt")), ("c1", text("environment", "V0"))];
            let configs = [("g0", text("content", "a: ${V0}")), ("g1", text("file", "./secret.txt"))];
            for (section, objects) in [("secrets", secrets), ("configs", configs)] {
                top.push((section.into(), Made::Map(objects.map(|(name, made)| (name.to_owned(), made)).into())));
            }
            top.push(("models".into(), Made::Map(vec![("m0".into(), text("model", "ai/small"))])));
        }
        let mut out = String::new();
        block(&Made::Map(top), 0, &mut self.dice, &mut out);
        out
    }

    /// A file that lends services.
    fn lent(&mut self) -> String {
        let mut service = self.fields_of("service", "b0", 3, 0);
        service = without(without(service, "extends"), "depends_on");
        service.insert(0, ("image".into(), Made::Text("base:1".into())));
        let keep = |key: &str| !["links", "volumes_from", "networks", "secrets", "configs", "models"].contains(&key);
        service.retain(|(key, _)| keep(key));
        let top = Made::Map(vec![("services".into(), Made::Map(vec![("b0".into(), Made::Map(service))]))]);
        flow(&top) + "\n"
    }

    fn fields_of(&mut self, shape: &str, key: &str, n: usize, depth: usize) -> Vec<(String, Made)> {
        let shapes = self.shapes;
        let Shape::Map(fields) = &shapes[shape] else { panic!("{shape} is a mapping") };
        self.fields(fields, key, n, depth)
    }

    fn fields(&mut self, fields: &Fields, key: &str, n: usize, depth: usize) -> Vec<(String, Made)> {
        // What ends a file's legality by itself, or has a meaning of its own elsewhere.
        const RARE: &[&str] = &[
            "provider",
            "credential_spec",
            "use_api_socket",
            "network_mode",
            "external",
            "count",
            "depends_on",
            "storage_opt",
            "ssh",
        ];
        let mut names: Vec<&str> = fields.named.keys().copied().filter(|name| !RARE.contains(name)).collect();
        let mut chosen: Vec<&str> = fields.required.clone();
        while chosen.len() < n + fields.required.len() && !names.is_empty() {
            let name = names.swap_remove(self.dice.below(names.len()));
            if !chosen.contains(&name) {
                chosen.push(name);
            }
        }
        let mut made: Vec<(String, Made)> = chosen
            .into_iter()
            .map(|name| (name.to_owned(), self.value(&fields.named[name], name, depth + 1)))
            .collect();
        if let Some(shape) = fields.names.as_deref().or(fields.any.as_deref()) {
            for name in self.names(key) {
                let value = self.value(shape, name, depth + 1);
                made.push((name.to_owned(), value));
            }
        }
        if self.dice.percent(4) && !fields.is_strict && fields.names.is_none() && fields.any.is_none() {
            made.push(("x-note".into(), Made::Text("a note".into())));
        }
        made
    }

    /// Names that the user chooses.
    fn names(&mut self, key: &str) -> Vec<&'static str> {
        let all: &[&str] = match key {
            "depends_on" => return vec!["s3"],
            "networks" => &["n0", "n1"],
            "models" => &["m0"],
            "ulimits" => &["nofile", "nproc"],
            "sysctls" => &["net.core.somaxconn", "net.ipv4.ip_forward"],
            "extra_hosts" => &["host.example", "other.example"],
            "additional_contexts" => &["docs", "src"],
            _ => &["A", "B", "key.with.dots", "C"],
        };
        let from = self.dice.below(all.len());
        all[from..].iter().take(2).copied().collect()
    }

    fn value(&mut self, shape: &Shape, key: &str, depth: usize) -> Made {
        if key == "extends" {
            let said = [("file", "base.yaml"), ("service", "b0")];
            return Made::Map(said.map(|(key, text)| (key.to_owned(), Made::Text(text.into()))).into());
        }
        if self.dice.percent(self.wild) {
            let odd =
                ["5", "true", "null", "[]", "{}", "1.5", "-1", "text", "[a, {b: c}]", "0x1F", "''", "08", "1e3", "~"];
            return Made::Bare(self.dice.pick(&odd).into());
        }
        if self.tags && depth > 1 && self.dice.percent(12) {
            return match self.dice.percent(40) {
                true => Made::Bare("!reset null".into()),
                // An empty value that replaces something is the text "null" to the reference.
                false => match flow(&self.plain(shape, key, depth)) {
                    text if text == "null" => Made::Bare(text),
                    text => Made::Bare(format!("!override {text}")),
                },
            };
        }
        self.plain(shape, key, depth)
    }

    fn plain(&mut self, shape: &Shape, key: &str, depth: usize) -> Made {
        let shapes = self.shapes;
        match shape {
            Shape::Text => self.text(key),
            Shape::Int | Shape::Exact => Made::Bare(self.dice.pick(&["0", "1", "3", "80", "1024"]).into()),
            Shape::Number => Made::Bare(self.dice.pick(&["0", "1", "0.5", "2.25"]).into()),
            Shape::Bool => Made::Bare(self.dice.pick(&["true", "false"]).into()),
            Shape::Null => Made::Bare("null".into()),
            Shape::Any => Made::Text("anything".into()),
            Shape::Word(word) => Made::Text((*word).to_owned()),
            Shape::Ref(name) => self.plain(&shapes[name], key, depth),
            Shape::OneOf(all) => {
                let at = self.dice.below(all.len());
                let has = |wanted: &[Shape]| all.iter().any(|one| wanted.contains(one));
                match &all[at] {
                    Shape::Text if has(&[Shape::Bool]) => Made::Text(self.dice.pick(&["true", "false"]).into()),
                    Shape::Text if !SIZES.contains(&key) && has(&[Shape::Int, Shape::Exact, Shape::Number]) => {
                        self.number(key)
                    }
                    one => self.plain(one, key, depth),
                }
            }
            Shape::List(item) => {
                let n = 1 + self.dice.below(2);
                let mut items: Vec<Made> = (0..n).map(|_| self.value(item, key, depth + 1)).collect();
                let mut seen = Vec::new();
                items.retain(|item| {
                    let text = flow(item).replace('"', "");
                    let is_new = !seen.contains(&text);
                    seen.push(text);
                    is_new
                });
                Made::List(items)
            }
            Shape::Map(fields) => {
                let n = self.dice.below(4);
                Made::Map(self.fields(fields, key, n, depth))
            }
        }
    }

    /// A number as text.
    fn number(&mut self, key: &str) -> Made {
        let all: &[&str] = match key {
            "ports" | "expose" | "published" | "user" | "environment" | "labels" | "args" => return self.text(key),
            "mode" => &["0440", "0755"],
            "cpus" | "max_failure_ratio" => &["0.5", "1"],
            _ => &["1", "3", "${V1}"],
        };
        Made::Text(self.dice.pick(all).into())
    }

    fn text(&mut self, key: &str) -> Made {
        let usual: &[&str] = match key {
            "container_name" | "hostname" | "name" | "uid" | "gid" => &["one", "two-2"],
            "mac_address" => &["02:42:ac:11:00:02"],
            "permissions" => &["rwm", "r"],
            "format" => &["raw"],
            "ip_range" | "gateway" | "aux_addresses" => &["10.9.0.1"],
            "dns" => &["10.0.0.1", "10.0.0.2"],
            "capabilities" => &["gpu"],
            "device_ids" => &["0"],
            "group_add" => &["audio", "video"],
            "platforms" => &["linux/amd64", "linux/arm64"],
            "platform" => &["linux/amd64"],
            "image" => &[
                "nginx:1.25",
                "redis",
                "ghcr.io/a/b:1",
                "a/b@sha256:0123456789012345678901234567890123456789012345678901234567890123",
            ],
            "ports" => &["80", "8080:80", "127.0.0.1:8081:81/udp", "3000-3002:3000-3002", "9000-9001:90-91/tcp", ":82"],
            "expose" => &["80", "3000-3001", "53/udp"],
            "volumes" => &["v0:/d", "v1:/e:ro", "./src:/app", "/tmp/x:/y:z", "~/.ssh:/ssh:ro", "/anonymous"],
            "interval" | "timeout" | "start_period" | "start_interval" | "stop_grace_period" | "delay" | "monitor"
            | "window" | "pull_refresh_after" => &["30s", "1m30s", "500ms", "2h", "0s", "1.5s", "100us"],
            key if SIZES.contains(&key) => &["512m", "1g", "64kb", "1048576", "1.5gb", "100b"],
            "cpus" => &["0.5", "2", "1.25"],
            "depends_on" | "links" | "external_links" | "volumes_from" => &["s3"],
            "service" => return Made::Text("b0".into()),
            "networks" => &["n0", "n1"],
            "models" => &["m0"],
            "secrets" => &["c0", "c1"],
            "configs" => &["g0", "g1"],
            "source" => &["v0"],
            "type" => &["volume"],
            "target" => &["/t0", "/t1", "80"],
            "env_file" => &["a.env", "./a.env"],
            "label_file" => &["a.env"],
            "file" => &["base.yaml"],
            "pull_policy" => &["always", "missing", "never", "build", "if_not_present", "every_12h", "daily"],
            "restart" => &["no", "always", "on-failure", "on-failure:3", "unless-stopped"],
            "mode" => &["0440", "host", "ingress", "replicated"],
            "protocol" => &["tcp", "udp"],
            "host_ip" => &["127.0.0.1", "::1", "0.0.0.0"],
            "published" => &["8080", "8081-8082"],
            "user" => &["1000", "1000:1000", "root", "${V1}"],
            "command" | "entrypoint" => &["a b", "sh -c 'x y'", "run \"two words\" $${HOME}", ""],
            "test" => &["CMD", "curl localhost", "CMD-SHELL"],
            "environment" | "args" | "labels" | "annotations" | "sysctls" | "build_args" => {
                &["A=1", "B=two words", "C", "D=", "E=a=b", "key.with.dots=${V0}"]
            }
            "extra_hosts" => &["h:10.0.0.1", "i=10.0.0.2", "j:[::1]", "host.docker.internal:host-gateway"],
            "devices" => &["/dev/null:/dev/x", "/dev/zero:/dev/y:rwm", "vendor.com/class=gpu"],
            "subnet" => &["10.9.0.0/24", "10.8.0.0/16"],
            "tmpfs" => &["/t2", "/t3:size=64m"],
            "driver" => &["bridge", "local", "json-file"],
            "profiles" => &["debug", "test"],
            "context" | "build" => &[".", "./api", "https://example.org/repo.git#main"],
            "ipv4_address" => &["10.9.0.5"],
            "ipv6_address" => &["fd00::5"],
            "security_opt" => &["no-new-privileges:true", "seccomp=unconfined"],
            "cap_add" | "cap_drop" => &["NET_ADMIN", "ALL"],
            "endpoint_mode" => &["vip", "dnsrr"],
            "condition" => &["any", "on-failure", "none"],
            "failure_action" => &["pause", "continue", "rollback"],
            "path" => &["./src"],
            "max_failure_ratio" => &["0.5"],
            "gpus" => &["all"],
            _ => &["text", "two words", "1", "yes", "v1.2", "ünï", "a:b", "", "#x", "null", "$$", "~"],
        };
        let usual = self.dice.pick(usual).to_owned();
        let text = match if usual.contains('$') { 9 } else { self.dice.below(40) } {
            0 => format!("${{V9:-{usual}}}"),
            1 => format!("${{V0:+{usual}}}"),
            2 => format!("${{V2-{usual}}}"),
            _ => usual,
        };
        match self.dice.percent(30) && is_plain(&text) {
            true => Made::Bare(text),
            false => Made::Text(text),
        }
    }
}

fn without(mut map: Vec<(String, Made)>, key: &str) -> Vec<(String, Made)> {
    map.retain(|(name, _)| name != key);
    map
}

/// Whether a text can stand without quotes, as whatever it is then.
fn is_plain(text: &str) -> bool {
    let mut chars = text.chars();
    let is_word = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text);
    !is_word
        && chars.next().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '$'))
        && chars.all(|c| c.is_ascii_alphanumeric() || "./_-+=@$".contains(c))
}

fn flow(made: &Made) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("text");
    match made {
        Made::Bare(text) if text.starts_with("!reset") || text.starts_with('&') => text.clone(),
        Made::Bare(text) => text.clone(),
        Made::Text(text) => quoted(text),
        Made::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Made::Map(entries) => {
            let entry = |(key, value): &(String, Made)| match key.as_str() {
                "<<" => format!("<<: {}", flow(value)),
                key => format!("{}: {}", quoted(key), flow(value)),
            };
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

fn block(made: &Made, depth: usize, dice: &mut Dice, out: &mut String) {
    let Made::Map(entries) = made else { unreachable!("only mappings are written as blocks") };
    for (key, value) in entries {
        let indent = "  ".repeat(depth);
        match value {
            Made::Map(entries) if !entries.is_empty() && (depth < 2 || dice.percent(50)) => {
                writeln!(out, "{indent}{key}:").expect("text takes text");
                block(value, depth + 1, dice, out);
            }
            Made::List(items) if !items.is_empty() && dice.percent(60) => {
                writeln!(out, "{indent}{key}:").expect("text takes text");
                for item in items {
                    writeln!(out, "{indent}  - {}", flow(item)).expect("text takes text");
                }
            }
            value => writeln!(out, "{indent}{key}: {}", flow(value)).expect("text takes text"),
        }
    }
}
