//! Whatever is declared, released, crashed and cut short: applying converges, and a second plan is empty. The rig
//! watches floors and dependencies at every step.

use crate::rig::{Releases, Rig};
use engine::Retry;
use model::project::{Condition, Mount, MountSource, Order, Project, RestartPolicy, Role};
use plan::Desired;
use plan::desired::Down;
use plan::observed::{Exit, Phase};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use testkit::project::{depends_on, name, project, with};

#[derive(Debug, Clone)]
struct Shape {
    version: u8,
    replicas: u32,
    at_once: u32,
    kind: u8,
    needs: Option<usize>,
    takes_traffic: bool,
    has_volume: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let needs = prop::option::of(0usize..4);
    let parts = (0u8..3, 0u32..4, 1u32..3, 0u8..5, needs, any::<bool>(), any::<bool>());
    parts.prop_map(|(version, replicas, at_once, kind, needs, takes_traffic, has_volume)| Shape {
        version,
        replicas,
        at_once,
        kind,
        needs,
        takes_traffic,
        has_volume,
    })
}

/// A release, what goes wrong while it is carried out, and who crashes afterwards.
#[derive(Debug, Clone)]
struct Turn {
    shapes: Vec<Shape>,
    fault: Option<(u64, bool)>,
    /// Services of this release never become ready, and jobs of it fail.
    broken: Option<usize>,
    full_after: Option<u64>,
    crashes: Vec<usize>,
}

fn turn() -> impl Strategy<Value = Turn> {
    let shapes = prop::collection::vec(shape(), 1..5);
    let fault = prop::option::of((1u64..15, any::<bool>()));
    let crashes = prop::collection::vec(0usize..10, 0..3);
    let parts = (shapes, fault, prop::option::weighted(0.3, 0usize..4), prop::option::of(1u64..30), crashes);
    parts.prop_map(|(shapes, fault, broken, full_after, crashes)| Turn { shapes, fault, broken, full_after, crashes })
}

fn project_of(shapes: &[Shape]) -> Project {
    let is_job = |index: usize| shapes[index].kind == 4;
    shapes.iter().enumerate().fold(project(), |mut project, (index, shape)| {
        let volume = format!("data-{index}");
        if shape.has_volume {
            project.volumes.insert(name(&volume), Default::default());
        }
        with(project, &format!("s{index}"), |service| {
            let mut template = testkit::project::template(&format!("./run v{}", shape.version));
            if shape.has_volume {
                let source = MountSource::Volume(name(&volume));
                template.mounts.push(Mount { target: "/data".into(), source, read_only: false });
            }
            service.template = template.into();
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

async fn live(turns: Vec<Turn>, width: usize, down_cut: u64) {
    let (rig, mut releases) = (Rig::with_width(width), Releases::new());
    rig.engine.set_slowness(2);
    let mut want = releases.next(&project(), rig.engine.now());
    for turn in turns {
        rig.engine.advance(jiff::SignedDuration::from_secs(10));
        want = releases.next(&project_of(&turn.shapes), rig.engine.now());
        if let Some((n, passes)) = turn.fault {
            rig.engine.fail_nth(n, if passes { Retry::Later } else { Retry::Never });
        }
        let Desired::Up(up) = &want else { unreachable!() };
        let hashes: Vec<_> = up.stack.services.values().map(|target| target.hash).collect();
        let broken = turn.broken.map(|n| hashes[n % hashes.len()]);
        broken.iter().for_each(|hash| rig.set_broken(*hash, true));
        rig.close_interrupted().await;
        let (have, plan) = rig.plan(&want).await;
        rig.journal.fail_after(turn.full_after);
        // Whether it failed is no matter: what is there afterwards must lead on.
        let _result = rig.apply(&want, &have, &plan).await;
        rig.journal.fail_after(None);
        broken.iter().for_each(|hash| rig.set_broken(*hash, false));
        crash_some(&rig, &turn.crashes).await;
    }
    // Somebody asks once more, so that what is not restarted by itself is.
    rig.engine.advance(jiff::SignedDuration::from_secs(10));
    let Desired::Up(up) = &mut want else { unreachable!() };
    up.asked_at = rig.engine.now();
    rig.converge(&want).await;
    rig.assert_as_wanted(&want).await;
    go_down(&rig, &want, down_cut).await;
}

/// Down with the first of the volumes, cut at a write of the journal and begun anew: the other volumes stay.
async fn go_down(rig: &Rig, want: &Desired, cut: u64) {
    let Desired::Up(up) = want else { unreachable!() };
    let before = rig.observe().await.placed.volumes;
    let named: BTreeSet<_> = before.iter().take(1).cloned().collect();
    let depends_on = up.stack.services.iter();
    let depends_on = depends_on.map(|(name, t)| (name.clone(), t.depends_on.keys().cloned().collect())).collect();
    let down = Desired::Down(Down { volumes: named.clone(), depends_on });
    rig.close_interrupted().await;
    let (have, plan) = rig.plan(&down).await;
    rig.journal.fail_after(Some(cut));
    // Whether it is done before the cut is no matter.
    let _result = rig.apply(&down, &have, &plan).await;
    rig.journal.fail_after(None);
    rig.converge(&down).await;
    let left = rig.observe().await.placed;
    assert!(left.replicas.is_empty() && left.networks.is_empty(), "{left:?}");
    assert_eq!(left.volumes, before.difference(&named).cloned().collect());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_converges_and_ends_in_nothing(
        turns in prop::collection::vec(turn(), 1..4),
        width in 1usize..5,
        down_cut in 0u64..30,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(turns, width, down_cut));
    }
}
