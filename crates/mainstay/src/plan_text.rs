//! Plans and explanations for people.
//!
//! Pure: what the daemon answered in, lines out. The same lines are kept in a plan file, without colours.

use crate::progress::words;
use crate::ui::paint::{Paint, Tone, tame};
use crate::ui::table::Table;
use server::api::plan::{PlanView, ServiceChange, StepView};
use server::api::release::Explanation;
use std::collections::BTreeMap;

/// A plan: what changes per service and why, then the steps.
pub fn plan(view: &PlanView, detailed: bool, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    if !view.services.is_empty() {
        lines.extend(services(&view.services, detailed, paint));
    }
    if !view.steps.is_empty() {
        lines.push(String::new());
        lines.push(paint.tone(Tone::Strong, "Steps"));
        lines.extend(if detailed { every_step(view, paint) } else { by_thing(view, paint) });
    }
    if !view.notes.is_empty() {
        lines.push(String::new());
        lines.push(paint.tone(Tone::Strong, "Notes"));
        lines.extend(view.notes.iter().map(|note| format!("  {}  {}", note.subject, tame(&note.text, false))));
    }
    lines
}

/// One sentence on a plan.
pub fn in_short(view: &PlanView) -> String {
    if !view.changes {
        return format!("{}: nothing to do", view.stack);
    }
    let count = |action: &str| view.steps.iter().filter(|step| step.action == action).count();
    let parts = [
        (count("start"), "replica to start", "replicas to start"),
        (count("stop"), "replica to stop", "replicas to stop"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(n, ..)| *n > 0)
        .map(|(n, one, many)| format!("{n} {}", if *n == 1 { one } else { many }))
        .collect();
    let steps = words::count(view.steps.len(), "step");
    if parts.is_empty() {
        format!("{}: {steps}", view.stack)
    } else {
        format!("{}: {steps}, {}", view.stack, parts.join(", "))
    }
}

/// What changes per service and how.
pub fn services(changes: &BTreeMap<String, ServiceChange>, detailed: bool, paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.tone(Tone::Strong, "Services")];
    let mut table = Table::new(["", "", "", ""]);
    let mut same = Vec::new();
    for (name, change) in changes {
        if change.kind == "unchanged" && !detailed {
            same.push(name.as_str());
            continue;
        }
        let (sign, tone) = match change.kind.as_str() {
            "new" => ("+", Tone::Good),
            "removed" => ("-", Tone::Bad),
            "unchanged" => ("=", Tone::Dim),
            _ => ("~", Tone::Warn),
        };
        table.row([
            format!("  {}", paint.tone(tone, sign)),
            name.clone(),
            paint.tone(tone, &change.kind),
            tame(&change.differs.join(", "), false),
        ]);
    }
    lines.extend(table.lines(paint));
    if !same.is_empty() {
        lines.push(paint.tone(Tone::Dim, &format!("  = unchanged: {}", same.join(", "))));
    }
    lines
}

// One line for each thing: what is done to it in turn, and why.
fn by_thing(view: &PlanView, paint: Paint) -> Vec<String> {
    let mut things: Vec<(String, Vec<&StepView>)> = Vec::new();
    for step in &view.steps {
        let name = words::thing(step);
        match things.iter_mut().find(|(thing, _)| *thing == name) {
            Some((_, steps)) => steps.push(step),
            None => things.push((name, vec![step])),
        }
    }
    let mut table = Table::new(["", "", ""]);
    for (name, steps) in things {
        let actions: Vec<&str> = steps.iter().map(|step| verb(&step.action)).collect();
        let arrow = paint.tone(Tone::Dim, " → ");
        // Of a replica that goes, what matters is why it goes, not why it gets no traffic before.
        let decisive = steps.iter().find(|step| matches!(step.action.as_str(), "start" | "stop" | "remove"));
        let why = decisive.or(steps.first()).map_or("", |step| step.why.as_str());
        table.row([format!("  {name}"), actions.join(&arrow), paint.tone(Tone::Dim, &tame(why, false))]);
    }
    table.lines(paint)
}

fn every_step(view: &PlanView, paint: Paint) -> Vec<String> {
    let mut table = Table::new(["   #", "ACTION", "WHAT", "HOW", "WHY", "AFTER"]);
    for step in &view.steps {
        let after: Vec<String> = step.after.iter().map(ToString::to_string).collect();
        table.row([
            format!("{:>4}", step.id),
            verb(&step.action).to_owned(),
            words::thing(step),
            tame(&step.detail, false),
            tame(&step.why, false),
            paint.tone(Tone::Dim, &after.join(" ")),
        ]);
    }
    table.lines(paint)
}

// The thing's own name already says that it is a network.
fn verb(action: &str) -> &str {
    match action {
        "network" | "volume" => "make",
        "remove network" | "remove volume" => "remove",
        other => other,
    }
}

/// Why something failed.
pub fn explanation(explanation: &Explanation, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let mut table = Table::new(["", ""]);
    let facts = [
        ("step", &explanation.step),
        ("replica", &explanation.replica),
        ("probe", &explanation.probe),
        ("exit", &explanation.exit),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            table.row([format!("  {}", paint.tone(Tone::Dim, name)), tame(fact, false)]);
        }
    }
    if !explanation.differs.is_empty() {
        let differs = tame(&explanation.differs.join(", "), false);
        table.row([
            format!("  {}", paint.tone(Tone::Dim, "differs")),
            format!("{differs} (from the last good release)"),
        ]);
    }
    lines.extend(table.lines(paint));
    if !explanation.log.is_empty() {
        lines.push(format!("  {}", paint.tone(Tone::Dim, "last lines of its log")));
        let bar = paint.tone(Tone::Dim, "│");
        lines.extend(explanation.log.iter().map(|line| format!("    {bar} {}", tame(line, paint.0))));
    }
    if !explanation.state.is_empty() {
        lines.push(format!("  {}  {}", paint.tone(Tone::Dim, "now"), tame(&explanation.state, false)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use server::api::plan::{NoteView, ServiceChange};
    use std::collections::BTreeMap;

    fn step(id: u32, after: &[u32], action: &str, subject: &str, why: &str) -> StepView {
        let service = subject.split_once('.').map(|(service, _)| service.to_owned());
        let after = after.to_vec();
        StepView {
            id,
            after,
            action: action.into(),
            subject: subject.into(),
            service,
            detail: String::new(),
            why: why.into(),
        }
    }

    fn view() -> PlanView {
        let change = |kind: &str, differs: &[&str]| ServiceChange {
            kind: kind.into(),
            differs: differs.iter().map(|key| (*key).to_owned()).collect(),
        };
        PlanView {
            stack: "shop@production".into(),
            images: std::collections::BTreeMap::new(),
            bundle: "b".into(),
            basis: 4,
            digest: "d".into(),
            changes: true,
            steps: vec![
                step(1, &[], "start", "api.3", "spec changed"),
                step(2, &[1], "await", "api.3", "must be ready first"),
                step(3, &[2], "route", "api.3", "ready for traffic"),
                step(4, &[3], "drain", "api.1", "about to stop"),
                step(5, &[4], "stop", "api.1", "spec changed"),
                step(6, &[], "volume", "uploads", "missing"),
            ],
            notes: vec![NoteView { subject: "db.1".into(), text: "waits until 12:00".into() }],
            services: BTreeMap::from([
                ("api".into(), change("changed", &["environment.LOG_LEVEL", "image (a → b)"])),
                ("mailer".into(), change("new", &[])),
                ("old".into(), change("removed", &[])),
                ("db".into(), change("unchanged", &[])),
            ]),
        }
    }

    fn check(detailed: bool, want: Expect) {
        want.assert_eq(&plan(&view(), detailed, Paint(false)).join("\n"));
    }

    #[test]
    fn a_plan_says_what_changes_and_what_is_done_to_each_thing() {
        check(
            false,
            expect![[r#"
            Services
              ~  api     changed  environment.LOG_LEVEL, image (a → b)
              +  mailer  new
              -  old     removed
              = unchanged: db

            Steps
              api.3           start → await → route  spec changed
              api.1           drain → stop           spec changed
              volume uploads  make                   missing

            Notes
              db.1  waits until 12:00"#]],
        );
        assert_eq!(in_short(&view()), "shop@production: 6 steps, 1 replica to start, 1 replica to stop");
    }

    #[test]
    fn in_detail_every_step_says_what_it_waits_for() {
        check(
            true,
            expect![[r#"
            Services
              ~  api     changed    environment.LOG_LEVEL, image (a → b)
              =  db      unchanged
              +  mailer  new
              -  old     removed

            Steps
               #  ACTION  WHAT            WHY                  AFTER
               1  start   api.3           spec changed
               2  await   api.3           must be ready first  1
               3  route   api.3           ready for traffic    2
               4  drain   api.1           about to stop        3
               5  stop    api.1           spec changed         4
               6  make    volume uploads  missing

            Notes
              db.1  waits until 12:00"#]],
        );
    }
}
