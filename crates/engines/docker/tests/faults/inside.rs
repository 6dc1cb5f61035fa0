//! What a replica finds inside: files, names, terminals; and what it uses.

use crate::bench::{Bench, RUNS, SOON, attached};
use engine::{Engine, Exec, ExecExit};
use model::project::{File, FileKind, User};
use model::secret::Secret;
use plan::observed::Known;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn file(target: &str, content: &str, mode: u32, uid: Option<u32>, gid: Option<u32>) -> File {
    File { target: target.into(), content: Secret::new(content), mode, uid, gid, kind: FileKind::Secret }
}

#[tokio::test]
async fn secrets_and_configs_have_the_owner_and_the_mode_that_are_written() {
    let bench = Bench::new().await;
    let mut template = bench.shell(RUNS);
    template.user = Some(User { uid: 1000, gid: 1001 });
    template.files = vec![
        file("/run/secrets/mine", "for its own user", 0o400, None, None),
        file("/run/secrets/theirs", "for another", 0o440, Some(33), Some(34)),
        file("/etc/app/app.conf", "for all", 0o444, Some(0), Some(0)),
    ];
    let id = bench.begin(bench.start("web.1", template)).await;
    let told = "stat -c '%a %u %g' /run/secrets/mine /run/secrets/theirs /etc/app/app.conf";
    assert_eq!(bench.asked(&id, told).await, "400 1000 1001\n440 33 34\n444 0 0");
    assert_eq!(bench.asked(&id, "cat /run/secrets/mine /etc/app/app.conf").await, "for its own userfor all");
    assert_eq!(bench.asked(&id, "cat /run/secrets/theirs 2>/dev/null || echo kept").await, "kept");
    assert_eq!(bench.asked_as(&id, Some(33), "cat /run/secrets/theirs").await, "for another");
    let written = "echo x 2>/dev/null > /etc/app/app.conf || echo kept";
    assert_eq!(bench.asked_as(&id, Some(0), written).await, "kept");
    // Nobody on the machine but root finds them, and they go with the replica.
    let folder = bench.settings.layout.run.join(bench.stack.to_string()).join("replicas/web.1/files");
    assert!(folder.exists());
    let inspected = crate::bench::docker(&["inspect", &bench.called("-web-1")]);
    assert!(!inspected.contains("for its own user"), "a secret is not told by the Engine");
    bench.stop(&id).await;
    bench.remove(&id).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn names_come_and_go_in_a_running_container() {
    let bench = Bench::new().await;
    let subnet = bench.subnet(0, true);
    let first = bench.network("back", &subnet, &["db"]).await;
    let id = bench.begin(attached(bench.start("web.1", bench.shell(RUNS)), "back", subnet.replicas_from)).await;
    let asked = async |name: &str| bench.asked(&id, &format!("ping -c 1 -W 1 {name} 2>&1 || true")).await;
    assert!(asked("db").await.contains(&first.names["db"].to_string()));
    assert!(asked("cache").await.contains("bad address"));
    let second = bench.network("back", &subnet, &["cache", "queue"]).await;
    assert!(asked("cache").await.contains(&second.names["cache"].to_string()));
    assert!(asked("db").await.contains("bad address"));
    assert!(asked("web-1").await.contains(&subnet.replicas_from.to_string()));
}

#[tokio::test]
async fn a_terminal_echoes_once_and_takes_other_sizes() {
    let bench = Bench::new().await;
    let id = bench.run("web.1", RUNS).await;
    let pair = runtime::terminal::open(24, 80).unwrap();
    let user = || pair.user.try_clone().unwrap();
    let script = "tty; stty size; trap 'stty size' WINCH; until read line; do :; done; echo got $line; exit 5";
    let exec = Exec {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        environment: Default::default(),
        working_dir: None,
        user: None,
        stdio: [user(), user(), user()],
        tty: true,
        timeout: Some(SOON),
    };
    let controller = pair.controller.try_clone().unwrap();
    let mut shown = runtime::terminal::Stream::new(pair.controller).unwrap();
    drop(pair.user);
    let talk = async {
        let mut seen = String::new();
        await_text(&mut shown, &mut seen, "/dev/pts/").await;
        await_text(&mut shown, &mut seen, "24 80").await;
        runtime::terminal::resize(controller.as_fd(), 40, 132).unwrap();
        await_text(&mut shown, &mut seen, "40 132").await;
        shown.write_all(b"hello\r").await.unwrap();
        await_text(&mut shown, &mut seen, "got hello").await;
        seen
    };
    let (exit, seen) = tokio::join!(bench.engine.exec(&bench.stack, &id, exec), tokio::time::timeout(SOON, talk));
    let seen = seen.expect("it answers");
    assert_eq!(exit.unwrap(), ExecExit::Code(5), "{seen}");
    assert_eq!(seen.matches("hello").count(), 2, "once echoed, once answered: {seen:?}");
}

async fn await_text(shown: &mut runtime::terminal::Stream, seen: &mut String, wanted: &str) {
    let mut bytes = [0; 1024];
    while !seen.contains(wanted) {
        let count = shown.read(&mut bytes).await.unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

#[tokio::test]
async fn what_a_replica_uses_is_told() {
    let bench = Bench::new().await;
    let mut template = bench.shell("head -c 20000000 /dev/zero | tail -n 1 | sleep 1000 & sleep 1000 & wait");
    template.limits.memory = Some(model::units::Bytes(256 << 20));
    let id = bench.begin(bench.start("web.1", template)).await;
    let idle = bench.run("web.2", "exit 0").await;
    bench.end(&idle).await;
    let used = tokio::time::timeout(SOON, async {
        loop {
            let usage = bench.engine.usage(&bench.stack).await.unwrap();
            assert!(!usage.contains_key(&idle), "one that does not run uses nothing");
            match usage.get(&id) {
                Some(Known::Is(usage)) if usage.memory > 15 << 20 => return *usage,
                Some(_) => {}
                None => panic!("it runs: {usage:?}"),
            }
        }
    });
    let used = used.await.expect("its memory is counted");
    assert!(used.memory < 256 << 20 && used.pids >= 3 && !used.cpu.is_zero(), "{used:?}");
}

#[tokio::test]
async fn a_variable_with_every_character_arrives_as_it_was_written() {
    let bench = Bench::new().await;
    let mut start = bench.start("web.1", bench.shell(RUNS));
    let value = "a b\n\"c\" 'd' $HOME \\ =é";
    Arc::make_mut(&mut start.template).environment.insert("ODD".into(), Secret::new(value));
    let id = bench.begin(start).await;
    assert_eq!(bench.asked(&id, "printf %s \"$ODD\"").await, value);
}
