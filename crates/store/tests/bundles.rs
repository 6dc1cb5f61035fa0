//! Bundles on the real file system.

#![allow(clippy::disallowed_methods, reason = "tests touch the machine")]

mod scene;

use bytes::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use mainstay_store::bundles::{BundleError, File};
use mainstay_store::{Bundles, Keys};
use model::{BundleId, ContentDigest, Secret};
use runtime::Rng;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};
use testkit::mounts::Tmpfs;

fn bundles(state: &Path) -> Bundles {
    Bundles::open(state, Keys::from_bytes([7; 32], &Rng::from_number(1))).expect("a folder")
}

fn put(bundles: &Bundles, content: &[u8]) -> Result<ContentDigest, BundleError> {
    let digest = ContentDigest::of(content);
    let mut writer = bundles.begin_blob(digest, 1 << 20)?;
    writer.append(content)?;
    writer.finish()?;
    Ok(digest)
}

fn file(path: &str, content: &[u8], mode: u32) -> File {
    File { path: path.parse().expect("legal"), digest: ContentDigest::of(content), mode, size: content.len() as u64 }
}

fn create(bundles: &Bundles, files: &[(&str, &[u8], u32)]) -> Result<BundleId, BundleError> {
    let declaration = Secret::new("services: {api: {environment: {PASSWORD: hunter2}}}");
    bundles.create(&declaration, files.iter().map(|(path, content, mode)| file(path, content, *mode)).collect(), now())
}

fn now() -> Timestamp {
    SystemTime::now().try_into().expect("within jiff's range")
}

const SITE: &[(&str, &[u8], u32)] =
    &[("bin/api", b"program", 0o755), ("public/index.html", b"<h1>", 0o600), ("public/copy.sh", b"<h1>", 0o4777)];

fn site(state: &Path) -> (Bundles, BundleId) {
    let bundles = bundles(state);
    put(&bundles, b"program").expect("put");
    put(&bundles, b"<h1>").expect("put");
    let id = create(&bundles, SITE).expect("all is there");
    (bundles, id)
}

#[test]
fn a_tree_has_what_the_manifest_says_and_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let (bundles, id) = site(dir.path());
    let tree = bundles.materialize(&id).unwrap();
    let seen = |path: &str| {
        let path = tree.join(path);
        (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().permissions().mode() & 0o7777)
    };
    assert_eq!(seen("bin/api"), (b"program".to_vec(), 0o555));
    assert_eq!(seen("public/index.html"), (b"<h1>".to_vec(), 0o444));
    assert_eq!(seen("public/copy.sh"), (b"<h1>".to_vec(), 0o555));
    assert_eq!(fs::metadata(tree.join("public")).unwrap().permissions().mode() & 0o777, 0o755);
    let inode = fs::metadata(&tree).unwrap().ino();
    assert_eq!(fs::metadata(bundles.materialize(&id).unwrap()).unwrap().ino(), inode, "made once");
    assert_eq!(bundles.digest_of(&id, "bin/api").unwrap(), Some(ContentDigest::of(b"program")));
}

#[test]
fn the_same_again_is_the_same_bundle_and_another_declaration_another() {
    let dir = tempfile::tempdir().unwrap();
    let (bundles, id) = site(dir.path());
    assert_eq!(create(&bundles, SITE).unwrap(), id);
    let other = bundles.create(&Secret::new("other"), vec![file("bin/api", b"program", 0o755)], now()).unwrap();
    assert_ne!(other, id);
    assert_eq!(bundles.declaration(&other).unwrap().reveal(), b"other");
    assert_eq!(self::bundles(dir.path()).manifest(&id).unwrap().files().count(), 3, "it is there after a restart");
}

#[test]
fn declarations_are_nowhere_in_the_clear_and_in_no_tree() {
    let dir = tempfile::tempdir().unwrap();
    let (bundles, id) = site(dir.path());
    bundles.materialize(&id).unwrap();
    let declaration = bundles.declaration(&id).unwrap();
    assert!(declaration.reveal_text().contains("hunter2"));
    let plain = blake3::hash(declaration.reveal()).to_hex();
    let mut folders = vec![dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            // A plain digest of secrets could be guessed at.
            assert!(!text.contains("hunter2") && !text.contains(plain.as_str()), "{}", path.display());
        }
    }
}

#[test]
fn what_was_not_sent_or_is_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bundles = bundles(dir.path());
    put(&bundles, b"abc").unwrap();
    let digests = [ContentDigest::of(b"abc"), ContentDigest::of(b"other")];
    assert_eq!(bundles.missing(&digests, now()).unwrap(), [ContentDigest::of(b"other")]);
    let error = create(&bundles, &[("a", b"other", 0o644)]).unwrap_err();
    assert!(matches!(error, BundleError::NoSuchBlob { .. }) && error.is_senders_fault());
    let wrong = File { size: 4, ..file("a", b"abc", 0o644) };
    let error = bundles.create(&Secret::new(""), vec![wrong], now()).unwrap_err();
    assert_eq!(error.to_string(), "`a` has 3 bytes, the manifest says 4");
    let mut lie = bundles.begin_blob(ContentDigest::of(b"honest"), 100).unwrap();
    lie.append(b"a lie").unwrap();
    assert!(matches!(lie.finish(), Err(BundleError::WrongDigest { .. })));
    let mut large = bundles.begin_blob(ContentDigest::of(b"honest"), 5).unwrap();
    assert!(matches!(large.append(b"honest"), Err(BundleError::TooLarge { .. })));
    drop(large);
    let honest = ContentDigest::of(b"honest");
    assert_eq!(bundles.missing(&[honest], now()).unwrap(), [honest], "nothing of it was kept");
    let none: BundleId = "00".repeat(32).parse().unwrap();
    assert!(matches!(bundles.materialize(&none), Err(BundleError::NoSuchBundle(_))));
}

#[tokio::test]
async fn a_blob_can_be_streamed_and_may_break_off() {
    let dir = tempfile::tempdir().unwrap();
    let (bundles, tasks) = (bundles(dir.path()), scene::tasks());
    let content: Vec<Bytes> = (0..100u8).map(|n| Bytes::from(vec![n; 1000])).collect();
    let digest = ContentDigest::of(&content.concat());
    let whole = stream::iter(content.clone().into_iter().map(Ok::<_, std::io::Error>));
    let broken = stream::iter(content.into_iter().take(50).map(Ok).chain([Err(std::io::Error::other("gone"))]));
    let error = bundles.put_blob(&tasks, digest, 1 << 20, broken).await.unwrap_err();
    assert!(matches!(error, BundleError::BrokenOff { .. }), "{error:?}");
    assert_eq!(bundles.missing(&[digest], now()).unwrap().len(), 1);
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1000])));
    let error = bundles.put_blob(&tasks, digest, 10_000, endless).await.unwrap_err();
    assert!(matches!(error, BundleError::TooLarge { .. }), "{error:?}");
    bundles.put_blob(&tasks, digest, 1 << 20, whole).await.unwrap();
    assert!(bundles.missing(&[digest], now()).unwrap().is_empty());
}

#[test]
fn a_collection_takes_what_nobody_needs_and_leaves_what_was_just_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (bundles, kept) = site(dir.path());
    put(&bundles, b"old").unwrap();
    let old = create(&bundles, &[("old", b"old", 0o755), ("page", b"<h1>", 0o644)]).unwrap();
    let (tree, gone) = (bundles.materialize(&kept).unwrap(), bundles.materialize(&old).unwrap());
    let keep = BTreeSet::from([kept.clone()]);
    let fresh = bundles.collect(&keep, now()).unwrap();
    assert_eq!((fresh.bundles, fresh.blobs), (0, 0), "it may be about to be released");
    let days_later = now() + Duration::from_secs(3 * 86_400);
    // Somebody has just asked whether it is here.
    assert!(bundles.missing(&[ContentDigest::of(b"old")], days_later).unwrap().is_empty());
    let later = bundles.collect(&keep, days_later).unwrap();
    assert_eq!((later.bundles, later.blobs), (1, 0), "the contents may be meant for a bundle to come");
    assert!(!gone.exists());
    let collected = bundles.collect(&keep, days_later + Duration::from_secs(2 * 86_400)).unwrap();
    assert_eq!((collected.bundles, collected.blobs, collected.bytes), (0, 1, 3));
    assert_eq!(fs::read(tree.join("bin/api")).unwrap(), b"program");
    fs::remove_dir_all(&tree).unwrap();
    bundles.materialize(&kept).expect("all its contents are there");
    assert!(matches!(bundles.manifest(&old), Err(BundleError::NoSuchBundle(_))));
}

fn blobs(state: &Path) -> Vec<std::path::PathBuf> {
    let folders = fs::read_dir(state.join("bundles/blobs")).expect("it is there");
    let path = |entry: std::io::Result<fs::DirEntry>| entry.expect("it can be read").path();
    folders.map(path).flat_map(|folder| fs::read_dir(folder).expect("a folder")).map(path).collect()
}

#[test]
fn what_a_crash_left_half_made_is_swept_up() {
    let dir = tempfile::tempdir().unwrap();
    let (bundles, id) = site(dir.path());
    let tree = bundles.materialize(&id).unwrap();
    let half = dir.path().join("bundles/trees").join(format!(".tmp-{id}"));
    fs::create_dir_all(half.join("bin")).unwrap();
    let orphan = dir.path().join("bundles/manifests").join(format!("{}.sealed", "00".repeat(32)));
    fs::write(&orphan, "").unwrap();
    let blob = blobs(dir.path()).into_iter().next().expect("it has contents");
    let upload = blob.with_file_name(".tmp-17-0");
    fs::write(&upload, "half").unwrap();
    let again = self::bundles(dir.path());
    assert!(!half.exists() && !orphan.exists() && !upload.exists() && tree.exists() && blob.exists());
    assert_eq!(again.all().unwrap(), [id]);
}

#[test]
fn a_changed_manifest_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (bundles, id) = site(dir.path());
    let path = dir.path().join("bundles/manifests").join(format!("{id}.json"));
    let text = fs::read_to_string(&path).unwrap();
    for changed in [text.replace("bin/api", "../../x"), text.replace("bin/api", "bin/apj"), text[..50].to_owned()] {
        fs::write(&path, changed).unwrap();
        assert!(matches!(bundles.materialize(&id), Err(BundleError::Damaged { .. })));
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_half_is_kept() {
    let disk = Tmpfs::mount("size=256k");
    let bundles = bundles(disk.path());
    let content = vec![1; 500 << 10];
    let error = put(&bundles, &content).unwrap_err();
    assert!(matches!(&error, BundleError::File(file) if file.is_full()), "{error:?}");
    assert!(!error.is_senders_fault());
    put(&bundles, b"small").expect("the room was given back");
}
