//! `mainstay down`: takes a stack down; what volumes hold is lost only when somebody says so.

use super::args::Down;
use super::{Context, order};
use crate::client::of_stack;
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::ui::paint::Tone;
use model::StackId;
use server::api::release::{Accepted, DownRequest};

pub async fn run(args: &Down, cx: &Context) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    daemon::revive(cx.client(), &cx.settings, &cx.ui).await?;
    let volumes = if args.volumes { cx.client().get(&of_stack(&stack, "/volumes")).await? } else { Vec::new() };
    if !volumes.is_empty() && !args.yes && !confirmed(cx, &stack, &volumes)? {
        return Err(Failure::failed("nothing was changed").because("the answer was not the project's name"));
    }
    let request = DownRequest { volumes: volumes.clone() };
    let accepted: Accepted = cx.client().post(&of_stack(&stack, "/down"), &request).await?;
    let what = cx.ui.err.tone(Tone::Strong, &stack.to_string());
    match volumes.as_slice() {
        [] if args.volumes => cx.ui.note(format!("{what}  taking it down; it has no volumes")),
        [] => cx.ui.note(format!("{what}  taking it down; volumes stay")),
        lost => cx.ui.note(format!("{what}  taking it down with {}", lost.join(", "))),
    }
    order::follow(cx, &stack, &accepted, args.detach, "down").await
}

fn confirmed(cx: &Context, stack: &StackId, volumes: &[String]) -> Result<bool, Failure> {
    let lost = volumes.join(", ");
    if !cx.ui.can_ask() {
        return Err(Failure::usage(format!("`{stack}` would lose the volumes {lost} and all they hold"))
            .because("nobody can be asked: standard input is no terminal")
            .help("say `--yes` when that is what you want"));
    }
    let ui = &cx.ui;
    ui.say(&format!(
        "{} these volumes of {stack} and all they hold will be deleted:",
        ui.err.tone(Tone::Bad, "warning:")
    ));
    volumes.iter().for_each(|volume| ui.say(&format!("  {}", ui.err.tone(Tone::Strong, volume))));
    let answer = ui.ask(&format!("type `{}` to go on:", stack.project)).map_err(|error| Failure::of(&error))?;
    Ok(answer == stack.project.as_str())
}
