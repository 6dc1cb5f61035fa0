//! Networks: who reaches whom, and by which name.

use crate::world::{World, eventually, in_own_network, state};
use engine::{Engine, ExecExit};
use mainstay_engine_process::network::namespace;
use model::NetworkName;
use network::{Address, FarEnd, Netlink};
use plan::observed::{Known, NetworkState};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::Ipv4Addr;

const SERVE: &str = "exec perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die $!; \
    $| = 1; print \"up\\n\"; while ($c = $s->accept) { print $c \"hello from $ENV{HOSTNAME}\\n\"; close $c }'";

/// A script that prints what a server says, or `no answer`.
fn call(address: &str) -> String {
    format!(
        "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => \"{address}\", Timeout => 1) or do {{ \
         print \"no answer\\n\"; exit 1 }}; print <$s>'"
    )
}

async fn serve(world: &World, id: &str, networks: &[(&str, Ipv4Addr)]) -> model::ReplicaId {
    let mut start = world.shell(id, SERVE);
    start.addresses = networks.iter().map(|(name, ip)| (name.parse().unwrap(), *ip)).collect();
    let id = world.run(start).await;
    world.logged(&id, "up").await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_reach_each_other_the_machine_and_by_name() {
    let world = World::new().await;
    let (one, two, stable) = (world.address(0, 10), world.address(0, 11), world.address(0, 2));
    let subnet = world.subnet(0, false);
    let names = BTreeMap::from([("web".to_owned(), two), ("edge".to_owned(), stable)]);
    let network = NetworkState { subnet: subnet.clone(), stable: BTreeSet::from([stable]), names };
    world.network_with("front", network.clone()).await;
    let a = serve(&world, "web.1", &[("front", one)]).await;
    let b = serve(&world, "web.2", &[("front", two)]).await;

    assert_eq!(world.exec(&a, &call(&format!("{two}:80"))).await.1, "hello from web-2\n");
    assert_eq!(world.exec(&a, &call("web:80")).await.1, "hello from web-2\n", "a name of the network");
    assert_eq!(world.exec(&b, &call("web-2:80")).await.1, "hello from web-2\n", "its own name");
    let mut text = String::new();
    std::net::TcpStream::connect((one, 80)).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello from web-1\n", "the machine reaches a replica");

    let edge = std::net::TcpListener::bind((stable, 0)).unwrap();
    let port = edge.local_addr().unwrap().port();
    let answer = std::thread::spawn(move || edge.accept().unwrap().0.write_all(b"the edge\n").unwrap());
    assert_eq!(world.exec(&a, &call(&format!("edge:{port}"))).await.1, "the edge\n", "a stable address");
    answer.join().unwrap();

    let name: NetworkName = "front".parse().unwrap();
    let placed = world.engine.observe(&world.stack).await.unwrap();
    assert_eq!(state(placed.networks.get(&name)), &network);
    assert_eq!(placed.replicas[&a].addresses.get(&name), Some(&one));
    let next = world.address(0, 3);
    let changed =
        NetworkState { stable: BTreeSet::from([next]), names: BTreeMap::from([("other".to_owned(), two)]), ..network };
    world.network_with("front", changed.clone()).await;
    let placed = world.engine.observe(&world.stack).await.unwrap();
    assert_eq!(state(placed.networks.get(&name)), &changed, "old addresses go, new ones come");
    assert_eq!(world.exec(&a, &call("other:80")).await.1, "hello from web-2\n", "a running replica learns new names");
    assert_eq!(world.exec(&a, "getent hosts edge || echo gone").await.1, "gone\n");
    let in_use = world.engine.subnets_in_use().await.unwrap();
    assert!(!in_use.contains(&subnet.net), "our own are not in the way: {in_use:?}");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_walled_off_from_each_other() {
    let world = World::new().await;
    world.network("front", 0, false).await;
    world.network("back", 1, true).await;
    let stable = world.address(1, 1);
    let front = serve(&world, "a.1", &[("front", world.address(0, 10))]).await;
    let back = serve(&world, "b.1", &[("back", world.address(1, 10))]).await;
    let both = serve(&world, "c.1", &[("back", world.address(1, 11)), ("front", world.address(0, 11))]).await;

    let refused = call(&format!("{}:80", world.address(1, 10)));
    assert_eq!(world.exec(&front, &refused).await, (ExecExit::Code(1), "no answer\n".into()));
    assert_eq!(world.exec(&both, &refused).await.1, "hello from b-1\n", "a replica may be on two networks");
    let there = call(&format!("{}:80", world.address(0, 10)));
    assert_eq!(world.exec(&both, &there).await.1, "hello from a-1\n");

    assert_eq!(world.exec(&back, "ip route show default | wc -l").await.1, "0\n", "no way out of an internal one");
    assert_eq!(world.exec(&front, "ip route show default | wc -l").await.1, "1\n");
    let gateway = world.address(0, 1);
    assert_eq!(
        world.exec(&both, "ip route show default").await.1.trim(),
        format!("default via {gateway} dev eth1 proto static")
    );
    let listener = std::net::TcpListener::bind((stable, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (exit, _) = world.exec(&front, &call(&format!("{stable}:{port}"))).await;
    assert_eq!(exit, ExecExit::Code(1), "the machine's address on another network");
    world.end_of_the_world().await;
}

/// A far host: a namespace that knows nothing of the replicas' subnets, linked to the machine.
struct Far {
    namespace: std::fs::File,
    link: String,
    near: Ipv4Addr,
    away: Ipv4Addr,
}

impl Far {
    fn new(world: &World) -> Self {
        let path = world.layout.run.join("far");
        let namespace = namespace::ensure(&path).unwrap();
        // The open file keeps it.
        namespace::remove(&path).unwrap();
        let (near, away) = (world.address(2, 1), world.address(2, 2));
        let link = format!("t{}", std::process::id());
        let mut netlink = Netlink::open().unwrap();
        let end = FarEnd { name: "eth0", namespace: std::os::fd::AsFd::as_fd(&namespace), hardware: None };
        netlink.ensure_pair(&link, end).unwrap();
        let index = netlink.index(&link).unwrap();
        netlink.ensure_address(Address { link: index, ip: near, prefix: 30 }).unwrap();
        netlink.up(index).unwrap();
        let far = Self { namespace, link, near, away };
        far.inside(|| {
            let mut netlink = Netlink::open()?;
            let link = netlink.index("eth0")?;
            netlink.ensure_address(Address { link, ip: away, prefix: 30 })?;
            netlink.up(link)
        })
        .unwrap();
        far
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
        namespace::inside(&self.namespace, work)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        Netlink::open().unwrap().remove(&self.link).unwrap();
    }
}

fn output_of(program: &str, words: &str) -> String {
    let output = std::process::Command::new(program).args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Somebody else's rules, which drop what is forwarded, as Docker does, and what comes in, as a strict firewall does.
#[derive(Clone, Copy)]
enum Firewall {
    Nft,
    Iptables,
}

impl Firewall {
    fn raise(self) {
        match self {
            Self::Nft => drop(
                [
                    "add table ip filter",
                    "add table inet wall",
                    "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
                    "add chain inet wall in { type filter hook input priority 0; policy drop; }",
                    "add rule inet wall in iif lo accept",
                    "add rule inet wall in ct state established,related accept",
                ]
                .map(|rule| output_of("nft", rule)),
            ),
            Self::Iptables => drop(
                [
                    "-P FORWARD DROP",
                    "-P INPUT DROP",
                    "-A INPUT -i lo -j ACCEPT",
                    "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                ]
                .map(|rule| output_of("iptables", rule)),
            ),
        }
    }

    /// Drops every rule for what comes in, ours with them.
    fn flush(self) {
        match self {
            Self::Nft => output_of("nft", "flush chain inet wall in"),
            Self::Iptables => output_of("iptables", "-F INPUT"),
        };
    }

    fn inward(self) -> String {
        match self {
            Self::Nft => output_of("nft", "list chain inet wall in"),
            Self::Iptables => output_of("iptables", "-S INPUT"),
        }
    }
}

#[test]
fn calls_pass_where_others_drop_what_is_forwarded_and_what_comes_in() {
    check_calls_pass(Firewall::Nft);
}

#[test]
fn calls_pass_where_iptables_drops_what_is_forwarded_and_what_comes_in() {
    check_calls_pass(Firewall::Iptables);
}

fn check_calls_pass(firewall: Firewall) {
    in_own_network(async || {
        let world = World::new().await;
        firewall.raise();
        let stable = world.address(0, 2);
        let subnet = world.subnet(0, false);
        let network = NetworkState { subnet, stable: BTreeSet::from([stable]), names: BTreeMap::new() };
        world.network_with("front", network.clone()).await;
        let id = serve(&world, "a.1", &[("front", world.address(0, 10))]).await;
        let far = Far::new(&world);
        let listener = far.inside(|| std::net::TcpListener::bind((far.away, 80))).unwrap();
        let answer = std::thread::spawn(move || {
            let (mut stream, from) = listener.accept().unwrap();
            stream.write_all(format!("hello {}\n", from.ip()).as_bytes()).unwrap();
        });
        let (_, text) = world.exec(&id, &call(&format!("{}:80", far.away))).await;
        assert_eq!(text, format!("hello {}\n", far.near), "only a masqueraded call is answered");
        answer.join().unwrap();

        let edge = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = edge.local_addr().unwrap().port();
        let answer = std::thread::spawn(move || edge.accept().unwrap().0.write_all(b"the edge\n").unwrap());
        assert_eq!(world.exec(&id, &call(&format!("{stable}:{port}"))).await.1, "the edge\n");
        answer.join().unwrap();
        let gateway = call(&format!("{}:{port}", world.address(0, 1)));
        assert_eq!(world.exec(&id, &gateway).await.1, "no answer\n", "the machine's own stays behind its firewall");

        let name: NetworkName = "front".parse().unwrap();
        firewall.flush();
        let placed = world.engine.observe(&world.stack).await.unwrap();
        assert!(state(placed.networks.get(&name)).stable.is_empty(), "what was flushed is seen");
        world.network_with("front", network.clone()).await;
        let placed = world.engine.observe(&world.stack).await.unwrap();
        assert_eq!(state(placed.networks.get(&name)), &network);
        let table = world.settings.names.table.clone();
        assert!(firewall.inward().contains(&table));
        world.end_of_the_world().await;
        let left = output_of("nft", "list ruleset");
        assert!(!left.contains(&table), "{left}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn stable_addresses_are_not_reached_from_outside() {
    let world = World::new().await;
    let stable = world.address(0, 2);
    let state =
        NetworkState { subnet: world.subnet(0, true), stable: BTreeSet::from([stable]), names: BTreeMap::new() };
    world.network_with("front", state).await;
    let far = Far::new(&world);
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let reach = |ip: Ipv4Addr| {
        let limit = std::time::Duration::from_millis(500);
        far.inside(move || std::net::TcpStream::connect_timeout(&(ip, port).into(), limit)).is_ok()
    };
    far.inside(|| Netlink::open()?.ensure_default_route(far.near)).unwrap();
    eventually("what is published to be reached", || reach(far.near)).await;
    assert!(!reach(stable), "what is not is not");
    drop(far);
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_rules_are_noticed_and_mended() {
    let world = World::new().await;
    let stable = BTreeSet::from([world.address(0, 2)]);
    let network = NetworkState { subnet: world.subnet(0, true), stable, names: BTreeMap::new() };
    world.network_with("front", network.clone()).await;
    let name: NetworkName = "front".parse().unwrap();
    let seen = async || state(world.engine.observe(&world.stack).await.unwrap().networks.get(&name)).clone();
    assert_eq!(seen().await, network);
    output_of("nft", &format!("delete table ip {}", world.settings.names.table));
    assert!(seen().await.stable.is_empty(), "differs from what is wanted");
    let told = tokio::time::timeout(crate::world::SOON, world.engine.changed()).await;
    assert_eq!(told.expect("it is noticed without being asked"), world.stack);
    world.network_with("front", network.clone()).await;
    assert_eq!(seen().await, network);
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_network_hides_nothing_else() {
    let world = World::new().await;
    world.network("front", 0, true).await;
    world.network("back", 1, true).await;
    let (front, back): (NetworkName, NetworkName) = ("front".parse().unwrap(), "back".parse().unwrap());
    let file = world.layout.network(&world.stack, &back).join("network.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    world.network("front", 0, true).await;
    let placed = world.engine.observe(&world.stack).await.unwrap();
    assert!(matches!(placed.networks[&front], Known::Is(_)));
    assert!(matches!(placed.networks[&back], Known::Unknown(_)));
    std::fs::write(&file, whole).unwrap();
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_made_network_is_seen_as_such_and_mended() {
    let world = World::new().await;
    let names = BTreeMap::from([("web".to_owned(), world.address(0, 2))]);
    let stable = BTreeSet::from([world.address(0, 2)]);
    let network = NetworkState { subnet: world.subnet(0, true), stable, names };
    world.network_with("front", network.clone()).await;
    let name: NetworkName = "front".parse().unwrap();
    let path = world.layout.network(&world.stack, &name).join("netns");
    mainstay_engine_process::network::namespace::remove(&path).unwrap();
    let placed = world.engine.observe(&world.stack).await.unwrap();
    assert!(state(placed.networks.get(&name)).names.is_empty(), "differs from what is wanted");
    world.network_with("front", network.clone()).await;
    let id = serve(&world, "web.1", &[("front", world.address(0, 10))]).await;
    let mut text = String::new();
    std::net::TcpStream::connect((world.address(0, 10), 80)).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello from web-1\n");
    assert_eq!(state(world.engine.observe(&world.stack).await.unwrap().networks.get(&name)), &network);
    drop(id);
    world.end_of_the_world().await;
}
