//! Times planning: `planning SERVICES REPLICAS [WHAT]` prints the milliseconds that one plan takes: the first of this process,
//! with nothing of what it reads in the processor's caches, as a daemon makes it when something happens after a quiet hour.
//! `WHAT` is `nothing` (everything is to be started; without an argument as well), `same` (nothing is to be done),
//! `changed` (everything is to be replaced), or `check` (the checker reads the plan that replaces everything). `./dev bench plan`
//! runs it. Each service is probed, routed, and needs the one before it, ten in a row.

#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark is a process of its own")]

use ipnet::Ipv4Net;
use jiff::Timestamp;
use mainstay_plan::action::{Action, edge, replica};
use mainstay_plan::desired::Up;
use mainstay_plan::observed::{Health, Known, Phase, Replica, Routing};
use mainstay_plan::{Desired, Observed, check, reconcile};
use model::policy::{Route, RoutePath, RouteTarget};
use model::probe::{Check, Probe, Probes};
use model::project::{Attachment, Condition, Dependency, Limits, RestartPolicy, Role, Runs, Template, Update};
use model::secret::Secret;
use model::span::{FileId, Span};
use model::stack::{Stack, Subnet, Target};
use model::{NetworkName, ReleaseNumber, ServiceName, SpecHash};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than the caches of common processors hold.
const BEYOND_CACHES: usize = 128 << 20;
/// Services of one chain: what needs what.
const CHAIN: u32 = 10;
const NOWHERE: Span = Span { file: FileId(0), start: 0, end: 0 };

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).map(|text| text.parse::<u32>().expect("a number"));
    let (services, replicas) = (number(0).unwrap_or(1000), number(1).unwrap_or(10));
    let what = arguments.get(2).map_or("nothing", String::as_str);
    let want = up(stack(services, replicas, 0));
    let have = if what == "nothing" { Observed::default() } else { placed(&want) };
    let want = if matches!(what, "changed" | "check") { up(stack(services, replicas, 1)) } else { want };
    let (plan, planned) = timed(|| reconcile(&want, &have, Timestamp::UNIX_EPOCH));
    let expected = if what == "same" { 0 } else { services * replicas };
    assert!(plan.steps.len() >= expected as usize, "every replica has its start");
    let took = if what == "check" {
        let (violations, checked) = timed(|| check(&want, &have, &plan));
        assert_eq!(violations, []);
        checked
    } else {
        planned
    };
    println!("{:.3}", took.as_secs_f64() * 1000.0);
}

/// What `work` gives, and how long it took from cold.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    black_box(vec![1u8; BEYOND_CACHES]);
    let begin = Instant::now();
    let made = work();
    (made, begin.elapsed())
}

fn up(stack: Stack) -> Desired {
    let (restart, former) = (BTreeMap::new(), BTreeMap::new());
    Desired::Up(Up { stack, asked_at: Timestamp::UNIX_EPOCH, restart, former })
}

/// Everything that `want` asks for is there.
fn placed(want: &Desired) -> Observed {
    let mut have = Observed::default();
    let mut routing = Routing::default();
    for step in reconcile(want, &have, Timestamp::UNIX_EPOCH).steps.into_values() {
        match step.action {
            Action::Replica(replica::Action::EnsureNetwork { name, state, .. }) => {
                have.placed.networks.insert(name, Known::Is(*state));
            }
            Action::Replica(replica::Action::Start(start)) => {
                routing.routed.insert(start.id.clone());
                have.health.insert(start.id.clone(), Health::Ready);
                let replica = Replica {
                    role: start.role,
                    hash: start.hash,
                    release: start.release,
                    bundle: start.bundle,
                    addresses: start.addresses,
                    failures: 0,
                    stop_signal: 15,
                    stop_grace: start.template.stop_grace,
                    phase: Phase::Running { since: Timestamp::UNIX_EPOCH },
                };
                have.placed.replicas.insert(start.id, replica);
            }
            Action::Edge(edge::Change::Settle { hash }) => routing.settled = Some(hash),
            _ => {}
        }
    }
    have.edge = Known::Is(routing);
    have
}

fn stack(services: u32, replicas: u32, version: u8) -> Stack {
    let network: NetworkName = "default".parse().expect("a legal name");
    let net: Ipv4Net = "10.0.0.0/11".parse().expect("a legal network");
    let first = u32::from(net.network()) + 2;
    let subnet = Subnet {
        net,
        gateway: Ipv4Addr::from(first - 1),
        replicas_from: Ipv4Addr::from(first + services),
        internal: false,
    };
    let target = |n: u32| {
        let address = Ipv4Addr::from(first + n);
        (name(n), self::target(n, replicas, version, &network, address))
    };
    Stack {
        id: "bench@production".parse().expect("a legal stack"),
        release: ReleaseNumber(1),
        bundle: "0".repeat(64).parse().expect("a legal bundle"),
        uid_base: 100_000,
        services: (0..services).map(target).collect(),
        networks: BTreeMap::from([(network.clone(), subnet)]),
        volumes: BTreeSet::new(),
        makes: Default::default(),
        any_port: false,
        routes: vec![Route { host: "bench.localhost".into(), paths: (0..services).map(route).collect(), at: NOWHERE }],
    }
}

/// A path of its own leads to each service.
fn route(n: u32) -> RoutePath {
    RoutePath { prefix: format!("/{n}"), target: RouteTarget::Service { service: name(n), port: 3000 }, at: NOWHERE }
}

fn name(n: u32) -> ServiceName {
    format!("service-{n:05}").parse().expect("a legal name")
}

fn target(n: u32, replicas: u32, version: u8, network: &NetworkName, address: Ipv4Addr) -> Target {
    let dependency = Dependency { condition: Condition::Healthy, at: NOWHERE };
    let depends_on = (!n.is_multiple_of(CHAIN)).then(|| (name(n - 1), dependency)).into_iter().collect();
    let mut digest = [0; 16];
    digest[..4].copy_from_slice(&n.to_be_bytes());
    digest[4] = version;
    Target {
        template: Arc::new(template(network)),
        hash: SpecHash::from_digest(digest),
        role: Role::Service,
        replicas,
        depends_on,
        published: Vec::new(),
        ports: BTreeSet::from([3000]),
        probes: Probes {
            disabled: false,
            ready: Some(Probe::with_defaults(Check::Tcp { port: 3000 })),
            live: Some(Probe::with_defaults(Check::Tcp { port: 3000 })),
        },
        restart: RestartPolicy::Always,
        update: Update::default(),
        direct: false,
        balance: Default::default(),
        addresses: BTreeMap::from([(network.clone(), address)]),
    }
}

fn template(network: &NetworkName) -> Template {
    Template {
        runs: Runs::Process { command: vec!["/app/service".into()], artifacts: Vec::new() },
        environment: (0..10).map(|n| (format!("VARIABLE_{n}"), Secret::new("value"))).collect(),
        working_dir: None,
        user: None,
        hostname: None,
        mounts: Vec::new(),
        files: Vec::new(),
        networks: BTreeMap::from([(network.clone(), Attachment::default())]),
        extra_hosts: BTreeMap::new(),
        limits: Limits::default(),
        cap_add: BTreeSet::new(),
        cap_drop: BTreeSet::new(),
        read_only: false,
        stop_signal: None,
        stop_grace: Duration::from_secs(10),
        labels: BTreeMap::new(),
        container: Default::default(),
    }
}
