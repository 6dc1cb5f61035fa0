//! From nothing to up to nothing.

use crate::hut::{Hut, Web, get, until};
use crate::load::Load;
use crate::processes;
use std::process::Command;

#[test]
fn a_project_goes_up_serves_and_goes_down_without_a_trace() {
    let hut = Hut::new();
    hut.declare(&Web::version("1"));
    hut.run(&["plan"]).code(3);
    hut.run(&["up"]).code(0).says("is up");
    assert_eq!(hut.get().unwrap(), "version 1");
    assert_eq!(get(hut.published()).unwrap(), "version 1");
    assert_eq!(hut.replicas().len(), 2);
    let before = hut.replicas();
    hut.run(&["plan"]).code(0).says("nothing to do");
    hut.run(&["up"]).code(0);
    assert_eq!(hut.replicas(), before, "nothing changed, nothing is replaced");

    hut.run(&["down", "--yes"]).code(0);
    assert_eq!(hut.leftovers(), Vec::<String>::new());
    assert!(hut.get().is_err());
    assert!(get(hut.published()).is_err());
    hut.run(&["down", "--yes"]).code(0);
}

#[test]
fn volumes_outlive_everything_but_an_order_to_delete_them() {
    let hut = Hut::new();
    let (mount, volume) = ("    volumes: [\"data:/data\"]", "volumes: { data: {} }");
    hut.declare_with(&Web::version("1"), &format!("{mount}\n{volume}"));
    hut.run(&["up"]).code(0);
    hut.run(&["exec", "web", "--", "sh", "-c", "echo precious > /data/file"]).code(0);
    hut.run(&["down"]).code(0).says("volumes stay");
    hut.run(&["up"]).code(0);
    hut.run(&["exec", "web", "--", "cat", "/data/file"]).code(0).says("precious");

    hut.run(&["down", "--volumes"]).code(2).says("data").says("--yes");
    assert_eq!(hut.get().unwrap(), "version 1");
    hut.run(&["down", "--volumes", "--yes"]).code(0).says("data");
    hut.run(&["up"]).code(0);
    hut.run(&["exec", "web", "--", "cat", "/data/file"]).code(1).says("No such file");
}

#[test]
fn the_daemon_and_the_edge_end_when_they_are_told_to() {
    let hut = Hut::up(&Web::version("1").replicas(1));
    let (daemon, edge) = (hut.daemon(), hut.edge());
    drop(hut);
    assert!(!processes::is_alive(daemon), "the daemon runs");
    assert!(!processes::is_alive(edge), "the edge runs");
}

#[test]
fn the_program_may_lie_in_a_folder_that_only_root_may_enter() {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let hut = Hut::new();
    hut.declare(&Web::version("1"));
    let closed = hut.path().join("closed");
    std::fs::DirBuilder::new().mode(0o700).create(&closed).unwrap();
    let program = closed.join("mainstay");
    std::fs::copy(env!("CARGO_BIN_EXE_mainstay"), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut up = hut.command_of(&program, &["up"]);
    Hut::ended(up.spawn().unwrap(), &["up"]).code(0);
    assert_eq!(hut.get().unwrap(), "version 1");
}

#[test]
fn a_program_that_was_taken_away_meanwhile_still_starts_the_daemon() {
    use std::os::fd::AsRawFd as _;
    let hut = Hut::new();
    hut.declare(&Web::version("1"));
    let program = hut.path().join("mainstay");
    std::fs::copy(env!("CARGO_BIN_EXE_mainstay"), &program).unwrap();
    let open = std::fs::File::open(&program).unwrap();
    std::fs::remove_file(&program).unwrap();
    let program = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
    Hut::ended(hut.command_of(program.as_ref(), &["up"]).spawn().unwrap(), &["up"]).code(0);
    assert_eq!(hut.get().unwrap(), "version 1");
}

#[test]
fn an_earlier_release_of_processes_runs_again_from_its_own_files_as_long_as_it_is_kept() {
    let hut = Hut::new();
    hut.declare(&Web::version("1"));
    hut.run(&["up"]).code(0);
    hut.run(&["releases", "keep", "1"]).code(0);
    for version in 2..=13 {
        if version == 13 {
            // What was used of late stays, whatever it is.
            let aged = "find \"$0\" -type f -exec touch --date '3 days ago' {} +";
            let aged = Command::new("sh").args(["-c", aged]).arg(hut.state().join("bundles")).status().unwrap();
            assert!(aged.success());
        }
        hut.declare(&Web::version(&version.to_string()));
        hut.run(&["up"]).code(0);
    }
    std::fs::remove_file(hut.project().join("server.pl")).unwrap();
    hut.run(&["releases", "diff", "1", "13"]).code(0).says("web").says("command");
    // Ten have come after the second one.
    until("the files of release 2 to go", || hut.run(&["releases", "diff", "2", "13"]).code == 2);
    hut.run(&["releases", "diff", "2", "13"]).code(2).says("MS0256");
    let rollback = hut.run(&["rollback", "2"]);
    assert!(rollback.code != 0 && rollback.err.contains("MS0"), "{rollback:?}");
    assert_eq!(hut.get().unwrap(), "version 13");
    let load = Load::start(hut.http());
    hut.run(&["rollback", "1"]).code(0);
    load.at_least(20);
    load.end().without_failure();
    assert_eq!(hut.get().unwrap(), "version 1");
    let releases = hut.json(&["releases"]);
    assert_eq!((&releases[0]["again"], &releases[13]["kept"]), (&1.into(), &true.into()), "{releases}");
}
