//! Orders that are carried out by a run: what `up`, `down`, `restart` and `scale` have in common.

use super::Context;
use super::args::{Restart, Scale};
use crate::client::stream::Messages;
use crate::client::{Client, of_stack};
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::follow::{Followed, follow as follow_run};
use crate::plan_text;
use crate::progress::{Ending, words};
use crate::ui::paint::{Tone, tame};
use model::StackId;
use serde::Serialize;
use server::api::release::{Accepted, Explanation, RestartRequest, RunEvent, ScaleRequest};
use server::api::status::StackStatus;

/// `mainstay restart`
pub async fn restart(args: &Restart, cx: &Context) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    let request = RestartRequest { services: args.services.clone() };
    daemon::revive(cx.client(), &cx.settings, &cx.ui).await?;
    let accepted: Accepted = cx.client().post(&of_stack(&stack, "/restart"), &request).await?;
    follow(cx, &stack, &accepted, args.detach, "restart").await
}

/// `mainstay scale`
pub async fn scale(args: &Scale, cx: &Context) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    let request = ScaleRequest { replicas: args.replicas.iter().cloned().collect() };
    if request.replicas.len() != args.replicas.len() {
        return Err(Failure::usage("a service is named twice").help("name each service once"));
    }
    daemon::revive(cx.client(), &cx.settings, &cx.ui).await?;
    let accepted: Accepted = cx.client().post(&of_stack(&stack, "/scale"), &request).await?;
    follow(cx, &stack, &accepted, args.detach, "scale").await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    stack: String,
    run: u64,
    release: Option<u64>,
    outcome: &'a str,
    millis: Option<u64>,
    urls: &'a [String],
    explanation: Option<&'a Explanation>,
}

/// Follows an accepted order to its end and says how it went.
pub async fn follow(
    cx: &Context,
    stack: &StackId,
    accepted: &Accepted,
    detach: bool,
    what: &str,
) -> Result<Exit, Failure> {
    let report = |outcome, millis, urls, explanation| {
        let (run, release) = (accepted.run, accepted.release);
        cx.ui.json(&Report { stack: stack.to_string(), run, release, outcome, millis, urls, explanation });
    };
    if detach {
        if cx.ui.json {
            report("accepted", None, &[], None);
        }
        cx.ui.next("it goes on by itself; `mainstay status` shows how it is");
        return Ok(Exit::Done);
    }
    let ending = match follow_run(cx, stack, accepted).await? {
        Followed::Ended(ending) => ending,
        Followed::Detached => {
            cx.ui.say(&format!("\n{} the {what} goes on without you", cx.ui.err.tone(Tone::Warn, "detached:")));
            cx.ui.next("`mainstay events -f` follows it, `mainstay status` shows how it is");
            return Ok(Exit::Interrupted);
        }
    };
    let urls = if ending.outcome == "done" && what != "down" { urls(cx, stack).await } else { Vec::new() };
    if cx.ui.json {
        report(&ending.outcome, Some(ending.millis), &urls, ending.explanation.as_ref());
    }
    Ok(conclude(cx, stack, accepted, &ending, &urls, what))
}

/// Waits in silence for the end of a run on another machine's daemon.
pub async fn finished(client: &Client, stack: &StackId, accepted: &Accepted) -> Result<(), Failure> {
    let path = of_stack(stack, &format!("/runs/{}", accepted.run));
    let mut messages = Messages::events(&path, client.open(&path).await?);
    while let Some(event) = messages.next::<RunEvent>().await? {
        if let RunEvent::Finished { outcome, .. } = event {
            return match outcome.as_str() {
                "done" => Ok(()),
                outcome => Err(Failure::failed(format!("{stack}: {outcome}"))
                    .help(format!("see why with `mainstay -p {} -e {} status`", stack.project, stack.environment))),
            };
        }
    }
    Err(Failure::failed(format!("the daemon ended the stream before {stack} was down")))
}

// The order was carried out; that its addresses could not be asked for changes nothing about it.
async fn urls(cx: &Context, stack: &StackId) -> Vec<String> {
    match cx.client().get::<StackStatus>(&of_stack(stack, "")).await {
        Ok(status) => status.urls,
        Err(error) => {
            cx.ui.warn(format!("the addresses are not known: {error}"));
            Vec::new()
        }
    }
}

fn conclude(cx: &Context, stack: &StackId, accepted: &Accepted, ending: &Ending, urls: &[String], what: &str) -> Exit {
    let ui = &cx.ui;
    let paint = ui.err;
    let took = words::seconds(ending.millis);
    match ending.outcome.as_str() {
        "done" => {
            let nothing = accepted.steps.is_empty();
            let text = match what {
                "down" if nothing => "was down already",
                "down" => "is down",
                _ if nothing => "was as it shall be",
                "restart" => "is restarted",
                "scale" => "is scaled",
                "rollback" => "is back",
                _ => "is up",
            };
            ui.note(format!("{} {stack} {text}  {}", paint.tone(Tone::Good, "✔"), paint.tone(Tone::Dim, &took)));
            urls.iter().for_each(|url| ui.note(format!("  {}", paint.tone(Tone::Accent, url))));
            ui.next(match what {
                "down" => "`mainstay up` brings it up again",
                _ => "`mainstay status` shows what runs, `mainstay logs -f` what it writes",
            });
            Exit::Done
        }
        "superseded" => {
            ui.say(&format!("{} a newer order took over after {took}", paint.tone(Tone::Warn, "superseded:")));
            ui.next("`mainstay releases` shows which one");
            Exit::Failed
        }
        outcome => {
            let number = accepted.release.map_or(what.to_owned(), |number| format!("release {number}"));
            let summary = ending.explanation.as_ref().map_or("", |explanation| explanation.summary.as_str());
            let head = paint.tone(Tone::Bad, &format!("✘ {number} {outcome}"));
            ui.say(&format!("\n{head} after {took}: {}", tame(summary, false)));
            if let Some(explanation) = &ending.explanation {
                plan_text::explanation(explanation, paint).iter().for_each(|line| ui.say(line));
                if let Some(help) = &explanation.help {
                    ui.say(&format!("  {} {}", paint.tone(Tone::Accent, "help:"), paint.commands(help)));
                }
            }
            match accepted.release {
                Some(number) => ui.next(format!("`mainstay explain release {number}` shows this again")),
                None => ui.next("`mainstay status` shows what runs"),
            }
            Exit::Failed
        }
    }
}
