//! `mainstay host upgrade`: our program in the place of a host's, and in its daemon's; what runs there goes on.
//!
//! The earlier program stays beside the new one, and is put back when the new one does not answer.

use super::far::Far;
use super::{client_of, daemon, known, look, meant, program};
use crate::cli::Context;
use crate::exit::{Exit, Failure};
use crate::progress::words;
use crate::ui::paint::Tone;
use model::RemoteHost;
use serde::Serialize;
use server::api::status::{StackSummary, Version};
use std::time::Instant;

/// An upgrade that was taken back.
const PUT_BACK: &str = "MS0314";

#[derive(Serialize)]
struct Report {
    host: String,
    changed: bool,
    version: String,
    process: u32,
    millis: u64,
}

pub async fn run(urls: &[RemoteHost], all: bool, cx: &Context) -> Result<Exit, Failure> {
    let hosts: Vec<RemoteHost> = match (all, urls) {
        (true, _) => known::all(&cx.settings)?.into_keys().collect(),
        (false, []) => vec![meant(cx, None)?],
        (false, urls) => urls.iter().map(RemoteHost::machine).collect(),
    };
    let mut reports = Vec::new();
    let mut failed: Option<Failure> = None;
    // One after the other: what is wrong with the program shows on the first.
    for host in &hosts {
        match one(host, cx).await {
            Ok(report) => reports.push(report),
            Err(failure) if hosts.len() == 1 => return Err(failure),
            Err(failure) => {
                cx.ui.failure(&failure);
                failed = Some(Failure::failed(format!("`{host}` was not upgraded, and none after it")));
                break;
            }
        }
    }
    if cx.ui.json {
        cx.ui.json(&reports);
    }
    if let Some(failure) = failed {
        return Err(failure.help("mend what is said above, and run the command again"));
    }
    cx.ui.next(match hosts.as_slice() {
        [] => "no host is known; `mainstay host prepare ssh://user@host` makes one ready",
        _ => "`mainstay host list` shows which version runs where",
    });
    Ok(Exit::Done)
}

async fn one(host: &RemoteHost, cx: &Context) -> Result<Report, Failure> {
    let began = Instant::now();
    let seen = program::waiting(cx, &format!("looking at {host}"), look(cx, host)).await?;
    let far = &seen.far;
    if !seen.facts.has_program {
        return Err(Failure::failed(format!("`{host}` has no `mainstay` to upgrade"))
            .help(format!("make it ready with `mainstay host prepare {host}`")));
    }
    let before = daemon::answering(far).await?;
    let changed = program::install(cx, far, &program::ours()?).await?;
    let is_current = match &before {
        Some(runs) => !changed && daemon::is_current(far, runs).await?,
        None => false,
    };
    if !is_current && let Err(failure) = replaced(cx, far, before.as_ref()).await {
        return Err(back(far, changed, failure).await);
    }
    let version = daemon::verified(cx, far).await?;
    let stacks: Vec<StackSummary> = client_of(far).get("/v1/stacks").await?;
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let up = words::count(stacks.iter().filter(|stack| stack.wanted == "up").count(), "stack");
    let what = if is_current { "had this program already" } else { "runs this program now" };
    cx.ui.note(format!(
        "{} {host} {what}: version {}, process {}, {up} up  {}",
        cx.ui.err.tone(Tone::Good, "✔"),
        version.version,
        version.pid,
        cx.ui.err.tone(Tone::Dim, &words::seconds(millis))
    ));
    let Version { version, pid: process, .. } = version;
    Ok(Report { host: host.to_string(), changed: !is_current, version, process, millis })
}

async fn replaced(cx: &Context, far: &Far, before: Option<&Version>) -> Result<(), Failure> {
    let work = daemon::run_installed(far, before.is_some());
    program::waiting(cx, "the daemon takes up the new program", work).await.map(drop)
}

/// The new program does not answer: the earlier one takes its place again.
async fn back(far: &Far, changed: bool, failure: Failure) -> Failure {
    let host = far.ssh.host();
    if !changed {
        return failure;
    }
    let put_back = async {
        program::put_back(far).await?;
        daemon::run_installed(far, true).await
    };
    let (message, help) = match put_back.await {
        Ok(_) => (
            format!("the new program did not answer on `{host}`; the earlier one is back, and what runs went on"),
            "read the causes; nothing has to be mended on the host before you try again",
        ),
        Err(_) => (
            format!("the new program did not answer on `{host}`, nor did the earlier one; what runs goes on"),
            "look at the host with `mainstay host doctor`; requests are served without the daemon",
        ),
    };
    let causes = std::iter::once(failure.message).chain(failure.causes).collect();
    Failure { code: Some(PUT_BACK.to_owned()), causes, ..Failure::failed(message) }.help(help)
}
