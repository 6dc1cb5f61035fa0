//! What was shown of which row, and whether that is all that the table claims.

use super::script::Case;
use declare::keys::Standing;
use declare::keys::compose::{ENGINES, rows};
use model::policy::EngineKind;
use std::collections::{BTreeMap, BTreeSet};

/// A key and the column of an engine.
type Cell = (String, usize);

/// What was found.
#[derive(Default)]
pub struct Proofs {
    /// Seen on the engine.
    shown: BTreeSet<Cell>,
    /// A value beyond the limits was refused.
    beyond: BTreeSet<Cell>,
    /// What must be said was said.
    said: BTreeSet<Cell>,
    /// Shown by another test, by its name.
    elsewhere: BTreeMap<Cell, String>,
    failures: Vec<String>,
}

/// The column of an engine.
pub fn column(engine: EngineKind) -> usize {
    ENGINES.iter().position(|one| *one == engine).unwrap()
}

/// What the table says of a key on an engine.
pub fn standing(key: &str, engine: EngineKind) -> Option<Standing> {
    rows().find(|(path, _)| *path == key).map(|(_, standings)| standings[column(engine)])
}

/// Whether a row promises something that has to hold.
pub fn is_claim(standing: Standing) -> bool {
    matches!(standing, Standing::Honoured | Standing::Within(_) | Standing::Emulated(_))
}

/// Whether one path is another, or lies in it.
fn lies_in(one: &str, other: &str) -> bool {
    one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether a row is nothing but the place of others, none of which has to hold.
fn holds_others_only(key: &str, column: usize) -> bool {
    let mut below = rows().filter(|(one, _)| *one != key && lies_in(one, key)).peekable();
    below.peek().is_some() && below.all(|(_, standings)| !is_claim(standings[column]))
}

impl Proofs {
    pub fn failed(what: String) -> Self {
        Self { failures: vec![what], ..Self::default() }
    }

    pub fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    pub fn extend(&mut self, other: Self) {
        self.shown.extend(other.shown);
        self.beyond.extend(other.beyond);
        self.said.extend(other.said);
        self.elsewhere.extend(other.elsewhere);
        self.failures.extend(other.failures);
    }

    /// Takes what a case has shown, which is something of what the table says.
    pub fn show(&mut self, engine: EngineKind, case: &Case) {
        use Standing::{Emulated, Honoured, Within};
        for key in &case.keys {
            match (case.is_beyond, standing(key, engine)) {
                (false, Some(Honoured | Within(_) | Emulated(_))) => {
                    self.shown.insert((key.clone(), column(engine)));
                }
                (true, Some(Within(_))) => drop(self.beyond.insert((key.clone(), column(engine)))),
                (_, Some(other)) => self.fail(format!("`{key}` was shown on {engine}, the table says {other:?}")),
                (_, None) => self.fail(format!("`{key}` is in no row of the table")),
            }
        }
    }

    pub fn say(&mut self, key: &str, engine: EngineKind, is_beyond: bool) {
        let cells = if is_beyond { &mut self.beyond } else { &mut self.said };
        cells.insert((key.to_owned(), column(engine)));
    }

    pub fn name(&mut self, key: &str, engine: EngineKind, test: &str) {
        let cell = (key.to_owned(), column(engine));
        if self.is_shown(&cell.0, cell.1) {
            self.fail(format!("`{key}` is shown on {engine}: it needs no other test"));
        }
        self.elsewhere.insert(cell, test.to_owned());
    }

    /// Whether it was seen on the engine: itself, or a key that lies in it, which would not hold otherwise.
    pub fn is_shown(&self, key: &str, column: usize) -> bool {
        self.shown.iter().any(|(one, at)| *at == column && lies_in(one, key))
    }

    /// Whether it was said of it; what is told in its place is told with the key it lies in.
    fn is_said(&self, key: &str, column: usize) -> bool {
        let is_elsewhere = |one: &str| matches!(standing(one, ENGINES[column]), Some(Standing::Elsewhere(_)));
        let of = |one: &str| one == key || is_elsewhere(one) && lies_in(key, one);
        self.said.iter().any(|(one, at)| *at == column && of(one))
    }

    /// The other test that shows it.
    pub fn elsewhere(&self, key: &str, column: usize) -> Option<&str> {
        self.elsewhere.get(&(key.to_owned(), column)).map(|test| &**test)
    }

    /// Every row is shown in the way of its standing.
    pub fn must_be_whole(&mut self) {
        let mut missing = Vec::new();
        for (key, standings) in rows() {
            for (column, standing) in standings.iter().enumerate() {
                let cell = (key.to_string(), column);
                let is_known =
                    self.is_shown(key, column) || self.elsewhere.contains_key(&cell) || holds_others_only(key, column);
                let is_told = self.is_said(key, column);
                let lack = match standing {
                    Standing::Honoured if !is_known => "nothing shows it",
                    Standing::Within(_) if !is_known => "nothing shows a value within its limits",
                    Standing::Within(_) if !self.beyond.contains(&cell) && !self.elsewhere.contains_key(&cell) => {
                        "nothing shows that a value beyond its limits is refused"
                    }
                    Standing::Emulated(_) if !is_known => "nothing shows that its purpose is reached",
                    Standing::Emulated(_) | Standing::Harmless(_) if !is_told => "nothing shows what is said of it",
                    Standing::NotYet(_) | Standing::Refused(..) if !is_told => "nothing shows that it is refused",
                    Standing::Elsewhere(_) if !is_told && !is_known => "nothing shows it",
                    _ => continue,
                };
                missing.push(format!("`{key}` on {}: {lack}", ENGINES[column]));
            }
        }
        self.failures.extend(missing);
    }

    #[track_caller]
    pub fn must_have_held(&self) {
        assert!(self.failures.is_empty(), "{} failed:\n{}", self.failures.len(), self.failures.join("\n"));
    }
}
