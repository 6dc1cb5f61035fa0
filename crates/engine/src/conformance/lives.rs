//! Replicas: started, stopped, ended by themselves, removed, asked.

use super::Workloads;
use super::bench::{Bench, GRACE, SIGTERM, chain};
use super::cuts::cut_after;
use crate::{Engine, Exec, ExecExit};
use model::project::Role;
use model::{ReleaseNumber, ReplicaId, SpecHash};
use plan::Addresses;
use plan::action::replica::Action;
use plan::observed::{Exit, Phase};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

const SIGKILL: i32 = 9;

pub(super) async fn a_start_is_idempotent_and_takes_its_slot(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "idempotent").await;
    let start = bench.start("web.1", workloads.runs());
    let id = bench.run(&start).await;
    let first = bench.replica(&id).await;
    assert!(matches!(first.phase, Phase::Running { .. }), "it runs: {:?}", first.phase);
    bench.run(&start).await;
    assert_eq!(bench.replica(&id).await, first, "what runs is left alone");
    let other = plan::action::replica::Start { hash: SpecHash::from_digest([2; 16]), ..start };
    bench.refuses(Action::Start(other.into()), "another replica runs in its slot", &["web.1"]).await;
    assert_eq!(bench.replica(&id).await, first, "a refused start changes nothing");
    bench.tear_down().await;
}

pub(super) async fn labels_are_kept(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "labels").await;
    let mut template = workloads.runs();
    template.stop_signal = Some(10);
    template.stop_grace = Duration::from_millis(3500);
    let mut start = bench.start("web.3", template);
    start.role = Role::Job;
    start.hash = SpecHash::from_digest([0xab; 16]);
    start.release = ReleaseNumber(41);
    start.bundle = "c".repeat(64).parse().expect("a legal digest");
    start.failures = 4;
    let id = bench.run(&start).await;
    let replica = bench.replica(&id).await;
    assert_eq!(replica.role, Role::Job);
    assert_eq!(replica.hash, start.hash);
    assert_eq!(replica.release, start.release);
    assert_eq!(replica.bundle, start.bundle);
    assert_eq!(replica.failures, 4);
    assert_eq!(replica.addresses, Addresses::default());
    assert_eq!((replica.stop_signal, replica.stop_grace), (10, Duration::from_millis(3500)));
    bench.stop(&id, GRACE).await;
    let after = bench.replica(&id).await;
    assert_eq!((after.hash, after.release, after.failures), (start.hash, start.release, 4), "also of a stopped one");
    bench.tear_down().await;
}

pub(super) async fn stopping_and_removing_may_be_repeated(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "repeated").await;
    let id = bench.run(&bench.start("web.1", workloads.runs())).await;
    bench.stop(&id, GRACE).await;
    // A workload may catch the signal and exit by itself; that it was not killed is what counts.
    let how = bench.end(&id).await;
    assert_ne!(how, Exit::Signal(SIGKILL), "it had its grace");
    bench.stop(&id, GRACE).await;
    assert_eq!(bench.end(&id).await, how, "a second stop changes nothing");
    bench.remove(&id).await;
    assert!(!bench.placed().await.replicas.contains_key(&id), "it is gone");
    bench.remove(&id).await;
    bench.stop(&id, GRACE).await;
    let never: ReplicaId = "web.9".parse().expect("a legal id");
    bench.stop(&never, GRACE).await;
    bench.remove(&never).await;
    bench.tear_down().await;
}

pub(super) async fn what_runs_is_not_removed(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "not-removed").await;
    let id = bench.run(&bench.start("web.1", workloads.runs())).await;
    bench.refuses(Action::Remove { id: id.clone() }, "it runs", &["web.1"]).await;
    assert!(bench.runs(&id).await, "and it still runs");
    bench.tear_down().await;
}

pub(super) async fn one_that_is_deaf_is_ended_after_its_grace(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "deaf").await;
    let id = bench.run(&bench.start("web.1", workloads.is_deaf())).await;
    match engine.exec(&bench.stack, &id, command(workloads.deaf_command())).await {
        Ok(exit) => assert_eq!(exit, ExecExit::Code(0)),
        Err(error) => panic!("run a command: {}", chain(&error)),
    }
    bench.perform(Action::Stop { id: id.clone(), signal: SIGTERM, grace: Duration::from_millis(300) }).await;
    assert_eq!(bench.end(&id).await, Exit::Signal(SIGKILL));
    bench.tear_down().await;
}

pub(super) async fn an_exit_is_seen_with_its_code_and_wakes(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "wakes").await;
    for (id, code) in [("job.1", 0), ("job.2", 3)] {
        let id = bench.run(&bench.start(id, workloads.exits(code))).await;
        bench.woken().await;
        assert_eq!(bench.end(&id).await, Exit::Code(code));
    }
    bench.tear_down().await;
}

pub(super) async fn a_slot_is_used_again_after_an_exit(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "again").await;
    let id = bench.run(&bench.start("web.1", workloads.exits(1))).await;
    assert_eq!(bench.end(&id).await, Exit::Code(1));
    let mut next = bench.start("web.1", workloads.runs());
    next.hash = SpecHash::from_digest([2; 16]);
    next.failures = 1;
    bench.run(&next).await;
    let replica = bench.replica(&id).await;
    assert!(matches!(replica.phase, Phase::Running { .. }), "{:?}", replica.phase);
    assert_eq!((replica.hash, replica.failures), (next.hash, 1));
    bench.tear_down().await;
}

pub(super) async fn commands_tell_their_exit(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "commands").await;
    let id = bench.run(&bench.start("web.1", workloads.runs())).await;
    for (argv, expected) in [
        (workloads.exit_command(0), ExecExit::Code(0)),
        (workloads.exit_command(5), ExecExit::Code(5)),
        (vec!["/no/such/program".to_owned()], ExecExit::NotFound),
    ] {
        match engine.exec(&bench.stack, &id, command(argv)).await {
            Ok(exit) => assert_eq!(exit, expected),
            Err(error) => panic!("run a command: {}", chain(&error)),
        }
    }
    bench.stop(&id, GRACE).await;
    let gone = engine.exec(&bench.stack, &id, command(workloads.exit_command(0))).await;
    assert!(gone.is_err(), "nothing is run in a stopped replica: {gone:?}");
    bench.tear_down().await;
}

pub(super) async fn what_runs_tells_what_it_uses(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "usage").await;
    let id = bench.run(&bench.start("web.1", workloads.runs())).await;
    assert!(bench.pids(&id).await > 0);
    bench.tear_down().await;
}

pub(super) async fn a_command_that_takes_too_long_is_ended(engine: &dyn Engine, workloads: &dyn Workloads) {
    let bench = Bench::new(engine, workloads, "too-long").await;
    let id = bench.run(&bench.start("web.1", workloads.runs())).await;
    let before = bench.pids(&id).await;
    let endless = || Exec { timeout: Some(Duration::from_millis(200)), ..command(workloads.endless_command()) };
    match engine.exec(&bench.stack, &id, endless()).await {
        Ok(exit) => assert_eq!(exit, ExecExit::TimedOut),
        Err(error) => panic!("run a command: {}", chain(&error)),
    }
    // Whoever asked may also give up by themselves, at any time.
    for waits in 0..4 {
        cut_after(waits, engine.exec(&bench.stack, &id, endless())).await;
    }
    while bench.pids(&id).await > before {
        tokio::task::yield_now().await;
    }
    assert!(bench.runs(&id).await, "the replica goes on");
    bench.tear_down().await;
}

pub(super) fn command(argv: Vec<String>) -> Exec {
    // Three ends of pipes whose other ends are closed: nothing to read, nobody reads.
    let pipe = || std::io::pipe().expect("a pipe can be had");
    let (input, output, error): (OwnedFd, OwnedFd, OwnedFd) = (pipe().0.into(), pipe().1.into(), pipe().1.into());
    Exec {
        argv,
        environment: BTreeMap::new(),
        working_dir: None,
        user: None,
        stdio: [input, output, error],
        tty: false,
        timeout: Some(GRACE),
    }
}
