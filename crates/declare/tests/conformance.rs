//! `docs/conformance.md` says what the table of keys says.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]
#![allow(dead_code, reason = "the support of other tests")]

mod support;

use mainstay_declare::keys::Standing;
use mainstay_declare::keys::compose::{ENGINES, rows};
use std::fmt::Write;

fn cell(standing: Standing) -> String {
    match standing {
        Standing::Honoured => "honoured".into(),
        Standing::Within(limits) => format!("within limits: {limits}"),
        Standing::Elsewhere(how) => how.to_owned(),
        Standing::Emulated(how) => format!("emulated: {how}"),
        Standing::Harmless(why) => format!("no effect: {why}"),
        Standing::NotYet(cure) => format!("refused, not supported yet: {cure}"),
        Standing::Refused(why, cure) => format!("refused: {why}; {cure}"),
    }
}

/// Whether a key belongs to a section.
type Belongs = fn(&str) -> bool;

fn written() -> String {
    let mut out = include_str!("data/conformance.head.md").to_owned();
    let sections: [(&str, Belongs); 4] = [
        ("The file", |path| !path.contains('.')),
        ("Services", |path| path.starts_with("services.") && !path.starts_with("services.*.deploy")),
        ("Deploy", |path| path.starts_with("services.*.deploy")),
        ("Networks, volumes, secrets, configs", |path| path.contains('.') && !path.starts_with("services.")),
    ];
    let mut n = 0;
    for (title, is_in) in sections {
        let names: Vec<String> = ENGINES.iter().map(|engine| format!("`{engine}`")).collect();
        write!(out, "\n## {title}\n\n| key | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()))
            .expect("text takes text");
        for (path, standings) in rows().filter(|(path, _)| is_in(path)) {
            n += 1;
            let cells: Vec<String> = standings.iter().map(|standing| cell(*standing)).collect();
            writeln!(out, "| **{}** | {} |", path.replace('*', "\\*"), cells.join(" | ")).expect("text takes text");
        }
    }
    assert_eq!(n, rows().count(), "a row is in no section");
    out
}

#[test]
fn the_documentation_says_what_the_table_says() {
    support::same_as_page("conformance.md", &written());
}
