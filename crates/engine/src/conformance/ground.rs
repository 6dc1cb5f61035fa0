//! What replicas stand on: networks, volumes, stacks that do not touch each other.

use super::Workloads;
use super::bench::{Bench, GRACE};
use crate::Engine;
use model::{NetworkName, VolumeName};
use plan::action::replica::Action;
use plan::observed::{Exit, Known, NetworkState};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

pub(super) async fn networks_are_as_asked_for(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "networks").await;
    let name: NetworkName = "front".parse().expect("a legal name");
    let subnet = workloads.subnet();
    let after = |base: Ipv4Addr, n: u32| Ipv4Addr::from(u32::from(base) + n);
    let mut state = NetworkState { subnet: subnet.clone(), stable: BTreeSet::new(), names: BTreeMap::new() };
    let ensure = |state: &NetworkState| Action::EnsureNetwork {
        name: name.clone(),
        state: state.clone().into(),
        made: Default::default(),
    };
    bench.perform(ensure(&state)).await;
    bench.perform(ensure(&state)).await;
    assert_eq!(bench.placed().await.networks.get(&name), Some(&Known::Is(state.clone())));

    let mut start = bench.start("web.1", workloads.runs());
    start.addresses = [(name.clone(), subnet.replicas_from)].into();
    let id = bench.run(&start).await;
    assert_eq!(bench.replica(&id).await.addresses, start.addresses);

    // Names and stable addresses change under a running replica, in both directions.
    let one = after(subnet.gateway, 1);
    state.stable.extend([one, after(subnet.gateway, 2)]);
    state.names.extend([("api".to_owned(), one), ("web".to_owned(), subnet.replicas_from)]);
    bench.perform(ensure(&state)).await;
    assert_eq!(bench.placed().await.networks.get(&name), Some(&Known::Is(state.clone())));
    state.stable.remove(&one);
    state.names.remove("api");
    bench.perform(ensure(&state)).await;
    assert_eq!(bench.placed().await.networks.get(&name), Some(&Known::Is(state)));
    assert!(bench.runs(&id).await, "the replica does not notice");
    assert_eq!(bench.replica(&id).await.addresses, start.addresses, "also not by its address");
    bench.tear_down().await;
}

pub(super) async fn volumes_keep_what_they_hold(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "volumes").await;
    let name: VolumeName = "data".parse().expect("a legal name");
    let ensure = || Action::EnsureVolume { name: name.clone(), made: Default::default() };
    bench.perform(ensure()).await;
    assert_eq!(bench.placed().await.volumes, BTreeSet::from([name.clone()]));
    let start = bench.start("db.1", workloads.remembers(&name));
    let id = bench.run(&start).await;
    assert_eq!(bench.end(&id).await, Exit::Code(0), "a new volume is empty");
    bench.remove(&id).await;
    bench.perform(ensure()).await;
    bench.run(&start).await;
    assert_eq!(bench.end(&id).await, Exit::Code(7), "it outlives its replica, and being ensured again");
    bench.remove(&id).await;
    bench.perform(Action::RemoveVolume { name: name.clone() }).await;
    assert_eq!(bench.placed().await.volumes, BTreeSet::new());
    bench.perform(Action::RemoveVolume { name: name.clone() }).await;
    bench.perform(ensure()).await;
    bench.run(&start).await;
    assert_eq!(bench.end(&id).await, Exit::Code(0), "what was removed is gone");
    bench.tear_down().await;
}

pub(super) async fn a_start_without_ground_is_refused(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "no-ground").await;
    let (network, volume) = ("front".parse::<NetworkName>(), "data".parse::<VolumeName>());
    let (network, volume) = (network.expect("a legal name"), volume.expect("a legal name"));
    let subnet = workloads.subnet();
    let mut networked = bench.start("web.1", workloads.runs());
    networked.addresses = [(network.clone(), subnet.replicas_from)].into();
    let mounting = bench.start("db.1", workloads.remembers(&volume));
    for (start, missing) in [(&networked, network.as_str()), (&mounting, volume.as_str())] {
        let refused = [start.id.service.as_str(), missing];
        bench.refuses(Action::Start(start.clone().into()), "what it stands on is not there", &refused).await;
        assert_eq!(bench.placed().await.replicas, BTreeMap::new(), "nothing of it is left");
        // What was there before stays as it is.
        let before = plan::action::replica::Start { id: start.id.clone(), ..bench.start("web.1", workloads.exits(3)) };
        let id = bench.run(&before).await;
        assert_eq!(bench.end(&id).await, Exit::Code(3));
        let there = bench.replica(&id).await;
        bench.refuses(Action::Start(start.clone().into()), "what it stands on is not there", &refused).await;
        assert_eq!(bench.replica(&id).await, there);
        bench.remove(&id).await;
    }
    let state = NetworkState { subnet, stable: BTreeSet::new(), names: BTreeMap::new() };
    bench.perform(Action::EnsureNetwork { name: network, state: state.into(), made: Default::default() }).await;
    bench.perform(Action::EnsureVolume { name: volume, made: Default::default() }).await;
    let id = bench.run(&networked).await;
    assert!(bench.runs(&id).await, "on its ground it is started");
    let id = bench.run(&mounting).await;
    assert_eq!(bench.end(&id).await, Exit::Code(0));
    bench.tear_down().await;
}

pub(super) async fn a_network_is_not_taken_from_its_replicas(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "carried").await;
    let name: NetworkName = "front".parse().expect("a legal name");
    let state = NetworkState { subnet: workloads.subnet(), stable: BTreeSet::new(), names: BTreeMap::new() };
    let ensure = |state: &NetworkState| Action::EnsureNetwork {
        name: name.clone(),
        state: state.clone().into(),
        made: Default::default(),
    };
    bench.perform(ensure(&state)).await;
    let mut start = bench.start("web.1", workloads.runs());
    start.addresses = [(name.clone(), state.subnet.replicas_from)].into();
    let id = bench.run(&start).await;
    let mut moved = state.clone();
    moved.subnet.gateway = Ipv4Addr::from(u32::from(moved.subnet.gateway) + 1);
    for action in [Action::RemoveNetwork { name: name.clone() }, ensure(&moved)] {
        bench.refuses(action, "a replica stands on it", &["front", "web.1"]).await;
        assert_eq!(bench.placed().await.networks.get(&name), Some(&Known::Is(state.clone())), "nothing has changed");
        assert!(bench.runs(&id).await);
    }
    bench.stop(&id, GRACE).await;
    bench.remove(&id).await;
    bench.perform(ensure(&moved)).await;
    assert_eq!(bench.placed().await.networks.get(&name), Some(&Known::Is(moved)), "without it, it moves");
    bench.tear_down().await;
}

pub(super) async fn stacks_keep_apart(engine: &dyn Engine, workloads: &dyn Workloads) {
    let (one, other) = (Bench::new(engine, workloads, "one").await, Bench::new(engine, workloads, "other").await);
    let id = one.run(&one.start("web.1", workloads.runs())).await;
    other.run(&other.start("web.1", workloads.runs())).await;
    let stacks = one.stacks().await;
    assert!(stacks.contains(&one.stack) && stacks.contains(&other.stack), "{stacks:?}");
    one.stop(&id, GRACE).await;
    one.remove(&id).await;
    assert!(other.runs(&id).await, "the replica of the same name in another stack");
    one.tear_down().await;
    other.tear_down().await;
}
