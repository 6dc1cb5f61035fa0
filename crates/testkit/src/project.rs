//! Projects as a test wants them: everything has a plain default, each test changes what it is about.

use model::project::{Condition, Dependency, Project, RestartPolicy, Role, Runs, Service, Template, Update};
use model::span::{FileId, Span};
use model::{ServiceName, probe::Probes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A place in no file in particular.
pub const NOWHERE: Span = Span { file: FileId(0), start: 0, end: 0 };

/// A name that a test knows to be legal.
///
/// Panics when it is not.
pub fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("tests use legal names")
}

/// A project `shop` for `production` on the process engine, without services, with a network `default`.
pub fn project() -> Project {
    Project {
        name: name("shop"),
        environment: name("production"),
        engine: Some(model::policy::EngineKind::Process),
        services: BTreeMap::new(),
        networks: BTreeMap::from([(name("default"), Default::default())]),
        volumes: BTreeMap::new(),
        routes: Vec::new(),
    }
}

/// The project with one more service, changed as the test wants it.
#[must_use]
pub fn with(mut project: Project, service_name: &str, change: impl FnOnce(&mut Service)) -> Project {
    let mut service = service();
    change(&mut service);
    project.services.insert(name(service_name), service);
    project
}

/// One replica that runs `./run` on the network `default`, is always restarted and has no probe.
pub fn service() -> Service {
    Service {
        template: Arc::new(template("./run")),
        role: Role::Service,
        replicas: 1,
        depends_on: BTreeMap::new(),
        published: Vec::new(),
        ports: BTreeSet::new(),
        probes: Probes::default(),
        restart: RestartPolicy::Always,
        update: Update::default(),
        direct: false,
        balance: Default::default(),
        at: NOWHERE,
    }
}

/// What runs this command line, its words divided by blanks, on the default network, and nothing else.
pub fn template(command: &str) -> Template {
    let words: Vec<&str> = command.split_whitespace().collect();
    Template { networks: BTreeMap::from([(name("default"), Default::default())]), ..process(&words) }
}

/// What runs these words, and nothing else.
pub fn process(argv: &[&str]) -> Template {
    let command = argv.iter().map(|word| (*word).to_owned()).collect();
    Template {
        runs: Runs::Process { command, artifacts: Vec::new() },
        environment: BTreeMap::new(),
        working_dir: None,
        user: None,
        hostname: None,
        mounts: Vec::new(),
        files: Vec::new(),
        networks: BTreeMap::new(),
        extra_hosts: BTreeMap::new(),
        limits: Default::default(),
        cap_add: BTreeSet::new(),
        cap_drop: BTreeSet::new(),
        read_only: false,
        stop_signal: None,
        stop_grace: Duration::from_secs(10),
        labels: BTreeMap::new(),
        container: Default::default(),
    }
}

/// An entry of `depends_on`.
pub fn depends_on(service: &str, condition: Condition) -> (ServiceName, Dependency) {
    (name(service), Dependency { condition, at: NOWHERE })
}
