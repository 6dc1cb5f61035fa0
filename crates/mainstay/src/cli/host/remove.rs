//! `mainstay host remove`: takes down what runs, then takes unit, program and group away. The state stays unless named.

use super::args::Remove;
use super::far::Script;
use super::{client_of, daemon, known, look, program};
use crate::cli::{Context, order};
use crate::client::{Client, of_stack};
use crate::exit::{Exit, Failure};
use crate::ui::paint::Tone;
use model::StackId;
use serde::Serialize;
use server::api::release::{Accepted, DownRequest};
use server::api::status::StackSummary;

const REMOVE: Script = Script { doing: "take Mainstay off", text: include_str!("remove.sh"), is_long: true };

/// Something runs there.
const IN_USE: &str = "MS0315";

#[derive(Serialize)]
struct Report {
    host: String,
    taken_down: Vec<String>,
    state_deleted: bool,
}

pub async fn run(args: &Remove, cx: &Context) -> Result<Exit, Failure> {
    let host = args.url.machine();
    let seen = program::waiting(cx, &format!("looking at {host}"), look(cx, &host)).await?;
    if !seen.facts.is_mighty() {
        return Err(Failure::failed(format!("`{}` may not take anything off `{host}`", seen.facts.user))
            .help("log in as root, or as a user with sudo"));
    }
    let runs = daemon::answering(&seen.far).await?;
    // Without a daemon nobody knows what runs: replicas of a stack would be left behind with nobody to end them.
    let runs = match runs {
        None if seen.facts.has_program && seen.facts.has_group => daemon::revived(&seen.far).await?,
        runs => runs,
    };
    let client = client_of(&seen.far);
    let stacks: Vec<StackSummary> = match &runs {
        Some(_) => client.get("/v1/stacks").await?,
        None => Vec::new(),
    };
    let up: Vec<StackId> = stacks.iter().filter(|stack| stack.wanted == "up").filter_map(id).collect();
    confirm(args, cx, &up)?;
    for stack in &up {
        take_down(&client, stack).await?;
    }
    // Its numbers may be others since: it may have been restarted meanwhile.
    let runs = daemon::answering(&seen.far).await?;
    let daemon = runs.as_ref().map_or(0, |runs| runs.pid).to_string();
    let edge = runs.as_ref().and_then(|runs| runs.edge_pid).unwrap_or(0).to_string();
    let state = if args.state { "state" } else { "keep" };
    let arguments = [&*daemon, &*edge, state];
    let work = seen.far.run_as_root(REMOVE, &arguments);
    program::waiting(cx, "taking Mainstay off", work).await?;
    known::remember(&cx.settings, &host, false)?;
    if cx.ui.json {
        let taken_down = up.iter().map(ToString::to_string).collect();
        cx.ui.json(&Report { host: host.to_string(), taken_down, state_deleted: args.state });
    }
    let rest = if args.state { "its state is deleted" } else { "/var/lib/mainstay stays" };
    cx.ui.note(format!("{} Mainstay is off {host}; {rest}", cx.ui.err.tone(Tone::Good, "✔")));
    cx.ui.next(format!("`mainstay host prepare {host}` brings it back"));
    Ok(Exit::Done)
}

fn id(stack: &StackSummary) -> Option<StackId> {
    Some(StackId { project: stack.project.parse().ok()?, environment: stack.environment.parse().ok()? })
}

/// Names what is lost.
fn confirm(args: &Remove, cx: &Context, up: &[StackId]) -> Result<(), Failure> {
    let host = args.url.machine();
    let names: Vec<String> = up.iter().map(ToString::to_string).collect();
    let mut lost = Vec::new();
    if !names.is_empty() {
        lost.push(format!("these stacks are taken down: {}", names.join(", ")));
    }
    if args.state {
        lost.push("releases, volumes and logs in /var/lib/mainstay are deleted".to_owned());
    }
    if args.yes || lost.is_empty() {
        return Ok(());
    }
    if !cx.ui.can_ask() {
        let mut failure = Failure::usage(format!("`{host}` is in use: nobody can be asked, and `--yes` was not said"));
        lost.iter().for_each(|line| failure.causes.push(line.clone()));
        return Err(Failure { code: Some(IN_USE.to_owned()), ..failure }
            .help("take the stacks down with `mainstay down`, or say `--yes` when that is what you want"));
    }
    cx.ui.say(&format!("{} on {host}:", cx.ui.err.tone(Tone::Bad, "warning:")));
    lost.iter().for_each(|line| cx.ui.say(&format!("  {line}")));
    let answer = cx.ui.ask(&format!("type `{}` to go on:", host.host())).map_err(|error| Failure::of(&error))?;
    match answer == host.host() {
        true => Ok(()),
        false => Err(Failure::failed("nothing was changed").because("the answer was not the host's name")),
    }
}

async fn take_down(client: &Client, stack: &StackId) -> Result<(), Failure> {
    let request = DownRequest { volumes: Vec::new() };
    let accepted: Accepted = client.post(&of_stack(stack, "/down"), &request).await?;
    order::finished(client, stack, &accepted).await
}
