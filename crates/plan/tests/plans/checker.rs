//! The checker finds what is broken, and what it lets pass runs well.
//!
//! Good plans are broken in every way that matters; each named breach has a test, and random breaches are either found
//! or harmless: a plan the checker passes is carried out in random orders under the eyes of `world`.

use crate::notation::scene;
use crate::stacks;
use crate::world::World;
use mainstay_plan::action::{Action, edge, replica};
use mainstay_plan::desired::{Down, Former};
use mainstay_plan::observed::NetworkState;
use mainstay_plan::{After, Allocation, Desired, Observed, Plan, Reason, Step, StepId, check};
use model::project::{Condition, PortProtocol, PublishedPort, Role};
use model::{ServiceName, SpecHash};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use testkit::project::{self, depends_on, name, with};

/// Plans for the scene, breaks the plan, and tells what the checker says, each violation in short.
fn breach(want: &str, have: &str, damage: impl FnOnce(&mut Plan)) -> String {
    let (want, world) = scene(want, have);
    let mut plan = world.plan(&want);
    damage(&mut plan);
    found(&want, &world.have, &plan)
}

fn found(want: &Desired, have: &Observed, plan: &Plan) -> String {
    let violations: Vec<String> = check(want, have, plan).iter().map(ToString::to_string).collect();
    violations.join("; ")
}

/// The number of the first step whose text begins so.
fn step(plan: &Plan, beginning: &str) -> StepId {
    let text = mainstay_plan::text::canonical(plan);
    let line = text.lines().find(|line| line.split_once(' ').is_some_and(|(_, rest)| rest.starts_with(beginning)));
    let number = line.and_then(|line| line.split_once(' ')).map(|(number, _)| number);
    StepId(number.unwrap_or_else(|| panic!("no step `{beginning}` in\n{text}")).parse().expect("a number"))
}

fn cut(plan: &mut Plan, later: &str, earlier: &str) {
    let (later, earlier) = (step(plan, later), step(plan, earlier));
    let after = &mut plan.steps.get_mut(&later).expect("found").after;
    assert!(after.remove(&earlier), "{later} comes right after {earlier}");
}

#[test]
fn a_good_plan_passes() {
    assert_eq!(breach("x3 v2 +2 routes needs-db-ready db-changed", "1:v1 2:v1 3:v1", |_| {}), "");
}

#[test]
fn loose_ends_and_cycles_are_found() {
    let loose = breach("x1 v1", "", |plan| {
        plan.steps.get_mut(&StepId(1)).expect("a step").after.insert(StepId(99));
    });
    assert_eq!(loose, "step 1 comes after step 99, which does not exist");
    let cycle = breach("x1 v1", "", |plan| {
        plan.steps.get_mut(&StepId(1)).expect("a step").after.insert(StepId(3));
    });
    assert!(cycle.contains("step 1 is part of a cycle"), "{cycle}");
}

#[test]
fn a_slot_or_an_address_given_twice_is_found() {
    let twice = breach("x1 v1", "", |plan| {
        let copy = plan.steps[&StepId(1)].clone();
        plan.steps.insert(StepId(9), copy);
    });
    assert!(twice.contains("step 9 starts `x.1`, which another step starts as well"), "{twice}");
    assert!(twice.contains("step 9 gives 10.210.0.64 on `default` to `x.1`, but `x.1` has it"), "{twice}");
    let (want, mut world) = scene("x1 v1 quiet", "");
    let plan = world.plan(&want);
    let (_, there) = scene("x1 v1 quiet", "7:v1");
    let (id, mut replica) = there.have.placed.replicas.into_iter().next().expect("one is there");
    replica.addresses = [(name("default"), [10, 210, 0, 64].into())].into();
    world.have.placed.replicas.insert(id, replica);
    let taken = found(&want, &world.have, &plan);
    assert!(taken.contains("on `default` to `x.1`, but `x.7` has it"), "{taken}");
}

#[test]
fn an_address_outside_the_network_or_of_the_edge_is_found() {
    for address in ["10.99.0.1", "10.210.0.1", "10.210.0.2", "10.210.0.255"] {
        let outside = breach("x1 v1", "", |plan| {
            let start = &mut plan.steps.get_mut(&StepId(1)).expect("a step").action;
            let Action::Replica(replica::Action::Start(start)) = start else { panic!("the first step starts") };
            start.addresses = [(name("default"), address.parse().expect("an address"))].into();
        });
        assert!(outside.contains(&format!("gives {address} to `x.1`, which is no address of `default`")), "{outside}");
    }
}

/// Changes what the first start of the plan starts.
fn start_as(plan: &mut Plan, change: impl FnOnce(&mut replica::Start)) {
    let start = plan.steps.values_mut().find_map(|step| match &mut step.action {
        Action::Replica(replica::Action::Start(start)) => Some(start),
        _ => None,
    });
    change(start.expect("something is started"));
}

#[test]
fn a_start_of_what_nobody_wants_is_found() {
    let with = |change: fn(&mut replica::Start)| breach("x1 v2", "", |plan| start_as(plan, change));
    let nobody = |what: &str| format!("step 1 starts `x.1` with a {what} that nobody wants");
    assert_eq!(with(|start| start.template = Arc::new(project::template("./other"))), nobody("template"));
    assert_eq!(with(|start| start.hash = SpecHash::from_digest([9; 16])), nobody("hash"));
    assert_eq!(with(|start| start.release.0 += 1), nobody("release"));
    assert_eq!(with(|start| start.bundle = "cd".repeat(32).parse().expect("legal")), nobody("bundle"));
    assert_eq!(with(|start| start.uid_base += 1), nobody("range of users"));
    let role = with(|start| start.role = Role::Job);
    assert!(role.contains(&nobody("role")), "{role}");
}

#[test]
fn only_what_was_there_before_is_started_as_it_was() {
    let (Desired::Up(mut up), world) = scene("x1 v2", "") else { panic!("it shall run") };
    let plan = world.plan(&Desired::Up(up.clone()));
    let hash = SpecHash::from_digest([9; 16]);
    let template = Arc::new(project::template("./former"));
    let former = Former { template, release: up.stack.release, bundle: up.stack.bundle.clone() };
    up.former.insert(hash, former.clone());
    let mut old = plan;
    start_as(&mut old, |start| {
        start.hash = hash;
        start.template = former.template;
    });
    let text = found(&Desired::Up(up), &world.have, &old);
    assert_eq!(text, "step 1 starts `x.1` with a hash that nobody wants", "a new replica is of the wanted kind");
}

#[test]
fn a_network_or_a_routing_otherwise_than_wanted_is_found() {
    let (want, _) = scene("x1 v1 routes", "");
    let world = World::new();
    let with = |beginning: &str, change: fn(&mut Action)| {
        let mut plan = world.plan(&want);
        let step = step(&plan, beginning);
        change(&mut plan.steps.get_mut(&step).expect("found").action);
        found(&want, &world.have, &plan).replace(&format!("step {step} "), "")
    };
    let network = |change: &dyn Fn(&mut NetworkState)| {
        let mut plan = world.plan(&want);
        let action = &mut plan.steps.get_mut(&step(&plan, "ensure-network")).expect("found").action;
        let Action::Replica(replica::Action::EnsureNetwork { state, .. }) = action else { panic!("it is one") };
        change(state);
        found(&want, &world.have, &plan)
    };
    let network_text = "step 1 does with network `default` what nobody wants";
    assert_eq!(network(&|_| {}), "");
    assert_eq!(network(&|state| state.subnet.internal = !state.subnet.internal), network_text);
    assert_eq!(network(&|state| state.stable.clear()), network_text);
    assert_eq!(network(&|state| state.names.clear()), network_text);
    let other = ("other".to_owned(), [10, 210, 0, 9].into());
    assert_eq!(network(&|state| state.names.extend([other.clone()])), network_text);
    let hash = with("settle", |action| {
        *action = Action::Edge(edge::Change::Settle { hash: SpecHash::from_digest([9; 16]) });
    });
    assert_eq!(hash, "does with the routing what nobody wants");
}

#[test]
fn nothing_is_made_on_the_way_down() {
    let (want, _) = scene("x1 v1 routes", "");
    let world = World::new();
    let plan = world.plan(&want);
    let text = found(&Desired::Down(Down::default()), &world.have, &plan);
    for subject in ["network `default`", "the listeners", "replica `x.1`", "the route to `x.1`", "the routing"] {
        assert!(text.contains(&format!("does with {subject} what nobody wants")), "{subject}: {text}");
    }
}

#[test]
fn a_port_opened_for_two_is_found() {
    let published = |target| PublishedPort {
        host: None,
        published: Some(8080),
        target,
        protocol: PortProtocol::Http,
        at: project::NOWHERE,
    };
    let base = with(project::project(), "a", |a| a.ports = [80].into());
    let project = with(base, "b", |b| b.ports = [80].into());
    let (mut stack, _) = stacks::settle(&project, &Allocation::default());
    let world = World::new();
    for (name, port) in [("a", 80), ("b", 80)] {
        let service = stack.services.get_mut(&project::name::<ServiceName>(name)).expect("declared");
        service.published.push(published(port));
    }
    let want = Desired::Up(stacks::up(stack));
    let plan = mainstay_plan::reconcile(&want, &world.have, world.now);
    let open = step(&plan, "open");
    assert_eq!(found(&want, &world.have, &plan), format!("step {open} opens port 8080 for `b`, but `a` has it"));
}

#[test]
fn a_start_in_a_slot_that_runs_is_found() {
    let found = breach("x2 v1", "1:v1/dead 2:v1", |plan| cut(plan, "start x.1", "stop x.1"));
    assert!(found.contains("starts `x.1`, which runs"), "{found}");
}

#[test]
fn what_is_not_ours_or_unreadable_is_not_touched() {
    let remove = |id: &str| {
        let action = Action::Replica(replica::Action::Remove { id: name(id) });
        move |plan: &mut Plan| {
            let step = Step { after: After::default(), action, why: Reason::NotWanted };
            plan.steps.insert(StepId(99), step);
        }
    };
    let foreign = breach("x1 v1", "1:v1", remove("x.5"));
    assert_eq!(foreign, "step 99 touches replica `x.5`, which was not observed");
    let unreadable = breach("x1 v1", "1:v1/unknown/unrouted", remove("x.1"));
    assert_eq!(unreadable, "step 99 touches replica `x.1`, which could not be read");
}

#[test]
fn a_volume_goes_only_when_it_was_named() {
    let (_, mut world) = scene("x1 v1", "");
    world.have.placed.volumes.insert(name("data"));
    let named = Desired::Down(Down { volumes: [name("data")].into(), ..Down::default() });
    let plan = world.plan(&named);
    let removed = step(&plan, "remove-volume data");
    let unnamed = Desired::Down(Down::default());
    let text = found(&unnamed, &world.have, &plan);
    assert_eq!(text, format!("step {removed} removes volume `data`, which nobody named"));
    let (up, _) = scene("x1 v1", "");
    assert!(found(&up, &world.have, &plan).contains("which nobody named"));
}

#[test]
fn traffic_before_readiness_is_found() {
    let found = breach("x1 v1", "", |plan| cut(plan, "route x.1", "await x.1"));
    assert!(found.contains("may come before the readiness of `x.1`"), "{found}");
}

#[test]
fn a_stop_before_the_draining_and_a_removal_before_the_stop_are_found() {
    let stop = breach("x1 v2", "1:v1", |plan| cut(plan, "stop x.1", "drain x.1"));
    assert!(stop.contains("may come before the draining of `x.1`"), "{stop}");
    let removal = breach("x1 v2", "1:v1", |plan| cut(plan, "remove x.1", "stop x.1"));
    assert!(removal.contains("may come before the stop of `x.1`"), "{removal}");
}

#[test]
fn a_job_that_may_run_beside_its_earlier_run_is_found() {
    for before in ["1:v1", "1:v1/exit0"] {
        let found = breach("x1 v2 job", before, |plan| cut(plan, "start x.2", "remove x.1"));
        assert!(found.ends_with("may come before the removal of `x.1`"), "{before}: {found}");
    }
}

#[test]
fn a_start_nobody_waits_for_is_found() {
    let found = breach("x1 v1", "", |plan| cut(plan, "await x.1", "start x.1"));
    assert!(found.contains("starts `x.1`, and no step waits for it"), "{found}");
    assert!(found.contains("may come before the start of `x.1`"), "{found}");
}

#[test]
fn a_dependent_that_may_start_too_early_is_found() {
    let ready = breach("x1 v2 needs-db-ready db-changed", "1:v1", |plan| cut(plan, "start x.2", "await db.2"));
    assert!(ready.contains("may start `x.2` before `db` is as far as it must be"), "{ready}");
    let done = breach("x1 v2 needs-db-done db-changed", "1:v1", |plan| cut(plan, "start x.2", "complete db.2"));
    assert!(done.contains("may start `x.2` before `db` is as far as it must be"), "{done}");
    let repair = breach("x1 v1 needs-db-ready db-unready", "1:v1/exit1", |plan| cut(plan, "start x.1", "await db.1"));
    assert!(repair.contains("may start `x.1` before `db` is as far as it must be"), "{repair}");
}

#[test]
fn a_service_that_may_go_under_its_floor_is_found() {
    let early = breach("x2 v2", "1:v1 2:v1", |plan| cut(plan, "drain x.1", "route x.3"));
    assert_eq!(early, "`x` may be left with 1 replicas that serve, its floor is 2");
    let unchained = breach("x2 v2", "1:v1 2:v1", |plan| {
        // Both old ones leave for the same new one.
        let route = step(plan, "route x.3");
        let second = step(plan, "drain x.2");
        plan.steps.get_mut(&second).expect("found").after = After::from(&[route][..]);
    });
    assert_eq!(unchained, "`x` may be left with 1 replicas that serve, its floor is 2");
    let stop_first = breach("x2 v2 stop-first", "1:v1 2:v1", |_| {});
    assert_eq!(stop_first, "", "a service that stops first has no floor");
}

#[test]
fn replicas_that_leave_for_each_other_are_counted_once() {
    // Two at once: each new one covers one old one, in whatever pairing holds in every order.
    let swapped = breach("x2 v2 +2", "1:v1 2:v1", |plan| {
        let (first, second) = (step(plan, "drain x.1"), step(plan, "drain x.2"));
        let after = |plan: &Plan, id: StepId| plan.steps[&id].after.clone();
        let (of_first, of_second) = (after(plan, first), after(plan, second));
        plan.steps.get_mut(&first).expect("found").after = of_second;
        plan.steps.get_mut(&second).expect("found").after = of_first;
    });
    assert_eq!(swapped, "");
}

#[test]
fn what_is_built_on_nothing_is_found() {
    let (want, _) = scene("x1 v1 routes", "");
    let world = World::new();
    let good = world.plan(&want);
    let mut plan = good.clone();
    cut(&mut plan, "start x.1", "open");
    let text = found(&want, &world.have, &plan);
    assert!(text.contains("which it needs"), "{text}");
    let mut plan = good.clone();
    cut(&mut plan, "open", "ensure-network default");
    assert!(found(&want, &world.have, &plan).contains("which it needs"));
    let mut plan = good;
    cut(&mut plan, "settle", "route x.1");
    assert!(found(&want, &world.have, &plan).contains("which it needs"));
}

#[test]
fn on_the_way_down_dependents_stop_first_and_networks_last() {
    let (_, world) = scene("x1 v1 needs-db", "1:v1");
    let depends_on = [(name("x"), [name("db")].into())].into();
    let down = Desired::Down(Down { depends_on, ..Down::default() });
    let good = world.plan(&down);
    let mut plan = good.clone();
    cut(&mut plan, "stop db.1", "stop x.1");
    assert!(found(&down, &world.have, &plan).contains("may stop `db.1` before `x`, which depends on it"));
    let mut plan = good.clone();
    cut(&mut plan, "remove-network default", "settle");
    assert!(found(&down, &world.have, &plan).contains("which it needs"));
    let mut plan = good;
    cut(&mut plan, "remove-network default", "remove x.1");
    assert!(found(&down, &world.have, &plan).contains("which it needs"));
}

#[test]
fn numbers_in_any_order_are_judged_alike() {
    let reversed = |plan: &Plan| {
        let turn = |id: &StepId| StepId(1000 - id.0);
        let step = |step: &Step| Step { after: step.after.iter().map(turn).collect(), ..step.clone() };
        Plan { steps: plan.steps.iter().map(|(id, s)| (turn(id), step(s))).collect(), ..plan.clone() }
    };
    assert_eq!(breach("x3 v2 +2 routes needs-db-ready db-changed", "1:v1 2:v1 3:v1", |p| *p = reversed(p)), "");
    let broken = breach("x2 v2", "1:v1 2:v1", |plan| {
        cut(plan, "drain x.1", "route x.3");
        *plan = reversed(plan);
    });
    assert_eq!(broken, "`x` may be left with 1 replicas that serve, its floor is 2");
}

/// A world with a little of everything, about to be changed as a whole.
fn crowd() -> (Desired, World) {
    let project = |version: &str, replicas: u32| {
        let base = with(project::project(), "db", |db| {
            stacks::version(db, version);
            db.direct = true;
        });
        let base = with(base, "migrate", |job| {
            stacks::version(job, version);
            job.role = model::project::Role::Job;
            job.depends_on = [depends_on("db", Condition::Healthy)].into();
        });
        let base = with(base, "api", |api| {
            stacks::version(api, version);
            api.replicas = replicas;
            api.ports = [3000].into();
            api.depends_on = [depends_on("db", Condition::Healthy), depends_on("migrate", Condition::Completed)].into();
        });
        with(base, "worker", |worker| {
            stacks::version(worker, version);
            worker.replicas = 2;
            worker.depends_on = [depends_on("api", Condition::Started)].into();
        })
    };
    let (old, allocation) = stacks::settle(&project("v1", 4), &Allocation::default());
    let mut world = World::new();
    world.converge(&Desired::Up(stacks::up(old.clone())), &mut |_| 0);
    let mut new = project("v2", 3);
    stacks::service(&mut new, "api").ports.insert(3001);
    let (new, _) = stacks::settle(&new, &allocation);
    (Desired::Up(stacks::up_after(new, &old)), world)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), failure_persistence: None, ..ProptestConfig::default() })]

    /// Edges are taken away at random: either the checker sees it, or no order of the steps does any harm.
    #[test]
    fn what_passes_runs_well(cuts in prop::collection::vec((0usize..1000, 0usize..1000), 1..3), seed in any::<u64>()) {
        let (want, world) = crowd();
        let mut plan = world.plan(&want);
        for (which, edge) in cuts {
            let ids: Vec<StepId> = plan.steps.keys().copied().collect();
            let after = &mut plan.steps.get_mut(&ids[which % ids.len()]).expect("exists").after;
            let edges: Vec<StepId> = after.iter().copied().collect();
            if !edges.is_empty() {
                after.remove(&edges[edge % edges.len()]);
            }
        }
        if check(&want, &world.have, &plan).is_empty() {
            let mut random = seed;
            let mut choose = |n: usize| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) as usize % n
            };
            for _ in 0..5 {
                let done = world.clone().carry_out(&want, &plan, usize::MAX, &mut choose);
                prop_assert_eq!(done, Ok(()));
            }
        }
    }
}

/// Each edge of a rich plan that no other path implies is insisted on.
#[test]
fn every_edge_that_matters_is_insisted_on() {
    let (want, world) = crowd();
    let good = world.plan(&want);
    let mut missed = BTreeSet::new();
    for (id, step) in &good.steps {
        for before in &step.after {
            let mut plan = good.clone();
            plan.steps.get_mut(id).expect("exists").after.remove(before);
            if !comes_before(&plan, *before, *id) && check(&want, &world.have, &plan).is_empty() {
                missed.insert(format!("{} after {}", short(&good, *id), short(&good, *before)));
            }
        }
    }
    assert_eq!(missed, BTreeSet::new());
}

/// Whether some path leads from `later` back to `earlier`.
fn comes_before(plan: &Plan, earlier: StepId, later: StepId) -> bool {
    let (mut open, mut seen) = (vec![later], BTreeSet::new());
    while let Some(id) = open.pop() {
        if id == earlier {
            return true;
        }
        open.extend(plan.steps[&id].after.iter().filter(|before| seen.insert(**before)));
    }
    false
}

/// What a step does to what, in the words of the plan's text.
fn short(plan: &Plan, id: StepId) -> String {
    let text = mainstay_plan::text::canonical(plan);
    let line = text.lines().find(|line| line.split_once(' ').is_some_and(|(number, _)| number == id.to_string()));
    let mut words = line.expect("every step has a line").split_whitespace().skip(1);
    match words.next().expect("a verb") {
        verb @ ("open" | "settle") => verb.to_owned(),
        verb => format!("{verb} {}", words.next().expect("a subject")),
    }
}
