//! Words for steps: what they are about, what is being done, what was done.

use jiff::Timestamp;
use server::api::plan::StepView;

/// What a step is about: `api.2`, `network default`, `volume db-data`.
pub fn thing(step: &StepView) -> String {
    match step.action.as_str() {
        _ if step.service.is_some() => step.subject.clone(),
        "network" | "remove network" => format!("network {}", step.subject),
        "volume" | "remove volume" => format!("volume {}", step.subject),
        "apply" | "watch" | "delete" => format!("{} {}", step.detail, step.subject),
        _ => step.subject.clone(),
    }
}

/// What is being done.
pub fn doing(step: &StepView) -> String {
    let text = match step.action.as_str() {
        "start" => "starting",
        "await" => "waiting until ready",
        "complete" => "running to its end",
        "route" => "taking traffic",
        "drain" => "draining",
        "stop" => "stopping",
        "remove" | "remove network" | "remove volume" | "delete" => "removing",
        "network" | "volume" => "making",
        "open" => "opening",
        "settle" => "settling",
        "apply" => "applying",
        "watch" => "rolling out",
        other => other,
    };
    text.to_owned()
}

/// What was done.
pub fn done(step: &StepView) -> &str {
    match step.action.as_str() {
        "start" => "started",
        "await" => "ready",
        "complete" => "completed",
        "route" => "ready, takes traffic",
        "drain" => "drained",
        "stop" => "stopped",
        "remove" | "remove network" | "remove volume" | "delete" => "removed",
        "network" | "volume" => "made",
        "open" => "open",
        "settle" => "settled",
        "apply" => "applied",
        "watch" => "rolled out",
        other => other,
    }
}

/// Milliseconds as people read them: `0.4s`, `12.0s`, `3m 20s`.
pub fn seconds(millis: u64) -> String {
    match millis / 1000 {
        0..60 => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        seconds => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

/// How long ago: `12s`, `5m`, `3h`, `4d`.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    match now.duration_since(since).as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// `1 step`, `3 steps`.
pub fn count(n: usize, thing: &str) -> String {
    match n {
        1 => format!("1 {thing}"),
        _ => format!("{n} {thing}s"),
    }
}

/// A number of bytes as people read it.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short() {
        for (millis, want) in
            [(0, "0.0s"), (449, "0.4s"), (59_999, "59.9s"), (60_000, "1m 00s"), (3_723_000, "62m 03s")]
        {
            assert_eq!(seconds(millis), want);
        }
        for (size, want) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (25 << 20, "25.0 MiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(bytes(size), want);
        }
    }
}
