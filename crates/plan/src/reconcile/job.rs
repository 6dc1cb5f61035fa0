//! Jobs: run once per hash of their template.
//!
//! Owns when a job runs, again or not at all; what is known to be done outlives the replicas that did it. A job has no readiness and gets no traffic; it has reached its end when
//! as many replicas as wanted have exited with 0. Its earlier runs go before the next one starts, so that two
//! migrations never run side by side.

use super::buckets::Buckets;
use super::restart::{self, Verdict};
use super::seen::Seen;
use super::service::Service;
use crate::action::{Completion, replica};
use crate::observed::{Exit, Phase};
use crate::{Action, Reason, StepId};
use model::ReplicaId;

/// Plans the steps of one job and records its progress in `job`.
///
/// `n_known` of its replicas are known to have done their work; they count even where nothing is left of them.
pub(super) fn plan<'a>(job: &mut Service<'_, 'a>, mut buckets: Buckets<'a>, n_known: usize) {
    for unknown in &buckets.unknown {
        job.note_unknown(unknown);
    }
    if n_known >= job.target.replicas as usize {
        buckets.missing = 0;
        buckets.keep.retain(is_done);
    }
    let n_done = buckets.keep.iter().filter(|seen| is_done(seen)).count().max(n_known);
    job.progress.is_completed = n_done >= job.target.replicas as usize;
    job.progress.is_started = n_done > 0;
    for seen in buckets.keep.iter().filter(|seen| !is_done(seen)) {
        go_on(job, seen);
    }
    let starts = job.new_starts(&buckets);
    let are_held = starts.len() < buckets.missing;
    let why = buckets.leave.first().map_or(Reason::Missing, |(_, why)| why.clone());
    let mut gone = if starts.is_empty() { Vec::new() } else { job.change_gate().unwrap_or_default() };
    for (seen, why) in buckets.leave {
        if are_held {
            job.note_stays(&seen);
        } else if let Some(step) = job.leave(&seen, why, &[]) {
            gone.push(step);
        }
    }
    for start in starts {
        let id = start.id.clone();
        let started = job.draft.push(Action::Replica(replica::Action::Start(start)), why.clone(), &gone);
        job.progress.changes_started.push(started);
        complete(job, id, &[started]);
    }
    if n_done + job.progress.completions.len() < job.target.replicas as usize {
        // Some of its runs cannot be waited for, so nobody who needs all of them may go on.
        job.progress.completions.clear();
    }
}

fn is_done(seen: &Seen<'_>) -> bool {
    matches!(seen.replica.phase, Phase::Exited { how: Exit::Code(0), .. })
}

/// A run of the wanted kind that has not succeeded: it is waited for, tried again, or left.
fn go_on(job: &mut Service<'_, '_>, seen: &Seen<'_>) {
    if seen.runs() {
        job.progress.is_started = true;
        return complete(job, seen.id.clone(), &[]);
    }
    let verdict = restart::judge(seen, job.target, job.want.asked_at, job.now);
    match verdict {
        None => {}
        Some(Verdict::Leave { why }) => job.draft.note(seen.id, why),
        Some(Verdict::Later { at }) => {
            job.draft.wake(at);
            job.draft.note(seen.id, format!("waits for its back-off until {at}"));
        }
        Some(Verdict::Now { failures, why }) => match job.repair_gate() {
            Err(why) => job.draft.note(seen.id, why),
            Ok(after) => {
                let Some(start) = job.start_in_place(seen, failures) else { return };
                let started = job.draft.push(Action::Replica(replica::Action::Start(start)), why, &after);
                job.progress.repairs_started.push(started);
                complete(job, seen.id.clone(), &[started]);
            }
        },
    }
}

fn complete(job: &mut Service<'_, '_>, id: ReplicaId, after: &[StepId]) {
    let step = job.draft.push(Action::Job(Completion { id }), Reason::MustComplete, after);
    job.progress.completions.push(step);
}
