//! `mainstay rollback`: runs an earlier release again, from its own bundle and its own images.

use super::args::Rollback;
use super::{Context, order};
use crate::client::of_stack;
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::plan_text;
use crate::ui::paint::Tone;
use server::api::plan::{PlanRequest, PlanView};
use server::api::release::{Accepted, ReleaseRequest, ReleaseView};

pub async fn run(args: &Rollback, cx: &Context) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    daemon::revive(cx.client(), &cx.settings, &cx.ui).await?;
    let releases: Vec<ReleaseView> = cx.client().get(&of_stack(&stack, "/releases")).await?;
    let target = choose(&releases, args.release)?;
    let number = target.number;
    if args.dry_run {
        let request = PlanRequest { bundle: target.bundle.clone(), images: target.images.clone(), adopt: None };
        let view: PlanView = cx.client().post(&of_stack(&stack, "/plan"), &request).await?;
        return Ok(show(cx, &view, number));
    }
    let request = ReleaseRequest {
        bundle: target.bundle.clone(),
        images: target.images.clone(),
        message: Some(args.message.clone().unwrap_or_else(|| format!("back to release {number}"))),
        expect_plan: None,
        replace: args.replace,
        adopt: None,
        again: Some(number),
    };
    let asked = async { Ok(cx.client().post::<_, Accepted>(&of_stack(&stack, "/releases"), &request).await?) };
    let so_far = "the order was given; `mainstay status` shows whether it was taken";
    let accepted = cx.unless_interrupted(so_far, asked).await?;
    let as_number = accepted.release.map(|number| format!("  release {number}")).unwrap_or_default();
    let what = cx.ui.err.tone(Tone::Strong, &stack.to_string());
    let back = cx.ui.err.tone(Tone::Dim, &format!("  what release {number} ran"));
    cx.ui.note(format!("{what}{as_number}{back}"));
    order::follow(cx, &stack, &accepted, args.detach, "rollback").await
}

fn show(cx: &Context, view: &PlanView, number: u64) -> Exit {
    if cx.ui.json {
        cx.ui.json(view);
    } else if view.changes {
        plan_text::plan(view, false, cx.ui.out).iter().for_each(|line| cx.ui.data(line));
    } else {
        cx.ui.data(plan_text::in_short(view));
    }
    if !view.changes {
        return Exit::Done;
    }
    cx.ui.next(format!("nothing was changed; `mainstay rollback {number}` does it"));
    Exit::Pending
}

/// The release to go back to: the one named, else the newest that was good before what is wanted now, and is
/// something else. Who goes back twice goes further back, and not to what was left the first time.
fn choose(releases: &[ReleaseView], named: Option<u64>) -> Result<&ReleaseView, Failure> {
    let current = releases.iter().find(|release| release.current);
    let is_same = |release: &&ReleaseView| {
        current.is_some_and(|current| release.bundle == current.bundle && release.images == current.images)
    };
    let Some(number) = named else {
        let limit = current.map_or(u64::MAX, |current| current.again.unwrap_or(current.number));
        let earlier = releases.iter().filter(|release| release.number < limit && release.state == "done");
        return earlier.filter(|release| !is_same(release)).max_by_key(|release| release.number).ok_or_else(|| {
            Failure::failed("there is no earlier release to go back to")
                .help("see `mainstay releases`; only one that was done can be gone back to")
        });
    };
    let found = releases.iter().find(|release| release.number == number);
    let found = found.ok_or_else(|| {
        Failure::usage(format!("there is no release {number}")).help("see `mainstay releases` for those there are")
    })?;
    if found.state != "done" {
        return Err(Failure::failed(format!("release {number} was never good: it is {}", found.state))
            .help("name one that `mainstay releases` calls done"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(number: u64, bundle: &str, state: &str, current: bool) -> ReleaseView {
        ReleaseView {
            number,
            bundle: bundle.into(),
            actor: "ann".into(),
            message: None,
            created: String::new(),
            finished: None,
            state: state.into(),
            current,
            images: [("api".to_owned(), "sha256:1".to_owned())].into(),
            again: None,
            kept: false,
            explanation: None,
        }
    }

    #[test]
    fn the_newest_that_was_good_and_is_something_else_is_gone_back_to() {
        let mut releases = vec![
            release(5, "c", "done", true),
            release(4, "c", "done", false),
            release(3, "b", "failed", false),
            release(2, "a", "done", false),
            release(1, "z", "done", false),
        ];
        assert_eq!(choose(&releases, None).expect("there is one").number, 2);
        assert_eq!(choose(&releases, Some(1)).expect("it was done").number, 1);
        assert!(choose(&releases, Some(3)).expect_err("it failed").message.contains("never good"));
        assert!(choose(&releases, Some(9)).is_err());
        releases[0].again = Some(2);
        assert_eq!(choose(&releases, None).expect("there is one").number, 1, "further back");
        releases[0].again = None;
        // The same bundle on another image is something else.
        releases[1].images.clear();
        assert_eq!(choose(&releases, None).expect("there is one").number, 4);
        releases.iter_mut().for_each(|release| release.current = false);
        assert_eq!(choose(&releases, None).expect("nothing is up").number, 5);
        assert!(choose(&releases[2..3], None).is_err());
    }
}
