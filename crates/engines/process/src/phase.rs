//! What a replica's folder tells of its life. Pure: the folder is read elsewhere.

use jiff::Timestamp;
use plan::observed::{Exit, Phase};
use shim::status::{State, Status};

/// What was found in a replica's folder.
pub(crate) struct Found<'a> {
    /// A shim holds the lock.
    pub(crate) is_held: bool,
    /// The status file, none when there is none.
    pub(crate) status: Option<&'a Status>,
    /// The boot that runs now.
    pub(crate) boot_id: &'a str,
    /// When it was first seen that the shim was gone without a final status.
    pub(crate) lost_at: Timestamp,
}

/// Whether the shim went without leaving word of the end.
pub(crate) fn is_lost(is_held: bool, status: Option<&Status>) -> bool {
    !is_held && status.is_some_and(|status| !status.state.is_final())
}

/// Where the replica is in its life.
pub(crate) fn phase(found: &Found<'_>) -> Phase {
    let Some(status) = found.status else {
        // A shim writes its status right after it takes the lock.
        return Phase::Half;
    };
    let created = time(&status.created_at, found.lost_at);
    let since = status.started_at.as_ref().map_or(created, |text| time(text, created));
    let finished = status.finished_at.as_ref().map_or(found.lost_at, |text| time(text, found.lost_at));
    match &status.state {
        State::Exited(exit) => Phase::Exited { since, at: finished, how: how(exit) },
        State::Failed { step, message } => Phase::Failed { at: finished, why: format!("could not {step}: {message}") },
        _ if found.is_held && status.boot_id == found.boot_id => Phase::Running { since },
        _ => Phase::Exited { since, at: found.lost_at, how: Exit::Lost },
    }
}

/// What a shell ends with when its program was killed.
const KILLED: i32 = 128 + libc::SIGKILL;

fn how(exit: &shim::status::Exit) -> Exit {
    match (exit.code, exit.signal) {
        // One that was asked to stop and did not was killed by its shim, whatever had happened before.
        (Some(KILLED), _) | (_, Some(libc::SIGKILL)) if exit.out_of_memory && !exit.stopped => Exit::OutOfMemory,
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Lost,
    }
}

/// A shim writes only legal times; a damaged one must not hide the rest.
fn time(text: &str, otherwise: Timestamp) -> Timestamp {
    text.parse().unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim::life::Process;
    use shim::status::{Step, VERSION};

    fn check(state: Option<State>, is_held: bool, boot: &str, want: &str) {
        let shim = Process { pid: 1, start_ticks: 1 };
        let status = state.map(|state| Status {
            version: VERSION,
            name: "shop@x/api.1".into(),
            boot_id: "now".into(),
            shim,
            init: None,
            workload: None,
            state,
            notes: Vec::new(),
            created_at: "1970-01-01T00:00:01.000000000Z".into(),
            started_at: Some("1970-01-01T00:00:02.000000000Z".into()),
            finished_at: None,
        });
        let lost_at = Timestamp::from_second(9).expect("a time");
        let phase = phase(&Found { is_held, status: status.as_ref(), boot_id: boot, lost_at });
        let text = match phase {
            Phase::Half => "half".into(),
            Phase::Running { since } => format!("running {}", since.as_second()),
            Phase::Exited { at, how, .. } => format!("{how} at {}", at.as_second()),
            Phase::Failed { why, .. } | Phase::Unknown(why) => why,
        };
        assert_eq!(text, want);
    }

    #[test]
    fn a_folder_tells_where_its_replica_is() {
        let ended = |code, signal, out_of_memory, stopped| {
            Some(State::Exited(shim::status::Exit { code, signal, out_of_memory, stopped }))
        };
        let exit = |code, signal, out_of_memory| ended(code, signal, out_of_memory, false);
        check(None, false, "now", "half");
        check(None, true, "now", "half");
        check(Some(State::Running), true, "now", "running 2");
        check(Some(State::Stopping), true, "now", "running 2");
        check(Some(State::Starting { step: Step::Prepare }), true, "now", "running 2");
        check(Some(State::Running), false, "now", "ended together with its shim at 9");
        check(Some(State::Running), true, "another", "ended together with its shim at 9");
        check(exit(Some(3), None, false), false, "now", "exited with code 3 at 9");
        check(exit(None, Some(9), true), false, "now", "ended by the kernel: over its memory limit at 9");
        check(exit(Some(137), None, true), false, "now", "ended by the kernel: over its memory limit at 9");
        check(exit(Some(137), None, false), false, "now", "exited with code 137 at 9");
        check(ended(None, Some(9), true, true), false, "now", "ended by signal 9 at 9");
        check(exit(Some(1), None, true), false, "now", "exited with code 1 at 9");
        let failed = State::Failed { step: Step::Exec, message: "`x` not found".into() };
        check(Some(failed), false, "now", "could not start its program: `x` not found");
    }
}
