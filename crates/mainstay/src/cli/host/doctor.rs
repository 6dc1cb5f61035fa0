//! `mainstay host doctor`: a host's checks again, and how its daemon is.

use super::checks::{self, Check, Verdict, Wanted};
use super::{Seen, client_of, daemon, look, n_bad, program, show};
use crate::cli::Context;
use crate::exit::{Exit, Failure};
use crate::progress::words;
use model::RemoteHost;
use model::policy::EngineKind;
use serde::Serialize;
use server::api::status::{StackSummary, Version};

#[derive(Serialize)]
struct Report<'a> {
    host: String,
    checks: &'a [Check],
    daemon: Option<&'a Version>,
    stacks: &'a [StackSummary],
}

pub async fn run(host: &RemoteHost, cx: &Context) -> Result<Exit, Failure> {
    let seen = program::waiting(cx, &format!("looking at {host}"), look(cx, host)).await?;
    // The daemon may be asked for either engine; that Docker is missing is no fault of a host without need of it.
    let engine = if seen.facts.has_docker { EngineKind::Docker } else { EngineKind::Process };
    let wanted = Wanted { engine, machine: std::env::consts::ARCH, ahead: seen.ahead };
    let mut checks = checks::judge(&seen.facts, wanted);
    // Whoever may give orders needs no more rights from now on.
    checks.retain(|check| check.name != "rights");
    checks.push(orders(&seen));
    checks.push(installed(&seen).await?);
    let runs = daemon::answering(&seen.far).await?;
    checks.push(daemon_of(&seen, runs.as_ref()).await?);
    let stacks: Vec<StackSummary> = match &runs {
        Some(_) => client_of(&seen.far).get("/v1/stacks").await?,
        None => Vec::new(),
    };
    checks.push(stacks_of(&stacks));
    let n_bad = n_bad(&checks);
    if cx.ui.json {
        cx.ui.json(&Report { host: host.to_string(), checks: &checks, daemon: runs.as_ref(), stacks: &stacks });
    } else {
        show(cx, &checks);
    }
    cx.ui.next(match n_bad {
        0 => format!("`mainstay --host {host} status` shows what runs there"),
        _ => format!("`mainstay host prepare {host}` mends what it can"),
    });
    Ok(if n_bad == 0 { Exit::Done } else { Exit::Failed })
}

fn check(name: &'static str, verdict: Verdict, found: impl Into<String>, help: impl Into<String>) -> Check {
    Check { name, verdict, found: found.into(), help: help.into() }
}

fn orders(seen: &Seen) -> Check {
    let user = &seen.facts.user;
    match seen.facts.may_order() {
        true => check("orders", Verdict::Good, format!("{user} may give them"), ""),
        false => {
            let help = "run `mainstay host prepare` for this user, or let root add it to the group `mainstay`";
            check("orders", Verdict::Bad, format!("{user} is not in the group `mainstay`"), help)
        }
    }
}

async fn installed(seen: &Seen) -> Result<Check, Failure> {
    let host = seen.far.ssh.host();
    let upgrade = format!("`mainstay host upgrade {host}` has it run this program");
    let ours = env!("CARGO_PKG_VERSION");
    Ok(match program::installed(&seen.far).await {
        None if seen.facts.has_program => check("program", Verdict::Bad, "too old to say which", upgrade),
        None => check("program", Verdict::Bad, "not installed", format!("run `mainstay host prepare {host}`")),
        Some(there) if there.version != ours => {
            check("program", Verdict::Warn, format!("version {}, ours is {ours}", there.version), upgrade)
        }
        Some(there) if there.digest != Some(program::ours()?) => {
            check("program", Verdict::Warn, format!("another build of version {ours}"), upgrade)
        }
        Some(_) => check("program", Verdict::Good, format!("version {ours}, as ours"), ""),
    })
}

async fn daemon_of(seen: &Seen, runs: Option<&Version>) -> Result<Check, Failure> {
    let host = seen.far.ssh.host();
    let Some(runs) = runs else {
        return Ok(check("daemon", Verdict::Bad, "does not run", format!("run `mainstay host prepare {host}`")));
    };
    let found = format!("version {}, process {}, since {}", runs.version, runs.pid, runs.started);
    // Only root sees which program another user's process runs.
    if seen.facts.is_mighty() && !daemon::is_current(&seen.far, runs).await? {
        let help = format!("`mainstay host upgrade {host}` has it run the installed program");
        return Ok(check("daemon", Verdict::Warn, format!("{found}, of another program"), help));
    }
    Ok(match runs.edge_pid {
        None => check("daemon", Verdict::Warn, format!("{found}, without an edge"), "look again in a moment"),
        Some(_) => check("daemon", Verdict::Good, found, ""),
    })
}

fn stacks_of(stacks: &[StackSummary]) -> Check {
    let up: Vec<&StackSummary> = stacks.iter().filter(|stack| stack.wanted == "up").collect();
    let ill: Vec<String> = up
        .iter()
        .filter(|stack| !["ok", "releasing"].contains(&stack.health.as_str()))
        .map(|stack| format!("{}@{} is {}", stack.project, stack.environment, stack.health))
        .collect();
    match ill.as_slice() {
        [] => check("stacks", Verdict::Good, format!("{} up", words::count(up.len(), "stack")), ""),
        ill => check("stacks", Verdict::Warn, ill.join(", "), "`mainstay status` tells why"),
    }
}
