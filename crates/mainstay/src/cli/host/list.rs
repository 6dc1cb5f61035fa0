//! `mainstay host list`: the hosts that are known here, each asked how it is.

use super::super::Context;
use super::super::place;
use super::known;
use crate::client::{Client, Place};
use crate::exit::{Exit, Failure};
use crate::progress::words;
use crate::ui::paint::Tone;
use crate::ui::table::Table;
use futures_util::future::join_all;
use model::RemoteHost;
use serde::Serialize;
use server::api::status::{StackSummary, Version};

#[derive(Serialize)]
struct Line {
    host: String,
    environments: Vec<String>,
    reachable: bool,
    version: Option<String>,
    stacks: Option<Vec<String>>,
    error: Option<String>,
    code: Option<String>,
}

pub async fn run(cx: &Context) -> Result<Exit, Failure> {
    let known = known::all(&cx.settings)?;
    let asked = known.into_iter().map(async |(host, environments)| {
        let found = ask(cx, &host).await;
        line(host, environments.into_iter().collect(), found)
    });
    let lines: Vec<Line> = join_all(asked).await;
    if cx.ui.json {
        cx.ui.json(&lines);
        return Ok(Exit::Done);
    }
    let paint = cx.ui.out;
    let mut table = Table::new(["HOST", "STATE", "VERSION", "STACKS", "ENVIRONMENTS", "WHY"]);
    for line in &lines {
        let state = match (line.reachable, &line.version) {
            (true, Some(_)) => paint.tone(Tone::Good, "ok"),
            (true, None) => paint.tone(Tone::Bad, "no daemon"),
            (false, _) => paint.tone(Tone::Bad, "unreachable"),
        };
        let stacks = line.stacks.as_ref().map(|stacks| words::count(stacks.len(), "stack")).unwrap_or_default();
        let why = line.error.clone().unwrap_or_default();
        let version = line.version.clone().unwrap_or_default();
        table.row([line.host.clone(), state, version, stacks, line.environments.join(", "), why]);
    }
    if lines.is_empty() {
        cx.ui.next("no host is known; `mainstay host prepare ssh://user@host` makes one ready");
        return Ok(Exit::Done);
    }
    table.lines(paint).iter().for_each(|line| cx.ui.data(line));
    cx.ui.next("`mainstay host doctor URL` looks closer at one");
    Ok(Exit::Done)
}

async fn ask(cx: &Context, host: &RemoteHost) -> Result<(Version, Vec<StackSummary>), Failure> {
    let client = Client::at(Place::Remote(place::way(&cx.settings, host.clone())));
    Ok((client.get("/v1/version").await?, client.get("/v1/stacks").await?))
}

/// What the way there fails with; all other failures come from the host itself.
const ON_THE_WAY: [&str; 7] = ["MS0300", "MS0301", "MS0302", "MS0303", "MS0304", "MS0307", "MS0308"];

fn line(host: RemoteHost, environments: Vec<String>, found: Result<(Version, Vec<StackSummary>), Failure>) -> Line {
    let host = host.to_string();
    match found {
        Ok((version, stacks)) => {
            let up = stacks.iter().filter(|stack| stack.wanted == "up");
            let stacks = up.map(|stack| format!("{}@{}", stack.project, stack.environment)).collect();
            let (version, stacks) = (Some(version.version), Some(stacks));
            Line { host, environments, reachable: true, version, stacks, error: None, code: None }
        }
        Err(failure) => {
            let on_the_way = failure.code.as_deref().is_some_and(|code| ON_THE_WAY.contains(&code));
            let (error, code) = (Some(failure.message), failure.code);
            Line { host, environments, reachable: !on_the_way, version: None, stacks: None, error, code }
        }
    }
}
