//! What the edge shall serve.

use crate::stacks;
use crate::world::World;
use expect_test::{Expect, expect};
use mainstay_plan::observed::{Health, Known};
use mainstay_plan::routing::{self, RoutingTable, View};
use mainstay_plan::{Allocation, Desired};
use model::policy::{Balancing, Route, RoutePath, RouteTarget};
use model::project::{PortProtocol, Project, PublishedPort, Runs};
use model::stack::Stack;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use testkit::project::{self, NOWHERE, name, with};

/// `api` (2) on 3000 and published, `web` a folder, `db` direct and published on loopback, `worker` without ports.
fn shop() -> Project {
    let port = |host: Option<&str>, published: u16, target: u16, protocol| PublishedPort {
        host: host.map(|host| host.parse().expect("an address")),
        published: Some(published),
        target,
        protocol,
        at: NOWHERE,
    };
    let project = with(project::project(), "api", |api| {
        api.replicas = 2;
        api.ports = [3000].into();
        api.published = vec![port(None, 8080, 3000, PortProtocol::Http)];
    });
    let project = with(project, "db", |db| {
        db.direct = true;
        db.ports = [5432].into();
        db.published = vec![port(Some("127.0.0.1"), 5432, 5432, PortProtocol::Tcp)];
    });
    let project = with(project, "web", |web| {
        let mut template = testkit::project::template("-");
        template.runs = Runs::Static { root: "dist".into(), spa: true };
        web.template = Arc::new(template);
        web.ports = [80].into();
    });
    let mut project = with(project, "worker", |_| {});
    let path = |prefix: &str, target| RoutePath { prefix: prefix.into(), target, at: NOWHERE };
    let to = |service: &str, port| RouteTarget::Service { service: name(service), port };
    let paths = vec![path("/api", to("api", 3000)), path("/health", RouteTarget::Health), path("/", to("web", 80))];
    project.routes.push(Route { host: "shop.example".into(), paths, at: NOWHERE });
    project
}

fn stack(project: &Project) -> Stack {
    let allocation = mainstay_plan::allocate(project, &Allocation::default(), &mainstay_plan::InUse::default())
        .expect("there is room");
    let terms = mainstay_plan::Terms {
        release: model::ReleaseNumber(1),
        bundle: "ab".repeat(32).parse().expect("legal"),
        uid_base: 100_000,
        key: model::fingerprint::HashKey([7; 32]),
    };
    let content = |path: &str| Some(model::ContentDigest::of(path.as_bytes()));
    mainstay_plan::settle_stack(project, &allocation, &terms, &content).expect("everything is in the bundle")
}

fn check(table: &RoutingTable, expect: Expect) {
    let mut out = String::new();
    for (socket, listener) in &table.listeners {
        let address = socket.address.map_or("*".into(), |address| address.to_string());
        let inside = listener.inside.as_ref().map_or("machine", |network| network.as_str());
        writeln!(out, "{address}:{} {:?} {inside} -> {:?}", socket.port, listener.protocol, listener.to)
            .expect("a string");
    }
    for host in &table.hosts {
        let paths: Vec<String> = host.paths.iter().map(|path| format!("{} -> {:?}", path.prefix, path.to)).collect();
        writeln!(out, "{}: {}", host.host, paths.join(", ")).expect("a string");
    }
    for (pool, upstreams) in &table.pools {
        let upstreams = upstreams.iter().map(|up| format!("{} {} {:?}", up.id, up.address, up.state));
        writeln!(out, "{}:{} [{}]", pool.service, pool.port, upstreams.collect::<Vec<_>>().join(", "))
            .expect("a string");
    }
    for (service, folder) in &table.folders {
        writeln!(out, "{service}: {} spa={}", folder.root, folder.spa).expect("a string");
    }
    expect.assert_eq(&out);
}

#[test]
fn every_way_in_leads_to_its_replicas() {
    let stack = stack(&shop());
    let mut world = World::new();
    world.converge(&Desired::Up(stacks::up(stack.clone())), &mut |_| 0);
    world.have.health.insert(name("api.2"), Health::Unready("refused".into()));
    let Known::Is(routing) = &world.have.edge else { panic!("the edge can be read") };
    let draining = BTreeSet::from([name("db.1")]);
    let placed = &world.have.placed;
    let view =
        View { replicas: &placed.replicas, health: &world.have.health, routed: &routing.routed, draining: &draining };
    check(
        &routing::table(Some(&stack), None, view),
        expect![[r#"
        *:8080 Http machine -> Pool(PoolId { service: "api", port: 3000 })
        10.210.0.2:3000 Http default -> Pool(PoolId { service: "api", port: 3000 })
        10.210.0.4:80 Auto default -> Folder("web")
        127.0.0.1:5432 Tcp machine -> Pool(PoolId { service: "db", port: 5432 })
        shop.example: /api -> To(Pool(PoolId { service: "api", port: 3000 })), /health -> Health, / -> To(Folder("web"))
        api:3000 [api.1 10.210.0.64 Ready, api.2 10.210.0.65 NotReady]
        db:5432 [db.1 10.210.0.3 Draining]
        web: dist spa=true
    "#]],
    );
}

#[test]
fn what_is_opened_beside_what_is_in_force_serves_at_once_and_routes_wait() {
    let old = stack(&shop());
    let mut project = shop();
    stacks::service(&mut project, "api").ports.insert(3001);
    project.routes.clear();
    let new = stack(&project);
    let (replicas, health, none) = Default::default();
    let view = View { replicas: &replicas, health: &health, routed: &none, draining: &none };
    check(
        &routing::table(Some(&old), Some(&new), view),
        expect![[r#"
        *:8080 Http machine -> Pool(PoolId { service: "api", port: 3000 })
        10.210.0.2:3000 Http default -> Pool(PoolId { service: "api", port: 3000 })
        10.210.0.2:3001 Auto default -> Pool(PoolId { service: "api", port: 3001 })
        10.210.0.4:80 Auto default -> Folder("web")
        127.0.0.1:5432 Tcp machine -> Pool(PoolId { service: "db", port: 5432 })
        shop.example: /api -> To(Pool(PoolId { service: "api", port: 3000 })), /health -> Health, / -> To(Folder("web"))
        api:3000 []
        api:3001 []
        db:5432 []
        web: dist spa=true
    "#]],
    );
    check(
        &routing::table(None, Some(&new), view),
        expect![[r#"
        *:8080 Http machine -> Pool(PoolId { service: "api", port: 3000 })
        10.210.0.2:3000 Http default -> Pool(PoolId { service: "api", port: 3000 })
        10.210.0.2:3001 Auto default -> Pool(PoolId { service: "api", port: 3001 })
        10.210.0.4:80 Auto default -> Folder("web")
        127.0.0.1:5432 Tcp machine -> Pool(PoolId { service: "db", port: 5432 })
        api:3000 []
        api:3001 []
        db:5432 []
        web: dist spa=true
    "#]],
    );
    check(&routing::table(None, None, view), expect![[""]]);
}

#[test]
fn a_port_that_moves_to_one_address_does_so_with_the_settling() {
    let old = stack(&shop());
    let mut project = shop();
    stacks::service(&mut project, "api").published[0].host = Some("127.0.0.1".parse().expect("an address"));
    let new = stack(&project);
    let (replicas, health, none) = Default::default();
    let view = View { replicas: &replicas, health: &health, routed: &none, draining: &none };
    let at_8080 = |settled: Option<&Stack>, opened: Option<&Stack>| {
        let table = routing::table(settled, opened, view);
        let sockets = table.listeners.keys().filter(|socket| socket.port == 8080);
        sockets.map(|socket| socket.address.map(|address| address.to_string())).collect::<Vec<_>>()
    };
    let moved = vec![Some("127.0.0.1".to_owned())];
    assert_eq!(at_8080(Some(&old), Some(&new)), [None]);
    assert_eq!(at_8080(Some(&new), Some(&old)), moved);
    assert_eq!((at_8080(Some(&new), None), at_8080(None, Some(&new))), (moved.clone(), moved));
}

#[test]
fn the_hash_changes_with_routes_and_folders_and_never_with_replicas() {
    let base = stack(&shop());
    let hash = routing::routing_hash(&base);
    let with = |change: &dyn Fn(&mut Project)| {
        let mut project = shop();
        change(&mut project);
        routing::routing_hash(&stack(&project))
    };
    let api = |change: &dyn Fn(&mut model::project::Service)| with(&|p| change(stacks::service(p, "api")));
    assert_eq!(api(&|api| api.replicas = 5), hash);
    assert_eq!(api(&|api| stacks::version(api, "v2")), hash);
    assert_ne!(api(&|api| api.ports = [3001].into()), hash);
    assert_ne!(api(&|api| api.published.clear()), hash);
    assert_ne!(api(&|api| api.published[0].protocol = PortProtocol::Tcp), hash);
    assert_ne!(with(&|project| project.routes.clear()), hash);
    assert_ne!(with(&|project| project.routes[0].paths.reverse()), hash);
    assert_ne!(with(&|project| project.routes[0].host.push('x')), hash);
    let other_folder = |web: &mut model::project::Service| {
        let mut template = (*web.template).clone();
        template.runs = Runs::Static { root: "dist2".into(), spa: true };
        web.template = Arc::new(template);
    };
    assert_ne!(with(&|project| other_folder(stacks::service(project, "web"))), hash);
    assert_ne!(routing::hash_of_nothing(), hash);
}

#[test]
fn only_what_is_reached_by_more_than_its_replicas_takes_traffic() {
    let takes = |stack: &Stack, service: &str| {
        let name = name(service);
        routing::Reach::of(stack).takes_traffic(&name, &stack.services[&name])
    };
    let mut stack = stack(&shop());
    assert_eq!(["api", "db", "web", "worker"].map(|service| takes(&stack, service)), [true, true, false, false]);
    stack.any_port = true;
    assert!(takes(&stack, "worker"), "it may listen as well");
    let mut project = shop();
    stacks::service(&mut project, "db").published.clear();
    assert!(!takes(&self::stack(&project), "db"), "called directly");
}

/// How stable addresses are led of a stack whose replicas all run, `api.2` unready.
fn check_led(stack: Stack, expect: Expect) {
    let mut world = World::new();
    world.converge(&Desired::Up(stacks::up(stack.clone())), &mut |_| 0);
    world.have.health.insert(name("api.2"), Health::Unready("refused".into()));
    let Known::Is(routing) = &world.have.edge else { panic!("the edge can be read") };
    let (replicas, health, none) = (&world.have.placed.replicas, &world.have.health, BTreeSet::new());
    let table = routing::table(Some(&stack), None, View { replicas, health, routed: &routing.routed, draining: &none });
    let mut out = String::new();
    for (address, led) in &table.balances {
        writeln!(out, "{} at {address} but {:?}: {:?}", led.service, led.known, led.replicas).expect("a string");
    }
    for (socket, listener) in table.listeners.iter().filter(|(_, listener)| listener.inside.is_some()) {
        writeln!(out, "listens on {}: {:?}", socket.port, listener.to).expect("a string");
    }
    expect.assert_eq(&out);
}

#[test]
fn packet_rules_lead_what_the_edge_does_not_listen_on_to_replicas_that_are_ready() {
    check_led(
        stack(&shop()),
        expect![[r#"
        listens on 3000: Pool(PoolId { service: "api", port: 3000 })
        listens on 80: Folder("web")
    "#]],
    );
    check_led(
        Stack { any_port: true, ..stack(&shop()) },
        expect![[r#"
        api at 10.210.0.2 but {3000}: {10.210.0.64}
        worker at 10.210.0.5 but {}: {10.210.0.66}
        listens on 3000: Pool(PoolId { service: "api", port: 3000 })
        listens on 80: Folder("web")
    "#]],
    );
    let by_connection = with(shop(), "api", |api| api.balance = Balancing::Connections);
    check_led(
        stack(&by_connection),
        expect![[r#"
        api at 10.210.0.2 but {}: {10.210.0.64}
        listens on 80: Folder("web")
    "#]],
    );
}
