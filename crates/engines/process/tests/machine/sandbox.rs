//! What a replica sees and may do.

use crate::world::{World, template};
use engine::ExecExit;
use model::Secret;
use model::project::{Artifact, File, FileKind, Mount, MountSource, Runs, User};
use plan::observed::Exit;

/// Runs a script to its end and returns what it printed.
async fn printed(world: &World, id: &str, script: &str) -> String {
    let id = world.run(world.shell(id, script)).await;
    assert_eq!(world.end(&id).await, Exit::Code(0), "{}", world.log(&id));
    world.log(&id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_alone_and_nobody() {
    let world = World::new().await;
    let script = "id -u; id -g; id -G; id -un; echo $$; hostname; \
        ls /proc | grep -c '^[0-9]'; grep -E 'Cap(Prm|Eff|Amb)|NoNewPrivs' /proc/self/status; cat /proc/1/cmdline | head -c0";
    let text = printed(&world, "api.1", script).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..6], ["300999", "300999", "300999", "app", "2", "api-1"]);
    let processes: u32 = lines[6].parse().unwrap();
    assert!(processes <= 4, "it sees {processes} processes");
    let rest = lines[7..].join("\n");
    for line in
        ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(rest.contains(line), "{rest}");
    }
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_is_hidden() {
    let world = World::new().await;
    let hidden = world.layout.run.parent().unwrap().display().to_string();
    let text =
        printed(&world, "api.1", &format!("ls -A {hidden} | wc -l; ls -A /run; ls /dev | sort | tr '\\n' ' '")).await;
    assert_eq!(text, "0\nfd full null ptmx pts random shm stderr stdin stdout tty urandom zero \n");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peoples_folders_are_empty_and_can_be_mounted_in() {
    let world = World::new().await;
    assert!(std::fs::read_dir("/root").unwrap().next().is_some(), "there is something to be hidden");
    let mut start =
        world.shell("api.1", "ls -A /root /home /mnt /media /srv; echo yes > /srv/data/x && cat /srv/data/x");
    std::sync::Arc::make_mut(&mut start.template).mounts =
        vec![Mount { target: "/srv/data".into(), source: MountSource::Anonymous, read_only: false }];
    let id = world.run(start).await;
    assert_eq!(world.end(&id).await, Exit::Code(0), "{}", world.log(&id));
    assert_eq!(world.log(&id), "/home:\n\n/media:\n\n/mnt:\n\n/root:\n\n/srv:\ndata\nyes\n");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_disks_are_seen_and_written_like_the_first() {
    let world = World::new().await;
    let disk = tempfile::Builder::new().prefix("mainstay-disk-").tempdir_in("/var/tmp").unwrap();
    let path = disk.path().display().to_string();
    std::fs::set_permissions(disk.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    std::fs::write(disk.path().join("kept"), "kept\n").unwrap();
    rustix::mount::mount_bind(disk.path(), disk.path()).unwrap();
    let script =
        format!("cat {path}/kept; echo new > {path}/new; cat {path}/new; echo data > {path}/made/data; echo up");
    let mut ends = Vec::new();
    for (id, read_only) in [("api.1", false), ("api.2", true)] {
        let mut start = world.shell(id, &script);
        let template = std::sync::Arc::make_mut(&mut start.template);
        template.read_only = read_only;
        let target = format!("{path}/made");
        template.mounts = vec![Mount { target, source: MountSource::Anonymous, read_only: false }];
        let id = world.run(start).await;
        ends.push((world.end(&id).await, world.log(&id)));
    }
    let on_disk: Vec<_> = std::fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    rustix::mount::unmount(disk.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(ends[0], (Exit::Code(0), "kept\nnew\nup\n".to_owned()));
    assert!(ends[1].1.contains("Read-only") && ends[1].1.contains("up\n"), "{}", ends[1].1);
    assert_eq!(on_disk, ["kept"], "changes stay in the replica");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_lead_out_are_refused() {
    let world = World::new().await;
    // `keyctl` with whatever number this machine has for it.
    let keyctl = if cfg!(target_arch = "x86_64") { 250 } else { 219 };
    let script = format!(
        "unshare --user true 2>&1 || echo no; perl -e 'print syscall({keyctl}, 0, -3, 0) < 0 ? \"$!\\n\" : \"key\\n\"'; \
         perl -e 'fork // die; wait; print \"forks\\n\"'; mount -t tmpfs x /tmp 2>/dev/null || echo no mount"
    );
    let text = printed(&world, "api.1", &script).await;
    assert!(text.contains("no\nOperation not permitted\n"), "{text}");
    assert!(text.contains("forks\n") && text.ends_with("no mount\n"), "{text}");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_files_for_the_service_alone() {
    let world = World::new().await;
    let file = |target: &str, content: &[u8], mode, kind| File {
        target: target.into(),
        content: Secret::new(content),
        mode,
        uid: None,
        gid: None,
        kind,
    };
    let mut start = world.shell(
        "api.1",
        "stat -c '%a %u %n' /run/secrets/db /etc/app/conf; cat /run/secrets/db; \
        od -An -tx1 /etc/app/conf; (echo x > /run/secrets/db) 2>/dev/null || echo refused; ls /run",
    );
    let template = std::sync::Arc::make_mut(&mut start.template);
    template.files = vec![
        file("/run/secrets/db", b"hush\n", 0o400, FileKind::Secret),
        file("/etc/app/conf", b"\xff\x00", 0o444, FileKind::Config),
    ];
    let id = world.run(start).await;
    assert_eq!(world.end(&id).await, Exit::Code(0));
    let text = world.log(&id);
    assert!(text.starts_with("400 300999 /run/secrets/db\n444 300999 /etc/app/conf\nhush\n ff 00\n"), "{text}");
    assert!(text.ends_with("refused\nsecrets\n"), "{text}");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_stay_in_the_replica_and_a_read_only_root_takes_none() {
    let world = World::new().await;
    let marker = format!("mainstay-marker-{}", std::process::id());
    let text = printed(
        &world,
        "api.1",
        &format!("touch /tmp/{marker} /run/{marker} && echo yes; touch /etc/{marker} || echo no"),
    )
    .await;
    assert!(text.contains("yes") && text.contains("no"), "{text}");
    assert!(!std::path::Path::new("/tmp").join(&marker).exists());
    let mut start = world.shell("api.2", "touch /app/x 2>&1 && echo wrong; touch /tmp/x && echo right; true");
    let template = std::sync::Arc::make_mut(&mut start.template);
    template.read_only = true;
    template.working_dir = Some("/app".into());
    let id = world.run(start).await;
    world.end(&id).await;
    assert!(world.log(&id).contains("Read-only") && world.log(&id).ends_with("right\n"), "{}", world.log(&id));
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_belong_to_the_service_and_artifacts_are_read_only() {
    let world = World::new().await;
    std::fs::write(world.bundle().join("tool"), "#!/bin/sh\necho tool says $1\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(world.bundle().join("tool"), mode).unwrap();
    world
        .perform(plan::action::replica::Action::EnsureVolume {
            name: "data".parse().unwrap(),
            made: Default::default(),
        })
        .await;
    let script = "./tool hello; rm /app/tool || echo kept; echo one >> /data/file; echo two >> /keep/file; \
        cat /data/file /keep/file; stat -c %u /data";
    let mut start = world.shell("api.1", script);
    let template = std::sync::Arc::make_mut(&mut start.template);
    let Runs::Process { artifacts, .. } = &mut template.runs else { unreachable!() };
    artifacts.push(Artifact { source: "tool".into(), target: "/app/tool".into() });
    template.working_dir = Some("/app".into());
    template.user = Some(User { uid: 0, gid: 0 });
    template.mounts = vec![
        crate::world::volume("data", "/data"),
        Mount { target: "/keep".into(), source: MountSource::Anonymous, read_only: false },
    ];
    for round in 1..=2 {
        let id = world.run(start.clone()).await;
        world.end(&id).await;
        let text = world.log(&id);
        assert!(text.contains("tool says hello") && text.contains("kept"), "{text}");
        // Two streams: a complaint on the other one may come last.
        assert!(text.lines().any(|line| line == "300000"), "root inside is nobody outside: {text}");
        assert_eq!(text.matches("two").count(), if round == 1 { 1 } else { 3 }, "a slot keeps its volumes: {text}");
    }
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_finds_its_predecessors_data() {
    let world = World::new().await;
    let start = |id: &str| {
        let mut start = world.shell(id, "echo $HOSTNAME >> /keep/file; cat /keep/file; echo up; exec sleep 1000");
        let mount = Mount { target: "/keep".into(), source: MountSource::Anonymous, read_only: false };
        std::sync::Arc::make_mut(&mut start.template).mounts = vec![mount];
        start
    };
    let first = world.run(start("db.1")).await;
    world.logged(&first, "up").await;
    let beside = world.run(start("db.2")).await;
    world.logged(&beside, "up").await;
    assert_eq!(world.log(&beside), "db-2\nup\n", "two that run never share a volume");
    world.stop(&first, std::time::Duration::ZERO).await;
    world.perform(plan::action::replica::Action::Remove { id: first }).await;
    let next = world.run(start("db.3")).await;
    world.logged(&next, "up").await;
    assert_eq!(world.log(&next), "db-1\ndb-3\nup\n", "it comes in another slot to the same data");
    let one_off = world.run(start("db.1000")).await;
    world.logged(&one_off, "up").await;
    let volumes = async || {
        let placed = engine::Engine::observe(&world.engine, &world.stack).await.unwrap();
        placed.volumes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(volumes().await, ["db.1.keep", "db.2.keep"], "listed by name, but for the one-off's");
    for id in [beside, next, one_off] {
        world.stop(&id, std::time::Duration::ZERO).await;
        world.perform(plan::action::replica::Action::Remove { id }).await;
    }
    assert_eq!(volumes().await, ["db.1.keep", "db.2.keep"], "nothing but its name removes one");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_run_says_why() {
    let world = World::new().await;
    std::fs::write(world.bundle().join("data"), "text").unwrap();
    let refused = async |id: &str, argv: &[&str]| {
        let mut template = template(argv);
        let Runs::Process { artifacts, .. } = &mut template.runs else { unreachable!() };
        artifacts.push(Artifact { source: "data".into(), target: "/app/data".into() });
        let start = plan::action::replica::Action::Start(Box::new(world.start(id, template)));
        let error = engine::Engine::perform(&world.engine, &world.stack, &start).await.expect_err("cannot run");
        crate::world::chain(&error)
    };
    let text = refused("a.1", &["no-such-program"]).await;
    assert!(text.contains("could not start `a.1` of shop@test"), "{text}");
    assert!(text.contains("could not start its program: `no-such-program` not found in PATH"), "{text}");
    let text = refused("a.2", &["/app/data"]).await;
    assert!(text.contains("no permission to run `/app/data`"), "{text}");
    let text = refused("a.3", &["/app/missing"]).await;
    assert!(text.contains("`/app/missing` not found in the private root"), "{text}");
    let phase = world.phase(&"a.1".parse().unwrap()).await;
    assert!(
        matches!(&phase, Some(plan::observed::Phase::Failed { why, .. }) if why.contains("not found")),
        "{phase:?}"
    );
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_inside_with_and_without_a_terminal() {
    let world = World::new().await;
    let id = world.run(world.shell("api.1", "exec sleep 1000")).await;
    let (exit, text) = world.exec(&id, "id -u; echo $HOSTNAME; readlink /proc/self/ns/pid; exit 3").await;
    assert_eq!(exit, ExecExit::Code(3));
    assert!(text.starts_with("300999\napi-1\n"), "{text}");
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    assert!(!text.contains(&own), "{text}");
    assert_eq!(world.exec_argv(&id, &["no-such-program"]).await.0, ExecExit::NotFound);
    assert_eq!(world.exec(&id, "kill -9 $$").await.0, ExecExit::Signal(9));

    let pty = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&pty).unwrap();
    rustix::pty::unlockpt(&pty).unwrap();
    let name = rustix::pty::ptsname(&pty, Vec::new()).unwrap();
    let tty = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let stdio = [tty.try_clone().unwrap().into(), tty.try_clone().unwrap().into(), tty.into()];
    let mut exec = crate::world::exec(&["sh", "-c", "test -t 0 && echo terminal > /dev/tty"], stdio);
    exec.tty = true;
    assert_eq!(engine::Engine::exec(&world.engine, &world.stack, &id, exec).await.unwrap(), ExecExit::Code(0));
    let mut bytes = [0; 64];
    let n = rustix::io::read(&pty, &mut bytes).unwrap();
    assert_eq!(&bytes[..n], b"terminal\r\n");

    let null = || std::fs::File::open("/dev/null").unwrap().into();
    let mut exec = crate::world::exec(&["sleep", "1000"], [null(), null(), null()]);
    exec.timeout = Some(std::time::Duration::from_millis(100));
    assert_eq!(engine::Engine::exec(&world.engine, &world.stack, &id, exec).await.unwrap(), ExecExit::TimedOut);
    let mut last = String::new();
    let deadline = std::time::Instant::now() + crate::world::SOON;
    while std::time::Instant::now() < deadline {
        last = world.exec(&id, "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '[s]leep 1000 ' | wc -l").await.1;
        if last == "1\n" {
            break;
        }
    }
    assert_eq!(last, "1\n", "what timed out is ended, the workload is not");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_lie_nowhere_and_no_descriptor_leaks_in() {
    let world = World::new().await;
    let mut start = world.shell("a.1", "ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/0; exec sleep 1000");
    let template = std::sync::Arc::make_mut(&mut start.template);
    template.environment = [("TOKEN".to_owned(), Secret::new("tell-nobody"))].into();
    let id = world.run(start).await;
    world.logged(&id, "/dev/null").await;
    // The fourth is the listing's own.
    assert_eq!(world.log(&id), "0 1 2 3 /dev/null\n");
    assert_eq!(world.exec(&id, "echo $TOKEN").await.1, "tell-nobody\n");
    let shim = shim::status::read(&world.layout.replica(&world.stack, &id)).unwrap().unwrap().shim.pid;
    for file in ["cmdline", "environ"] {
        let text = std::fs::read_to_string(format!("/proc/{shim}/{file}")).unwrap();
        assert!(!text.contains("tell-nobody"), "{file}: {text}");
    }
    let args = ["-r", "-l", "-s", "-D", "skip", "tell-nobody"];
    let found = std::process::Command::new("grep").args(args).arg(&world.layout.run).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_sockets_and_own_folders_are_mounted_nowhere() {
    let world = World::new().await;
    let link = tempfile::tempdir_in("/var/tmp").unwrap();
    std::os::unix::fs::symlink(&world.layout.volumes, link.path().join("link")).unwrap();
    let link = link.path().join("link").display().to_string();
    for path in ["/var/run/docker.sock", world.layout.volumes.to_str().unwrap(), "/", "/var", &link] {
        let mut start = world.shell("a.1", "true");
        let source = MountSource::Host(path.into());
        std::sync::Arc::make_mut(&mut start.template).mounts =
            vec![Mount { target: "/x".into(), source, read_only: true }];
        let action = plan::action::replica::Action::Start(Box::new(start));
        let error = engine::Engine::perform(&world.engine, &world.stack, &action).await.expect_err("is refused");
        let text = crate::world::chain(&error);
        assert!(text.contains("belongs to the machine's control plane"), "{text}");
    }
    world.end_of_the_world().await;
}
