//! `mainstay releases`: what was released, when, by whom, why, and how it went.

use super::Context;
use super::args::{Releases, ReleasesWhat};
use super::status::tone_of;
use crate::client::of_stack;
use crate::exit::{Exit, Failure};
use crate::plan_text;
use crate::progress::words;
use crate::ui::paint::{Tone, tame};
use crate::ui::table::Table;
use jiff::Timestamp;
use server::api::release::{KeepRequest, ReleaseChanges, ReleaseView};

pub async fn run(args: &Releases, cx: &Context) -> Result<Exit, Failure> {
    match &args.what {
        None | Some(ReleasesWhat::List) => list(cx).await,
        Some(ReleasesWhat::Show { number }) => show(cx, *number).await,
        Some(ReleasesWhat::Diff { from, to }) => diff(cx, *from, to.unwrap_or(from.saturating_add(1))).await,
        Some(ReleasesWhat::Keep { number, not }) => keep(cx, *number, !not).await,
    }
}

async fn list(cx: &Context) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    let releases: Vec<ReleaseView> = cx.client().get(&of_stack(&stack, "/releases")).await?;
    if cx.ui.json {
        cx.ui.json(&releases);
        return Ok(Exit::Done);
    }
    let (paint, now) = (cx.ui.out, Timestamp::now());
    let mut table = Table::new(["", "RELEASE", "STATE", "AGO", "BY", "", "WHY"]);
    for release in &releases {
        let ago = release.created.parse().map_or_else(|_| release.created.clone(), |at| words::age(at, now));
        table.row([
            if release.current { paint.tone(Tone::Good, "▸") } else { String::new() },
            release.number.to_string(),
            paint.tone(tone_of(&release.state), &release.state),
            ago,
            release.actor.clone(),
            if release.kept { "kept".to_owned() } else { String::new() },
            tame(release.message.as_deref().unwrap_or_default(), false),
        ]);
    }
    table.lines(paint).iter().for_each(|line| cx.ui.data(line));
    match releases.first() {
        None => cx.ui.next("nothing was released so far; `mainstay up` does"),
        Some(newest) => cx.ui.next(format!("`mainstay releases show {}` tells more about one", newest.number)),
    }
    Ok(Exit::Done)
}

/// Shows what differs between two releases.
async fn diff(cx: &Context, from: u64, to: u64) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    let path = of_stack(&stack, &format!("/releases/{to}/changes?since={from}"));
    let changes: ReleaseChanges = cx.client().get(&path).await?;
    if cx.ui.json {
        cx.ui.json(&changes);
        return Ok(Exit::Done);
    }
    cx.ui.note(format!("{}  release {from} → {to}", cx.ui.err.tone(Tone::Strong, &stack.to_string())));
    if changes.services.values().all(|change| change.kind == "unchanged") {
        cx.ui.data("nothing differs");
    } else {
        plan_text::services(&changes.services, false, cx.ui.out).iter().for_each(|line| cx.ui.data(line));
    }
    cx.ui.next(format!("`mainstay rollback {from}` runs release {from} again"));
    Ok(Exit::Done)
}

/// Has what a release runs from stay, or not.
async fn keep(cx: &Context, number: u64, kept: bool) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    let path = of_stack(&stack, &format!("/releases/{number}/keep"));
    let release: ReleaseView = cx.client().post(&path, &KeepRequest { kept }).await?;
    if cx.ui.json {
        cx.ui.json(&release);
        return Ok(Exit::Done);
    }
    let text = if kept { "is kept, however many come after it" } else { "goes once ten have come after it" };
    cx.ui.note(format!("{} release {number} {text}", cx.ui.err.tone(Tone::Good, "✔")));
    if kept && !release.images.is_empty() {
        cx.ui.note("  its images are the Docker Engine's: `docker image prune --all` removes them all the same");
    }
    Ok(Exit::Done)
}

/// Shows one release, with the explanation when it failed.
pub async fn show(cx: &Context, number: u64) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    let release: ReleaseView = cx.client().get(&of_stack(&stack, &format!("/releases/{number}"))).await?;
    if cx.ui.json {
        cx.ui.json(&release);
        return Ok(Exit::Done);
    }
    let paint = cx.ui.out;
    let state = paint.tone(tone_of(&release.state), &release.state);
    let current = if release.current { ", the current one" } else { "" };
    cx.ui.data(format!("{} release {number}  {state}{current}", paint.tone(Tone::Strong, &stack.to_string())));
    let mut table = Table::new(["", ""]);
    let mut fact = |name: &str, text: &str| {
        if !text.is_empty() {
            table.row([format!("  {}", paint.tone(Tone::Dim, name)), tame(text, false)]);
        }
    };
    fact("by", &release.actor);
    fact("why", release.message.as_deref().unwrap_or_default());
    fact("began", &release.created);
    fact("ended", release.finished.as_deref().unwrap_or_default());
    fact("bundle", &release.bundle);
    fact("ran again", &release.again.map(|number| format!("release {number}")).unwrap_or_default());
    fact("kept", if release.kept { "however many come after it" } else { "" });
    for (service, image) in &release.images {
        fact(&format!("image of {service}"), image);
    }
    table.lines(paint).iter().for_each(|line| cx.ui.data(line));
    if let Some(explanation) = &release.explanation {
        cx.ui.data(format!("{} {}", paint.tone(Tone::Bad, "✘"), tame(&explanation.summary, false)));
        plan_text::explanation(explanation, paint).iter().for_each(|line| cx.ui.data(line));
    }
    match release.explanation.as_ref().and_then(|explanation| explanation.help.as_ref()) {
        Some(help) => cx.ui.next(help),
        None => cx.ui.next("`mainstay status` shows what runs"),
    }
    Ok(Exit::Done)
}
