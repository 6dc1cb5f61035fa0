//! What replicas write: all of it in their file, each line once, whoever carries it.

use crate::bench::{Bench, RUNS, SOON, docker};
use engine::Engine;
use model::ReplicaId;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A line of a log file, parts put together.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    stream: String,
    text: String,
}

fn lines(bench: &Bench, id: &ReplicaId) -> Vec<Line> {
    let text = std::fs::read_to_string(bench.engine.log_path(&bench.stack, id)).unwrap_or_default();
    let mut lines: Vec<Line> = Vec::new();
    // By stream: what another one says may stand between the parts of a line.
    let mut open = BTreeSet::new();
    for line in text.lines() {
        let mut fields = line.splitn(4, ' ');
        let mut field = || fields.next().unwrap_or_else(|| panic!("`{line}` is cut short"));
        let (time, stream, tag, text) = (field(), field(), field(), field());
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        let is_open = if tag == "P" { !open.insert(stream) } else { open.remove(stream) };
        match lines.iter_mut().rev().find(|line| is_open && line.stream == stream) {
            Some(line) => line.text.push_str(text),
            None => lines.push(Line { stream: stream.into(), text: text.into() }),
        }
    }
    lines
}

/// Whether every line has its end, so that whoever reads it shows it.
fn is_ended(bench: &Bench, id: &ReplicaId) -> bool {
    let text = std::fs::read_to_string(bench.engine.log_path(&bench.stack, id)).unwrap();
    let mut last = std::collections::BTreeMap::new();
    text.lines().filter_map(|line| line.split_once(' ')?.1.split_once(' ')).for_each(|(stream, rest)| {
        last.insert(stream, rest.starts_with("F "));
    });
    last.values().all(|ended| *ended)
}

/// Waits until the file has this text.
async fn once_written(bench: &Bench, id: &ReplicaId, wanted: &str) {
    let path = bench.engine.log_path(&bench.stack, id);
    let has = async {
        while !std::fs::read_to_string(&path).unwrap_or_default().contains(wanted) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    tokio::time::timeout(SOON, has).await.unwrap_or_else(|_| panic!("`{wanted}` is not in the log:\n{}", text()));
}

fn out(text: impl Into<String>) -> Line {
    Line { stream: "stdout".into(), text: text.into() }
}

#[tokio::test]
async fn everything_is_in_the_file_when_the_replica_has_been_removed() {
    let bench = Bench::new().await;
    let long = 40_000;
    let script = format!("echo first; head -c {long} /dev/zero | tr '\\0' x; echo; echo problem >&2; printf last");
    let id = bench.run("web.1", &script).await;
    bench.end(&id).await;
    bench.remove(&id).await;
    let mut seen = lines(&bench, &id);
    // The two streams are carried by two threads of the Engine.
    let errors: Vec<Line> = seen.extract_if(.., |line| line.stream == "stderr").collect();
    assert_eq!(errors, [Line { stream: "stderr".into(), text: "problem".into() }]);
    assert_eq!(seen, [out("first"), out("x".repeat(long)), out("last")]);
    assert!(is_ended(&bench, &id));
}

#[tokio::test]
async fn output_of_a_terminal_is_carried_by_lines() {
    let bench = Bench::new().await;
    let mut template = bench.shell("for i in 1 2 3; do echo line $i; done; test -t 1 && echo terminal");
    template.container.tty = true;
    let id = bench.begin(bench.start("web.1", template)).await;
    bench.end(&id).await;
    bench.remove(&id).await;
    assert_eq!(lines(&bench, &id), ["line 1", "line 2", "line 3", "terminal"].map(out));
}

/// Each of three engines carries some of it, with output while none does.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_written_twice_by_the_engines_that_follow_one_another() {
    let bench = Bench::new().await;
    // Lines as fast as they come, in both streams, so that many bear nearly the same time.
    let script = "i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo out $i; echo err $i >&2; \
        [ $((i % 1000)) = 0 ] && usleep 100000; done; echo done; sleep 1000";
    let id = bench.run("web.1", script).await;
    once_written(&bench, &id, "out 700\n").await;
    let mut bench = bench;
    for wanted in ["out 2300\n", "out 4100\n"] {
        bench.world.reopen().await;
        bench.placed().await;
        once_written(&bench, &id, wanted).await;
    }
    bench.world.reopen().await;
    bench.placed().await;
    once_written(&bench, &id, "done").await;
    once_written(&bench, &id, "err 6000\n").await;
    let seen = lines(&bench, &id);
    for stream in ["out", "err"] {
        let of: Vec<&str> =
            seen.iter().filter(|line| line.stream == format!("std{stream}")).map(|line| &*line.text).collect();
        let wanted: Vec<String> = (1..=6000).map(|i| format!("{stream} {i}")).collect();
        let of: Vec<&str> = of.into_iter().filter(|text| *text != "done").collect();
        assert_same(&of, &wanted);
    }
}

/// The first difference, not six thousand lines.
#[track_caller]
fn assert_same(have: &[&str], want: &[String]) {
    let mut text = String::new();
    if let Some(at) = (0..want.len().max(have.len())).find(|n| have.get(*n).copied() != want.get(*n).map(|w| &**w)) {
        let around = |all: &[&str]| all[at.saturating_sub(2)..all.len().min(at + 3)].join(" | ");
        let want: Vec<&str> = want.iter().map(|w| &**w).collect();
        write!(text, "at {at}: {} instead of {}", around(have), around(&want)).unwrap();
    }
    assert!(text.is_empty() && have.len() == want.len(), "{text} ({} of {})", have.len(), want.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_long_line_is_not_lost_between_two_engines() {
    let bench = Bench::new().await;
    // The Engine hands over 16 KiB of a line at a time; all its parts bear the time of the first.
    let script = "head -c 20000 /dev/zero | tr '\\0' a; until test -e /tmp/go; do usleep 10000; done; \
        head -c 20000 /dev/zero | tr '\\0' b; echo; echo done; sleep 1000";
    let id = bench.run("web.1", script).await;
    once_written(&bench, &id, " stdout P aaa").await;
    let mut bench = bench;
    bench.world.reopen().await;
    bench.placed().await;
    bench.asked(&id, "touch /tmp/go").await;
    once_written(&bench, &id, "done").await;
    assert_eq!(lines(&bench, &id), [out("a".repeat(20_000) + &"b".repeat(20_000)), out("done")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_was_torn_by_a_full_disk_or_a_crash_is_written_again() {
    let bench = Bench::new().await;
    let id = bench.run("web.1", "echo one; echo two; echo three; sleep 1000").await;
    once_written(&bench, &id, "three\n").await;
    let path = bench.engine.log_path(&bench.stack, &id);
    let mut bench = bench;
    bench.world.close().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let torn = text.find("three").unwrap() + 2;
    std::fs::write(&path, &text[..torn]).unwrap();
    bench.world.reopen().await;
    bench.placed().await;
    once_written(&bench, &id, "three\n").await;
    assert_eq!(lines(&bench, &id), ["one", "two", "three"].map(out));
}

#[tokio::test]
async fn a_container_that_was_started_again_by_hand_is_followed_again() {
    let bench = Bench::new().await;
    let id = bench.run("web.1", &format!("echo begun; {RUNS}")).await;
    once_written(&bench, &id, "begun").await;
    docker(&["restart", &bench.called("-web-1")]);
    let twice = async || (lines(&bench, &id).len() == 2).then_some(());
    let looks = async {
        while twice().await.is_none() {
            bench.placed().await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, looks).await.expect("its second beginning is in its log");
    assert_eq!(lines(&bench, &id), ["begun", "begun"].map(out));
}
