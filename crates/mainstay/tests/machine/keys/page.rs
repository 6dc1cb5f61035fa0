//! `docs/conformance.md`, of the table and of what was shown. Nothing else writes it.

use super::proof::{Proofs, is_claim};
use declare::keys::Standing;
use declare::keys::compose::{ENGINES, rows};
use std::fmt::Write as _;

/// Whether a key belongs to a section.
type Belongs = fn(&str) -> bool;

const SECTIONS: [(&str, Belongs); 4] = [
    ("The file", |path| !path.contains('.')),
    ("Services", |path| path.starts_with("services.") && !path.starts_with("services.*.deploy")),
    ("Deploy", |path| path.starts_with("services.*.deploy")),
    ("Networks, volumes, secrets, configs", |path| path.contains('.') && !path.starts_with("services.")),
];

/// Holds the page against what came of the suite; `UPDATE_EXPECT=1` writes it.
#[track_caller]
pub fn hold(head: &str, proofs: &Proofs) {
    let wanted = written(head, proofs);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == wanted, "docs/conformance.md is not what was shown: run with UPDATE_EXPECT=1");
}

fn written(head: &str, proofs: &Proofs) -> String {
    let mut out = format!("{head}\n{}", summary(proofs));
    let mut n = 0;
    for (title, is_in) in SECTIONS {
        write!(out, "\n## {title}\n\n{}", line("key", ENGINES.map(|engine| format!("`{engine}`")))).unwrap();
        writeln!(out, "|---|{}", "---|".repeat(ENGINES.len())).unwrap();
        for (path, standings) in rows().filter(|(path, _)| is_in(path)) {
            n += 1;
            let cells = std::array::from_fn(|column| cell(path, column, standings[column], proofs));
            out.push_str(&line(&format!("**{}**", path.replace('*', "\\*")), cells));
        }
    }
    assert_eq!(n, rows().count(), "a row is in no section");
    out
}

fn line(first: &str, cells: [String; ENGINES.len()]) -> String {
    format!("| {first} | {} |\n", cells.join(" | "))
}

fn cell(path: &str, column: usize, standing: Standing, proofs: &Proofs) -> String {
    let text = standing.to_string();
    match proofs.elsewhere(path, column) {
        _ if is_claim(standing) && proofs.is_shown(path, column) => format!("✓ {text}"),
        Some(test) => format!("{text} (`{test}`)"),
        None => text,
    }
}

fn summary(proofs: &Proofs) -> String {
    let names = ENGINES.map(|engine| format!("`{engine}`"));
    let mut out =
        format!("{}|---|{}\n", line(&format!("of {} keys", rows().count()), names), "---|".repeat(ENGINES.len()));
    let count = |is: &dyn Fn(Standing) -> bool| {
        std::array::from_fn(|column| {
            let all = || rows().filter(|(_, standings)| is(standings[column]));
            let shown = all().filter(|(path, _)| proofs.is_shown(path, column)).count();
            let claims = all().filter(|(_, standings)| is_claim(standings[column])).count();
            match claims {
                0 => all().count().to_string(),
                _ => format!("{claims}, ✓ {shown}"),
            }
        })
    };
    for (name, is) in KINDS {
        out.push_str(&line(name, count(&is)));
    }
    out
}

/// What a standing is called, and which ones are.
type Kind = (&'static str, fn(Standing) -> bool);

const KINDS: [Kind; 6] = [
    ("honoured", |one| matches!(one, Standing::Honoured)),
    ("within limits", |one| matches!(one, Standing::Within(_))),
    ("emulated", |one| matches!(one, Standing::Emulated(_))),
    ("no effect", |one| matches!(one, Standing::Harmless(_))),
    ("refused", |one| matches!(one, Standing::NotYet(_) | Standing::Refused(..))),
    ("told in its place", |one| matches!(one, Standing::Elsewhere(_))),
];
