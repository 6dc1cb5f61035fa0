//! How a stack is taken down.

use crate::stacks;
use crate::world::World;
use expect_test::{Expect, expect};
use mainstay_plan::action::{Action, replica};
use mainstay_plan::desired::Down;
use mainstay_plan::observed::{Known, Phase};
use mainstay_plan::{Addresses, Allocation, Desired, StepId, text};
use model::ReplicaId;
use model::project::{Condition, Mount, MountSource};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use testkit::project::{self, depends_on, name, with};

/// `web` → `api` (2) → `db` with a volume, all running; `change` makes something of it.
fn check(change: impl FnOnce(&mut World, &mut Down), expect: Expect) {
    let project = with(project::project(), "db", |db| {
        let mut template = testkit::project::template("./db");
        let source = MountSource::Volume(name("data"));
        template.mounts.push(Mount { target: "/data".into(), source, read_only: false });
        db.template = Arc::new(template);
        db.direct = true;
    });
    let mut project = with(project, "api", |api| {
        api.replicas = 2;
        api.ports = [80].into();
        api.depends_on = [depends_on("db", Condition::Healthy)].into();
    });
    project = with(project, "web", |web| web.depends_on = [depends_on("api", Condition::Healthy)].into());
    project.volumes.insert(name("data"), Default::default());
    let (stack, _) = stacks::settle(&project, &Allocation::default());
    let depends_on = stack.services.iter();
    let depends_on = depends_on.map(|(name, t)| (name.clone(), t.depends_on.keys().cloned().collect())).collect();
    let mut world = World::new();
    world.converge(&Desired::Up(stacks::up(stack)), &mut |_| 0);
    let mut down = Down { depends_on, ..Down::default() };
    change(&mut world, &mut down);
    let plan = world.plan(&Desired::Down(down));
    let mut out = String::new();
    for (line, (id, step)) in text::short(&plan).lines().zip(&plan.steps) {
        let after: Vec<String> = step.after.iter().map(ToString::to_string).collect();
        out += format!("{id:<2} {line}  after {}", after.join(" ")).trim_end_matches("  after ");
        out.push('\n');
    }
    for note in &plan.notes {
        out += &format!("-- {}: {}\n", note.subject, note.text);
    }
    expect.assert_eq(&out);
}

#[test]
fn dependents_stop_first_and_volumes_stay() {
    check(
        |_, _| {},
        expect![[r#"
            1  drain   api.1            10s  taken down
            2  drain   api.2            10s  taken down
            3  stop    web.1            10s  taken down
            4  stop    api.1            10s  taken down  after 1 3
            5  stop    api.2            10s  taken down  after 2 3
            6  stop    db.1             10s  taken down  after 4 5
            7  remove  api.1                 taken down  after 4
            8  remove  api.2                 taken down  after 5
            9  remove  db.1                  taken down  after 6
            10 remove  web.1                 taken down  after 3
            11 settle  routes                taken down  after 1 2 7 8 9 10
            12 remove  network default       taken down  after 7 8 9 10 11
        "#]],
    );
}

#[test]
fn named_volumes_go_last() {
    check(
        |_, down| down.volumes = [name("data")].into(),
        expect![[r#"
            1  drain   api.1            10s  taken down
            2  drain   api.2            10s  taken down
            3  stop    web.1            10s  taken down
            4  stop    api.1            10s  taken down  after 1 3
            5  stop    api.2            10s  taken down  after 2 3
            6  stop    db.1             10s  taken down  after 4 5
            7  remove  api.1                 taken down  after 4
            8  remove  api.2                 taken down  after 5
            9  remove  db.1                  taken down  after 6
            10 remove  web.1                 taken down  after 3
            11 settle  routes                taken down  after 1 2 7 8 9 10
            12 remove  network default       taken down  after 7 8 9 10 11
            13 remove  volume data           taken down  after 1 2 7 8 9 10
        "#]],
    );
}

#[test]
fn what_does_not_run_is_only_removed() {
    check(
        |world, _| {
            for id in ["web.1", "api.2"] {
                let replica = world.have.placed.replicas.get_mut(&name::<ReplicaId>(id)).expect("it is there");
                replica.phase = Phase::Half;
            }
        },
        expect![[r#"
            1  drain   api.1            10s  taken down
            2  drain   api.2            10s  taken down
            3  stop    api.1            10s  taken down  after 1
            4  stop    db.1             10s  taken down  after 3
            5  remove  api.1                 taken down  after 3
            6  remove  api.2                 taken down  after 2
            7  remove  db.1                  taken down  after 4
            8  remove  web.1                 taken down
            9  settle  routes                taken down  after 1 2 5 6 7 8
            10 remove  network default       taken down  after 5 6 7 8 9
        "#]],
    );
}

#[test]
fn one_off_runs_go_as_well() {
    check(
        |world, _| {
            let mut run = world.have.placed.replicas[&name::<ReplicaId>("api.1")].clone();
            run.role = model::project::Role::Job;
            run.addresses = Addresses::default();
            world.have.placed.replicas.clear();
            world.have.edge = Known::default();
            world.have.placed.replicas.insert(name("api.1000"), run);
        },
        expect![[r#"
            1  stop    api.1000         10s  taken down
            2  remove  api.1000              taken down  after 1
            3  settle  routes                taken down  after 2
            4  remove  network default       taken down  after 3
        "#]],
    );
}

#[test]
fn what_cannot_be_read_is_left_with_all_it_stands_on() {
    check(
        |world, down| {
            let replica = world.have.placed.replicas.get_mut(&name::<ReplicaId>("db.1")).expect("it is there");
            replica.phase = Phase::Unknown("no answer".into());
            down.volumes = [name("data")].into();
        },
        expect![[r#"
            1  drain   api.1   10s  taken down
            2  drain   api.2   10s  taken down
            3  stop    web.1   10s  taken down
            4  stop    api.1   10s  taken down  after 1 3
            5  stop    api.2   10s  taken down  after 2 3
            6  remove  api.1        taken down  after 4
            7  remove  api.2        taken down  after 5
            8  remove  web.1        taken down  after 3
            9  settle  routes       taken down  after 1 2 6 7 8
            -- db.1: cannot be read and is left: no answer
            -- network default: is left while `db.1` stands on it
            -- volume data: is left while `db.1` is there
        "#]],
    );
}

#[test]
fn nothing_with_traffic_goes_while_the_edge_cannot_be_told() {
    check(
        |world, _| world.have.edge = Known::Unknown("no answer".into()),
        expect![[r#"
        -- api.1: is left while the edge cannot be told to drain it: no answer
        -- api.2: is left while the edge cannot be told to drain it: no answer
        -- db.1: is left while the edge cannot be told to drain it: no answer
        -- web.1: is left while the edge cannot be told to drain it: no answer
        -- edge: cannot be read, its listeners and the networks they stand on are left: no answer
    "#]],
    );
}

#[test]
fn nothing_is_left_to_do_once_it_is_gone() {
    check(
        |world, _| {
            world.converge(&Desired::Down(Down::default()), &mut |_| 0);
        },
        expect![[""]],
    );
}

/// Services `s0` on, each with the numbers of those it depends on, all lower, and whether it runs.
fn layers(services: &[(Vec<usize>, bool)]) -> (World, Down) {
    let project = services.iter().enumerate().fold(project::project(), |project, (index, (needs, runs))| {
        with(project, &format!("s{index}"), |service| {
            service.replicas = u32::from(*runs);
            service.depends_on = needs.iter().map(|need| depends_on(&format!("s{need}"), Condition::Started)).collect();
        })
    });
    let (stack, _) = stacks::settle(&project, &Allocation::default());
    let depends_on = stack.services.iter();
    let depends_on = depends_on.map(|(name, t)| (name.clone(), t.depends_on.keys().cloned().collect())).collect();
    let mut world = World::new();
    world.converge(&Desired::Up(stacks::up(stack)), &mut |_| 0);
    (world, Down { depends_on, ..Down::default() })
}

/// The services whose stop the stop of each waits for.
fn stops_before(world: &World, down: &Down) -> BTreeMap<String, BTreeSet<String>> {
    let plan = world.plan(&Desired::Down(down.clone()));
    let stopped = |id: &StepId| match &plan.steps[id].action {
        Action::Replica(replica::Action::Stop { id, .. }) => Some(id.service.to_string()),
        _ => None,
    };
    let stops = plan.steps.iter().filter_map(|(id, step)| Some((stopped(id)?, &step.after)));
    stops.map(|(service, after)| (service, after.iter().filter_map(stopped).collect())).collect()
}

#[test]
fn layers_of_services_that_run_nothing_are_passed_through_once() {
    // A bottom, forty layers of two that each need both below them, and a top: 2^40 ways lead from one to the other.
    let mut services = vec![(vec![], true), (vec![0], false), (vec![0], false)];
    for layer in 1..40 {
        let below = vec![2 * layer - 1, 2 * layer];
        services.extend([(below.clone(), false), (below, false)]);
    }
    services.push((vec![79, 80], true));
    let (world, down) = layers(&services);
    assert_eq!(stops_before(&world, &down)["s0"], ["s81".to_owned()].into());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_runs_stops_after_all_that_need_it_through_whatever_runs_nothing(
        shapes in prop::collection::vec((prop::collection::vec(0usize..9, 0..4), any::<bool>()), 1..9),
    ) {
        let lower = |(index, (needs, runs)): (usize, &(Vec<usize>, bool))| {
            (needs.iter().copied().filter(|need| *need < index).collect::<Vec<_>>(), *runs)
        };
        let services: Vec<_> = shapes.iter().enumerate().map(lower).collect();
        // Who needs what, directly or through services that run nothing; dependents have higher numbers.
        let mut reached: Vec<BTreeSet<usize>> = Vec::new();
        for (needs, _) in &services {
            let through = needs.iter().flat_map(|need| {
                let further = if services[*need].1 { BTreeSet::new() } else { reached[*need].clone() };
                further.into_iter().chain([*need])
            });
            reached.push(through.collect());
        }
        let (world, down) = layers(&services);
        let found = stops_before(&world, &down);
        for index in (0..services.len()).filter(|index| services[*index].1) {
            let needed_by = (0..services.len()).filter(|other| services[*other].1 && reached[*other].contains(&index));
            let want: BTreeSet<String> = needed_by.map(|other| format!("s{other}")).collect();
            prop_assert_eq!(&found[&format!("s{index}")], &want, "s{}", index);
        }
    }
}
