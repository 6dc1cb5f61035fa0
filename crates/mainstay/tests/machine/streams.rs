//! What is followed goes on, whole, when the daemon dies under it.

use crate::hut::{Hut, Web, until};
use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::mpsc::Receiver;

/// Lines that a command prints, as they come, until it is dropped.
struct Followed {
    command: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Followed {
    fn start(hut: &Hut, words: &[&str]) -> Self {
        let mut command = hut.command(words).stderr(std::process::Stdio::null()).spawn().unwrap();
        let out = BufReader::new(command.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { command, lines, seen: Vec::new() }
    }

    /// Waits for a line that holds.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        until(what, || {
            let new: Vec<String> = self.lines.try_iter().collect();
            let found = new.iter().any(|line| holds(line));
            self.seen.extend(new);
            found
        });
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

#[test]
fn followed_logs_have_every_line_once_across_killed_daemons() {
    let count = "i=0; while sleep 0.01; do i=$$((i+1)); echo line $$i; done & exec perl /app/server.pl 3000 1";
    let hut = Hut::up(&Web::of(&["sh", "-c", count]).replicas(1));
    let number = |line: &str| line.rsplit_once("line ").and_then(|(_, number)| number.parse::<usize>().ok());
    let mut logs = Followed::start(&hut, &["logs", "-f", "web", "--tail", "all"]);
    logs.until("lines", |line| number(line).is_some_and(|number| number >= 50));
    for _ in 0..2 {
        hut.kill_daemon();
        hut.run(&["plan"]).code(0);
        let seen = logs.seen.iter().filter_map(|line| number(line)).max().unwrap();
        logs.until("more lines", |line| number(line).is_some_and(|number| number >= seen + 50));
    }
    let numbers: Vec<usize> = logs.seen.iter().filter_map(|line| number(line)).collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}

#[test]
fn followed_events_have_every_event_once_across_killed_daemons() {
    let hut = Hut::up(&Web::version("1"));
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_u64().unwrap();
    let mut events = Followed::start(&hut, &["events", "-f", "--json", "-n", "1000"]);
    for replicas in ["web=3", "web=2", "web=1"] {
        hut.run(&["scale", replicas]).code(0);
        events.until("the end of the order", |line| line.contains("run.done"));
        hut.kill_daemon();
        hut.run(&["plan"]);
    }
    hut.run(&["restart"]).code(0);
    events.until("the end of the last order", |line| line.contains("run.done"));
    let ids: Vec<u64> = events.seen.iter().map(|line| id(line)).collect();
    let all: Vec<u64> = hut.run(&["events", "--json", "-n", "1000"]).out.lines().map(id).collect();
    assert_eq!(ids[..], all[..ids.len()]);
}
