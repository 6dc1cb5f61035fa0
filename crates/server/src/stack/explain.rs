//! Why a run failed, for whoever ordered it.

use super::world::World;
use crate::api::release::Explanation;
use crate::logs::Tail;
use crate::redact::Redactor;
use crate::view;
use jiff::{SignedDuration, Timestamp};
use model::stack::Stack;
use model::{ReplicaId, StackId};
use plan::action::{Action, edge, replica};
use plan::observed::{Exit, Health, Phase, Replica};
use plan::{Observed, Step, StepId};

/// So many log lines are shown.
const LINES: usize = 12;
/// The Docker Engine notes a start when it is over: a program's first lines may be so much older on a busy machine.
const NOTED_LATE: SignedDuration = SignedDuration::from_secs(1);

/// What failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The step, if one failed; none when the plan came to its end and something is still not as wanted.
    pub step: Option<(StepId, Step)>,
    /// Why, one line per cause.
    pub error: String,
}

/// Explains a failure.
pub async fn explain(
    world: &World,
    id: &StackId,
    failure: &Failure,
    good: Option<&Stack>,
    wanted: &Stack,
    have: &Observed,
) -> Explanation {
    let redactor = Redactor::of(wanted);
    let replica = failure.step.as_ref().and_then(|(_, step)| replica_of(&step.action)).or_else(|| worst(wanted, have));
    let seen = replica.as_ref().and_then(|id| have.placed.replicas.get(id));
    let exit = seen.and_then(|seen| match &seen.phase {
        Phase::Exited { how, .. } => Some(in_words(*how)),
        Phase::Failed { why, .. } => Some(why.clone()),
        _ => None,
    });
    let probe = match &replica {
        Some(replica) => world.last_answer(id, replica).map(|answer| redactor.text(&answer)),
        None => None,
    };
    let log = match &replica {
        Some(replica) => last_lines(world, id, replica, seen.and_then(since)).await,
        None => Vec::new(),
    };
    let log = log.iter().map(|line| redactor.text(line)).collect();
    let step = failure.step.as_ref().map(|(number, step)| {
        let step = view::plan::step(*number, step);
        format!("{} {}", step.action, step.subject)
    });
    let service = replica.as_ref().map(|replica| replica.service.to_string());
    let differs = good.map(|good| view::plan::changes(Some(good), wanted)).unwrap_or_default();
    let differs = differs.into_iter().filter(|(name, _)| service.as_ref().is_none_or(|service| service == name));
    Explanation {
        summary: summary(&replica, exit.as_deref(), &failure.error),
        help: help(seen.map(|seen| &seen.phase), replica.as_ref().and_then(|id| have.health.get(id)), &failure.error),
        step,
        replica: replica.map(|replica| replica.to_string()),
        probe,
        exit,
        log,
        differs: differs
            .flat_map(|(name, change)| change.differs.into_iter().map(move |key| format!("{name}: {key}")))
            .collect(),
        state: String::new(),
    }
}

/// The replica a step is about.
pub fn replica_of(action: &Action) -> Option<ReplicaId> {
    match action {
        Action::Replica(replica::Action::Start(start)) => Some(start.id.clone()),
        Action::Replica(replica::Action::Stop { id, .. } | replica::Action::Remove { id }) => Some(id.clone()),
        Action::Probe(wait) => Some(wait.id.clone()),
        Action::Job(job) => Some(job.id.clone()),
        Action::Edge(edge::Change::Route { id } | edge::Change::Drain { id, .. }) => Some(id.clone()),
        _ => None,
    }
}

/// The first replica that is not as wanted.
fn worst(wanted: &Stack, have: &Observed) -> Option<ReplicaId> {
    wanted.services.iter().find_map(|(name, target)| {
        let mut mine = view::health::of_service(name, target, have);
        mine.find(|(id, seen)| !view::health::detail(id, seen, have).is_empty() && !is_done(&seen.phase))
            .map(|(id, _)| id.clone())
    })
}

fn is_done(phase: &Phase) -> bool {
    matches!(phase, Phase::Exited { how: Exit::Code(0), .. })
}

fn summary(replica: &Option<ReplicaId>, exit: Option<&str>, error: &str) -> String {
    match (replica, exit) {
        (Some(replica), Some(exit)) => format!("`{replica}` {exit}"),
        (Some(replica), None) => format!("`{replica}`: {error}"),
        (None, _) => error.to_owned(),
    }
}

/// How a process ended, in words that help.
pub fn in_words(exit: Exit) -> String {
    match exit {
        Exit::Code(126) => "exited with code 126: its command may not be run (permission denied)".into(),
        Exit::Code(127) => "exited with code 127: its command, or one it calls, was not found".into(),
        Exit::Code(code @ 129..=192) => {
            format!("exited with code {code}: a command of its was ended by signal {}", code - 128)
        }
        Exit::Signal(9) => "was killed (SIGKILL)".into(),
        Exit::Signal(11) => "crashed (SIGSEGV)".into(),
        Exit::Signal(6) => "aborted (SIGABRT)".into(),
        other => other.to_string(),
    }
}

fn help(phase: Option<&Phase>, health: Option<&Health>, error: &str) -> Option<String> {
    let text = match (phase, health) {
        (Some(Phase::Exited { how: Exit::OutOfMemory, .. }), _) => {
            "raise `deploy.resources.limits.memory`, or find what it needs so much for"
        }
        (Some(Phase::Exited { .. }), _) => "read its last lines above; `mainstay logs` has the rest",
        (Some(Phase::Failed { .. }), _) => "mend the command or the files it names, then run `mainstay up` again",
        (Some(Phase::Running { .. }), Some(Health::Unready(why))) if why.contains("refused") => {
            "let it listen on 0.0.0.0 and on the port that is declared"
        }
        (Some(Phase::Running { .. }), _) => "let its probe pass, or give it longer with `start_period`",
        _ if error.contains("listen on") => "stop what holds the port, or publish another one",
        _ => return None,
    };
    Some(text.into())
}

/// When the process that a replica runs, or ran last, was started.
fn since(seen: &Replica) -> Option<Timestamp> {
    match seen.phase {
        Phase::Running { since } | Phase::Exited { since, .. } => Some(since),
        _ => None,
    }
}

/// The last lines of a replica's log since its start: the slot may have had other tenants before.
async fn last_lines(world: &World, stack: &StackId, replica: &ReplicaId, since: Option<Timestamp>) -> Vec<String> {
    let mut tail = Tail::new(world.engines.of(stack).log_path(stack, replica), replica.to_string());
    let read = world.tasks.blocking("read a log", move || tail.last(LINES)).await;
    match read {
        Ok(Ok(lines)) => {
            let is_own = |line: &crate::api::status::LogLine| {
                since.is_none_or(|since| line.time.parse::<Timestamp>().is_ok_and(|time| time >= since - NOTED_LATE))
            };
            lines.into_iter().filter(is_own).map(|line| line.line).collect()
        }
        Ok(Err(error)) => vec![format!("(its log could not be read: {error})")],
        Err(error) => vec![format!("(its log could not be read: {})", crate::chain(&error))],
    }
}
