//! The Compose and stack files of our users' handbooks, as they stand there: each is taken, or refused with the reason.
//!
//! `tests/handbooks/*.txt` hold a file, a line `----`, and what comes of it; `UPDATE_EXPECT=1` rewrites the second half.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]

mod support;

use mainstay_declare::survey::survey;
use std::path::Path;
use support::{Case, LINE, diagnostics};

fn outcome(case: &Case) -> String {
    let loaded = case.load();
    let verdict = match (&loaded.resolved, &loaded.declared) {
        (None, _) => "refused: the file contradicts itself".to_owned(),
        (Some(_), None) => "taken as a Compose file; refused by the engine `process`".to_owned(),
        (Some(_), Some(_)) => "taken".to_owned(),
    };
    let services = loaded.resolved.as_ref().map(|resolved| survey(resolved)).unwrap_or_default();
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let services = if names.is_empty() { String::new() } else { format!("services: {}\n", names.join(", ")) };
    format!("{verdict}\n{services}{}", diagnostics(&loaded))
}

#[test]
fn every_file_is_taken_or_refused_with_the_reason() {
    let n = support::golden("tests/handbooks", outcome);
    assert!(n >= 10, "the handbooks' files are not where they should be");
}

/// A stack that uses secrets under other names than it declares them is refused, and the message names both.
#[test]
fn secrets_under_other_names_are_refused_by_name() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handbooks/struktura-0155-2-infrastructure-as-code.txt");
    let text = std::fs::read_to_string(path).expect("the stack is there");
    let (_, outcome) = text.split_once(LINE).expect("it has a second half");
    assert!(outcome.starts_with("refused"), "{outcome}");
    for name in ["mongodb-root-password", "mongodb-app-password"] {
        assert!(outcome.contains(&format!("there is no secret `{name}`")), "{outcome}");
    }
    assert!(outcome.contains("declared are `struktura-root-password`, `struktura-app-password`"), "{outcome}");
}
