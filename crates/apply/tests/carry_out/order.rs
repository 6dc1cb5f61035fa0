//! One plan: what begins when, what a failure, a stop and a refusal leave undone.

use crate::rig::{Releases, Rig};
use engine::Retry;
use mainstay_apply::journal::{JournalError, RunEnd, RunId, StepOutcome};
use mainstay_apply::{ApplyError, Outcome};
use model::project::{Condition, Project, Role};
use plan::action::Action;
use plan::{Desired, Generation, Observed, Plan, StepId};
use std::collections::BTreeSet;
use testkit::project::{depends_on, project, with};

/// A database, a migration, two web servers behind a route of ports, and a worker.
pub fn shop(version: &str) -> Project {
    let change = |service: &mut model::project::Service| {
        service.template = testkit::project::template(&format!("./run {version}")).into();
    };
    let project = with(project(), "db", |_| {});
    let project = with(project, "migrate", |service| {
        change(service);
        service.role = Role::Job;
        service.restart = model::project::RestartPolicy::No;
        service.depends_on = [depends_on("db", Condition::Healthy)].into();
    });
    let project = with(project, "web", |service| {
        change(service);
        service.replicas = 2;
        service.ports = BTreeSet::from([80]);
        service.depends_on = [depends_on("migrate", Condition::Completed)].into();
    });
    with(project, "worker", |service| {
        change(service);
        service.depends_on = [depends_on("web", Condition::Healthy)].into();
    })
}

fn first(rig: &Rig) -> Desired {
    Releases::new().next(&shop("v1"), rig.engine.now())
}

fn find(plan: &Plan, wanted: impl Fn(&Action) -> bool) -> StepId {
    *plan.steps.iter().find(|(_, step)| wanted(&step.action)).expect("the plan has such a step").0
}

fn awaits(plan: &Plan, service: &str) -> StepId {
    find(plan, |action| matches!(action, Action::Probe(wait) if wait.id.service.as_str() == service))
}

#[tokio::test]
async fn a_whole_release_is_done_in_the_order_of_its_graph() {
    let rig = Rig::new();
    let want = first(&rig);
    let (have, plan) = rig.plan(&want).await;
    assert_eq!(rig.apply(&want, &have, &plan).await.unwrap(), Outcome::Done);
    let (began, ended) = rig.take_steps();
    assert_eq!(began.len(), plan.steps.len());
    assert_eq!(ended.len(), plan.steps.len());
    assert_eq!(rig.journal.end_of(RunId(0)), Some(RunEnd::Complete));
    for id in &began {
        assert_eq!(rig.journal.outcome_of(RunId(0), *id), Some(StepOutcome::Done), "{id}");
    }
    rig.close_interrupted().await;
    assert!(rig.plan(&want).await.1.is_empty(), "a second plan is empty");
}

#[tokio::test]
async fn no_more_go_on_at_once_than_the_width() {
    let project = (0..6).fold(project(), |project, n| with(project, &format!("s{n}"), |service| service.replicas = 3));
    for width in [1, 3] {
        let rig = Rig::with_width(width);
        rig.engine.set_slowness(5);
        let want = Releases::new().next(&project, rig.engine.now());
        let (have, plan) = rig.plan(&want).await;
        assert_eq!(rig.apply(&want, &have, &plan).await.unwrap(), Outcome::Done);
        assert_eq!(rig.engine.most_at_once(), width, "the width is kept and used");
    }
}

#[tokio::test]
async fn after_a_failure_nothing_begins_and_what_began_is_done() {
    let rig = Rig::with_width(2);
    rig.engine.set_slowness(5);
    rig.engine.fail_nth(2, Retry::Never);
    let project = (0..6).fold(project(), |project, n| with(project, &format!("s{n}"), |_| {}));
    let mut project = project;
    project.volumes = (0..4).map(|n| (testkit::project::name(&format!("v{n}")), Default::default())).collect();
    let want = Releases::new().next(&project, rig.engine.now());
    let (have, plan) = rig.plan(&want).await;
    let outcome = rig.apply(&want, &have, &plan).await.unwrap();
    let (began, ended) = rig.take_steps();
    assert_eq!((began.len(), ended.len()), (2, 1), "one failed, the one beside it was done");
    let failed = began.iter().find(|id| !ended.contains(id)).unwrap();
    let Outcome::Failed { step, error } = outcome else { panic!("{outcome:?}") };
    assert_eq!(step, *failed);
    assert!(error.contains("a fault was asked for"), "{error}");
    assert!(matches!(rig.journal.outcome_of(RunId(0), step), Some(StepOutcome::Failed(_))));
    assert_eq!(rig.journal.outcome_of(RunId(0), ended[0]), Some(StepOutcome::Done));
    assert_eq!(rig.journal.end_of(RunId(0)), Some(RunEnd::Failed));
    rig.converge(&want).await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_not_for_ever() {
    let rig = Rig::with_width(1);
    let want = first(&rig);
    let (have, plan) = rig.plan(&want).await;
    (1..=4).for_each(|n| rig.engine.fail_nth(n, Retry::Later));
    assert_eq!(rig.apply(&want, &have, &plan).await.unwrap(), Outcome::Done);

    let rig = Rig::with_width(1);
    (1..=5).for_each(|n| rig.engine.fail_nth(n, Retry::Later));
    let outcome = rig.apply(&want, &have, &plan).await.unwrap();
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    assert_eq!(rig.engine.n_performed(), 5);
}

#[tokio::test]
async fn a_job_that_fails_keeps_what_depends_on_it_from_starting() {
    let rig = Rig::new();
    let want = first(&rig);
    let Desired::Up(up) = &want else { unreachable!() };
    rig.set_broken(up.stack.services["migrate"].hash, true);
    let (have, plan) = rig.plan(&want).await;
    let outcome = rig.apply(&want, &have, &plan).await.unwrap();
    let Outcome::Failed { error, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(error, "job `migrate.1` exited with code 1");
    let services: BTreeSet<_> =
        rig.observe().await.placed.replicas.into_keys().map(|id| id.service.to_string()).collect();
    assert_eq!(services, BTreeSet::from(["db".to_owned(), "migrate".to_owned()]));
}

#[tokio::test]
async fn a_stop_gives_up_waits_and_begins_nothing_more() {
    let rig = Rig::new();
    rig.silence("db");
    let want = first(&rig);
    let (have, plan) = rig.plan(&want).await;
    let stopped = async {
        // Until nothing but the wait for the database is left.
        while !rig.is_alone_at(awaits(&plan, "db")).await {
            tokio::task::yield_now().await;
        }
        rig.stop.cancel();
    };
    let (outcome, ()) = tokio::join!(rig.apply(&want, &have, &plan), stopped);
    assert_eq!(outcome.unwrap(), Outcome::Stopped);
    let wait = awaits(&plan, "db");
    assert_eq!(rig.journal.outcome_of(RunId(0), wait), Some(StepOutcome::GivenUp));
    assert_eq!(rig.journal.end_of(RunId(0)), Some(RunEnd::Stopped));
    let (began, ended) = rig.take_steps();
    assert_eq!(began.len(), ended.len() + 1, "all that had begun is done, but for the wait");
}

#[tokio::test]
async fn a_failure_gives_up_the_waits_beside_it() {
    let rig = Rig::new();
    rig.silence("slow");
    let other = |service: &mut model::project::Service| {
        service.template = testkit::project::template("./other").into();
    };
    let want = Releases::new().next(&with(with(project(), "bad", |_| {}), "slow", other), rig.engine.now());
    let Desired::Up(up) = &want else { unreachable!() };
    rig.set_broken(up.stack.services["bad"].hash, true);
    let (have, plan) = rig.plan(&want).await;
    let outcome = rig.apply(&want, &have, &plan).await.unwrap();
    let Outcome::Failed { step, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(step, awaits(&plan, "bad"));
    assert_eq!(rig.journal.outcome_of(RunId(0), awaits(&plan, "slow")), Some(StepOutcome::GivenUp));
}

#[tokio::test]
async fn a_plan_for_another_generation_is_refused() {
    let rig = Rig::new();
    let want = first(&rig);
    let (have, plan) = rig.plan(&want).await;
    rig.journal.set_generation(&rig.stack, Generation(5));
    let error = rig.apply(&want, &have, &plan).await.unwrap_err();
    let stale = matches!(error, ApplyError::Journal(JournalError::Stale { current: Generation(5), .. }));
    assert!(stale, "{error:?}");
    let seen_later = Observed { generation: Generation(7), ..have };
    let error = rig.apply(&want, &seen_later, &plan).await.unwrap_err();
    let stale = matches!(error, ApplyError::Journal(JournalError::Stale { current: Generation(7), .. }));
    assert!(stale, "{error:?}");
    assert_eq!(rig.engine.n_performed(), 0);
}

#[tokio::test]
async fn an_unsound_plan_is_refused_before_anything_is_done() {
    let rig = Rig::new();
    let want = first(&rig);
    let (have, sound) = rig.plan(&want).await;
    let starts = |action: &Action| matches!(action, Action::Replica(plan::action::replica::Action::Start(_)));
    let mutations: [fn(&mut Plan, StepId); 3] = [
        |plan, start| plan.steps.get_mut(&start).unwrap().after.extend([start]),
        |plan, start| plan.steps.get_mut(&start).unwrap().after.extend([StepId(999)]),
        |plan, _| plan.steps.values_mut().for_each(|step| step.after.clear()),
    ];
    for mutate in mutations {
        let mut plan = sound.clone();
        mutate(&mut plan, find(&sound, starts));
        let error = rig.apply(&want, &have, &plan).await.unwrap_err();
        assert!(matches!(error, ApplyError::Unsound(_)), "{error:?}");
    }
    assert_eq!((rig.engine.n_performed(), rig.journal.n_writes()), (0, 0));
}
