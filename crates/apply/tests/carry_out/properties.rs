//! Whatever is declared, released, crashed and cut short: applying converges, and a second plan is empty. The rig
//! watches floors and dependencies at every step.

use crate::rig::{Releases, Rig};
use engine::Retry;
use model::project::{Condition, Order, Project, RestartPolicy, Role};
use plan::Desired;
use plan::observed::{Exit, Phase};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use testkit::project::{depends_on, project, with};

#[derive(Debug, Clone)]
struct Shape {
    version: u8,
    replicas: u32,
    at_once: u32,
    kind: u8,
    needs: Option<usize>,
    takes_traffic: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let needs = prop::option::of(0usize..4);
    let parts = (0u8..3, 0u32..4, 1u32..3, 0u8..5, needs, any::<bool>());
    parts.prop_map(|(version, replicas, at_once, kind, needs, takes_traffic)| Shape {
        version,
        replicas,
        at_once,
        kind,
        needs,
        takes_traffic,
    })
}

/// A release, what goes wrong while it is carried out, and who crashes afterwards.
#[derive(Debug, Clone)]
struct Turn {
    shapes: Vec<Shape>,
    fault: Option<(u64, bool)>,
    full_after: Option<u64>,
    crashes: Vec<usize>,
}

fn turn() -> impl Strategy<Value = Turn> {
    let shapes = prop::collection::vec(shape(), 1..5);
    let fault = prop::option::of((1u64..15, any::<bool>()));
    let crashes = prop::collection::vec(0usize..10, 0..3);
    (shapes, fault, prop::option::of(1u64..30), crashes).prop_map(|(shapes, fault, full_after, crashes)| Turn {
        shapes,
        fault,
        full_after,
        crashes,
    })
}

fn project_of(shapes: &[Shape]) -> Project {
    let is_job = |index: usize| shapes[index].kind == 4;
    shapes.iter().enumerate().fold(project(), |project, (index, shape)| {
        with(project, &format!("s{index}"), |service| {
            service.template = testkit::project::template(&format!("./run v{}", shape.version)).into();
            service.replicas = shape.replicas;
            service.update.parallelism = NonZeroU32::new(shape.at_once).unwrap();
            service.ports = if shape.takes_traffic { BTreeSet::from([80]) } else { BTreeSet::new() };
            match shape.kind {
                3 => service.update.order = Order::StopFirst,
                4 => {
                    service.role = Role::Job;
                    service.restart = RestartPolicy::OnFailure { max: None };
                }
                _ => {}
            }
            let needs = shape.needs.filter(|other| *other < index);
            let condition = |other| if is_job(other) { Condition::Completed } else { Condition::Healthy };
            service.depends_on =
                needs.map(|other| depends_on(&format!("s{other}"), condition(other))).into_iter().collect();
        })
    })
}

async fn crash_some(rig: &Rig, which: &[usize]) {
    for n in which {
        let placed = rig.observe().await.placed;
        let running = placed.replicas.iter().filter(|(_, r)| matches!(r.phase, Phase::Running { .. }));
        let running: Vec<_> = running.map(|(id, _)| id).collect();
        if let Some(id) = running.get(n % running.len().max(1)) {
            rig.engine.crash(&rig.stack, id, Exit::Code(1));
        }
    }
}

async fn live(turns: Vec<Turn>, width: usize) {
    let (rig, mut releases) = (Rig::with_width(width), Releases::new());
    rig.engine.set_slowness(2);
    let mut want = releases.next(&project(), rig.engine.now());
    for turn in turns {
        rig.engine.advance(jiff::SignedDuration::from_secs(10));
        want = releases.next(&project_of(&turn.shapes), rig.engine.now());
        if let Some((n, passes)) = turn.fault {
            rig.engine.fail_nth(n, if passes { Retry::Later } else { Retry::Never });
        }
        rig.close_interrupted().await;
        let (have, plan) = rig.plan(&want).await;
        rig.journal.fail_after(turn.full_after);
        // Whether it failed is no matter: what is there afterwards must lead on.
        let _result = rig.apply(&want, &have, &plan).await;
        rig.journal.fail_after(None);
        crash_some(&rig, &turn.crashes).await;
    }
    // Somebody asks once more, so that what is not restarted by itself is.
    rig.engine.advance(jiff::SignedDuration::from_secs(10));
    let Desired::Up(up) = &mut want else { unreachable!() };
    up.asked_at = rig.engine.now();
    rig.converge(&want).await;
    rig.assert_as_wanted(&want).await;
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_converges(turns in prop::collection::vec(turn(), 1..4), width in 1usize..5) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(turns, width));
    }
}
