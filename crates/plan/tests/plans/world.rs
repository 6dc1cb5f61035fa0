//! A machine in memory that does what steps say, one at a time, and panics when a step is out of place.
//!
//! It knows what each step needs at the moment it is done; it knows nothing of how plans are made or checked, so it is
//! the third and last opinion on what a sound plan is.

use jiff::{SignedDuration, Timestamp};
use mainstay_plan::action::{Action, edge, replica};
use mainstay_plan::desired::Up;
use mainstay_plan::observed::{Exit, Health, Known, NetworkState, Phase, Replica};
use mainstay_plan::{Desired, Observed, Plan, StepId, reconcile, routing};
use model::project::{Condition, MountSource, Order, Role};
use model::stack::Target;
use model::{ReplicaId, ServiceName, SpecHash};
use std::collections::{BTreeMap, BTreeSet};

/// A machine in memory.
#[derive(Clone)]
pub struct World {
    pub have: Observed,
    pub now: Timestamp,
    /// Replicas of these templates never become ready.
    pub broken: BTreeSet<SpecHash>,
}

/// A step did not succeed, as it may not in the real world.
#[derive(Debug, PartialEq)]
pub struct Failed;

impl World {
    pub fn new() -> Self {
        let now = Timestamp::from_second(1_767_225_600).expect("in range");
        Self { have: Observed::default(), now, broken: BTreeSet::new() }
    }

    /// Plans and does everything until nothing is left to do, in random order; panics when that never comes.
    pub fn converge(&mut self, want: &Desired, choose: &mut impl FnMut(usize) -> usize) {
        for _ in 0..20 {
            let mut plan = self.plan(want);
            if plan.is_empty() && plan.wake_at.is_none() {
                self.let_probes_speak();
                plan = self.plan(want);
            }
            if plan.is_empty() && plan.wake_at.is_none() {
                return;
            }
            if let Some(at) = plan.wake_at.filter(|_| plan.is_empty()) {
                self.now = at;
            }
            let _failed = self.carry_out(want, &plan, usize::MAX, choose);
        }
        panic!("does not converge: {}", mainstay_plan::text::short(&self.plan(want)));
    }

    /// The plan, checked.
    pub fn plan(&self, want: &Desired) -> Plan {
        let plan = reconcile(want, &self.have, self.now);
        let violations = mainstay_plan::check(want, &self.have, &plan);
        assert!(violations.is_empty(), "{violations:#?}\nin\n{}", mainstay_plan::text::canonical(&plan));
        plan
    }

    /// Does at most `most` steps in an order that `choose` picks, and watches over the floor after each.
    pub fn carry_out(
        &mut self,
        want: &Desired,
        plan: &Plan,
        most: usize,
        choose: &mut impl FnMut(usize) -> usize,
    ) -> Result<(), Failed> {
        let watch = Watch::of(want, &self.have);
        let mut left: BTreeSet<StepId> = plan.steps.keys().copied().collect();
        for _ in 0..most {
            let free: Vec<StepId> = left
                .iter()
                .filter(|id| plan.steps[id].after.iter().all(|before| !left.contains(before)))
                .copied()
                .collect();
            if free.is_empty() {
                assert!(left.is_empty(), "a cycle");
                break;
            }
            let id = free[choose(free.len())];
            left.remove(&id);
            self.now += SignedDuration::from_millis(10);
            self.perform(want, &plan.steps[&id].action)?;
            watch.judge(want, &self.have, plan);
        }
        self.have.generation.0 += 1;
        Ok(())
    }

    /// Time enough for probes passes: what runs and is sound is ready.
    fn let_probes_speak(&mut self) {
        for (id, replica) in &self.have.placed.replicas {
            if matches!(replica.phase, Phase::Running { .. }) && !self.broken.contains(&replica.hash) {
                self.have.health.insert(id.clone(), Health::Ready);
            }
        }
    }

    fn perform(&mut self, want: &Desired, action: &Action) -> Result<(), Failed> {
        match action {
            Action::Replica(action) => self.place(want, action),
            Action::Probe(wait) => {
                let replica = &self.have.placed.replicas[&wait.id];
                if self.broken.contains(&replica.hash) || !matches!(replica.phase, Phase::Running { .. }) {
                    return Err(Failed);
                }
                self.have.health.insert(wait.id.clone(), Health::Ready);
            }
            Action::Job(job) => {
                let replica = self.have.placed.replicas.get_mut(&job.id).expect("a job that is waited for exists");
                if let Phase::Running { since } = replica.phase {
                    let code = i32::from(self.broken.contains(&replica.hash));
                    replica.phase = Phase::Exited { since, at: self.now, how: Exit::Code(code) };
                }
                if !matches!(replica.phase, Phase::Exited { how: Exit::Code(0), .. }) {
                    return Err(Failed);
                }
            }
            Action::Edge(change) => self.route(want, change),
            Action::Object(_) => panic!("no objects here"),
        }
        Ok(())
    }

    fn route(&mut self, want: &Desired, change: &edge::Change) {
        let ready = |have: &Observed, id| have.is_ready(id);
        let Known::Is(routing) = &self.have.edge else { panic!("the edge cannot be reached") };
        let mut routing = routing.clone();
        match change {
            edge::Change::Open => {
                let Desired::Up(up) = want else { panic!("nothing to open on the way down") };
                for (service, target) in up.stack.services.iter().filter(|(_, target)| !target.direct) {
                    for (network, address) in &target.addresses {
                        let Some(Known::Is(state)) = self.have.placed.networks.get(network) else {
                            panic!("no {network}")
                        };
                        assert!(state.stable.contains(address), "{service} listens on {address}, which is not there");
                        assert_eq!(state.names.get(service.as_str()), Some(address), "{service} has a name");
                    }
                }
            }
            edge::Change::Route { id } => {
                assert!(ready(&self.have, id), "{id} gets traffic before it is ready");
                routing.routed.insert(id.clone());
            }
            edge::Change::Drain { id, .. } => assert!(routing.routed.remove(id), "{id} is drained without traffic"),
            edge::Change::Settle { hash } => routing.settled = Some(*hash),
        }
        self.have.edge = Known::Is(routing);
    }

    fn place(&mut self, want: &Desired, action: &replica::Action) {
        let placed = &mut self.have.placed;
        match action {
            replica::Action::EnsureNetwork { name, state, .. } => {
                if let Some(Known::Is(NetworkState { subnet, .. })) = placed.networks.get(name)
                    && subnet.net != state.subnet.net
                {
                    let on_it = placed.replicas.iter().find(|(_, replica)| replica.addresses.contains_key(name));
                    assert!(on_it.is_none(), "{name} moves under {on_it:?}");
                }
                let taken = |replica: &Replica| replica.addresses.get(name).is_some_and(|a| state.stable.contains(a));
                assert!(!placed.replicas.values().any(taken), "a stable address of {name} is a replica's");
                placed.networks.insert(name.clone(), Known::Is((**state).clone()));
            }
            replica::Action::RemoveNetwork { name } => {
                let on_it = placed.replicas.values().any(|replica| replica.addresses.contains_key(name));
                assert!(!on_it, "{name} is removed under a replica");
                assert!(placed.networks.remove(name).is_some());
            }
            replica::Action::EnsureVolume { name, .. } => assert!(placed.volumes.insert(name.clone())),
            replica::Action::RemoveVolume { name } => {
                assert!(placed.replicas.is_empty(), "{name} is removed under replicas");
                assert!(placed.volumes.remove(name));
            }
            replica::Action::Start(start) => self.start(want, start),
            replica::Action::Stop { id, .. } => {
                assert!(!is_routed(&self.have, id), "{id} is stopped with traffic");
                let replica = self.have.placed.replicas.get_mut(id).expect("what is stopped exists");
                if let Phase::Running { since } = replica.phase {
                    replica.phase = Phase::Exited { since, at: self.now, how: Exit::Signal(15) };
                }
                self.have.health.remove(id);
            }
            replica::Action::Remove { id } => {
                assert!(!is_routed(&self.have, id), "{id} is removed with traffic");
                let replica = self.have.placed.replicas.remove(id).expect("what is removed exists");
                assert!(!matches!(replica.phase, Phase::Running { .. }), "{id} is removed while it runs");
                self.have.health.remove(id);
            }
        }
    }

    fn start(&mut self, want: &Desired, start: &replica::Start) {
        let have = &self.have;
        if let Some(there) = have.placed.replicas.get(&start.id) {
            assert!(!matches!(there.phase, Phase::Running { .. } | Phase::Unknown(_)), "{} runs", start.id);
        }
        for (network, address) in &start.addresses {
            let Some(Known::Is(state)) = have.placed.networks.get(network) else { panic!("no network {network}") };
            assert!(state.subnet.net.contains(address), "{address} lies outside {network}");
            assert!(!state.stable.contains(address), "{address} is the edge's");
            for (id, replica) in have.placed.replicas.iter().filter(|(id, _)| **id != start.id) {
                assert_ne!(replica.addresses.get(network), Some(address), "{id} and {} on one address", start.id);
            }
        }
        for mount in &start.template.mounts {
            if let MountSource::Volume(name) = &mount.source {
                assert!(have.placed.volumes.contains(name), "no volume {name}");
            }
        }
        if let Desired::Up(up) = want {
            for (name, dependency) in &up.stack.services[&start.id.service].depends_on {
                let is_reached = is_reached(have, name, &up.stack.services[name], dependency.condition);
                assert!(is_reached, "{} starts before {name} is {:?}", start.id, dependency.condition);
            }
        }
        let replica = Replica {
            role: start.role,
            hash: start.hash,
            release: start.release,
            bundle: start.bundle.clone(),
            addresses: start.addresses.clone(),
            failures: start.failures,
            stop_signal: start.template.stop_signal.unwrap_or(15),
            stop_grace: start.template.stop_grace,
            phase: Phase::Running { since: self.now },
        };
        self.have.placed.replicas.insert(start.id.clone(), replica);
        self.have.health.insert(start.id.clone(), Health::Starting);
    }

    /// What is there of the replica is what a start leaves that was cut short.
    pub fn halve(&mut self, id: &ReplicaId) {
        self.have.placed.replicas.get_mut(id).expect("what is halved exists").phase = Phase::Half;
        self.have.health.remove(id);
    }

    /// The replica's process ends by itself.
    pub fn crash(&mut self, id: &ReplicaId, how: Exit) {
        let replica = self.have.placed.replicas.get_mut(id).expect("what crashes exists");
        if let Phase::Running { since } = replica.phase {
            replica.phase = Phase::Exited { since, at: self.now, how };
            self.have.health.remove(id);
        }
    }
}

fn is_routed(have: &Observed, id: &ReplicaId) -> bool {
    matches!(&have.edge, Known::Is(routing) if routing.routed.contains(id))
}

fn of<'a>(have: &'a Observed, name: &ServiceName) -> impl Iterator<Item = (&'a ReplicaId, &'a Replica)> {
    have.placed.replicas.iter().filter(move |(id, _)| id.service == *name && id.slot.number() < 1000)
}

fn is_reached(have: &Observed, name: &ServiceName, target: &Target, condition: Condition) -> bool {
    if !target.has_replicas() || target.replicas == 0 {
        return true;
    }
    let done = |r: &Replica| r.hash == target.hash && matches!(r.phase, Phase::Exited { how: Exit::Code(0), .. });
    let is_known =
        have.completed.get(&(name.clone(), target.hash)).is_some_and(|done| done.replicas >= target.replicas);
    match (condition, target.role) {
        _ if target.role == Role::Job && is_known => true,
        (Condition::Started, _) => {
            of(have, name).any(|(_, r)| matches!(r.phase, Phase::Running { .. } | Phase::Exited { .. }))
        }
        (Condition::Healthy, Role::Service) => of(have, name).any(|(id, _)| have.is_ready(id)),
        _ => of(have, name).filter(|(_, r)| done(r)).count() >= target.replicas as usize,
    }
}

/// What must hold at every moment of a plan: floors and surges, fixed when it begins.
struct Watch {
    floors: BTreeMap<ServiceName, usize>,
    most: BTreeMap<ServiceName, usize>,
}

impl Watch {
    fn of(want: &Desired, have: &Observed) -> Self {
        let Desired::Up(up) = want else { return Self { floors: BTreeMap::new(), most: BTreeMap::new() } };
        let mut watch = Self { floors: BTreeMap::new(), most: BTreeMap::new() };
        for (name, target) in &up.stack.services {
            let is_start_first = !target.direct && target.update.order == Order::StartFirst;
            let moves = of(have, name).any(|(_, replica)| stands_wrong(up, have, replica));
            if target.role == Role::Service && target.has_replicas() && is_start_first && !moves {
                let wanted = target.replicas as usize;
                watch.floors.insert(name.clone(), wanted.min(serving(up, have, name)));
                // Those that crashed come back beside the release.
                let there = of(have, name).count();
                let at_once = target.update.parallelism.get() as usize;
                watch.most.insert(name.clone(), there.max(wanted) + at_once);
            }
        }
        watch
    }

    fn judge(&self, want: &Desired, have: &Observed, plan: &Plan) {
        let Desired::Up(up) = want else { return };
        for (name, floor) in &self.floors {
            let serving = serving(up, have, name);
            let text = || mainstay_plan::text::canonical(plan);
            assert!(serving >= *floor, "{name}: {serving} serve, the floor is {floor}\n{}", text());
            let running = of(have, name).filter(|(_, r)| matches!(r.phase, Phase::Running { .. })).count();
            assert!(running <= self.most[name], "{name}: {running} run, at most {}\n{}", self.most[name], text());
        }
    }
}

fn serving(up: &Up, have: &Observed, name: &ServiceName) -> usize {
    let takes = routing::Reach::of(&up.stack).takes_traffic(name, &up.stack.services[name]);
    of(have, name).filter(|(id, _)| have.is_ready(id) && (!takes || is_routed(have, id))).count()
}

fn stands_wrong(up: &Up, have: &Observed, replica: &Replica) -> bool {
    replica.addresses.iter().any(|(network, address)| {
        let Some(shall) = up.stack.networks.get(network) else { return false };
        let is = match have.placed.networks.get(network) {
            Some(Known::Is(is)) => is.subnet.net == shall.net,
            _ => true,
        };
        !is || *address < shall.replicas_from
    })
}
