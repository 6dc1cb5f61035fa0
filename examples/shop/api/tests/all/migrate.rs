//! `shop-api migrate` on a real database.

use std::time::Duration;

use stage::{Postgres, Process, Stage};

fn migrate(environment: &[(String, String)]) -> stage::Ended {
    Process::start("shop-api", &["migrate"], environment).wait(Duration::from_secs(30))
}

#[test]
fn it_applies_everything_once_and_says_so() {
    let postgres = Postgres::start();
    let first = migrate(&postgres.environment());
    assert_eq!(first.code, Some(0), "{}", first.output());
    assert!(first.output().contains(r#""applied":3"#), "{}", first.output());
    let again = migrate(&postgres.environment());
    assert_eq!(again.code, Some(0), "{}", again.output());
    assert!(again.output().contains(r#""applied":0"#), "{}", again.output());
    assert_eq!(
        postgres.sql("SELECT version, name FROM schema_migrations ORDER BY 1"),
        "1|products\n2|orders\n3|orders_queued"
    );
    assert_eq!(postgres.sql("SELECT count(*) FROM products"), "6");
}

#[test]
fn several_at_a_time_apply_everything_once() {
    let postgres = Postgres::start();
    let url = [("DATABASE_URL".to_owned(), postgres.url())];
    let mut all: Vec<Process> = (0..4).map(|_| Process::start("shop-api", &["migrate"], &url)).collect();
    for one in &mut all {
        let ended = one.wait(Duration::from_secs(30));
        assert_eq!(ended.code, Some(0), "{}", ended.output());
    }
    assert_eq!(postgres.sql("SELECT count(*) FROM schema_migrations"), "3");
}

#[test]
fn an_edited_migration_is_refused() {
    let stage = Stage::start();
    let _done = stage.postgres.sql("UPDATE schema_migrations SET sum = 'other' WHERE version = 2");
    let ended = stage.run_migrate();
    assert_eq!(ended.code, Some(1));
    assert!(ended.output().contains("migration 2 (orders) was edited after it had been applied"), "{}", ended.output());
}

#[test]
fn a_newer_database_is_refused() {
    let stage = Stage::start();
    let _done = stage.postgres.sql("INSERT INTO schema_migrations (version, name, sum) VALUES (9, 'future', '')");
    let ended = stage.run_migrate();
    assert_eq!(ended.code, Some(1));
    assert!(ended.output().contains("the database is at version 9, this program knows 3"), "{}", ended.output());
}

#[test]
fn a_database_that_cannot_be_reached_ends_it_with_1() {
    let held = stage::HeldPort::take();
    let port = held.number().to_string();
    let environment = [("DATABASE_PORT", port.as_str()), ("MIGRATE_WAIT_MS", "300")];
    let ended = migrate(&environment.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(ended.code, Some(1));
    assert!(ended.output().contains("could not connect to the database within 300ms"), "{}", ended.output());
}

#[test]
fn a_wrong_password_is_not_tried_again() {
    let postgres = Postgres::start();
    let url = postgres.url().replace("shop:%", "shop:x%");
    let ended = migrate(&[("DATABASE_URL".to_owned(), url)]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.took < Duration::from_secs(5) && ended.output().contains("password authentication failed"),
        "{}",
        ended.output()
    );
}
