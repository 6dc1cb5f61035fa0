//! A daemon that is killed in the middle of its writes: what it was told to be durable is, and nothing is half.

#![allow(clippy::disallowed_methods, reason = "tests touch the machine")]

mod scene;

use mainstay_store::{EventId, EventQuery, NewEvent, Store};
use plan::run::{NewRun, RunEnd, StepOutcome};
use plan::{Generation, StepId};
use scene::{at, make, stack};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const STATE: &str = "MAINSTAY_TEST_STATE";

/// The part of the daemon: writes without end, and says on its standard error what it was told to be durable.
#[tokio::test]
#[ignore = "is run by the test below, in a process of its own"]
async fn daemon() {
    let state = std::env::var(STATE).expect("set by the parent");
    let store = scene::store(Path::new(&state)).await;
    let generation = store.run("make", |tx| Ok(make(tx, &stack("shop"), at(0))?.generation));
    let mut generation = generation.await.expect("made");
    if let Some(open) = store.run("read", |tx| tx.open_run(&stack("shop"))).await.expect("read") {
        store.run("end", move |tx| tx.end_run(open.id, RunEnd::Interrupted, at(0))).await.expect("ended");
    }
    let mut told = std::io::stderr();
    for n in 0u32.. {
        let new = NewRun { stack: stack("shop"), basis: generation, digest: n.to_string(), text: "p".repeat(3000) };
        let run = store.run("begin", move |tx| tx.begin_run(&new, at(1))).await.expect("begun");
        generation = Generation(generation.0 + 1);
        let step = |step: u32| {
            let store: Store = store.clone();
            async move {
                let begun = store.run("begin", move |tx| tx.begin_step(run, StepId(step), at(2))).await;
                begun.expect("begun");
                let ended = store.run("end", move |tx| {
                    tx.append_event(Some(&stack("shop")), done(run.0, step))?;
                    tx.end_step(run, StepId(step), &StepOutcome::Done, at(3))
                });
                ended.await.expect("ended");
            }
        };
        tokio::join!(step(1), step(2), step(3));
        store.run("end", move |tx| tx.end_run(run, RunEnd::Complete, at(4))).await.expect("ended");
        writeln!(told, "durable {}", run.0).expect("the parent listens");
    }
}

fn done(run: u64, step: u32) -> NewEvent {
    NewEvent {
        time: at(3),
        subject: format!("{run}.{step}"),
        kind: "step.done".into(),
        actor: "mainstay".into(),
        cause: None,
        text: "x".repeat(300),
        data: None,
    }
}

/// Lets a daemon write until it has told so many runs, kills it, and gives the last run it told.
fn killed_after(state: &Path, runs: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "daemon", "--ignored", "--nocapture"])
        .env(STATE, state)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines().map(|line| line.expect("text"));
    let told = lines.filter_map(|line| line.strip_prefix("durable ")?.parse().ok()).take(runs);
    let last = told.last().expect("it told some");
    child.kill().expect("killed");
    child.wait().expect("gone");
    last
}

#[tokio::test]
async fn a_killed_daemon_loses_nothing_it_called_durable() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=8 {
        let last = killed_after(dir.path(), round * 5);
        // The kernel gives the lock back when the process is gone, and it is: it was waited for.
        let tasks = runtime::Tasks::new(runtime::SystemClock::shared());
        let rng = runtime::Rng::from_number(1);
        let store = Store::open(dir.path(), "us", &tasks, &rng).await.expect("whole").store;
        let (runs, events, state) = store
            .run("read", |tx| {
                let query = EventQuery { after: EventId(0), stack: None, most: u32::MAX };
                Ok((tx.runs(&stack("shop"), u32::MAX)?, tx.events(&query)?, tx.stack(&stack("shop"))?))
            })
            .await
            .unwrap();
        assert_eq!(state.expect("there").generation.0, runs.len() as u64, "each run counted exactly once");
        assert!(runs.iter().filter(|run| run.ended.is_none()).count() <= 1);
        assert!(runs.iter().any(|run| run.id.0 == last && run.ended == Some((at(4), RunEnd::Complete))));
        let mut steps = 0;
        for run in runs {
            let of_run = store.run("read", move |tx| tx.steps(run.id)).await.unwrap();
            // A step and its event are in one transaction: both or none.
            let ended = of_run.iter().filter(|step| step.ended.is_some()).count();
            assert!(ended == 3 || !matches!(run.ended, Some((_, RunEnd::Complete))));
            steps += ended;
        }
        assert_eq!(events.len(), steps);
        assert!(events.iter().map(|event| event.id.0).eq(1..=events.len() as u64));
        drop(store);
        tasks.shutdown(std::time::Duration::from_secs(20)).await;
    }
}
