//! `mainstay up`: builds, sends and releases, and follows the release to its end.

use super::args::Up;
use super::{Context, order, plan};
use crate::bundle::{self, collect, context};
use crate::client::of_stack;
use crate::daemon;
use crate::declaration::Declaration;
use crate::exit::{Exit, Failure};
use crate::plan_file::PlanFile;
use crate::ui::paint::Tone;
use model::StackId;
use server::api::ApiError;
use server::api::release::{Accepted, ReleaseRequest};
use std::collections::BTreeMap;

pub async fn run(args: &Up, cx: &Context) -> Result<Exit, Failure> {
    if let Some(path) = &args.plan {
        return carry_out(args, cx, &PlanFile::read(path)?).await;
    }
    let (declaration, bundle, images, adopt) = prepare(cx, !args.no_build, args.adopt.as_deref()).await?;
    if args.dry_run {
        let view = plan::ask(cx, &declaration, bundle, images, adopt).await?;
        plan::show(cx, &declaration, &view, false);
        cx.ui.next(if view.changes { "nothing was changed; `mainstay up` does it" } else { "nothing to do" });
        return Ok(if view.changes { Exit::Pending } else { Exit::Done });
    }
    if adopt.is_some() {
        // What becomes of each container is worth a line before it happens.
        let view = plan::ask(cx, &declaration, bundle.clone(), images.clone(), adopt.clone()).await?;
        view.notes.iter().for_each(|note| cx.ui.note(format!("  {}: {}", note.subject, note.text)));
    }
    let message = args.message.clone();
    let request =
        ReleaseRequest { bundle, images, message, expect_plan: None, replace: args.replace, adopt, again: None };
    let outcome = release(args, cx, &declaration.stack, &request).await;
    outcome.map_err(|failure| with_places(failure, &|service| declaration.place_of(service)))
}

/// The daemon knows services by name only; whoever reads its refusal wants the place.
fn with_places(mut failure: Failure, place_of: &dyn Fn(&str) -> Option<String>) -> Failure {
    for line in std::iter::once(&mut failure.message).chain(&mut failure.causes) {
        let service = line.strip_prefix('`').and_then(|rest| rest.split_once("`: "));
        if let Some(place) = service.and_then(|(service, _)| place_of(service)) {
            line.push_str(&format!(" ({place})"));
        }
    }
    failure
}

/// What a release is ordered with: the declaration, its bundle at the daemon, the image of each service, and the project
/// of another tool that is taken over.
pub type Ordered = (Declaration, String, BTreeMap<String, String>, Option<String>);

/// Everything up to a bundle at the daemon: declaration, builds, files, images.
pub async fn prepare(cx: &Context, build: bool, adopt: Option<&str>) -> Result<Ordered, Failure> {
    cx.unless_interrupted("nothing was changed", prepared(cx, build, adopt)).await
}

async fn prepared(cx: &Context, build: bool, adopt: Option<&str>) -> Result<Ordered, Failure> {
    let declaration = cx.declaration().await?;
    let named = |name: &str| if name.is_empty() { declaration.stack.project.to_string() } else { name.to_owned() };
    let adopt = adopt.map(named);
    if build {
        bundle::build::run(cx, &declaration.root, &declaration.builds).await?;
    }
    let root = declaration.root.clone();
    let (paths, contexts) = (declaration.bundle_paths.clone(), declaration.contexts.clone());
    let found = tokio::task::spawn_blocking(move || {
        let mut found = collect::find(&root, &paths, collect::Limits::default())?;
        found.extend(context::find(&contexts, context::Limits::default())?);
        collect::hash(&found).map(|files| (found, files))
    });
    let (found, files) = found.await.map_err(|error| Failure::of(&error))?.map_err(cannot_collect)?;
    daemon::ensure(cx.client(), &cx.settings, &cx.ui).await?;
    let bundle = bundle::send::send(cx, declaration.to_canonical(), &found, files).await?;
    cx.ui.detail(format!("bundle {bundle}, {} files", found.len()));
    let images = if bundle::images::needs_any(&declaration) {
        bundle::images::prepare(cx, &declaration, &bundle, adopt.as_deref()).await?
    } else {
        BTreeMap::new()
    };
    Ok((declaration, bundle, images, adopt))
}

fn cannot_collect(problems: Vec<bundle::Problem>) -> Failure {
    let cure = problems.first().map(bundle::Problem::cure).unwrap_or_default();
    let mut failure = Failure::usage("the files of the release cannot be collected").help(cure);
    for problem in &problems[..problems.len().min(20)] {
        failure = failure.because(problem);
    }
    match problems.len().checked_sub(20) {
        Some(more @ 1..) => failure.because(format!("and {more} more")),
        _ => failure,
    }
}

async fn carry_out(args: &Up, cx: &Context, plan: &PlanFile) -> Result<Exit, Failure> {
    let stack: StackId = plan.stack.parse().map_err(|error: model::id::IdError| {
        Failure::usage(format!("the plan is for no legal stack: {error}"))
            .help("make a new one with `mainstay plan --out FILE`")
    })?;
    daemon::ensure(cx.client(), &cx.settings, &cx.ui).await?;
    let request = ReleaseRequest {
        bundle: plan.bundle.clone(),
        images: plan.images.clone(),
        message: args.message.clone(),
        expect_plan: Some(plan.digest.clone()),
        replace: args.replace,
        adopt: plan.adopt.clone(),
        again: None,
    };
    release(args, cx, &stack, &request).await
}

async fn release(args: &Up, cx: &Context, stack: &StackId, request: &ReleaseRequest) -> Result<Exit, Failure> {
    let order = async {
        let answer = cx.client().post::<_, Accepted>(&of_stack(stack, "/releases"), request).await;
        answer.map_err(|error| match error {
            crate::client::Error::Refused(refused) if args.plan.is_some() => stale(refused),
            other => other.into(),
        })
    };
    let so_far = "the order was given; `mainstay status` shows whether it was taken";
    let accepted = cx.unless_interrupted(so_far, order).await?;
    let number = accepted.release.map(|number| format!("release {number}")).unwrap_or_else(|| "run".to_owned());
    let what = cx.ui.err.tone(Tone::Strong, &stack.to_string());
    let why = args.message.as_deref().map(|text| format!("  {text}")).unwrap_or_default();
    cx.ui.note(format!("{what}  {number}{}", cx.ui.err.tone(Tone::Dim, &why)));
    order::follow(cx, stack, &accepted, args.detach, "up").await
}

// A plan that was kept goes out of date in two ways: the stack moved, or the daemon no longer has the bundle.
fn stale(refused: ApiError) -> Failure {
    let is_stale = matches!(refused.status, 404 | 409 | 412) || refused.code == "MS0226";
    let failure = Failure::from(refused);
    match failure.help {
        None if is_stale => failure.help("look at a new plan with `mainstay plan --out FILE`, then carry that one out"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_where_its_service_was_written() {
        let refused = Failure::usage("`db`: nothing runs it").because("`web`: no such program").because("`x` is odd");
        let placed = with_places(refused, &|service| (service != "web").then(|| "compose.yaml:3".to_owned()));
        assert_eq!(placed.message, "`db`: nothing runs it (compose.yaml:3)");
        assert_eq!(placed.causes, ["`web`: no such program", "`x` is odd"]);
    }
}
