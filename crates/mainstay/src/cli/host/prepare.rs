//! `mainstay host prepare`: checks a host, says what would be done, and does it in steps that may be repeated.

use super::args::Prepare;
use super::checks::{self, Check, Wanted};
use super::far::{Far, Script, has_changed};
use super::{Seen, daemon, known, look, n_bad, program, show};
use crate::cli::Context;
use crate::exit::{Exit, Failure};
use crate::progress::words;
use crate::ui::paint::Tone;
use model::policy::EngineKind;
use serde::Serialize;
use server::api::status::Version;
use std::time::Instant;

const PACKAGES: Script = Script { doing: "install packages", text: include_str!("packages.sh"), is_long: true };
const GROUP: Script = Script { doing: "make the group", text: include_str!("group.sh"), is_long: false };
const FOLDERS: Script = Script { doing: "make the folders", text: include_str!("folders.sh"), is_long: false };

/// A host that is not fit.
const UNFIT: &str = "MS0313";

/// What the process engine uses beside the kernel.
const TOOLS: [&str; 2] = ["nftables", "iproute2"];

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Packages(Vec<&'static str>),
    Group(String),
    Folders,
    Program,
    Unit,
    Process,
}

#[derive(Serialize)]
struct Done {
    name: String,
    changed: bool,
    millis: u64,
}

#[derive(Serialize)]
struct Report<'a> {
    host: String,
    ready: bool,
    checks: &'a [Check],
    steps: &'a [Done],
    daemon: Option<&'a Version>,
}

pub async fn run(args: &Prepare, cx: &Context) -> Result<Exit, Failure> {
    let engine = cx.settings.engine.value.unwrap_or(EngineKind::Docker);
    if !matches!(engine, EngineKind::Docker | EngineKind::Process) {
        return Err(Failure::usage(format!("a host cannot be made ready for the engine `{engine}`"))
            .help("write `--engine docker` or `--engine process`"));
    }
    let host = args.url.machine();
    let seen = program::waiting(cx, &format!("looking at {host}"), look(cx, &host)).await?;
    let checks = checks::judge(&seen.facts, Wanted { engine, machine: std::env::consts::ARCH, ahead: seen.ahead });
    let steps = steps(&seen, engine);
    if !cx.ui.json {
        show(cx, &checks);
    }
    let report = |ready, steps: &[Done], daemon: Option<&Version>| {
        if cx.ui.json {
            cx.ui.json(&Report { host: host.to_string(), ready, checks: &checks, steps, daemon });
        }
    };
    let n_bad = n_bad(&checks);
    if args.check {
        report(false, &[], None);
        cx.ui.next(match n_bad {
            0 => format!("nothing was changed; `mainstay host prepare {host}` makes it ready"),
            _ => "nothing was changed; mend what is marked ✘".to_owned(),
        });
        return Ok(if n_bad == 0 { Exit::Done } else { Exit::Failed });
    }
    if n_bad > 0 {
        let words = words::count(n_bad, "check");
        let failure = Failure::failed(format!("`{host}` cannot be made ready: {words} failed"));
        return Err(Failure { code: Some(UNFIT.to_owned()), ..failure }.help("mend what is marked ✘ above"));
    }
    announce(cx, &host.to_string(), &steps);
    if !args.yes && !confirmed(cx)? {
        return Err(Failure::failed("nothing was changed").because("the answer was not `yes`"));
    }
    let done = carry_out(cx, &seen, &steps).await?;
    let version = daemon::verified(cx, &seen.far).await?;
    known::remember(&cx.settings, &host, true)?;
    report(true, &done, Some(&version));
    cx.ui.note(format!(
        "{} {host} is ready: version {}, process {}, routes on port {}",
        cx.ui.err.tone(Tone::Good, "✔"),
        version.version,
        version.pid,
        version.http_port
    ));
    cx.ui.next(format!(
        "write `host: {host}` below an environment in mainstay.yaml, or use `--host {host}`; then `mainstay up`"
    ));
    Ok(Exit::Done)
}

/// What has to be done; each step finds out itself whether it is done already.
fn steps(seen: &Seen, engine: EngineKind) -> Vec<Step> {
    let facts = &seen.facts;
    let mut steps = Vec::new();
    match engine {
        EngineKind::Process if !facts.has_tools => steps.push(Step::Packages(TOOLS.to_vec())),
        EngineKind::Docker if !facts.has_docker => steps.push(Step::Packages(vec!["docker.io"])),
        _ => {}
    }
    steps.extend([Step::Group(facts.user.clone()), Step::Folders, Step::Program]);
    steps.push(if facts.has_systemd { Step::Unit } else { Step::Process });
    steps
}

impl Step {
    /// What it will do.
    fn plan(&self) -> String {
        match self {
            Self::Packages(names) => format!("install {} by apt", names.join(", ")),
            Self::Group(user) if user == "root" => "make the group `mainstay`".to_owned(),
            Self::Group(user) => format!("make the group `mainstay`, with `{user}` in it (that is as much as root)"),
            Self::Folders => "make /var/lib/mainstay, for root alone".to_owned(),
            Self::Program => format!("copy this program to {}", program::PROGRAM),
            Self::Unit => "have systemd run the daemon (mainstay.service)".to_owned(),
            Self::Process => "start the daemon as a plain process".to_owned(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Packages(_) => "packages",
            Self::Group(_) => "group",
            Self::Folders => "folders",
            Self::Program => "program",
            Self::Unit => "unit",
            Self::Process => "daemon",
        }
    }
}

fn announce(cx: &Context, host: &str, steps: &[Step]) {
    cx.ui.note(format!("{host} will be changed:"));
    for step in steps {
        cx.ui.note(format!("  · {}", cx.ui.err.commands(&step.plan())));
    }
}

fn confirmed(cx: &Context) -> Result<bool, Failure> {
    if !cx.ui.can_ask() {
        return Err(Failure::usage("the host would be changed, and nobody can be asked")
            .because("standard input is no terminal")
            .help("say `--yes` when that is what you want, or look with `--check`"));
    }
    let answer = cx.ui.ask("type `yes` to go on:").map_err(|error| Failure::of(&error))?;
    Ok(answer == "yes")
}

async fn carry_out(cx: &Context, seen: &Seen, steps: &[Step]) -> Result<Vec<Done>, Failure> {
    let mut done: Vec<Done> = Vec::new();
    for step in steps {
        let began = Instant::now();
        // A daemon that runs takes up another program, and the group of its socket, when it is started anew.
        let is_new = done.iter().any(|done| done.changed && ["group", "program"].contains(&done.name.as_str()));
        let changed = program::waiting(cx, &step.plan(), perform(cx, seen, step, is_new)).await?;
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let what = if changed { "done" } else { "as it should be" };
        let took = cx.ui.err.tone(Tone::Dim, &words::seconds(millis));
        cx.ui.note(format!("  {} {}  {what}  {took}", cx.ui.err.tone(Tone::Good, "✔"), step.name()));
        done.push(Done { name: step.name().to_owned(), changed, millis });
    }
    Ok(done)
}

async fn perform(cx: &Context, seen: &Seen, step: &Step, is_new: bool) -> Result<bool, Failure> {
    let far = &seen.far;
    match step {
        Step::Packages(names) => far.run_as_root(PACKAGES, names).await.map(|_| true),
        Step::Group(user) => far.run_as_root(GROUP, &[user]).await.map(|said| has_changed(&said)),
        Step::Folders => far.run_as_root(FOLDERS, &[]).await.map(|said| has_changed(&said)),
        Step::Program => program::install(cx, far, &program::ours()?).await,
        Step::Unit => {
            let is_there = seen.facts.has_unit && !is_new && is_current(far).await? == Some(true);
            if !is_there {
                daemon::install_unit(far).await?;
            }
            Ok(!is_there)
        }
        Step::Process => {
            let replaces = is_current(far).await?.is_some_and(|is_current| is_new || !is_current);
            daemon::run_installed(far, replaces).await.map(|started| started.is_some())
        }
    }
}

/// Whether the daemon runs the installed program; none where none answers.
async fn is_current(far: &Far) -> Result<Option<bool>, Failure> {
    match daemon::answering(far).await? {
        Some(runs) => daemon::is_current(far, &runs).await.map(Some),
        None => Ok(None),
    }
}
