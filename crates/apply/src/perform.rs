//! One step's effect: handed to its port, tried again where that may help.

use crate::execute::{MadeFrom, Task};
use crate::ports::{EdgeError, JobLost, NotReady, Placing, Ports};
use engine::{EngineError, Retry};
use model::{ReplicaId, StackId};
use plan::action::{Action, edge::Change, object, replica};
use plan::observed::Exit;
use plan::{Desired, StepId};
use runtime::{CancellationToken, Clock};
use std::time::Duration;

/// So often something that may pass is tried before the step has failed.
const TRIES: u32 = 5;

/// The first pause between tries; doubled each time, so that all tries together take about three seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How long an effect may take beside the grace that it is told to wait for. Nothing we do takes minutes (a job and a
/// probe have their own time); this only keeps a port that hangs from holding a release up for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// A step's effect did not come about. Says nothing of its own layer: the cause is the message.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The edge.
    #[error(transparent)]
    Edge(#[from] EdgeError),
    /// A replica is not ready.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// A job's end is not known.
    #[error(transparent)]
    Lost(#[from] JobLost),
    /// A job did not succeed.
    #[error("job `{id}` {how}")]
    JobFailed {
        /// Which.
        id: ReplicaId,
        /// How it ended.
        how: Exit,
    },
    /// Its port did not come back in time; what it was doing may still come about, and doing it again is safe.
    #[error("gave up after {}", model::units::format_duration(*.0))]
    TookTooLong(Duration),
    /// The plan is for the other sort of engine.
    #[error("the plan has a step for {wanted}, which this environment's engine does not place")]
    WrongEngine {
        /// What the step is for.
        wanted: &'static str,
    },
}

impl StepError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Engine(error) => error.retry == Retry::Later,
            Self::Edge(error) => error.retry == Retry::Later,
            _ => false,
        }
    }
}

/// Carries a step's action out; what may pass is tried again until `halt`.
pub async fn perform(
    task: &Task<'_>,
    ports: &Ports<'_>,
    clock: &dyn Clock,
    halt: &CancellationToken,
    id: StepId,
    action: &Action,
) -> Result<(), StepError> {
    let mut pause = FIRST_PAUSE;
    for n in 1..TRIES {
        match in_time(task, ports, clock, action).await {
            Err(error) if error.may_pass() && !halt.is_cancelled() => {
                tracing::debug!(error = runtime::tasks::chain(&error), "a step is tried again");
            }
            result => return result,
        }
        clock.sleep(spread(pause, id, n)).await;
        pause *= 2;
    }
    in_time(task, ports, clock, action).await
}

/// The pause give or take a quarter, another one for each step and try: steps that failed together (the engine was away)
/// do not all come back together. Drawn from the step's number, so that a run can be repeated.
fn spread(pause: Duration, id: StepId, n: u32) -> Duration {
    // Knuth's multiplicative hash: the high bits of neighbours lie far apart.
    let drawn = (id.0.wrapping_mul(TRIES).wrapping_add(n)).wrapping_mul(2_654_435_769) >> 24;
    pause * 3 / 4 + pause * drawn / 512
}

async fn in_time(task: &Task<'_>, ports: &Ports<'_>, clock: &dyn Clock, action: &Action) -> Result<(), StepError> {
    let Some(limit) = limit(action) else { return once(task, ports, action).await };
    let result = runtime::clock::timeout(clock, limit, once(task, ports, action)).await;
    result.unwrap_or(Err(StepError::TookTooLong(limit)))
}

/// How long an action may take; none for those that only wait, whose port knows their deadline.
fn limit(action: &Action) -> Option<Duration> {
    match action {
        Action::Probe(_) | Action::Job(_) | Action::Object(object::Action::Watch { .. }) => None,
        Action::Replica(replica::Action::Stop { grace, .. }) | Action::Edge(Change::Drain { grace, .. }) => {
            Some(grace.saturating_add(LONGEST))
        }
        Action::Replica(_) | Action::Object(_) | Action::Edge(_) => Some(LONGEST),
    }
}

async fn once(task: &Task<'_>, ports: &Ports<'_>, action: &Action) -> Result<(), StepError> {
    let stack = task.stack;
    match (action, ports.placing) {
        (Action::Replica(action), Placing::Replicas(engine)) => Ok(engine.perform(stack, action).await?),
        (Action::Object(action), Placing::Stacks(engine)) => Ok(engine.perform(stack, action).await?),
        (Action::Replica(_), Placing::Stacks(_)) => Err(StepError::WrongEngine { wanted: "a replica" }),
        (Action::Object(_), Placing::Replicas(_)) => Err(StepError::WrongEngine { wanted: "an object" }),
        (Action::Probe(wait), _) => Ok(ports.probes.wait_ready(stack, &wait.id, wait.deadline).await?),
        (Action::Job(job), _) => match ports.jobs.wait_exit(stack, &job.id).await? {
            Exit::Code(0) => Ok(()),
            how => Err(StepError::JobFailed { id: job.id.clone(), how }),
        },
        (Action::Edge(change), _) => {
            let MadeFrom::Replicas { want, .. } = task.made_from else {
                return Err(StepError::WrongEngine { wanted: "the edge" });
            };
            Ok(self::change(ports, stack, want, change).await?)
        }
    }
}

async fn change(ports: &Ports<'_>, stack: &StackId, want: &Desired, change: &Change) -> Result<(), EdgeError> {
    match change {
        Change::Open => ports.edge.open(stack, want).await,
        Change::Route { id } => ports.edge.route(stack, id).await,
        Change::Drain { id, grace } => ports.edge.drain(stack, id, *grace).await,
        Change::Settle { hash } => ports.edge.settle(stack, want, *hash).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_a_quarter_around_and_can_be_repeated() {
        let pauses: Vec<_> = (1..=200).map(|id| spread(FIRST_PAUSE, StepId(id), 1)).collect();
        assert!(pauses.iter().all(|pause| (FIRST_PAUSE * 3 / 4..FIRST_PAUSE * 5 / 4).contains(pause)));
        let distinct: std::collections::BTreeSet<_> = pauses.iter().collect();
        assert!(distinct.len() > 100, "{} distinct of 200", distinct.len());
        assert_eq!(spread(FIRST_PAUSE, StepId(7), 2), spread(FIRST_PAUSE, StepId(7), 2));
    }

    #[test]
    fn only_effects_have_a_limit_beside_their_grace() {
        let id: ReplicaId = "api.1".parse().expect("legal");
        let grace = Duration::from_secs(3600);
        let stop = Action::Replica(replica::Action::Stop { id: id.clone(), signal: 15, grace });
        assert_eq!(limit(&stop), Some(grace + LONGEST));
        let endless = Action::Edge(Change::Drain { id: id.clone(), grace: Duration::MAX });
        assert_eq!(limit(&endless), Some(Duration::MAX));
        assert_eq!(limit(&Action::Edge(Change::Open)), Some(LONGEST));
        assert_eq!(limit(&Action::Job(plan::action::Completion { id })), None);
    }
}
