//! Collects diagnostics: all problems of one run, in the order of the files, each once.
//!
//! Never decides how bad a problem is or what it is called: codes are in [`crate::codes`].

use crate::codes::Code;
use model::diagnostic::{Diagnostic, Severity};
use model::span::Span;
use std::collections::HashSet;

/// More than this is only counted: nobody reads on, and a hostile file could fill the memory with findings.
const MAX_KEPT: usize = 1000;

/// Suggestions cost more than findings, so only the first ones have them.
const MAX_SUGGESTED: usize = 50;

/// More names than this are not looked through for a suggestion.
const MAX_CANDIDATES: usize = 500;

/// The problems found so far.
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Diagnostic>,
    /// Values that are known to be wrong: what follows from that is not said again.
    spoiled: HashSet<Span>,
    more: usize,
    errors: usize,
}

impl Findings {
    /// Keeps one, unless it only follows from a value that is known to be wrong.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.labels.first().is_none_or(|label| !self.spoiled.contains(&label.span)) {
            self.insist(diagnostic);
        }
    }

    /// Keeps one in any case.
    pub fn insist(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.is_error());
        if self.all.len() < MAX_KEPT {
            self.all.push(diagnostic);
        } else {
            self.more += 1;
        }
    }

    /// Takes over what was found elsewhere.
    pub fn absorb(&mut self, other: Findings) {
        other.all.into_iter().for_each(|diagnostic| self.push(diagnostic));
        self.more += other.more;
        self.errors += usize::from(other.more > 0) * other.errors;
    }

    /// "did you mean `x`?" or the fallback.
    pub fn did_you_mean<'a>(
        &self,
        found: &str,
        known: impl IntoIterator<Item = &'a str>,
        otherwise: impl FnOnce() -> String,
    ) -> String {
        if self.all.len() >= MAX_SUGGESTED {
            return otherwise();
        }
        match nearest(found, known.into_iter().take(MAX_CANDIDATES)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => otherwise(),
        }
    }

    /// Says that the value at this place is wrong, which is reported in another way.
    pub fn spoil(&mut self, value: Span) {
        self.spoiled.insert(value);
    }

    /// Whether anything found forbids planning.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// All of them by file and place, errors before warnings at the same place, each once.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        let place = |d: &Diagnostic| d.labels.first().map(|label| label.span);
        // What points nowhere (a missing file) comes first: it is usually the cause of the rest.
        self.all.sort_by(|a, b| (place(a), a.severity, a.code).cmp(&(place(b), b.severity, b.code)));
        let mut seen = HashSet::new();
        if self.more > 0 {
            let message = format!("{} further findings are not shown", self.more);
            self.all.push(note(crate::codes::TOO_LARGE, message));
        }
        // An error among those that were not kept still has to be seen as one.
        if self.errors > 0 && !self.all.iter().any(Diagnostic::is_error) {
            self.all.push(error(crate::codes::TOO_LARGE, "there are errors among the findings that are not shown"));
        }
        self.all.retain(|d| seen.insert((d.code, d.message.clone(), place(d))));
        self.all
    }
}

/// Places shown for one finding; more would hide the message.
const MAX_LABELS: usize = 4;

/// The finding at all these places, of which only the first ones are shown.
pub fn with_places(diagnostic: Diagnostic, places: &[Span]) -> Diagnostic {
    let shown = places.iter().take(MAX_LABELS).fold(diagnostic, |d, span| d.at(*span, ""));
    let more = places.len().saturating_sub(MAX_LABELS);
    if more == 0 {
        return shown;
    }
    let message = format!("{} ({more} more places)", shown.message);
    Diagnostic { message, ..shown }
}

/// An error with a code of the table.
pub fn error(code: Code, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code.number, message)
}

/// A warning with a code of the table.
pub fn warning(code: Code, message: impl Into<String>) -> Diagnostic {
    Diagnostic { severity: Severity::Warning, ..error(code, message) }
}

/// A note with a code of the table.
pub fn note(code: Code, message: impl Into<String>) -> Diagnostic {
    Diagnostic { severity: Severity::Note, ..error(code, message) }
}

/// The known name nearest to `found`, if it is near enough to be what was meant.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names of files can be hostile; the distance is quadratic in their length.
    if found.len() > 64 {
        return None;
    }
    let lower = found.to_lowercase();
    known
        .into_iter()
        .filter(|name| name.len() <= 64)
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(found.chars().count()) / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_bounded_and_errors_are_never_lost() {
        let mut found = Findings::default();
        (0..5000).for_each(|n| found.push(warning(crate::codes::VALUE, format!("{n}"))));
        found.push(error(crate::codes::VALUE, "lost?"));
        assert!(found.has_errors());
        let sorted = found.into_sorted();
        assert_eq!(sorted.len(), MAX_KEPT + 2);
        assert!(sorted.iter().any(Diagnostic::is_error));
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        let check = |found: &str, want: Option<&str>| {
            assert_eq!(nearest(found, ["image", "command", "volumes", "environment"]), want, "{found}");
        };
        check("imgae", Some("image"));
        check("Image", Some("image"));
        check("volume", Some("volumes"));
        check("enviroment", Some("environment"));
        check("foo", None);
        check(&"x".repeat(100_000), None);
    }
}
