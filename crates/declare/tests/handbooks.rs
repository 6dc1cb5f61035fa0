//! The Compose and stack files of our users' handbooks, as they stand there: each is taken, or refused with the reason.
//!
//! `tests/handbooks/*.txt` hold a file, a line `----`, and what comes of it; `UPDATE_EXPECT=1` rewrites the second half.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]

mod support;

use mainstay_declare::survey::survey;
use std::path::Path;
use support::{Case, diagnostics};

const LINE: &str = "\n----\n";

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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handbooks");
    let mut n = 0;
    for entry in std::fs::read_dir(&folder).expect("tests/handbooks exists") {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let (input, expected) =
            text.split_once(LINE).unwrap_or_else(|| panic!("{} has no second half", path.display()));
        n += 1;
        let got = outcome(&Case::parse(&format!("{input}\n")));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, format!("{input}{LINE}{got}")).expect("writable");
        } else {
            assert!(got == expected, "{}: run with UPDATE_EXPECT=1 if this is right\n{got}", path.display());
        }
    }
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
