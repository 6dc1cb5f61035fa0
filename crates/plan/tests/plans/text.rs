//! Plans as text: complete, stable, without secrets.

use crate::notation::scene;
use crate::world::World;
use expect_test::{Expect, expect};
use mainstay_plan::action::{Action, object, replica};
use mainstay_plan::desired::Up;
use mainstay_plan::{Addresses, Desired, Plan, Reason, Step, StepId, text};
use model::{Secret, SpecHash};
use std::sync::Arc;

fn plan(want: &str, have: &str) -> Plan {
    let (want, world) = scene(want, have);
    world.plan(&want)
}

fn check(text: &str, expect: Expect) {
    expect.assert_eq(text);
}

#[test]
fn the_complete_text_has_every_value() {
    let (want, _) = scene("x1 v2 routes needs-db", "");
    check(
        &text::canonical(&World::new().plan(&want)),
        expect![[r#"
        1 ensure-network default subnet=10.210.0.0/24 gateway=10.210.0.1 replicas-from=10.210.0.64 internal=false stable=10.210.0.2,10.210.0.3 names=db:10.210.0.2,x:10.210.0.3  missing
        2 open  routing changed  after 1
        3 start db.1 role=service hash=6b18b9624a4248d7d8eca6b082402dd7 release=1 bundle=abababababababababababababababababababababababababababababababab uid=100000 failures=0 default=10.210.0.64  missing  after 2
        4 await db.1 deadline=2m  must be ready first  after 3
        5 start x.1 role=service hash=b52e78314f8575501c983e30cccc3579 release=1 bundle=abababababababababababababababababababababababababababababababab uid=100000 failures=0 default=10.210.0.65  missing  after 2,3
        6 await x.1 deadline=1m  must be ready first  after 5
        7 route x.1  ready for traffic  after 6
        8 settle hash=8c4b06edd550d22b62d1b65dde6ad9ff  routing changed  after 2,7
    "#]],
    );
    check(
        &text::canonical(&plan("x1 v2", "1:v1")),
        expect![[r#"
        1 start x.2 role=service hash=b52e78314f8575501c983e30cccc3579 release=1 bundle=abababababababababababababababababababababababababababababababab uid=100000 failures=0 default=10.210.0.64  spec changed
        2 await x.2 deadline=1m  must be ready first  after 1
        3 route x.2  ready for traffic  after 2
        4 drain x.1 grace=10s  about to stop  after 3
        5 stop x.1 signal=15 grace=10s  spec changed  after 4
        6 remove x.1  spec changed  after 5
    "#]],
    );
}

#[test]
fn the_short_text_is_for_people() {
    let (want, _) = scene("x2 v2 routes needs-db", "");
    check(
        &text::short(&World::new().plan(&want)),
        expect![[r#"
        network  default    10.210.0.0/24  missing
        open     listeners                 routing changed
        start    db.1       release 1      missing
        await    db.1       2m             must be ready first
        start    x.1        release 1      missing
        await    x.1        1m             must be ready first
        route    x.1                       ready for traffic
        start    x.2        release 1      missing
        await    x.2        1m             must be ready first
        route    x.2                       ready for traffic
        settle   routes                    routing changed
    "#]],
    );
    check(
        &text::short(&plan("x1 v2", "1:v1")),
        expect![[r#"
        start   x.2  release 1  spec changed
        await   x.2  1m         must be ready first
        route   x.2             ready for traffic
        drain   x.1  10s        about to stop
        stop    x.1  10s        spec changed
        remove  x.1             spec changed
    "#]],
    );
    check(&text::short(&plan("x1 v1", "1:v1")), expect![[""]]);
}

#[test]
fn equal_plans_have_equal_digests_whenever_they_are_made() {
    let (want, mut world) = scene("x2 v2", "1:v1 2:v1");
    let first = text::digest(&world.plan(&want));
    world.have.generation.0 += 1;
    world.now += jiff::SignedDuration::from_secs(5);
    assert_eq!(text::digest(&world.plan(&want)), first);
    assert_eq!(first.len(), 64);
    assert_ne!(text::digest(&plan("x2 v3", "1:v1 2:v1")), first, "another template");
    assert_ne!(text::digest(&plan("x2 v2 +2", "1:v1 2:v1")), first, "another order");
}

#[test]
fn any_value_a_step_is_done_with_changes_the_digest() {
    let good = plan("x1 v2", "1:v1");
    let digest = text::digest(&good);
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        text::digest(&plan)
    };
    let start = |change: &dyn Fn(&mut replica::Start)| {
        with(&|plan| match &mut plan.steps.get_mut(&StepId(1)).expect("a step").action {
            Action::Replica(replica::Action::Start(start)) => change(start),
            _ => panic!("the first step starts"),
        })
    };
    assert_ne!(start(&|start| start.hash = SpecHash::from_digest([1; 16])), digest);
    assert_ne!(start(&|start| start.failures += 1), digest);
    assert_ne!(start(&|start| start.uid_base += 1), digest);
    assert_ne!(start(&|start| start.release.0 += 1), digest);
    assert_ne!(start(&|start| start.bundle = "cd".repeat(32).parse().expect("legal")), digest);
    assert_ne!(start(&|start| start.addresses = Addresses::default()), digest);
    assert_ne!(with(&|plan| plan.steps.get_mut(&StepId(2)).expect("a step").after.clear()), digest);
    assert_ne!(with(&|plan| plan.steps.get_mut(&StepId(2)).expect("a step").why = Reason::Missing), digest);
}

#[test]
fn no_secret_is_in_any_text() {
    let (want, _) = scene("x1 v1", "");
    let Desired::Up(mut up) = want else { panic!("it is up") };
    let target = up.stack.services.values_mut().next().expect("a service");
    let mut template = (*target.template).clone();
    template.environment.insert("PASSWORD".into(), Secret::new("hunter2"));
    target.template = Arc::new(template);
    let plan = World::new().plan(&Desired::Up(Up { ..up }));
    let everything = format!("{} {} {plan:?}", text::canonical(&plan), text::short(&plan));
    assert!(!everything.contains("hunter2"));
}

#[test]
fn manifests_show_as_hashes_and_reasons_on_one_line() {
    let id = object::ObjectId { kind: "Deployment".into(), name: "api".into() };
    let manifest = object::Manifest { text: "password: hunter2".into(), hash: SpecHash::from_digest([7; 16]) };
    let apply = Action::Object(object::Action::Apply { id, manifest: Box::new(manifest) });
    let why = Reason::Failed("no such\n9 remove everything".into());
    let step = Step { after: Default::default(), action: apply, why };
    let plan = Plan {
        basis: Default::default(),
        steps: [(StepId(1), step)].into_iter().collect(),
        wake_at: None,
        notes: Vec::new(),
    };
    check(
        &text::canonical(&plan),
        expect![[r#"
        1 apply Deployment/api hash=07070707070707070707070707070707  no such 9 remove everything
    "#]],
    );
    check(
        &text::short(&plan),
        expect![[r#"
            apply  Deployment/api  no such 9 remove everything
        "#]],
    );
    assert!(!format!("{plan:?}").contains("hunter2"));
}
