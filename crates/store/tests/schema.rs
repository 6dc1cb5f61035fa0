//! Every state file that was ever written can be opened, and then looks as if it were new.

#![allow(clippy::disallowed_methods, reason = "tests touch the machine")]

mod scene;

use mainstay_store::{NewRelease, StackChange, Tx};
use plan::run::{NewRun, StepOutcome};
use plan::{Generation, StepId};
use scene::{at, make, stack, store};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A state folder with this state file.
fn folder_with(file: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::copy(file, dir.path().join("state.db")).expect("copied");
    fs::create_dir(dir.path().join("secrets")).expect("made");
    runtime::files::write(&dir.path().join("secrets/key"), &[7; 32], 0o600).expect("written");
    dir
}

/// What was written into `v1.db`; later versions must read the same from it.
fn fill(tx: &Tx<'_>) -> Result<(), mainstay_store::StoreError> {
    let shop = stack("shop");
    let state = make(tx, &shop, at(1))?;
    let release = NewRelease {
        bundle: "ab".repeat(32).parse().expect("64 digits"),
        actor: "ann".into(),
        message: Some("first".into()),
        config_hash: "h".into(),
        created_at: at(2),
        images: BTreeMap::new(),
        again: None,
    };
    let number = tx.add_release(&shop, &release)?;
    let mut desire = state.desire;
    desire.release = Some(number);
    desire.down = Some(["data".parse().expect("legal")].into());
    desire.scale = [("api".parse().expect("legal"), 2)].into();
    desire.restart = [("web".parse().expect("legal"), at(3))].into();
    tx.change_stack(&shop, Generation(0), StackChange { desire: Some(desire), allocation: Some("{}".into()) })?;
    let run = NewRun { stack: shop.clone(), basis: Generation(1), digest: "d".into(), text: "plan".into() };
    let run = tx.begin_run(&run, at(4))?;
    tx.begin_step(run, StepId(1), at(5))?;
    tx.end_step(run, StepId(1), &StepOutcome::Failed("why".into()), at(6))?;
    tx.begin_step(run, StepId(2), at(5))?;
    tx.set_setting("key", b"value")
}

fn shown(tx: &Tx<'_>) -> Result<String, mainstay_store::StoreError> {
    let shop = stack("shop");
    let parts = (tx.stacks()?, tx.releases(&shop, 9)?, tx.open_run(&shop)?, tx.runs(&shop, 9)?, tx.setting("key")?);
    Ok(format!("{parts:#?}"))
}

fn schema(path: &Path) -> Vec<(String, String)> {
    let connection = rusqlite::Connection::open(path).expect("opened");
    let sql = "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name";
    let mut statement = connection.prepare(sql).expect("prepared");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("asked");
    rows.collect::<Result<_, _>>().expect("read")
}

#[tokio::test]
#[ignore = "writes the fixture of this version: run once per version, before it is released"]
async fn write_the_fixture() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    store.run("fill", fill).await.unwrap();
    let copied = store.copy().await.unwrap();
    fs::copy(copied.path, data("v1.db")).unwrap();
}

#[tokio::test]
async fn the_first_state_file_is_read_and_looks_like_a_new_one() {
    let (old, new) = (folder_with(&data("v1.db")), tempfile::tempdir().unwrap());
    let (was, is) = (store(old.path()).await, store(new.path()).await);
    is.run("fill", fill).await.unwrap();
    let (was, is) = (was.run("read", shown).await.unwrap(), is.run("read", shown).await.unwrap());
    assert_eq!(was, is);
    assert_eq!(schema(&old.path().join("state.db")), schema(&new.path().join("state.db")));
}
