//! `mainstay host`: makes other machines ready to run projects, and looks after them.
//!
//! Owns the way from a URL to facts and verdicts that the commands share. What is done over there is done by the fixed
//! scripts beside this file, each of which may be repeated.

pub mod args;

mod checks;
mod daemon;
mod doctor;
mod facts;
mod far;
mod known;
mod list;
mod prepare;
mod program;
mod remove;
mod upgrade;

use super::{Context, place};
use crate::client::{Client, Place};
use crate::exit::{Exit, Failure};
use crate::ui::paint::Tone;
use crate::ui::table::Table;
use args::{Host, HostWhat};
use checks::{Check, Verdict};
use facts::Facts;
use far::{Far, Script};
use jiff::Timestamp;
use model::RemoteHost;
use std::time::Instant;

/// Says what a machine is.
const PROBE: Script = Script { doing: "look at the host", text: include_str!("host/probe.sh"), is_long: false };

pub async fn run(args: &Host, cx: &Context) -> Result<Exit, Failure> {
    match &args.what {
        HostWhat::Prepare(prepare) => prepare::run(prepare, cx).await,
        HostWhat::List => list::run(cx).await,
        HostWhat::Doctor { url } => doctor::run(&meant(cx, url.as_ref())?, cx).await,
        HostWhat::Upgrade { urls, all } => upgrade::run(urls, *all, cx).await,
        HostWhat::Remove(remove) => remove::run(remove, cx).await,
    }
}

/// The host that was typed, else the one that is meant here.
fn meant(cx: &Context, typed: Option<&RemoteHost>) -> Result<RemoteHost, Failure> {
    if let Some(host) = typed {
        return Ok(host.machine());
    }
    match place::resolve(&cx.settings, &cx.ui)? {
        Place::Remote(ssh) => Ok(ssh.host().machine()),
        Place::Local(_) => Err(Failure::usage("no host is named, and none is meant here")
            .help("write one, for example `ssh://deploy@staging.example`; see `mainstay host list`")),
    }
}

/// A host and what it is.
struct Seen {
    far: Far,
    facts: Facts,
    ahead: Option<(f64, f64)>,
}

/// Looks at a host.
async fn look(cx: &Context, host: &RemoteHost) -> Result<Seen, Failure> {
    let far = Far { ssh: place::way(&cx.settings, host.machine()), sudo: false };
    // The login takes its time, and is shared with what follows: the clock is asked without it.
    far.call("log in", &["true"]).await?;
    let (before, began) = (Timestamp::now(), Instant::now());
    let facts = Facts::read(&far.run(PROBE, &[]).await?);
    let took = began.elapsed().as_secs_f64();
    // The time is what the script says last.
    let ahead = facts.time.map(|time| (time - before.as_duration().as_secs_f64() - took, took));
    Ok(Seen { far: Far { sudo: facts.has_sudo && !facts.is_root, ..far }, facts, ahead })
}

/// A client of the daemon there.
fn client_of(far: &Far) -> Client {
    Client::at(Place::Remote(far.ssh.clone()))
}

/// Shows checks as a table, with what to do below.
fn show(cx: &Context, checks: &[Check]) {
    let paint = cx.ui.out;
    let mut table = Table::new(["", "WHAT", "FOUND"]);
    for check in checks {
        let sign = match check.verdict {
            Verdict::Good => paint.tone(Tone::Good, "✔"),
            Verdict::Warn => paint.tone(Tone::Warn, "!"),
            Verdict::Bad => paint.tone(Tone::Bad, "✘"),
        };
        table.row([sign, check.name.to_owned(), check.found.clone()]);
    }
    table.lines(paint).iter().for_each(|line| cx.ui.data(line));
    for check in checks.iter().filter(|check| !check.help.is_empty()) {
        let name = cx.ui.err.tone(Tone::Strong, check.name);
        cx.ui.note(format!("  {} {name}: {}", cx.ui.err.tone(Tone::Accent, "help:"), cx.ui.err.commands(&check.help)));
    }
}

/// How many are bad.
fn n_bad(checks: &[Check]) -> usize {
    checks.iter().filter(|check| check.verdict == Verdict::Bad).count()
}
