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
    assert!(ended.err.contains("put a backup of it in its place"), "no cure: {}", ended.err);
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
    drop(hut);
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
