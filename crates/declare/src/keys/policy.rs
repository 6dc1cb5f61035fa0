//! The keys of mainstay.yaml: what each takes, what it is when left out, an example, and what it means.
//!
//! Everything that is said of these keys comes from here: which are known, the JSON Schema ([`crate::schema`]) and
//! `docs/mainstay-yaml.md`.

use super::Standing::{Harmless, Honoured, NotYet};
use super::{Row, Table};
use Takes::{
    Artifact, Balance, Boolean, Command, Duration, Engine, HttpPath, List, Mapping, Number, OneOf, Path, Project,
    Routed, Settings, Text,
};
use std::sync::LazyLock;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A mapping: of the keys below, or from names to what is said of `*` below.
    Mapping,
    /// A list of what is said of `[]` below.
    List,
    /// One of the shapes: the first is written in the documentation first.
    OneOf(&'static [Takes]),
    /// A mapping from names to single values, or a list of `NAME=value`.
    Settings,
    /// Text.
    Text,
    /// A project's name.
    Project,
    /// The name of an engine.
    Engine,
    /// A whole number within bounds.
    Number(u64, u64),
    /// `true` or `false`.
    Boolean,
    /// What is spread over replicas.
    Balance,
    /// A time such as `1m30s`.
    Duration,
    /// A program and its arguments: a list, or a line that is split into words.
    Command,
    /// A path within the project.
    Path,
    /// Path and query of a request.
    HttpPath,
    /// `service:port`, `@health` or `@ready`.
    Routed,
    /// A path within the project, or `@` and a group of artifacts.
    Artifact,
}

/// What a key is when it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// It must be there.
    Required,
    /// The same as this value.
    Value(&'static str),
    /// What the words say; none when it needs no words.
    Words(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The way to it; `*` is a name that the user chooses, `[]` an item of a list.
    pub path: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it is when left out.
    pub default: Default,
    /// A value, as YAML on one line; empty for a mapping or list whose keys below have examples.
    pub example: &'static str,
    /// Keys beside it that the example needs, as YAML on one line.
    pub beside: &'static str,
    /// What it means.
    pub about: &'static str,
}

const fn key(path: &'static str, takes: Takes, default: Default, example: &'static str, about: &'static str) -> Key {
    Key { path, takes, default, example, beside: "", about }
}

/// A mapping or list whose keys below say the rest.
const fn part(path: &'static str, takes: Takes, about: &'static str) -> Key {
    key(path, takes, Default::Words(""), "", about)
}

impl Key {
    const fn with(self, beside: &'static str) -> Self {
        Self { beside, ..self }
    }
}

/// The sections that an environment may lay over what the file says for all of them.
pub const OVERLAID: &[&str] = &["routes", "artifacts", "processes", "probes", "services"];

/// Keys that take the same as another one, all below included.
pub const SAME: &[(&str, &str)] = &[
    ("probes.*.live", "probes.*.ready"),
    ("environments.*.routes", "routes"),
    ("environments.*.artifacts", "artifacts"),
    ("environments.*.processes", "processes"),
    ("environments.*.probes", "probes"),
    ("environments.*.services", "services"),
];

/// The table.
pub static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut rows: Vec<Row> = KEYS.iter().map(|key| (key.path, Honoured)).chain(LATER.iter().copied()).collect();
    for (path, same) in SAME {
        let below =
            |row: &Row| Some((row.0.strip_prefix(same).filter(|r| r.is_empty() || r.starts_with(['.', '[']))?, row.1));
        let again: Vec<(&str, _)> = rows.iter().filter_map(below).collect();
        // The table lives as long as the program, and so do its paths.
        rows.extend(
            again.into_iter().map(|(rest, said)| (&*Box::leak(format!("{path}{rest}").into_boxed_str()), said)),
        );
    }
    Table::new(rows)
});

/// The key at a path of names, whatever the user has called things.
pub fn about(path: &str) -> Option<&'static Key> {
    let path = SAME.iter().rev().fold(path.to_owned(), |path, (from, to)| {
        let n = from.split('.').count();
        let parts: Vec<&str> = path.splitn(n + 1, '.').collect();
        let fits = parts.len() >= n && from.split('.').zip(&parts).all(|(key, part)| key == "*" || key == bare(part));
        match fits {
            true => {
                let head = parts[n - 1];
                let items = &head[bare(head).len()..];
                let rest = parts.get(n).map(|rest| format!(".{rest}")).unwrap_or_default();
                let kept: Vec<&str> =
                    to.split('.').zip(&parts).map(|(key, part)| if key == "*" { *part } else { key }).collect();
                format!("{}{items}{rest}", kept.join("."))
            }
            false => path,
        }
    });
    KEYS.iter().find(|key| {
        let (known, asked) = (key.path.split('.'), path.split('.'));
        known.clone().count() == asked.clone().count()
            && known.zip(asked).all(|(key, part)| {
                bare(key) == "*" || bare(key) == bare(part) && key.contains('[') == part.contains('[')
            })
    })
}

/// A part of a path without the number of an item.
fn bare(part: &str) -> &str {
    part.split('[').next().unwrap_or_default()
}

/// The keys there are, each behind the one it lies in.
pub const KEYS: &[Key] = &[
    key(
        "project",
        Project,
        Default::Words("`name` of the Compose file, else the folder's name"),
        "shop",
        "The project's name: lower-case letters, digits, `_` and `-`, at most 63.",
    ),
    part(
        "environments",
        Mapping,
        "The environments the project has. `mainstay -e production up` chooses one. Without a choice it is \
         `development`, or the only one there is. Where none is declared every name is welcome.",
    ),
    part("environments.*", Mapping, "One environment. It may be empty."),
    key(
        "environments.*.engine",
        Engine,
        Default::Words("`docker` where one answers on this machine, else `process`"),
        "process",
        "What it runs on: `docker`, or `process` for programs of this machine without containers. `--engine` and \
         `MAINSTAY_ENGINE` win over it.",
    ),
    key(
        "environments.*.host",
        Text,
        Default::Words("the machine the command runs on"),
        "ssh://deploy@staging.example",
        "The machine it runs on, reached through ssh: `ssh://user@host`, with `:port` where it is not 22. `mainstay host \
         prepare` makes it ready; [hosts.md](hosts.md) tells how. `--host` and `MAINSTAY_HOST` win over it.",
    ),
    key(
        "environments.*.variables",
        Settings,
        Default::Words("none"),
        "{ DOMAIN: shop.example }",
        "Variables for both files, a mapping or a list of `NAME=value`. They win over `.env` and `.env.<environment>`, \
         and the environment of the command wins over them. Values may use variables that stand there.",
    ),
    key(
        "environments.*.replicas",
        Mapping,
        Default::Words("none"),
        "{ api: 3 }",
        "How many replicas of which service, over what the Compose file says (`deploy.replicas`, `scale`).",
    ),
    key("environments.*.replicas.*", Number(0, 10_000), Default::Words("what the Compose file says"), "3", "How many."),
    part(
        "environments.*.routes",
        List,
        "The sections `routes`, `artifacts`, `processes`, `probes` and `services` may stand here as well, with the same \
         keys: they are laid over those of the file. Mappings merge by key, a route refines the one of the same host, \
         artifacts are added, all else is replaced. `!override` replaces a whole section, `!reset` takes it away.",
    ),
    part(
        "routes",
        List,
        "Which requests lead to which service, on the machine's HTTP port. The longest path that matches wins; a host \
         of its own wins over a pattern, a pattern over `*`.",
    ),
    part("routes[]", Mapping, "Requests of one host."),
    key(
        "routes[].host",
        Text,
        Default::Required,
        "shop.example",
        "The host of the request: a name, `*.example.org` for all names one level below, or `*` for every host.",
    )
    .with("{ paths: { /: \"web:80\" } }"),
    key(
        "routes[].paths",
        Mapping,
        Default::Required,
        "{ /api: \"api:3000\", /: \"web:80\" }",
        "Prefixes of the path, on borders of segments: `/api` takes `/api` and `/api/x`, not `/apix`.",
    )
    .with("{ host: shop.example }"),
    key(
        "routes[].paths.*",
        Routed,
        Default::Required,
        "\"api:3000\"",
        "Where they lead: `service:port`, a service alone that has one known port, `@health` for the stack's health \
         document, or `@ready`.",
    ),
    part("artifacts", Mapping, "Groups of artifacts by name, for several processes."),
    part("artifacts.*", List, "One group, used as `@name`."),
    part("artifacts.*[]", OneOf(&[Artifact, Mapping]), "A path of the project, another group, or a mapping."),
    key("artifacts.*[].from", Path, Default::Required, "target/release/api", "The file or folder in the project."),
    key(
        "artifacts.*[].to",
        Text,
        Default::Words("in the working directory under its own name"),
        "/app/api",
        "Where a replica sees it; into a folder when it ends with `/`.",
    )
    .with("{ from: target/release/api }"),
    part(
        "processes",
        Mapping,
        "How services run without a container, by service: for the engine `process`. Well-known images (`postgres`, \
         `redis` …) need nothing here: the machine's own programs run. On `docker` images run; of what stands here only \
         the folder (`static`) of a service that has neither `image` nor `build` counts.",
    ),
    part("processes.*", Mapping, "One service."),
    key(
        "processes.*.build",
        OneOf(&[Text, Command]),
        Default::Words("nothing is built"),
        "cargo build --release",
        "What makes the artifacts; run in the project's folder before each plan. A line with signs of a shell is run by \
         one. Several services may name the same build: it is run once.",
    )
    .with("{ command: ./api }"),
    part(
        "processes.*.artifacts",
        List,
        "What of the project a replica sees. All else of the project stays hidden from it.",
    ),
    part("processes.*.artifacts[]", OneOf(&[Artifact, Mapping]), "A path of the project, `@` and a group, or a mapping."),
    key(
        "processes.*.artifacts[].from",
        Path,
        Default::Required,
        "target/release/api",
        "The file or folder in the project.",
    ),
    key(
        "processes.*.artifacts[].to",
        Text,
        Default::Words("in the working directory under its own name"),
        "/app/api",
        "Where a replica sees it; into a folder when it ends with `/`.",
    )
    .with("{ from: target/release/api }"),
    key(
        "processes.*.command",
        Command,
        Default::Words("`entrypoint` and `command` of the Compose file"),
        "[./api, serve]",
        "What is run.",
    ),
    key(
        "processes.*.working_dir",
        Text,
        Default::Words("`working_dir` of the Compose file, else `/app`"),
        "/app",
        "Where it is run.",
    )
    .with("{ command: ./api }"),
    key(
        "processes.*.static",
        Path,
        Default::Words("a program is run"),
        "web/dist",
        "A folder that the edge serves itself, in place of a program.",
    ),
    key(
        "processes.*.spa",
        Boolean,
        Default::Value("false"),
        "true",
        "Paths that are no file are answered with `index.html`. Beside `static` only.",
    )
    .with("{ static: web/dist }"),
    part(
        "probes",
        Mapping,
        "What tells how a service is, by service. Compose's `healthcheck` counts as `ready`, and `ready` here replaces it.",
    ),
    part("probes.*", Mapping, "One service."),
    part("probes.*.ready", Mapping, "Whether a replica gets traffic, and whether what depends on it may start."),
    part(
        "probes.*.live",
        Mapping,
        "Whether a replica still works: one that fails is replaced. Takes the same keys as `ready`.",
    ),
    key(
        "probes.*.ready.http",
        HttpPath,
        Default::Words("one of `http`, `tcp` and `command` must be there"),
        "/ready",
        "A request, answered with 200 to 399.",
    ),
    key(
        "probes.*.ready.port",
        Number(1, 65535),
        Default::Words("the service's only known port"),
        "3000",
        "The port of the request.",
    )
    .with("{ http: /ready }"),
    key("probes.*.ready.tcp", Number(1, 65535), Default::Words("not asked"), "5432", "A port that takes connections."),
    key(
        "probes.*.ready.command",
        Command,
        Default::Words("not asked"),
        "[pg_isready]",
        "A command inside the replica that ends with 0.",
    ),
    key("probes.*.ready.interval", Duration, Default::Value("30s"), "2s", "From the end of one probe to the next.")
        .with("{ http: /ready }"),
    key(
        "probes.*.ready.timeout",
        Duration,
        Default::Words("`interval`, at most 30s"),
        "1s",
        "A probe that takes longer has failed.",
    )
    .with("{ http: /ready }"),
    key(
        "probes.*.ready.retries",
        Number(1, 1_000_000),
        Default::Value("3"),
        "5",
        "After how many failures in a row it counts. One success is enough to be well again.",
    )
    .with("{ http: /ready }"),
    key(
        "probes.*.ready.start_period",
        Duration,
        Default::Value("0s"),
        "1m",
        "How long after the start failures do not count.",
    )
    .with("{ http: /ready }"),
    key(
        "probes.*.ready.start_interval",
        Duration,
        Default::Words("`interval`, at most 5s"),
        "500ms",
        "The interval during the start period.",
    )
    .with("{ http: /ready }"),
    part("services", Mapping, "How services are carried, by service, whatever runs them."),
    part("services.*", Mapping, "One service."),
    key(
        "services.*.direct",
        Boolean,
        Default::Words("`true` for a data store with one replica, else `false`"),
        "true",
        "Whether the service's name leads to its replica itself, past the edge. Such a service is replaced stop-first.",
    ),
    key(
        "services.*.balance",
        Balance,
        Default::Value("requests"),
        "connections",
        "What of the calls to its name is spread over its replicas. `requests`: the edge stands between, sends a request \
         that a replica refuses to another one, and counts. `connections`: the kernel leads each connection to a replica; \
         faster, of any protocol, and unseen.",
    ),
    key(
        "services.*.ready_within",
        Duration,
        Default::Words("2m, or as long as its probe allows"),
        "5m",
        "How long a new replica may take to be ready before the release has failed.",
    ),
];

const LATER_HELP: &str = "remove it until then";

/// Keys whose names are kept for what is to come.
pub const LATER: &[Row] = &[
    ("environments.*.branch", Harmless("no pipeline deploys from branches yet")),
    ("environments.*.approval", NotYet(LATER_HELP)),
    ("routes[].tls", NotYet("put a proxy with certificates in front")),
    ("routes[].headers", NotYet("set the headers in the service")),
    ("routes[].rate_limit", NotYet(LATER_HELP)),
    ("routes[].compress", Harmless("answers are passed on as they are")),
    ("releases", NotYet("every release is rolling, start-first: remove it")),
    ("objectives", NotYet(LATER_HELP)),
    ("scale", NotYet("write `deploy.replicas`, or `environments.<name>.replicas`")),
    ("alerts", NotYet(LATER_HELP)),
    ("backups", NotYet(LATER_HELP)),
    ("recovery", NotYet(LATER_HELP)),
];
