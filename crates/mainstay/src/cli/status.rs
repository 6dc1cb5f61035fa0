//! `mainstay status`: what runs, and how it is. Outside a project: every stack of this machine.

use super::Context;
use crate::client::{self, of_stack};
use crate::exit::{Exit, Failure};
use crate::progress::words;
use crate::ui::paint::{Paint, Tone, tame};
use crate::ui::table::Table;
use jiff::Timestamp;
use model::StackId;
use server::api::status::{ReplicaStatus, ServiceStatus, StackStatus, StackSummary};

pub async fn run(cx: &Context) -> Result<Exit, Failure> {
    if cx.settings.is_outside() {
        return all(cx).await;
    }
    let stack = cx.stack()?;
    let status = match cx.client().get::<StackStatus>(&of_stack(&stack, "")).await {
        Ok(status) => status,
        Err(client::Error::Refused(refused)) if refused.status == 404 => return Err(never_up(&stack, refused.into())),
        Err(error) => return Err(error.into()),
    };
    if cx.ui.json {
        cx.ui.json(&status);
        return Ok(Exit::Done);
    }
    lines(&status, Timestamp::now(), cx.ui.out).iter().for_each(|line| cx.ui.data(line));
    cx.ui.next(next(&status));
    Ok(Exit::Done)
}

fn never_up(stack: &StackId, failure: Failure) -> Failure {
    Failure { message: format!("nothing of `{stack}` runs here, and nothing did"), ..failure }
        .help("bring it up with `mainstay up`, or see every stack with `mainstay status` outside a project")
}

async fn all(cx: &Context) -> Result<Exit, Failure> {
    let stacks: Vec<StackSummary> = cx.client().get("/v1/stacks").await?;
    if cx.ui.json {
        cx.ui.json(&stacks);
        return Ok(Exit::Done);
    }
    let paint = cx.ui.out;
    let mut table = Table::new(["STACK", "HEALTH", "READY", "RELEASE"]);
    for stack in &stacks {
        table.row([
            format!("{}@{}", stack.project, stack.environment),
            paint.tone(tone_of(&stack.health), &stack.health),
            format!("{}/{}", stack.ready, stack.replicas),
            stack.release.map_or(String::new(), |number| number.to_string()),
        ]);
    }
    if stacks.is_empty() {
        cx.ui.next("nothing runs; `mainstay up` in a project brings it up");
        return Ok(Exit::Done);
    }
    table.lines(paint).iter().for_each(|line| cx.ui.data(line));
    cx.ui.next("`mainstay -p PROJECT -e ENVIRONMENT status` shows one of them");
    Ok(Exit::Done)
}

/// The tone of a state, a health or an outcome.
pub fn tone_of(word: &str) -> Tone {
    match word {
        "ok" | "ready" | "completed" | "done" | "running" => Tone::Good,
        "degraded" | "starting" | "releasing" | "unready" | "pending" | "half" | "unknown" | "superseded" => Tone::Warn,
        "failed" | "dead" => Tone::Bad,
        "down" | "none" | "exited" => Tone::Dim,
        _ => Tone::Strong,
    }
}

/// The status for people.
pub fn lines(status: &StackStatus, now: Timestamp, paint: Paint) -> Vec<String> {
    let summary = &status.summary;
    let mut head = format!(
        "{}  {}",
        paint.tone(Tone::Strong, &format!("{}@{}", summary.project, summary.environment)),
        paint.tone(tone_of(&summary.health), &summary.health),
    );
    if let Some(release) = summary.release {
        head.push_str(&format!("  release {release}"));
    }
    let mut lines = vec![head];
    lines.extend(
        status.urls.iter().map(|url| format!("{}  {}", paint.tone(Tone::Dim, "at"), paint.tone(Tone::Accent, url))),
    );
    lines.push(String::new());
    let mut table = Table::new(["SERVICE", "STATE", "READY", "SINCE", "MEMORY", "CPU", "PUBLISHED", "RUNS"]);
    for service in &status.services {
        table.row(service_row(service, paint));
        for replica in &service.instances {
            table.row(replica_row(replica, now, paint));
        }
    }
    lines.extend(table.lines(paint));
    if !status.notes.is_empty() {
        lines.push(String::new());
        lines.extend(
            status
                .notes
                .iter()
                .map(|note| format!("{} {}: {}", paint.tone(Tone::Warn, "!"), note.subject, tame(&note.text, false))),
        );
    }
    lines
}

fn service_row(service: &ServiceStatus, paint: Paint) -> Vec<String> {
    let ready = match service.role.as_str() {
        "service" => format!("{}/{}", service.ready, service.replicas),
        _ => String::new(),
    };
    vec![
        paint.tone(Tone::Strong, &service.name),
        paint.tone(tone_of(&service.state), &service.state),
        ready,
        String::new(),
        String::new(),
        String::new(),
        service.published.join(", "),
        paint.tone(Tone::Dim, &tame(&service.runs, false)),
    ]
}

fn replica_row(replica: &ReplicaStatus, now: Timestamp, paint: Paint) -> Vec<String> {
    let (state, tone) = match (replica.phase.as_str(), replica.health.as_str()) {
        ("running", health) => (health, tone_of(health)),
        (phase, _) => (phase, if phase == "failed" { Tone::Bad } else { Tone::Dim }),
    };
    let since = replica.since.as_deref().and_then(|since| since.parse::<Timestamp>().ok());
    let mut why = if replica.health == "ready" { String::new() } else { tame(&replica.detail, false) };
    if replica.phase == "running" && replica.health == "ready" && !replica.routed {
        why = "gets no traffic".to_owned();
    }
    if replica.failures > 0 {
        why = format!(
            "{why}{}exited {} before",
            if why.is_empty() { "" } else { ", " },
            words::count(replica.failures as usize, "time")
        );
    }
    vec![
        format!("  {}", replica.id),
        format!("  {}", paint.tone(tone, state)),
        String::new(),
        since.map_or(String::new(), |since| paint.tone(Tone::Dim, &words::age(since, now))),
        replica.memory.map_or(String::new(), words::bytes),
        replica.cpu_millis.map_or(String::new(), words::seconds),
        String::new(),
        paint.tone(Tone::Warn, &why),
    ]
}

fn next(status: &StackStatus) -> String {
    let ill = status.services.iter().find(|service| matches!(service.state.as_str(), "degraded" | "down" | "failed"));
    match (status.summary.wanted.as_str(), status.run, ill) {
        ("down", _, _) => "`mainstay up` brings it up again".to_owned(),
        (_, Some(_), _) => "something is under way; `mainstay events -f` follows it".to_owned(),
        (_, None, Some(ill)) => format!("`mainstay logs {}` shows what it wrote", ill.name),
        (_, None, None) => "`mainstay logs -f` follows what the replicas write".to_owned(),
    }
}
