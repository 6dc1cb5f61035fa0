//! Real processes: descriptors, environment, users, signals.

#![allow(clippy::disallowed_methods, reason = "tests look at what the doors left behind")]

use mainstay_runtime::SystemClock;
use mainstay_runtime::processes::{self, Exit, ProcessId, Sent, Spawn, Stdio};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

async fn shell(script: &str, change: impl FnOnce(&mut Spawn)) -> (Exit, String, String) {
    let mut spawn = Spawn::new("/bin/sh").args(["-c", script]);
    change(&mut spawn);
    let output = spawn.output(&SystemClock, LIMIT, 1 << 16).await.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("the shell writes text");
    (output.exit, text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn output_and_exit_are_kept_apart() {
    let got = shell("echo out; echo err >&2; exit 3", |_| {}).await;
    assert_eq!(got, (Exit::Code(3), "out\n".into(), "err\n".into()));
    assert_eq!(shell("kill -9 $$", |_| {}).await.0, Exit::Signal(9));
}

#[tokio::test]
async fn a_child_has_exactly_the_environment_it_was_given() {
    let (_, out, _) = shell("echo $A; env | grep -c HOME", |spawn| {
        spawn.environment =
            Some([("A".to_owned(), "x".to_owned()), ("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into());
    })
    .await;
    assert_eq!(out, "x\n0\n");
}

#[tokio::test]
async fn descriptors_arrive_under_their_numbers_and_no_others() {
    // Swapped on purpose: each one's number is the other's present one.
    let pipe = |text: &str| {
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(text.as_bytes()).unwrap();
        OwnedFd::from(read)
    };
    let (a, b) = (pipe("a"), pipe("b"));
    use std::os::fd::AsRawFd;
    let (na, nb) = (a.as_raw_fd().min(63), b.as_raw_fd().min(62));
    let script = format!("cat /proc/self/fd/{nb} /proc/self/fd/{na}; ls /proc/self/fd | wc -l");
    // 0, 1, 2, the two, and the folder that ls itself opens.
    let (_, out, err) = shell(&script, |spawn| spawn.fds = vec![(a, nb), (b, na)]).await;
    assert_eq!((out.as_str(), err.as_str()), ("ab6\n", ""));
    let bad = Spawn { fds: vec![(pipe("x"), 2)], ..Spawn::new("/bin/true") };
    let error = bad.start().expect_err("2 is a standard stream");
    assert_eq!(error.source.to_string(), "a child's descriptor has a number from 3 to 63, not 2");
}

#[tokio::test]
async fn a_child_can_be_another_user_without_our_groups() {
    let (_, out, err) = shell("id -u; id -g; id -G", |spawn| spawn.user = Some((12345, 23456))).await;
    assert_eq!((out.as_str(), err.as_str()), ("12345\n23456\n23456\n", ""), "this test needs root");
}

#[tokio::test]
async fn a_missing_program_is_told_as_such() {
    let error = Spawn::new("/no/such/program").start().expect_err("there is none");
    assert!(error.is_missing());
    assert_eq!(error.to_string(), "could not start `/no/such/program`");
}

#[tokio::test]
async fn what_takes_too_long_is_killed() {
    let spawn = Spawn::new("/bin/sleep").args(["1000"]);
    let error = spawn.output(&SystemClock, Duration::from_millis(50), 10).await.expect_err("too slow");
    assert_eq!(error.source.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_long_output_is_cut_and_does_not_block() {
    let spawn = Spawn::new("/bin/sh").args(["-c", "head -c 1000000 /dev/zero; echo end >&2"]);
    let output = spawn.output(&SystemClock, LIMIT, 100).await.expect("it runs");
    assert_eq!((output.stdout.len(), output.stderr), (100, b"end\n".to_vec()));
}

#[tokio::test]
async fn a_process_that_is_not_our_child_is_watched_and_signalled() {
    // The shell ends at once; the sleeper is then nobody's child of ours.
    let (read, write) = std::io::pipe().unwrap();
    let mut spawn = Spawn::new("/bin/sh").args(["-c", "sleep 1000 >/dev/null & echo $!"]);
    spawn.stdio[1] = Stdio::Fd(write.into());
    let mut child = spawn.start().unwrap();
    assert!(child.wait().await.unwrap().is_success());
    let mut text = String::new();
    let mut read = read;
    read.read_to_string(&mut text).unwrap();
    let sleeper = ProcessId::of(text.trim().parse().unwrap()).expect("it runs");
    assert_eq!(sleeper.signal(15).unwrap(), Sent::Delivered);
    sleeper.gone().await.unwrap();
    assert_eq!((sleeper.is_alive(), sleeper.signal(9).unwrap()), (false, Sent::Gone));
}

#[test]
fn a_process_is_asked_for_the_file_its_program_came_from() {
    assert_eq!(processes::runs_our_program(std::process::id()), Some(true));
    let mut other = std::process::Command::new("sleep").arg("60").spawn().expect("started");
    assert_eq!(processes::runs_our_program(other.id()), Some(false));
    other.kill().expect("killed");
    other.wait().expect("waited");
    assert_eq!(processes::runs_our_program(other.id()), None);
}
