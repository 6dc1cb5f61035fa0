//! Processes of the machine, found in `/proc`.

use rustix::process::{Pid, Signal};
use std::time::Duration;

/// Process numbers of those whose command line has all these parts.
pub fn with(parts: &[&str]) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<i32> = all
        .filter(|pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            parts.iter().all(|part| line.contains(part))
        })
        .collect();
    found.sort_unstable();
    found
}

/// The parent of a process.
pub fn parent(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Whether it runs; one that waits to be reaped does not.
pub fn is_alive(pid: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Processor time since its start.
pub fn cpu(pid: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Fields 14 and 15, of which the first two are cut off; Linux shows 100 ticks a second on every machine.
    Duration::from_millis(10) * (fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap())
}

/// Ends a process without a word.
pub fn kill(pid: i32) {
    send(pid, Signal::KILL);
}

/// Asks a process to end.
pub fn terminate(pid: i32) {
    send(pid, Signal::TERM);
}

fn send(pid: i32, signal: Signal) {
    // It may have ended by itself meanwhile.
    let _ = rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// The children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    with(&[]).into_iter().filter(|child| parent(*child) == Some(pid)).collect()
}

/// What the kernel calls a process.
pub fn name(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}
