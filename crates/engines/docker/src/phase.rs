//! What the Engine tells of a container's life, in the plan's words. Pure.

use bollard::models::{ContainerState, ContainerStateStatusEnum as Status};
use jiff::Timestamp;
use plan::observed::{Exit, Phase};

/// A program that was ended by a signal exits with this and the signal's number, as the Engine tells it.
const BY_SIGNAL: i64 = 128;
/// Those that end a program; what lies above is taken for a code of the program's own.
const SIGNALS: std::ops::RangeInclusive<i64> = 1..=31;

/// Where a container is in its life; `created` is when it was made.
pub(crate) fn phase(state: &ContainerState, created: Timestamp) -> Phase {
    let since = time(state.started_at.as_deref()).unwrap_or(created);
    match state.status {
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING) => Phase::Running { since },
        Some(Status::EXITED | Status::DEAD | Status::REMOVING | Status::STOPPING) => {
            Phase::Exited { since, at: time(state.finished_at.as_deref()).unwrap_or(since).max(since), how: how(state) }
        }
        Some(Status::CREATED) => match state.error.as_deref().filter(|text| !text.is_empty()) {
            Some(why) => Phase::Failed { at: time(state.finished_at.as_deref()).unwrap_or(created), why: plain(why) },
            None => Phase::Half,
        },
        _ => Phase::Unknown("the Engine does not tell its state".into()),
    }
}

fn how(state: &ContainerState) -> Exit {
    let code = state.exit_code.unwrap_or_default();
    match code.checked_sub(BY_SIGNAL) {
        _ if state.status == Some(Status::DEAD) => Exit::Lost,
        Some(9) if state.oom_killed.unwrap_or_default() => Exit::OutOfMemory,
        Some(signal) if SIGNALS.contains(&signal) => Exit::Signal(i32::try_from(signal).unwrap_or_default()),
        _ => Exit::Code(i32::try_from(code).unwrap_or(i32::MAX)),
    }
}

/// The number of a signal as an image names it; none of one that nobody asks a program to stop with.
pub(crate) fn signal(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 8] =
        [("HUP", 1), ("INT", 2), ("QUIT", 3), ("KILL", 9), ("USR1", 10), ("USR2", 12), ("TERM", 15), ("WINCH", 28)];
    const RTMIN: i32 = 34;
    let name = text.trim().to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let real_time = || Some(RTMIN + name.strip_prefix("RTMIN+")?.parse::<i32>().ok()?);
    named.or_else(real_time).or_else(|| name.parse().ok()).filter(|number| (1..=64).contains(number))
}

/// The Engine's year 1 means never.
fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse::<Timestamp>().ok().filter(|time| time.as_second() > 0)
}

/// What went wrong, without the layers it came through.
pub(crate) fn plain(message: &str) -> String {
    let text = message.trim();
    // `OCI runtime create failed: container_linux.go:380: starting container process caused: exec: "x": …: unknown`,
    // later `OCI runtime create failed: runc create failed: unable to start container process: exec: "x": …: unknown`.
    let layers = ["starting container process caused: ", "unable to start container process: "];
    let text = layers.iter().find_map(|layer| Some(text.rsplit_once(layer)?.1)).unwrap_or(text);
    text.strip_suffix(": unknown").unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Status, exit_code: i64, oom_killed: bool, error: &str, want: &str) {
        let state = ContainerState {
            status: Some(status),
            exit_code: Some(exit_code),
            oom_killed: Some(oom_killed),
            error: Some(error.into()),
            started_at: Some("1970-01-01T00:00:02.5Z".into()),
            finished_at: Some(
                if status == Status::EXITED { "1970-01-01T00:00:03Z" } else { "0001-01-01T00:00:00Z" }.into(),
            ),
            ..ContainerState::default()
        };
        let text = match phase(&state, Timestamp::from_second(1).expect("a time")) {
            Phase::Half => "half".into(),
            Phase::Running { since } => format!("running {}", since.as_millisecond()),
            Phase::Exited { at, how, .. } => format!("{how} at {}", at.as_millisecond()),
            Phase::Failed { why, .. } | Phase::Unknown(why) => why,
        };
        assert_eq!(text, want);
    }

    #[test]
    fn signals_are_named_in_many_ways() {
        let numbers = ["SIGQUIT", "quit", "3", "SIGRTMIN+3", "SIGNOTHING", "0"].map(signal);
        assert_eq!(numbers, [Some(3), Some(3), Some(3), Some(37), None, None]);
    }

    #[test]
    fn a_state_tells_where_its_replica_is() {
        check(Status::CREATED, 0, false, "", "half");
        check(Status::RUNNING, 0, false, "", "running 2500");
        check(Status::PAUSED, 0, false, "", "running 2500");
        check(Status::EXITED, 3, false, "", "exited with code 3 at 3000");
        check(Status::EXITED, 137, false, "", "ended by signal 9 at 3000");
        check(Status::EXITED, 143, false, "", "ended by signal 15 at 3000");
        check(Status::EXITED, 137, true, "", "ended by the kernel: over its memory limit at 3000");
        check(Status::EXITED, 1, true, "", "exited with code 1 at 3000");
        check(Status::EXITED, 255, false, "", "exited with code 255 at 3000");
        check(Status::DEAD, 0, false, "", "ended together with its shim at 2500");
        for layers in [
            "OCI runtime create failed: container_linux.go:380: starting container process caused",
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process",
        ] {
            let failed = format!("{layers}: exec: \"/x\": stat /x: no such file or directory: unknown");
            check(Status::CREATED, 127, false, &failed, "exec: \"/x\": stat /x: no such file or directory");
        }
    }
}
