//! Networks: who reaches whom, and by which name.

use crate::world::{World, state};
use engine::{Engine, ExecExit};
use model::NetworkName;
use plan::observed::NetworkState;
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
    assert_eq!(placed.replicas[&a].addresses[&name], one);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_way_out_is_masqueraded_even_where_others_drop() {
    let world = World::new().await;
    let docker = DroppingPolicy::set();
    world.network("front", 0, false).await;
    let id = serve(&world, "a.1", &[("front", world.address(0, 10))]).await;
    // A far host: a namespace that knows nothing of the replica's subnet, so that only a masqueraded call is answered.
    let far = world.layout.run.join("far");
    let namespace = mainstay_engine_process::network::namespace::ensure(&far).unwrap();
    let (near, away) = (world.address(2, 1), world.address(2, 2));
    let link = format!("t{}", std::process::id());
    use mainstay_engine_process::network::netlink::{Address, FarEnd, Netlink};
    let mut netlink = Netlink::open().unwrap();
    let end = FarEnd { name: "eth0", namespace: std::os::fd::AsFd::as_fd(&namespace), hardware: None };
    netlink.ensure_pair(&link, end).unwrap();
    let index = netlink.index(&link).unwrap();
    netlink.ensure_address(Address { link: index, ip: near, prefix: 30 }).unwrap();
    netlink.up(index).unwrap();
    let listener = mainstay_engine_process::network::namespace::inside(&namespace, || {
        let mut netlink = Netlink::open()?;
        let link = netlink.index("eth0")?;
        netlink.ensure_address(Address { link, ip: away, prefix: 30 })?;
        netlink.up(link)?;
        std::net::TcpListener::bind((away, 80))
    })
    .unwrap();
    let answer = std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.write_all(format!("hello {}\n", from.ip()).as_bytes()).unwrap();
    });
    let (_, text) = world.exec(&id, &call(&format!("{away}:80"))).await;
    netlink.remove(&link).unwrap();
    mainstay_engine_process::network::namespace::remove(&far).unwrap();
    assert_eq!(text, format!("hello {near}\n"));
    answer.join().unwrap();
    assert!(docker.chain().contains(&world.settings.names.table), "{}", docker.chain());
    let table = world.settings.names.table.clone();
    world.end_of_the_world().await;
    assert!(!docker.chain().contains(&table), "{}", docker.chain());
}

/// The chain in which Docker drops what it does not know, made here unless there is one.
struct DroppingPolicy {
    is_ours: bool,
}

impl DroppingPolicy {
    fn set() -> Self {
        let is_ours = nft("list chain ip filter FORWARD").is_empty();
        if is_ours {
            nft("add table ip filter");
            nft("add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }");
        }
        Self { is_ours }
    }

    fn chain(&self) -> String {
        nft("list chain ip filter FORWARD")
    }
}

impl Drop for DroppingPolicy {
    fn drop(&mut self) {
        if self.is_ours {
            nft("delete table ip filter");
        }
    }
}

fn nft(command: &str) -> String {
    let output = std::process::Command::new("nft").arg(command).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
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
