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
    let ensure = |state: &NetworkState| Action::EnsureNetwork { name: name.clone(), state: state.clone().into() };
    bench.perform(ensure(&state)).await;
    bench.perform(ensure(&state)).await;
    assert_eq!(bench.placed().await.networks.get(&name), Some(&Known::Is(state.clone())));

    let mut start = bench.start("web.1", workloads.runs());
    start.addresses.insert(name.clone(), subnet.replicas_from);
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
    let ensure = || Action::EnsureVolume { name: name.clone() };
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
