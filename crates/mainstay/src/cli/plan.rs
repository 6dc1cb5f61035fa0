//! `mainstay plan`: what `up` would do, and nothing else.

use super::Context;
use super::args::Plan;
use super::up::prepare;
use crate::client::of_stack;
use crate::declaration::Declaration;
use crate::exit::{Exit, Failure};
use crate::plan_file::PlanFile;
use crate::plan_text;
use crate::ui::paint::{Paint, Tone};
use server::api::plan::{PlanRequest, PlanView};
use std::collections::BTreeMap;

pub async fn run(args: &Plan, cx: &Context) -> Result<Exit, Failure> {
    let (declaration, bundle, images, adopt) = prepare(cx, !args.no_build, args.adopt.as_deref()).await?;
    let view = ask(cx, &declaration, bundle, images, adopt.clone()).await?;
    if let Some(path) = &args.out {
        PlanFile::of(&view, adopt.clone(), plan_text::plan(&view, true, Paint(false))).write(path)?;
    }
    show(cx, &declaration, &view, args.detailed);
    if !view.changes {
        cx.ui.next("`mainstay status` shows what runs");
        return Ok(Exit::Done);
    }
    match &args.out {
        None if adopt.is_some() => cx.ui.next("`mainstay up --adopt` does this"),
        Some(path) => cx.ui.next(format!("`mainstay up --plan {}` does exactly this", path.display())),
        None => cx.ui.next("`mainstay up` does this; `mainstay plan --out FILE` keeps it for later"),
    }
    Ok(Exit::Pending)
}

/// Asks the daemon for a plan.
pub async fn ask(
    cx: &Context,
    declaration: &Declaration,
    bundle: String,
    images: BTreeMap<String, String>,
    adopt: Option<String>,
) -> Result<PlanView, Failure> {
    Ok(cx.client().post(&of_stack(&declaration.stack, "/plan"), &PlanRequest { bundle, images, adopt }).await?)
}

/// The plan with the place that set each key that differs, as far as a file still says something of it.
fn with_places(view: &PlanView, declaration: &Declaration) -> PlanView {
    let mut view = view.clone();
    for (service, change) in &mut view.services {
        for key in &mut change.differs {
            if let Some(place) = declaration.place_of_key(service, key) {
                *key = format!("{key} at {place}");
            }
        }
    }
    view
}

/// Shows a plan as data.
pub fn show(cx: &Context, declaration: &Declaration, view: &PlanView, detailed: bool) {
    if cx.ui.json {
        return cx.ui.json(view);
    }
    if !view.changes && !detailed {
        return cx.ui.data(plan_text::in_short(view));
    }
    let engine = declaration.project.engine.map(|engine| format!("  engine {engine}")).unwrap_or_default();
    cx.ui.note(format!("{}{}", cx.ui.err.tone(Tone::Strong, &view.stack), cx.ui.err.tone(Tone::Dim, &engine)));
    cx.ui.note("");
    for line in plan_text::plan(&with_places(view, declaration), detailed, cx.ui.out) {
        cx.ui.data(line);
    }
    let notes = declaration.notes();
    if !notes.is_empty() && !detailed {
        let more =
            format!("{} keys work differently here or have no effect; `mainstay validate` lists them", notes.len());
        cx.ui.data("");
        cx.ui.data(cx.ui.out.tone(Tone::Dim, &more));
    } else if !notes.is_empty() {
        cx.ui.data("");
        cx.ui.data(cx.ui.out.tone(Tone::Strong, "Keys that work differently here"));
        notes.iter().for_each(|note| cx.ui.data(format!("  {note}")));
    }
    cx.ui.note("");
    cx.ui.note(plan_text::in_short(view));
}
