//! What must hold of a plan for an engine that takes whole stacks.

use super::{Graph, Violation};
use crate::action::object::{Action as Object, Manifest, ObjectId};
use crate::objects::ObjectState;
use crate::observed::Known;
use crate::{Action, Plan, StepId};
use std::collections::BTreeMap;

/// Everything about `plan` that breaks an invariant; empty for a plan that may be carried out.
///
/// - The graph has no cycle and no loose end, and every step is about an object.
/// - What is applied is what is wanted, once, and its rollout is waited for afterwards.
/// - What cannot be read is left alone.
/// - Only what was observed and is not wanted is deleted: after every rollout, and not at all while a wanted object
///   cannot be read.
pub fn check_objects(
    want: &BTreeMap<ObjectId, Manifest>,
    have: &BTreeMap<ObjectId, Known<ObjectState>>,
    plan: &Plan,
) -> Vec<Violation> {
    let graph = match Graph::of(plan) {
        Ok(graph) => graph,
        Err(violations) => return violations,
    };
    let (mut found, mut applied, mut watched) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for node in &graph.steps {
        let step = node.id;
        let Action::Object(action) = &node.step.action else {
            found.push(Violation::NoObject { step });
            continue;
        };
        let (Object::Apply { id, .. } | Object::Watch { id, .. } | Object::Delete { id }) = action;
        let subject = || id.to_string();
        if let Some(Known::Unknown(_)) = have.get(id) {
            found.push(Violation::Unreadable { step, subject: subject() });
        }
        let is_meant = match action {
            Object::Apply { manifest, .. } => {
                applied.insert(id, step).is_none() && want.get(id).is_some_and(|wanted| *wanted == **manifest)
            }
            Object::Watch { .. } => watched.insert(id, step).is_none() && want.contains_key(id),
            Object::Delete { .. } => !want.contains_key(id),
        };
        if !is_meant {
            found.push(Violation::NotMeant { step, subject: subject() });
        }
        if matches!(action, Object::Delete { .. }) && !have.contains_key(id) {
            found.push(Violation::NotOurs { step, subject: subject() });
        }
    }
    rollouts(plan, &applied, &watched, &mut found);
    deletions(want, have, plan, &watched, &mut found);
    found
}

type Steps<'a> = BTreeMap<&'a ObjectId, StepId>;

fn rollouts(plan: &Plan, applied: &Steps<'_>, watched: &Steps<'_>, found: &mut Vec<Violation>) {
    for (id, before) in applied {
        match watched.get(id) {
            None => found.push(Violation::NotWatched { step: *before, subject: id.to_string() }),
            Some(step) if !plan.steps[step].after.contains(before) => {
                found.push(Violation::NoGround { step: *step, before: *before });
            }
            Some(_) => {}
        }
    }
}

fn deletions(
    want: &BTreeMap<ObjectId, Manifest>,
    have: &BTreeMap<ObjectId, Known<ObjectState>>,
    plan: &Plan,
    watched: &Steps<'_>,
    found: &mut Vec<Violation>,
) {
    let unread = want.keys().find(|id| matches!(have.get(id), Some(Known::Unknown(_))));
    let is_as_wanted = |id: &ObjectId, manifest: &Manifest| matches!(have.get(id), Some(Known::Is(state)) if state.rolled_out && state.hash == manifest.hash);
    let unwatched = want.iter().find(|(id, manifest)| !watched.contains_key(id) && !is_as_wanted(id, manifest));
    for (step, _) in plan.steps.iter().filter(|(_, step)| matches!(step.action, Action::Object(Object::Delete { .. })))
    {
        if let Some(id) = unread {
            found.push(Violation::Unreadable { step: *step, subject: id.to_string() });
        } else if let Some((id, _)) = unwatched {
            found.push(Violation::NotWatched { step: *step, subject: id.to_string() });
        }
        let early = watched.values().filter(|before| !plan.steps[step].after.contains(before));
        found.extend(early.map(|before| Violation::NoGround { step: *step, before: *before }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{After, Generation, objects};
    use model::SpecHash;
    use std::time::Duration;

    fn id(name: &str) -> ObjectId {
        ObjectId { kind: "service".into(), name: name.into() }
    }

    fn manifest(version: u8) -> Manifest {
        Manifest { text: version.to_string().into(), hash: SpecHash::from_digest([version; 16]) }
    }

    fn state(version: u8) -> Known<ObjectState> {
        Known::Is(ObjectState { hash: SpecHash::from_digest([version; 16]), rolled_out: true })
    }

    /// `a` changes, `b` comes, `c` goes.
    fn scene() -> (BTreeMap<ObjectId, Manifest>, BTreeMap<ObjectId, Known<ObjectState>>, Plan) {
        let want = BTreeMap::from([(id("a"), manifest(2)), (id("b"), manifest(1))]);
        let have = BTreeMap::from([(id("a"), state(1)), (id("c"), state(1))]);
        let plan = objects::reconcile(&want, &have, Generation(1), Duration::from_secs(60));
        (want, have, plan)
    }

    #[test]
    fn what_the_planner_makes_is_sound() {
        let (want, mut have, plan) = scene();
        assert_eq!(check_objects(&want, &have, &plan), []);
        have.insert(id("b"), Known::Unknown("no answer".into()));
        let plan = objects::reconcile(&want, &have, Generation(1), Duration::from_secs(60));
        assert_eq!(check_objects(&want, &have, &plan), []);
    }

    /// Breaks the plan that applies `a` (1), watches it (2), does the same with `b` (3, 4) and deletes `c` (5).
    #[track_caller]
    fn check(break_it: impl FnOnce(&mut Plan), violation: &str) {
        let (want, have, mut plan) = scene();
        break_it(&mut plan);
        let found: Vec<_> = check_objects(&want, &have, &plan).iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|found| found == violation), "{found:#?}");
    }

    fn step(plan: &mut Plan, number: u32) -> &mut crate::Step {
        plan.steps.get_mut(&StepId(number)).expect("it is there")
    }

    #[test]
    fn each_broken_rule_is_found() {
        let delete = |name: &str| Action::Object(Object::Delete { id: id(name) });
        check(|plan| step(plan, 5).after = After::default(), "step 5 may come before step 2, which it needs");
        check(|plan| step(plan, 2).after = After::default(), "step 2 may come before step 1, which it needs");
        check(|plan| step(plan, 5).action = delete("a"), "step 5 does with service/a what nobody wants");
        check(|plan| step(plan, 5).action = delete("d"), "step 5 touches service/d, which was not observed");
        check(
            |plan| step(plan, 2).action = delete("c"),
            "step 1 changes service/a, and no step waits until that is rolled out",
        );
        let old = Action::Object(Object::Apply { id: id("a"), manifest: Box::new(manifest(1)) });
        check(|plan| step(plan, 1).action = old, "step 1 does with service/a what nobody wants");
        let open = Action::Edge(crate::action::edge::Change::Open);
        check(|plan| step(plan, 1).action = open, "step 1 is about no object of this engine");
    }

    #[test]
    fn what_cannot_be_read_is_neither_touched_nor_counted_on() {
        let (want, mut have, plan) = scene();
        have.insert(id("b"), Known::Unknown("no answer".into()));
        let unread = |step| Violation::Unreadable { step: StepId(step), subject: "service/b".into() };
        let found = check_objects(&want, &have, &plan);
        assert!([3, 4, 5].map(unread).iter().all(|wanted| found.contains(wanted)), "{found:#?}");
    }
}
