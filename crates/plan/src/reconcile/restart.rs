//! What happens to a replica that is not running although it should.
//!
//! Owns the back-off and the meaning of restart policies. Never looks at other replicas.

use super::seen::Seen;
use crate::Reason;
use crate::observed::{Exit, Phase};
use jiff::{SignedDuration, Timestamp};
use model::probe::Probe;
use model::project::{RestartPolicy, Role};
use model::stack::Target;
use std::time::Duration;

/// A run at least this long counts as a success: failures are counted from zero again.
///
/// Source: Docker, "Start containers automatically", restart policies: 10 seconds.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// The pause before the restart that follows `failures` failures in a row: 100 ms, doubled each time, at most a minute.
///
/// Source: Docker's restart manager: 100 ms, doubled, at most one minute. No jitter: planning is pure, and replicas
/// of one machine that start together do not burden a third party.
pub fn back_off(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);
    // 2^10 × 100 ms is more than a minute already.
    (FIRST * (1 << failures.min(10))).min(LONGEST)
}

/// What is to be done with a replica that does not run.
pub(super) enum Verdict {
    /// Start it, with so many failures behind it.
    Now { failures: u32, why: Reason },
    /// Its pause is not over.
    Later { at: Timestamp },
    /// It stays as it is: why.
    Leave { why: String },
}

/// What is to be done with `seen`, which is [`Phase::Half`], [`Phase::Exited`], [`Phase::Failed`], or runs and is not
/// live; none for others.
///
/// One that is not live has failed as one that exited has: it is counted, its pause grows, and its policy may leave it,
/// running and without traffic. When it ceased to be live nobody knows, so the pause counts from its start: a probe that
/// never passes restarts a replica at most once a minute.
pub(super) fn judge(seen: &Seen<'_>, target: &Target, asked_at: Timestamp, now: Timestamp) -> Option<Verdict> {
    let replica = seen.replica;
    let (at, lasted, exit, why) = match &replica.phase {
        Phase::Running { since } if seen.is_dead() => (*since, now.duration_since(*since), None, Reason::NotLive),
        Phase::Running { .. } | Phase::Unknown(_) => return None,
        Phase::Half => return Some(Verdict::Now { failures: replica.failures, why: Reason::HalfDone }),
        Phase::Exited { since, at, how } => {
            (*at, at.duration_since(*since), Some(*how), Reason::Exited(how.to_string()))
        }
        Phase::Failed { at, why } => (*at, SignedDuration::ZERO, None, Reason::Failed(why.clone())),
    };
    let succeeded = exit == Some(Exit::Code(0));
    let runs_for_ever = target.restart == RestartPolicy::Always && target.role == Role::Service;
    if succeeded && !runs_for_ever {
        return Some(Verdict::Leave { why: "has exited with code 0 and is done".into() });
    }
    if asked_at > at {
        return Some(Verdict::Now { failures: 0, why });
    }
    let proving = if seen.is_dead() { longest_until_dead(target) } else { Duration::ZERO };
    let enough = LONG_ENOUGH.saturating_add(proving);
    let was_a_success = Duration::try_from(lasted).is_ok_and(|lasted| lasted >= enough);
    let failures = if was_a_success { 0 } else { replica.failures };
    let most = match target.restart {
        RestartPolicy::No => Some(0),
        RestartPolicy::Always => None,
        RestartPolicy::OnFailure { max } => max.map(|max| max.get()),
    };
    if most.is_some_and(|most| failures >= most) {
        let why = match most {
            Some(0) => format!("{why}; its restart policy leaves it so until it is asked for again"),
            _ => format!("{why}; after {failures} failures in a row its restart policy leaves it so"),
        };
        return Some(Verdict::Leave { why });
    }
    let pause = SignedDuration::try_from(back_off(failures)).expect("at most a minute");
    let due = at.saturating_add(pause).unwrap_or(at);
    Some(if due <= now { Verdict::Now { failures: failures + 1, why } } else { Verdict::Later { at: due } })
}

/// How long a replica that was never live may run until its probe has said so, on a machine at half its speed.
fn longest_until_dead(target: &Target) -> Duration {
    let until_dead = |probe: &Probe| {
        let once = probe.interval.saturating_add(probe.timeout);
        probe.start_period.saturating_add(once.saturating_mul(probe.retries.get())).saturating_mul(2)
    };
    target.probes.live.as_ref().map(until_dead).unwrap_or_default()
}
