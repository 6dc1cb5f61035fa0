use super::*;
use model::fingerprint::{ContentDigest, HashKey};
use model::policy::{Route, RoutePath, RouteTarget};
use model::probe::Check;
use model::project::{PortProtocol, PublishedPort};
use model::span::{FileId, Span};
use testkit::project::{name, project, with};

const NOWHERE: Span = Span { file: FileId(0), start: 0, end: 0 };

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("tests use legal subnets")
}

fn port(published: Option<u16>) -> PublishedPort {
    PublishedPort { host: None, published, target: 3000, protocol: PortProtocol::Auto, at: NOWHERE }
}

fn subnet_of(allocation: &Allocation) -> Ipv4Net {
    allocation.networks.values().next().expect("there is one network").net
}

fn subnets(subnets: Vec<Ipv4Net>) -> InUse {
    InUse { subnets, ..InUse::default() }
}

fn shop() -> Project {
    with(with(project(), "api", |api| api.replicas = 2), "db", |db| db.direct = true)
}

#[test]
fn subnets_keep_away_from_what_the_machine_uses() {
    let check = |in_use: &[&str], want: &str| {
        let in_use = subnets(in_use.iter().map(|text| net(text)).collect());
        let allocation = allocate(&shop(), &Allocation::default(), &in_use).expect("there is room");
        assert_eq!(subnet_of(&allocation), net(want), "{in_use:?}");
    };
    check(&[], "10.210.0.0/24");
    check(&["10.210.0.0/24"], "10.210.1.0/24");
    check(&["10.210.0.64/26"], "10.210.1.0/24");
    check(&["10.210.0.0/16"], "10.211.0.0/24");
    check(&["10.192.0.0/10"], "10.128.0.0/24");
}

#[test]
fn a_full_pool_is_said_with_the_network_and_the_need() {
    let error =
        allocate(&shop(), &Allocation::default(), &subnets(vec![net("10.0.0.0/8")])).expect_err("nothing is free");
    assert_eq!(error.to_string(), "no subnet with 94 addresses is free in 10.128.0.0/9 for network `default`");
}

#[test]
fn what_was_given_out_stays_while_the_stack_changes() {
    let first = allocate(&shop(), &Allocation::default(), &InUse::default()).expect("there is room");
    let grown = with(shop(), "aaa", |service| service.published = vec![port(None)]);
    let second = allocate(&grown, &first, &InUse::default()).expect("there is room");
    assert_eq!(second.networks, first.networks);
    for (service, addresses) in &first.addresses {
        assert_eq!(&second.addresses[service], addresses, "{service} keeps its addresses");
    }
    let all: BTreeSet<_> = second.addresses.values().flat_map(BTreeMap::values).collect();
    assert_eq!(all.len(), 3, "no address twice");
    assert_eq!(second.ports[&name::<ServiceName>("aaa")][&3000], FIRST_PORT);
    assert_eq!(
        allocate(&grown, &second, &InUse::default()).expect("there is room"),
        second,
        "the same again gives the same"
    );
}

fn port_of(allocation: &Allocation, service: &str) -> u16 {
    allocation.ports[&name::<ServiceName>(service)][&3000]
}

#[test]
fn ports_keep_away_from_those_of_others_and_from_declared_ones() {
    let project = with(project(), "web", |web| web.published = vec![port(None)]);
    let of_others = InUse { ports: [FIRST_PORT, FIRST_PORT + 2].into(), ..InUse::default() };
    let first = allocate(&project, &Allocation::default(), &of_others).expect("there is room");
    assert_eq!(port_of(&first, "web"), FIRST_PORT + 1);
    let again = allocate(&project, &first, &InUse::default()).expect("there is room");
    assert_eq!(again, first, "it stays when a lower one is free");

    let declares = with(project.clone(), "admin", |admin| admin.published = vec![port(Some(FIRST_PORT + 1))]);
    let given_up = allocate(&declares, &first, &of_others).expect("there is room");
    assert_eq!(port_of(&given_up, "web"), FIRST_PORT + 3, "what is declared is nobody else's");

    let both = InUse { ports: [FIRST_PORT + 1].into(), ..InUse::default() };
    let moved = allocate(&project, &first, &both).expect("there is room");
    assert_eq!(port_of(&moved, "web"), FIRST_PORT, "one that another stack has as well is given up");

    let grown = with(project, "api", |api| api.published = vec![port(None), port(None)]);
    let grown = allocate(&grown, &first, &InUse::default()).expect("there is room");
    assert_eq!((port_of(&grown, "api"), port_of(&grown, "web")), (FIRST_PORT, FIRST_PORT + 1));
}

#[test]
fn many_networks_get_subnets_that_do_not_overlap() {
    let mut project = shop();
    project.networks = (0..3000).map(|n| (name(&format!("n{n}")), Default::default())).collect();
    let in_use = subnets(vec![net("10.210.7.0/26"), net("10.210.0.0/23"), net("10.210.1.0/24")]);
    let allocation = allocate(&project, &Allocation::default(), &in_use).expect("there is room");
    let mut all: Vec<Ipv4Net> =
        allocation.networks.values().map(|subnet| subnet.net).chain([net("10.210.7.0/26")]).collect();
    all.sort();
    assert_eq!(all[0], net("10.210.2.0/24"));
    assert!(all.windows(2).all(|two| two[0].broadcast() < two[1].network()), "{all:?}");
}

#[test]
fn a_network_that_outgrows_its_subnet_gets_a_larger_one() {
    let small = allocate(&shop(), &Allocation::default(), &InUse::default()).expect("there is room");
    let large = with(project(), "api", |api| api.replicas = 2000);
    let allocation = allocate(&large, &small, &InUse::default()).expect("there is room");
    let subnet = allocation.networks.values().next().expect("there is one network");
    assert!(subnet.replica_addresses().count() >= 4000, "{subnet:?}");
}

#[test]
fn a_declared_subnet_is_taken_or_refused_with_the_reason() {
    let declared = |text: &str, in_use: &[Ipv4Net]| {
        let mut project = shop();
        project.networks.values_mut().for_each(|network| network.subnet = Some(net(text)));
        allocate(&project, &Allocation::default(), &subnets(in_use.to_vec()))
    };
    assert_eq!(subnet_of(&declared("172.30.0.0/24", &[]).expect("it is free")), net("172.30.0.0/24"));
    let taken = declared("172.30.0.0/24", &[net("172.16.0.0/12")]);
    assert!(matches!(taken, Err(AllocateError::SubnetTaken { other, .. }) if other == net("172.16.0.0/12")));
    assert!(matches!(declared("172.30.0.0/28", &[]), Err(AllocateError::SubnetTooSmall { .. })));
}

#[test]
fn the_text_form_reads_what_it_wrote_and_names_the_line_it_cannot_read() {
    let project = with(shop(), "web", |web| web.published = vec![port(None)]);
    let allocation = allocate(&project, &Allocation::default(), &InUse::default()).expect("there is room");
    assert_eq!(Allocation::from_text(&allocation.to_text()), Ok(allocation));
    let broken = "allocation 1\naddress api default nonsense\n";
    assert_eq!(Allocation::from_text(broken).map_err(|error| error.line), Err(2));
    assert!(Allocation::from_text("allocation 99\n").is_err(), "a newer form is not guessed at");
}

fn settled(project: &Project) -> Result<model::stack::Stack, NotInBundle> {
    let allocation = allocate(project, &Allocation::default(), &InUse::default()).expect("there is room");
    let bundle = "a".repeat(64).parse().expect("64 hexadecimal digits");
    let terms = Terms { release: model::ReleaseNumber(1), bundle, uid_base: 0, key: HashKey([7; 32]) };
    settle_stack(project, &allocation, &terms, &|path| (path == "there").then_some(ContentDigest([1; 32])))
}

#[test]
fn a_service_that_traffic_is_led_to_is_asked_whether_it_listens() {
    let check = |project: Project, service: &str, want: Option<u16>| {
        let stack = settled(&project).expect("everything is in the bundle");
        let ready = stack.services[&name::<ServiceName>(service)].probes.ready.clone();
        let asked = ready.map(|probe| match probe.check {
            Check::Tcp { port } => port,
            other => panic!("not asked by tcp but by {other:?}"),
        });
        assert_eq!(asked, want, "{service}");
    };
    check(shop(), "api", None);
    check(with(project(), "api", |api| api.published = vec![port(Some(80))]), "api", Some(3000));
    let target = RouteTarget::Service { service: name("api"), port: 4000 };
    let path = RoutePath { prefix: "/".into(), target, at: NOWHERE };
    let mut routed = shop();
    routed.routes.push(Route { host: "*".into(), paths: vec![path], at: NOWHERE });
    check(routed.clone(), "api", Some(4000));
    check(routed, "db", None);
}

#[test]
fn a_file_that_is_not_in_the_bundle_is_named_with_its_service() {
    let artifact = |source: &str| {
        with(project(), "api", |api| {
            let mut template = testkit::project::template("./run");
            let artifacts = vec![model::project::Artifact { source: source.into(), target: "/app".into() }];
            template.runs = model::project::Runs::Process { command: vec!["./run".into()], artifacts };
            api.template = template.into();
        })
    };
    assert!(settled(&artifact("there")).is_ok());
    let error = settled(&artifact("missing")).expect_err("it is not in the bundle");
    assert_eq!(error.to_string(), "service `api` uses `missing`, which is not in the bundle");
}
