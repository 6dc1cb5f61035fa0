//! Files on the real file system: replaced as a whole, locked, on a full and on a read-only disk.

#![allow(clippy::disallowed_methods, reason = "tests look at what the doors left behind")]

use mainstay_runtime::files;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use testkit::mounts::Tmpfs;

fn names(dir: &Path) -> Vec<String> {
    let name = |path: &std::path::PathBuf| path.strip_prefix(dir).expect("it lies in it").display().to_string();
    files::list(dir).expect("the folder is there").iter().map(name).collect()
}

#[test]
fn a_file_is_replaced_as_a_whole_with_exactly_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    files::write(&path, b"one", 0o640).unwrap();
    let first = std::fs::metadata(&path).unwrap();
    files::write(&path, b"two", 0o666).unwrap();
    let second = std::fs::metadata(&path).unwrap();
    assert_ne!(first.ino(), second.ino(), "a new file took its place");
    assert_eq!((first.mode() & 0o777, second.mode() & 0o777), (0o640, 0o666));
    assert_eq!(files::read(&path).unwrap(), b"two");
    assert_eq!(names(dir.path()), ["state"]);
    assert_eq!(files::read_if_there(&dir.path().join("none")).unwrap(), None);
}

#[test]
fn a_file_written_in_place_stays_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hosts");
    files::write_in_place(&path, b"a long first text", 0o644).unwrap();
    let first = std::fs::metadata(&path).unwrap().ino();
    files::write_in_place(&path, b"short", 0o644).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), first);
    assert_eq!(files::read_text(&path).unwrap(), "short");
}

#[test]
fn an_abandoned_write_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut staged = files::stage(&dir.path().join("blob"), 0o444).unwrap();
    staged.append(b"half").unwrap();
    drop(staged);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn folders_have_the_wanted_mode_whatever_the_umask() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    files::create_dir(&deep, 0o777).unwrap();
    files::create_dir(&deep, 0o700).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&deep), mode(&dir.path().join("a"))), (0o777, 0o777), "one that is there is left alone");
    std::fs::write(deep.join("file"), "").unwrap();
    let error = files::create_dir(&deep.join("file"), 0o700).unwrap_err();
    assert!(error.to_string().starts_with("could not create folder `"), "{error}");
}

#[test]
fn the_second_to_lock_learns_who_was_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let held = files::lock(&path, "process 7 since noon").unwrap();
    let error = files::lock(&path, "process 8").unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` is locked by process 7 since noon", path.display()));
    drop(held);
    files::lock(&path, "8").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "8\n");
}

#[test]
fn a_full_disk_is_told_and_keeps_the_old_content() {
    let disk = Tmpfs::mount("size=64k");
    let path = disk.path().join("state");
    files::write(&path, b"old", 0o600).unwrap();
    let error = files::write(&path, &vec![7; 256 << 10], 0o600).unwrap_err();
    assert!(error.is_full() && !error.is_read_only(), "{error:?}");
    assert_eq!(error.cure(), Some("free some space on that disk"));
    assert_eq!((files::read(&path).unwrap(), names(disk.path())), (b"old".to_vec(), vec!["state".to_owned()]));
    assert_eq!(files::space(disk.path()).unwrap().total, 64 << 10);
}

#[test]
fn a_read_only_disk_is_told() {
    let disk = Tmpfs::mount("size=64k,ro");
    let error = files::write(&disk.path().join("state"), b"new", 0o600).unwrap_err();
    assert!(error.is_read_only(), "{error:?}");
}
