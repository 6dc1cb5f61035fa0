//! Whatever is declared, released, crashed and cut short: plans converge, a second plan is empty, and no order of
//! their steps breaks an invariant (`world` watches every moment, the checker passes every plan).

use crate::stacks::{self, settle, up_after};
use crate::world::{Failed, World};
use mainstay_plan::desired::{Down, Up};
use mainstay_plan::observed::{Exit, Health, Known, Phase, Replica};
use mainstay_plan::{Addresses, Allocation, Desired, FIRST_ONE_OFF_SLOT, routing};
use model::policy::{Route, RoutePath, RouteTarget};
use model::project::{Condition, Mount, MountSource, Order, Project, RestartPolicy, Role, Service};
use model::stack::Stack;
use model::{NetworkName, ReplicaId, Slot};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use testkit::project::{self, depends_on, name, with};

/// One service in numbers; what they mean is said in [`shape`].
#[derive(Debug, Clone)]
struct Shape {
    version: u8,
    replicas: u32,
    at_once: u32,
    kind: u8,
    networks: u8,
    needs: Vec<(usize, u8)>,
    takes_traffic: bool,
    has_volume: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let needs = prop::collection::vec((0usize..6, 0u8..3), 0..3);
    let numbers = (0u8..3, 0u32..4, 1u32..4, 0u8..8, 1u8..4);
    (numbers, needs, any::<bool>(), any::<bool>()).prop_map(|(numbers, needs, takes_traffic, has_volume)| {
        let (version, replicas, at_once, kind, networks) = numbers;
        Shape { version, replicas, at_once, kind, networks, needs, takes_traffic, has_volume }
    })
}

/// What happens next.
#[derive(Debug, Clone)]
enum Event {
    /// Another declaration, carried out as far as so many steps.
    Release { shapes: Vec<Shape>, routes: bool, moved: bool, steps: usize },
    /// A release whose first service never becomes ready.
    BadRelease(Vec<Shape>),
    /// Replicas end by themselves, the n-th of those that run.
    Crash(Vec<usize>),
    /// A replica cannot be read while a release goes on.
    Unreadable(usize, Vec<Shape>),
    /// A restart is asked for.
    Restart(usize),
    /// A replica fails its liveness probe.
    NotLive(usize),
    /// A start was cut short.
    Half(usize),
    /// The edge, or the networks, cannot be read while a release goes on.
    Blind { edge: bool, shapes: Vec<Shape> },
    /// Somebody runs something once, beside the replicas of a service.
    OneOff(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let shapes = || prop::collection::vec(shape(), 1..6);
    let steps = prop_oneof![0usize..30, Just(usize::MAX)];
    prop_oneof![
        4 => (shapes(), any::<bool>(), prop::bool::weighted(0.15), steps)
            .prop_map(|(shapes, routes, moved, steps)| Event::Release { shapes, routes, moved, steps }),
        1 => shapes().prop_map(Event::BadRelease),
        2 => prop::collection::vec(0usize..20, 1..4).prop_map(Event::Crash),
        1 => (0usize..20, shapes()).prop_map(|(n, shapes)| Event::Unreadable(n, shapes)),
        1 => (0usize..6).prop_map(Event::Restart),
        1 => (0usize..20).prop_map(Event::NotLive),
        1 => (0usize..20).prop_map(Event::Half),
        1 => (any::<bool>(), shapes()).prop_map(|(edge, shapes)| Event::Blind { edge, shapes }),
        1 => (0usize..20).prop_map(Event::OneOff),
    ]
}

fn project_of(shapes: &[Shape], routes: bool, moved: bool) -> Project {
    let mut project = project::project();
    let networks: [NetworkName; 2] = [name("default"), name("inner")];
    project.networks.insert(networks[1].clone(), Default::default());
    if moved {
        project.networks.values_mut().for_each(|network| network.internal = !network.internal);
        project.networks.entry(name("default")).or_default().subnet = Some("10.77.0.0/22".parse().expect("legal"));
    }
    for (index, shape) in shapes.iter().enumerate() {
        let volume = format!("data-{index}");
        if shape.has_volume {
            project.volumes.insert(name(&volume), Default::default());
        }
        let is_job = |index: usize| shapes.get(index).is_some_and(|shape| shape.kind == 7);
        project = with(project, &format!("s{index}"), |service| {
            kind(service, shape);
            let mut template = testkit::project::template(&format!("./run v{}", shape.version));
            let on = |bit: usize| shape.networks & (1 << bit) != 0;
            template.networks =
                (0..2).filter(|bit| on(*bit)).map(|bit| (networks[bit].clone(), Default::default())).collect();
            if shape.has_volume {
                let source = MountSource::Volume(name(&volume));
                template.mounts.push(Mount { target: "/data".into(), source, read_only: false });
            }
            service.template = Arc::new(template);
            let needs = shape.needs.iter().filter(|(other, _)| *other < index);
            service.depends_on = needs
                .map(|(other, condition)| match (is_job(*other), condition) {
                    (true, _) => depends_on(&format!("s{other}"), Condition::Completed),
                    (false, 0) => depends_on(&format!("s{other}"), Condition::Started),
                    (false, _) => depends_on(&format!("s{other}"), Condition::Healthy),
                })
                .collect();
        });
    }
    if routes {
        let to = RouteTarget::Service { service: name("s0"), port: 80 };
        let path = RoutePath { prefix: "/".into(), target: to, at: project::NOWHERE };
        project.routes.push(Route { host: "*".into(), paths: vec![path], at: project::NOWHERE });
    }
    project
}

fn kind(service: &mut Service, shape: &Shape) {
    service.replicas = shape.replicas;
    service.update.parallelism = NonZeroU32::new(shape.at_once).expect("at least one");
    service.ports = if shape.takes_traffic { BTreeSet::from([80]) } else { BTreeSet::new() };
    match shape.kind {
        5 => service.update.order = Order::StopFirst,
        6 => {
            service.direct = true;
            service.replicas = shape.replicas.min(1);
        }
        7 => {
            service.role = Role::Job;
            service.restart = RestartPolicy::OnFailure { max: None };
        }
        _ => {}
    }
}

/// A generator good enough to pick an order.
struct Picks(u64);

impl Picks {
    fn pick(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A stack's life: what is wanted, what is there.
struct Life {
    world: World,
    allocation: Allocation,
    want: Up,
    picks: Picks,
}

impl Life {
    fn new(shapes: &[Shape], seed: u64) -> Self {
        let (stack, allocation) = settle(&project_of(shapes, false, false), &Allocation::default());
        Self { world: World::new(), allocation, want: stacks::up(stack), picks: Picks(seed) }
    }

    fn release(&mut self, project: &Project) {
        let (mut stack, allocation) = settle(project, &self.allocation);
        stack.release.0 = self.want.stack.release.0 + 1;
        let known = std::mem::take(&mut self.want.former);
        self.want = up_after(stack, &self.want.stack);
        self.want.former.extend(known);
        self.want.asked_at = self.world.now;
        self.allocation = allocation;
    }

    fn desired(&self) -> Desired {
        Desired::Up(self.want.clone())
    }

    fn carry_out(&mut self, steps: usize) -> Result<(), Failed> {
        let want = self.desired();
        let plan = self.world.plan(&want);
        self.world.carry_out(&want, &plan, steps, &mut |n| self.picks.pick(n))
    }

    fn settle_down(&mut self) {
        let want = self.desired();
        self.world.converge(&want, &mut |n| self.picks.pick(n));
    }

    fn running(&self) -> Vec<ReplicaId> {
        let replicas = self.world.have.placed.replicas.iter();
        replicas.filter(|(_, r)| matches!(r.phase, Phase::Running { .. })).map(|(id, _)| id.clone()).collect()
    }

    fn nth_running(&self, n: usize) -> Option<ReplicaId> {
        let running = self.running();
        (!running.is_empty()).then(|| running[n % running.len()].clone())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Release { shapes, routes, moved, steps } => {
                self.release(&project_of(&shapes, routes, moved));
                // A step that fails is no matter: the next plan takes what is there.
                let _failed = self.carry_out(steps);
            }
            Event::BadRelease(shapes) => {
                self.release(&project_of(&shapes, false, false));
                let bad = self.want.stack.services.values().next().expect("there is one").hash;
                self.world.broken.insert(bad);
                let _failed = self.carry_out(usize::MAX);
                let _failed = self.carry_out(usize::MAX);
                self.world.broken.clear();
            }
            Event::Crash(which) => {
                for n in which {
                    if let Some(id) = self.nth_running(n) {
                        self.world.crash(&id, Exit::Code(1));
                    }
                }
                let _failed = self.carry_out(3);
            }
            Event::Unreadable(n, shapes) => {
                let Some(id) = self.nth_running(n) else { return };
                let phase = |life: &mut Self, phase| {
                    let replica = life.world.have.placed.replicas.get_mut(&id).expect("nobody touches it");
                    std::mem::replace(&mut replica.phase, phase)
                };
                let was = phase(self, Phase::Unknown("no answer".into()));
                self.release(&project_of(&shapes, false, false));
                let _failed = self.carry_out(usize::MAX);
                phase(self, was);
            }
            Event::Restart(n) => {
                let name = self.want.stack.services.keys().nth(n).cloned();
                self.want.restart.extend(name.map(|name| (name, self.world.now)));
                let _failed = self.carry_out(usize::MAX);
            }
            Event::NotLive(n) => {
                let Some(id) = self.nth_running(n) else { return };
                if self.world.have.placed.replicas[&id].role == Role::Service {
                    self.world.have.health.insert(id, Health::Dead("no answer".into()));
                }
                let _failed = self.carry_out(usize::MAX);
            }
            Event::Half(n) => {
                let Some(id) = self.nth_running(n) else { return };
                self.world.halve(&id);
                let _failed = self.carry_out(usize::MAX);
            }
            Event::Blind { edge, shapes } => self.release_blindly(edge, &shapes),
            Event::OneOff(n) => {
                let Some(id) = self.nth_running(n) else { return };
                let replica = Replica {
                    role: Role::Job,
                    addresses: Addresses::default(),
                    ..self.world.have.placed.replicas[&id].clone()
                };
                let slot = Slot::new(FIRST_ONE_OFF_SLOT).expect("not zero");
                self.world.have.placed.replicas.insert(ReplicaId::new(id.service, slot), replica);
            }
        }
    }

    fn release_blindly(&mut self, edge: bool, shapes: &[Shape]) {
        let seen = self.world.have.clone();
        let have = &mut self.world.have;
        if edge {
            have.edge = Known::Unknown("no answer".into());
        } else {
            have.placed.networks.values_mut().for_each(|network| *network = Known::Unknown("no answer".into()));
        }
        self.release(&project_of(shapes, false, false));
        let _failed = self.carry_out(usize::MAX);
        let have = &mut self.world.have;
        if edge {
            have.edge = seen.edge;
        } else {
            // New ones may have been made meanwhile.
            have.placed.networks.extend(seen.placed.networks);
        }
    }
}

/// Everything is exactly as wanted.
fn assert_as_wanted(world: &World, stack: &Stack) {
    let have = &world.have;
    let Known::Is(routing) = &have.edge else { panic!("the edge can be read") };
    assert_eq!(routing.settled, Some(routing::routing_hash(stack)));
    let mut routed = BTreeSet::new();
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    let is_one_off = |id: &ReplicaId| id.slot.number() >= FIRST_ONE_OFF_SLOT;
    for (id, replica) in have.placed.replicas.iter().filter(|(id, _)| !is_one_off(id)) {
        let target = &stack.services[&id.service];
        assert_eq!(replica.hash, target.hash, "{id}");
        let is_fine = match target.role {
            Role::Service => have.is_ready(id),
            Role::Job => matches!(replica.phase, Phase::Exited { how: Exit::Code(0), .. }),
        };
        assert!(is_fine, "{id}: {replica:?}");
        if routing::Reach::of(stack).takes_traffic(&id.service, target) {
            routed.insert(id.clone());
        }
        if target.direct {
            assert!(replica.addresses.iter().eq(&target.addresses), "{id}");
        }
        *counts.entry(&id.service).or_default() += 1;
    }
    for (name, target) in &stack.services {
        assert_eq!(counts.get(name).copied().unwrap_or(0), target.replicas, "{name}");
    }
    let unused = routing.routed.difference(&routed).next();
    assert!(routed.is_subset(&routing.routed), "{routed:?} {:?}", routing.routed);
    // What once took traffic and no longer does keeps its mark, to no effect.
    assert!(unused.is_none_or(|id| have.placed.replicas.contains_key(id)), "{unused:?}");
    assert!(have.placed.networks.keys().eq(stack.networks.keys()));
    assert!(stack.volumes.is_subset(&have.placed.volumes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_converges_and_ends_in_nothing(
        first in prop::collection::vec(shape(), 1..6),
        events in prop::collection::vec(event(), 0..5),
        seed in any::<u64>(),
    ) {
        let mut life = Life::new(&first, seed);
        life.settle_down();
        assert_as_wanted(&life.world, &life.want.stack);
        for event in events {
            life.happen(event);
        }
        // Somebody asks once more, so that what was left alone is tried again.
        life.world.now += jiff::SignedDuration::from_secs(1);
        life.want.asked_at = life.world.now;
        life.settle_down();
        assert_as_wanted(&life.world, &life.want.stack);
        let volumes = life.world.have.placed.volumes.clone();
        let depends_on = life.want.stack.services.iter();
        let depends_on = depends_on.map(|(name, t)| (name.clone(), t.depends_on.keys().cloned().collect())).collect();
        let named = volumes.iter().take(1).cloned().collect();
        let down = Desired::Down(Down { volumes: named, depends_on });
        life.world.converge(&down, &mut |n| life.picks.pick(n));
        let left = &life.world.have.placed;
        prop_assert!(left.replicas.is_empty() && left.networks.is_empty());
        prop_assert_eq!(left.volumes.len(), volumes.len().saturating_sub(1));
        let Known::Is(routing) = &life.world.have.edge else { panic!("the edge can be read") };
        prop_assert!(routing.routed.is_empty());
        prop_assert_eq!(routing.settled, Some(routing::hash_of_nothing()));
    }
}
