//! A state folder that is taken, broken, read-only or full.

use crate::hut::{Hut, Web, until};
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CStr;
use std::path::{Path, PathBuf};

#[test]
fn a_second_daemon_on_one_state_folder_is_refused_and_names_the_first() {
    let hut = Hut::up(&Web::version("1"));
    let daemon = hut.daemon();
    let other = hut.path().join("other");
    let other = other.to_str().unwrap();
    hut.run(&["serve", "--run", other]).code(1).says(&daemon.to_string()).says("state");
    assert_eq!(hut.daemon(), daemon);
    assert_eq!(hut.get().unwrap(), "version 1");
    hut.run(&["plan"]).code(0);
}

#[test]
fn a_daemon_that_is_still_dying_is_waited_for() {
    let hut = Hut::up(&Web::version("1"));
    hut.kill_daemon();
    for folder in [hut.state(), hut.socket().parent().unwrap().to_owned()] {
        // As the kernel does for a process whose last thread has not ended yet.
        let lock = std::fs::File::open(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        let dying = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(500));
            drop(lock);
        });
        hut.run(&["plan"]).code(0);
        dying.join().unwrap();
        hut.kill_daemon();
    }
}

#[test]
fn a_broken_database_is_refused_and_left_as_it_is() {
    let hut = Hut::up(&Web::version("1"));
    let replicas = hut.replicas();
    hut.kill_daemon();
    let names = ["state.db", "state.db-wal", "state.db-shm"].map(|name| hut.state().join(name));
    let keep = |path: &PathBuf| std::fs::read(path).ok();
    let whole: Vec<_> = names.iter().map(keep).collect();
    // What is left after a power cut on a disk that lies: the front of the file, without its log.
    let cut = &whole[0].as_ref().unwrap()[..3000];
    std::fs::write(&names[0], cut).unwrap();
    for name in &names[1..] {
        let _ = std::fs::remove_file(name);
    }
    let ended = hut.run(&["plan"]).code(1).says("state.db");
    assert!(ended.err.contains("put the automatic copy"), "no cure: {}", ended.err);
    assert_eq!(std::fs::read(&names[0]).unwrap(), cut, "the file was touched");
    assert_eq!(hut.get().unwrap(), "version 1");

    for (name, bytes) in names.iter().zip(&whole) {
        match bytes {
            Some(bytes) => std::fs::write(name, bytes).unwrap(),
            None => drop(std::fs::remove_file(name)),
        }
    }
    hut.run(&["plan"]).code(0);
    assert_eq!(hut.replicas(), replicas);
}

/// A small file system of its own for the state folder.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir(at).unwrap();
        rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(SIZE)).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

const SIZE: &CStr = c"size=48m,mode=0755";

#[test]
fn a_full_state_folder_is_told_and_what_runs_goes_on() {
    let hut = Hut::new();
    let small = Small::mount(&hut.state());
    hut.declare(&Web::version("1"));
    hut.run(&["up"]).code(0);
    let (replicas, edge) = (hut.replicas(), hut.edge());
    let filler = small.0.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    std::io::copy(&mut std::io::repeat(7), &mut file).expect_err("full at last");
    hut.declare(&Web::version("2"));
    let ended = hut.run(&["up"]).code(1);
    let text = ended.err.to_lowercase();
    assert!(text.contains("no space") || text.contains("full"), "{text}");
    assert_eq!(hut.get().unwrap(), "version 1");
    assert_eq!((hut.replicas(), hut.edge()), (replicas.clone(), edge));
    // Its space is free once nobody has it open.
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    hut.run(&["up"]).code(0);
    assert_eq!(hut.get().unwrap(), "version 2");
    hut.run(&["down", "--yes"]).code(0);
    hut.end_daemon();
    drop(small);
}

#[test]
fn a_disk_that_fills_up_in_a_rollout_loses_nothing_and_the_next_release_works() {
    let hut = Hut::new();
    let small = Small::mount(&hut.state());
    hut.declare(&Web::version("1"));
    hut.run(&["up"]).code(0);
    hut.declare(&Web::version("2").slow("1"));
    let up = hut.command(&["up"]).spawn().unwrap();
    until("a third replica", || hut.replicas().len() == 3);
    let filler = small.0.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    std::io::copy(&mut std::io::repeat(7), &mut file).expect_err("full at last");
    Hut::ended(up, &["up"]);
    assert!(hut.get().is_ok_and(|body| body.starts_with("version ")));
    // Its space is free once nobody has it open.
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    hut.declare(&Web::version("3"));
    hut.run(&["up"]).code(0);
    assert_eq!(hut.get().unwrap(), "version 3");
    until("two replicas", || hut.replicas().len() == 2);
    let releases = hut.json(&["releases"]);
    assert!(releases.as_array().unwrap().iter().all(|release| release["state"] != "running"), "{releases}");
    hut.run(&["down", "--yes"]).code(0);
    hut.end_daemon();
    drop(small);
}

#[test]
fn a_damaged_bundle_leaves_replicas_and_routes() {
    let hut = Hut::up(&Web::version("1"));
    let (replicas, edge) = (hut.replicas(), hut.edge());
    hut.kill_daemon();
    let manifests = std::fs::read_dir(hut.state().join("bundles/manifests")).unwrap();
    let sealed =
        manifests.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "sealed"));
    let sealed = sealed.expect("a declaration");
    let whole = std::fs::read(&sealed).unwrap();
    std::fs::write(&sealed, "damaged").unwrap();
    let load = crate::load::Load::start(hut.http());
    hut.run(&["plan"]);
    hut.run(&["restart", "web"]).code(1).says("MS0227");
    hut.run(&["status"]).says("cannot be read");
    load.at_least(50);
    assert_eq!((hut.replicas(), hut.edge()), (replicas.clone(), edge));
    assert_eq!(crate::hut::get(hut.published()).unwrap(), "version 1");
    // What is ordered now runs from a bundle that is whole, and takes over without a gap.
    hut.declare(&Web::version("2"));
    hut.run(&["up"]).code(0);
    load.end().without_failure();
    assert_eq!(hut.get().unwrap(), "version 2");
    std::fs::write(&sealed, whole).unwrap();
}

#[test]
fn a_second_daemon_on_one_run_folder_touches_nothing() {
    let hut = Hut::up(&Web::version("1"));
    let (daemon, edge, replicas) = (hut.daemon(), hut.edge(), hut.replicas());
    let other = hut.path().join("other-state");
    hut.run(&["serve", "--state", other.to_str().unwrap()]).code(1).says(&daemon.to_string()).says("--run");
    assert!(!other.exists(), "its state folder was not even made");
    assert_eq!((hut.daemon(), hut.edge(), hut.replicas()), (daemon, edge, replicas));
    assert_eq!(hut.get().unwrap(), "version 1");
}

#[test]
fn a_read_only_state_folder_is_told_and_what_runs_goes_on() {
    let hut = Hut::up(&Web::version("1"));
    let (replicas, edge) = (hut.replicas(), hut.edge());
    hut.kill_daemon();
    // Seen by the next daemon only: what runs has its files open.
    let state = hut.state();
    rustix::mount::mount_bind(&state, &state).unwrap();
    let bound = Small(state);
    rustix::mount::mount_remount(&bound.0, MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
    let ended = hut.run(&["plan"]).code(1);
    assert!(ended.err.to_lowercase().contains("read-only"), "{}", ended.err);
    assert_eq!(hut.get().unwrap(), "version 1");
    assert_eq!(hut.replicas(), replicas);
    drop(bound);
    until("the mount to be gone", || hut.run(&["plan"]).code == 0);
    assert_eq!((hut.replicas(), hut.edge()), (replicas, edge));
}
