//! The state folder itself: two daemons, damage, a full and a read-only disk.

#![allow(clippy::disallowed_methods, reason = "tests touch the machine")]

mod scene;

use mainstay_store::StoreError;
use scene::{open, store};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use testkit::mounts::Tmpfs;

/// A state folder with some content whose daemon has gone, as its files lie there.
async fn left_behind() -> tempfile::TempDir {
    let living = tempfile::tempdir().expect("a folder");
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(living.path()).await;
    for n in 0..200 {
        let text = "x".repeat(500);
        let set = store.run("set", move |tx| tx.set_setting(&n.to_string(), text.as_bytes()));
        set.await.expect("written");
    }
    let copied = store.copy().await.expect("copied");
    fs::create_dir(dir.path().join("secrets")).expect("made");
    fs::copy(copied.path, dir.path().join("state.db")).expect("copied");
    fs::copy(living.path().join("secrets/key"), dir.path().join("secrets/key")).expect("copied");
    dir
}

fn state_file(dir: &Path) -> PathBuf {
    dir.join("state.db")
}

#[tokio::test]
async fn a_second_daemon_is_told_who_was_first() {
    let dir = tempfile::tempdir().unwrap();
    let _store = store(dir.path()).await;
    let error = open(dir.path()).await.unwrap_err();
    let text = runtime::tasks::chain(&error);
    let lock = dir.path().join("lock");
    assert_eq!(text, format!("the state folder is in use: `{}` is locked by process 7", lock.display()));
    assert!(error.cure().is_some());
}

#[tokio::test]
async fn nothing_in_the_folder_can_be_read_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let store = store(&state).await;
    store.copy().await.unwrap();
    let mode = |name: &str| fs::metadata(state.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("secrets"), mode("secrets/key")), (0o711, 0o700, 0o600));
    assert_eq!((mode("state.db"), mode("state.db-wal"), mode("state.db.copy")), (0o600, 0o600, 0o600));
}

#[tokio::test]
async fn a_damaged_file_is_told_with_its_cure_and_left_alone() {
    let check = async |what: &str, damage: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let dir = left_behind().await;
        let path = state_file(dir.path());
        let damaged = damage(fs::read(&path).unwrap());
        fs::write(&path, &damaged).unwrap();
        let error = open(dir.path()).await.expect_err(what);
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().starts_with(&format!("`{}` is damaged (", path.display())), "{what}: {error}");
        let cure = error.cure().expect("there is one");
        assert!(cure.contains("put a backup of it in its place"), "{what}: {cure}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "{what}: the file is as it was");
        // With an automatic copy the cure names it, and works as written.
        fs::copy(state_file(left_behind().await.path()), dir.path().join("state.db.copy")).unwrap();
        fs::write(dir.path().join("state.db-wal"), "leftover").unwrap();
        let cure = open(dir.path()).await.expect_err(what).cure().expect("there is one");
        assert!(cure.starts_with("put the automatic copy of 20"), "{what}: {cure}");
        let command = cure.split('`').nth(1).expect("a command");
        assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
        let value = store(dir.path()).await.run("read", |tx| tx.setting("7")).await.unwrap();
        assert!(value.is_some(), "{what}");
    };
    check("empty", &|_| Vec::new()).await;
    check("cut in half", &|bytes| bytes[..bytes.len() / 2].to_vec()).await;
    check("cut within a page", &|bytes| bytes[..5000].to_vec()).await;
    check("no database", &|bytes| vec![b'x'; bytes.len()]).await;
    check("overwritten in the middle", &|mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8192].fill(0xff);
        bytes
    })
    .await;
}

#[tokio::test]
async fn the_copy_can_be_put_in_its_place() {
    let dir = left_behind().await;
    let store = store(dir.path()).await;
    let value = store.run("read", |tx| tx.setting("199")).await.unwrap();
    assert_eq!(value.map(|value| value.len()), Some(500));
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let dir = left_behind().await;
    let newer = rusqlite::Connection::open(state_file(dir.path())).unwrap();
    newer.pragma_update(None, "user_version", 999).unwrap();
    drop(newer);
    let error = open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 999, .. }), "{error:?}");
}

#[tokio::test]
async fn a_state_file_without_its_key_is_refused() {
    let dir = left_behind().await;
    fs::remove_file(dir.path().join("secrets/key")).unwrap();
    let error = open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Key(_)), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_heals() {
    let disk = Tmpfs::mount("size=1m");
    let store = store(disk.path()).await;
    let write = |n: u32| store.run("remember", move |tx| tx.set_setting(&n.to_string(), &vec![7; 40_000]));
    let mut kept = 0;
    let error = loop {
        match write(kept).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    let text = format!("could not remember: the disk of `{}` is full", state_file(disk.path()).display());
    assert_eq!((error.to_string(), error.cure().as_deref()), (text, Some("free some space on that disk")));
    assert!(kept > 3, "{kept}");
    let there = move |tx: &mainstay_store::Tx<'_>| {
        (0..=kept).map(|n| tx.setting(&n.to_string())).collect::<Result<Vec<_>, _>>()
    };
    let values = store.run("read", there).await.expect("reading needs no room");
    assert_eq!(values.iter().filter(|value| value.is_some()).count(), kept as usize);
    disk.remount("size=4m");
    write(kept).await.expect("there is room again");
}

#[tokio::test]
async fn a_disk_too_full_for_a_state_file_leaves_none() {
    let disk = Tmpfs::mount("size=16k");
    let error = open(disk.path()).await.unwrap_err();
    let full =
        matches!(&error, StoreError::Full { .. }) || matches!(&error, StoreError::Folder(file) if file.is_full());
    assert!(full, "{error:?}");
    assert!(!state_file(disk.path()).exists());
    disk.remount("size=4m");
    open(disk.path()).await.expect("there is room now");
}

#[tokio::test]
async fn a_read_only_folder_is_told() {
    let disk = Tmpfs::mount("size=1m,ro");
    let error = open(disk.path()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Folder(file) if file.is_read_only()), "{error:?}");
    assert!(error.cure().expect("there is one").starts_with("mount that file system writable"));
}

#[tokio::test]
async fn a_state_file_that_is_missing_beside_what_it_left_is_not_made_anew() {
    let check = async |what: &str, leave: &dyn Fn(&Path)| {
        let dir = left_behind().await;
        let path = state_file(dir.path());
        fs::copy(&path, dir.path().join("keep")).unwrap();
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            drop(fs::remove_file(dir.path().join(name)));
        }
        leave(dir.path());
        let error = open(dir.path()).await.expect_err(what);
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("it is missing"), "{what}: {error}");
        assert!(!path.exists(), "{what}");
        let cure = error.cure().expect("there is one");
        let command = cure.split('`').rfind(|part| part.starts_with("mkdir")).expect("a command");
        assert!(std::process::Command::new("sh").args(["-c", command]).status().is_ok(), "{command}");
        open(dir.path()).await.expect("the cure works as written");
    };
    check("its log", &|dir| fs::write(dir.join("state.db-wal"), "log").unwrap()).await;
    check("its copy", &|dir| assert!(fs::copy(dir.join("keep"), dir.join("state.db.copy")).unwrap() > 0)).await;
    check("bundles", &|dir| {
        fs::create_dir_all(dir.join("bundles/manifests")).unwrap();
        fs::write(dir.join("bundles/manifests/x.json"), "{}").unwrap();
    })
    .await;
}

#[tokio::test]
async fn damage_that_shows_while_it_runs_is_told_with_its_cure() {
    let dir = left_behind().await;
    let store = store(dir.path()).await;
    let bytes = fs::read(state_file(dir.path())).unwrap();
    fs::write(state_file(dir.path()), vec![0xff; bytes.len()]).unwrap();
    let error = store.run("read", |tx| tx.newest_events(None, 9)).await.err();
    let error = match error {
        Some(error) => error,
        None => store.copy().await.expect_err("the file is no database any more"),
    };
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.cure().is_some_and(|cure| cure.starts_with("stop the daemon, then put")), "{:?}", error.cure());
}
