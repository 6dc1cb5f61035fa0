//! The Compose Specification's keys, every one of them, and what each engine makes of it.
//!
//! A key below a key that is not honoured needs no row of its own. `docs/conformance.md` shows this table, with what
//! the suite of `mainstay` (`tests/machine/keys.rs`) saw of it on the engines.

mod objects;
mod services;

use super::{Standing, Table};
use model::policy::EngineKind;
use objects::{MOUNTS, OBJECTS, TOP};
use services::{BUILD, DEPLOY, SERVICE};
use std::sync::LazyLock;

/// The engines there are, in the order of the columns.
pub const ENGINES: [EngineKind; 2] = [EngineKind::Process, EngineKind::Docker];

/// One key and what each of [`ENGINES`] makes of it.
pub type Row = (&'static str, [Standing; ENGINES.len()]);

/// All rows, each behind the one it lies in; what is below a key that is not honoured needs none.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [TOP, SERVICE, BUILD, DEPLOY, MOUNTS, OBJECTS].into_iter().flatten()
}

static TABLES: LazyLock<[Table; ENGINES.len()]> = LazyLock::new(|| {
    std::array::from_fn(|column| Table::new(rows().map(|(path, standings)| (*path, standings[column]))))
});

/// What an engine makes of each key; none for an engine that there is not.
pub fn table(engine: EngineKind) -> Option<&'static Table> {
    ENGINES.iter().position(|one| *one == engine).map(|column| &TABLES[column])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_specification_is_classified_for_every_engine() {
        let paths = include_str!("../../tests/data/compose-keys.txt");
        assert!(paths.lines().count() > 500, "the list of keys is not whole");
        for engine in ENGINES {
            let table = table(engine).expect("an engine of the columns");
            let missing: Vec<&str> = paths.lines().filter(|path| table.standing(path).is_none()).collect();
            assert!(missing.is_empty(), "not classified for {engine}: {missing:#?}");
        }
    }

    #[test]
    fn the_page_says_what_the_table_says() {
        let page = include_str!("../../../../docs/conformance.md");
        for (path, standings) in rows() {
            let name = format!("| **{}** | ", path.replace('*', "\\*"));
            let row = page.lines().find(|line| line.starts_with(&name)).unwrap_or_default();
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").skip(1).collect();
            let is_said =
                |(cell, standing): (&&str, &Standing)| cell.trim_start_matches("✓ ").starts_with(&standing.to_string());
            let agree = cells.len() == standings.len() && cells.iter().zip(standings).all(is_said);
            assert!(agree, "docs/conformance.md says something else of `{path}`: see `mainstay/tests/machine/keys.rs`");
        }
    }

    #[test]
    fn every_row_is_a_key_of_the_specification() {
        let paths: std::collections::BTreeSet<&str> =
            include_str!("../../tests/data/compose-keys.txt").lines().collect();
        for (path, _) in rows() {
            // Rows of names that the user chooses are ours.
            assert!(path.ends_with(".*") || paths.contains(path), "`{path}` is no key of the specification");
        }
    }
}
