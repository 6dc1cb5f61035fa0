//! Planning for engines that take whole stacks: objects in, status out.
//!
//! Owns which objects are applied, watched and deleted, and in which order; the engine rolls them out itself. Never
//! looks into a manifest: equal hashes, equal objects. Start with [`reconcile`].

use crate::action::object::{Action as Object, Manifest, ObjectId};
use crate::observed::Known;
use crate::step::Note;
use crate::{Action, After, Generation, Plan, Reason, Step, StepId, Steps};
use model::SpecHash;
use std::collections::BTreeMap;
use std::time::Duration;

/// An object as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectState {
    /// The hash of what was applied last, as its label says.
    pub hash: SpecHash,
    /// Whether the engine has rolled it out.
    pub rolled_out: bool,
}

/// Decides which objects have to change so that `have` becomes `want`; each may take `deadline` to be rolled out.
///
/// Objects that are no longer wanted go last, after everything wanted has been rolled out. One that cannot be read is
/// left alone, and while a wanted one cannot be read nothing is deleted: what replaces it may not be there.
pub fn reconcile(
    want: &BTreeMap<ObjectId, Manifest>,
    have: &BTreeMap<ObjectId, Known<ObjectState>>,
    basis: Generation,
    deadline: Duration,
) -> Plan {
    let mut plan = Plan { basis, steps: Steps::default(), wake_at: None, notes: Vec::new() };
    let mut watches = Vec::new();
    let mut is_blocked = false;
    for (id, manifest) in want {
        let why = match have.get(id) {
            Some(Known::Unknown(why)) => {
                is_blocked = true;
                plan.notes.push(unread(id, why));
                continue;
            }
            None => Some(Reason::Missing),
            Some(Known::Is(state)) if state.hash != manifest.hash => Some(Reason::ObjectChanged),
            Some(Known::Is(ObjectState { rolled_out: false, .. })) => None,
            Some(Known::Is(_)) => continue,
        };
        let apply = Object::Apply { id: id.clone(), manifest: Box::new(manifest.clone()) };
        let applied = why.map(|why| push(&mut plan, apply, why, &[]));
        let watch = Object::Watch { id: id.clone(), deadline };
        watches.push(push(&mut plan, watch, Reason::MustBeReady, applied.as_slice()));
    }
    for (id, state) in have.iter().filter(|(id, _)| !want.contains_key(id)) {
        match state {
            Known::Unknown(why) => plan.notes.push(unread(id, why)),
            Known::Is(_) if is_blocked => {
                let text = "stays until every wanted object can be read".to_owned();
                plan.notes.push(Note { subject: id.to_string(), text });
            }
            Known::Is(_) => {
                push(&mut plan, Object::Delete { id: id.clone() }, Reason::NotWanted, &watches);
            }
        }
    }
    plan
}

fn push(plan: &mut Plan, action: Object, why: Reason, after: &[StepId]) -> StepId {
    plan.steps.push(Step { after: After::from(after), action: Action::Object(action), why })
}

fn unread(id: &ObjectId, why: &str) -> Note {
    Note { subject: id.to_string(), text: format!("cannot be read and is left alone: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name:version`, and for those seen `!` for not yet rolled out, `?` for unreadable.
    fn check(want: &str, have: &str, expected: &str) {
        let hash = |version: &str| SpecHash::from_digest([version.as_bytes().first().copied().unwrap_or(0); 16]);
        let split = |word: &str| {
            let (name, version) = word.split_once(':').expect("a name and a version");
            (ObjectId { kind: "service".into(), name: name.into() }, version.to_owned())
        };
        let want = want.split_whitespace().map(split);
        let want = want.map(|(id, v)| (id, Manifest { text: v.as_str().into(), hash: hash(&v) })).collect();
        let state = |v: &str| match v {
            "?" => Known::Unknown("no answer".into()),
            v => Known::Is(ObjectState { hash: hash(v), rolled_out: !v.ends_with('!') }),
        };
        let have = have.split_whitespace().map(split).map(|(id, v)| (id, state(&v))).collect();
        let plan = reconcile(&want, &have, Generation(3), Duration::from_secs(60));
        assert_eq!(plan.basis, Generation(3));
        let mut text = String::new();
        for (id, step) in &plan.steps {
            let what = match &step.action {
                Action::Object(Object::Apply { id, .. }) => format!("apply {}", id.name),
                Action::Object(Object::Watch { id, .. }) => format!("watch {}", id.name),
                Action::Object(Object::Delete { id }) => format!("delete {}", id.name),
                other => panic!("{other:?} is nothing for such an engine"),
            };
            let after: Vec<String> = step.after.iter().map(StepId::to_string).collect();
            text += &format!("{id} {what} [{}] {}; ", after.join(","), step.why);
        }
        for note in &plan.notes {
            text += &format!("note {}; ", note.subject);
        }
        assert_eq!(text.trim_end(), expected);
    }

    #[test]
    fn what_is_as_wanted_needs_nothing() {
        check("", "", "");
        check("a:1 b:1", "a:1 b:1", "");
    }

    #[test]
    fn what_is_missing_or_changed_is_applied_and_watched() {
        check("a:1", "", "1 apply a [] missing; 2 watch a [1] must be ready first;");
        check("a:2", "a:1", "1 apply a [] object changed; 2 watch a [1] must be ready first;");
        check("a:1", "a:1!", "1 watch a [] must be ready first;");
    }

    #[test]
    fn what_is_not_wanted_goes_after_all_else_is_rolled_out() {
        check("", "a:1", "1 delete a [] no longer wanted;");
        let rest = "3 watch c [] must be ready first; 4 delete a [2,3] no longer wanted;";
        check("b:1 c:1", "a:1 c:1!", &format!("1 apply b [] missing; 2 watch b [1] must be ready first; {rest}"));
    }

    #[test]
    fn what_cannot_be_read_is_left_alone_and_holds_deletions_up() {
        check("", "a:?", "note service/a;");
        check("b:1", "a:1 b:?", "note service/b; note service/a;");
        check("b:1", "a:? b:1", "note service/a;");
    }
}
