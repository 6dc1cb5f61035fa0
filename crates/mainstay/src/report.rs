//! Diagnostics as people and programs read them: every problem with its place, its cure and its code.

pub mod sarif;

use crate::ui::Ui;
use crate::ui::paint::Tone;
use declare::codes::ADVICE;
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceSpan, ThemeCharacters, ThemeStyles,
};
use model::diagnostic::{Diagnostic, Severity};
use model::span::{FileId, Sources, Span};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Shows diagnostics on standard error; with `all`, notes as well.
pub fn show(ui: &Ui, diagnostics: &[Diagnostic], sources: &Sources, all: bool) {
    let theme = GraphicalTheme {
        characters: ThemeCharacters::unicode(),
        styles: if ui.err.0 { ThemeStyles::ansi() } else { ThemeStyles::none() },
    };
    let printer = GraphicalReportHandler::new_themed(theme).with_width(ui.width().min(120)).with_links(false);
    let shown = diagnostics.iter().filter(|diagnostic| all || diagnostic.severity != Severity::Note);
    for diagnostic in shown {
        let mut text = String::new();
        if printer.render_report(&mut text, &Shown::new(diagnostic, sources)).is_err() {
            // A span that does not fit its file is our mistake; what was found must be seen all the same.
            text = format!("{}: {}", diagnostic.code, diagnostic.message);
        }
        ui.say(text.trim_end());
        ui.say("");
    }
}

/// Diagnostics without advice, which waits until it is asked for.
pub fn pressing(diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    let is_advice = |diagnostic: &&Diagnostic| ADVICE.iter().any(|code| code.number == diagnostic.code);
    diagnostics.iter().filter(|diagnostic| !is_advice(diagnostic)).cloned().collect()
}

/// Counts in words: `2 errors, 1 warning`.
pub fn tally(ui: &Ui, diagnostics: &[Diagnostic]) -> Option<String> {
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let part =
        |n: usize, word: &str, tone: Tone| (n > 0).then(|| ui.err.tone(tone, &crate::progress::words::count(n, word)));
    let parts = [
        part(count(Severity::Error), "error", Tone::Bad),
        part(count(Severity::Warning), "warning", Tone::Warn),
        part(count(Severity::Note), "note", Tone::Dim),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A diagnostic for programs.
#[derive(Debug, Serialize)]
pub struct JsonDiagnostic<'a> {
    severity: &'static str,
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
    labels: Vec<JsonLabel<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonLabel<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    start: u32,
    end: u32,
    text: &'a str,
}

/// Diagnostics for programs: places as file, line and column from 1, and as bytes.
pub fn json<'a>(diagnostics: &'a [Diagnostic], sources: &'a Sources) -> Vec<JsonDiagnostic<'a>> {
    let label = |label: &'a model::diagnostic::Label| {
        let (line, column) = sources.position(label.span);
        let Span { file, start, end } = label.span;
        JsonLabel { file: &sources.get(file).name, line, column, start, end, text: &label.text }
    };
    let one = |diagnostic: &'a Diagnostic| JsonDiagnostic {
        severity: match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        code: diagnostic.code,
        message: &diagnostic.message,
        help: diagnostic.help.as_deref(),
        labels: diagnostic.labels.iter().map(label).collect(),
    };
    diagnostics.iter().map(one).collect()
}

// The code stands before the message: on a line of its own it would double the height of short findings.
fn headline(diagnostic: &Diagnostic) -> String {
    format!("{}: {}", diagnostic.code, diagnostic.message)
}

/// One file's part of a diagnostic, in the form miette prints.
#[derive(Debug)]
struct Shown<'a> {
    diagnostic: &'a Diagnostic,
    message: String,
    main: bool,
    source: Option<NamedSource<Arc<str>>>,
    labels: Vec<LabeledSpan>,
    elsewhere: Vec<Shown<'a>>,
}

impl<'a> Shown<'a> {
    fn new(diagnostic: &'a Diagnostic, sources: &Sources) -> Self {
        let mut files: Vec<FileId> = diagnostic.labels.iter().map(|label| label.span.file).collect();
        files.dedup();
        let mut parts = files.iter().enumerate().map(|(n, file)| Self::part(diagnostic, sources, *file, n == 0));
        let mut main = parts.next().unwrap_or_else(|| Self::bare(diagnostic));
        main.elsewhere = parts.collect();
        main
    }

    fn bare(diagnostic: &'a Diagnostic) -> Self {
        let message = headline(diagnostic);
        Self { diagnostic, message, main: true, source: None, labels: Vec::new(), elsewhere: Vec::new() }
    }

    fn part(diagnostic: &'a Diagnostic, sources: &Sources, file: FileId, main: bool) -> Self {
        let source = sources.get(file);
        let length = source.text.len();
        let here = diagnostic.labels.iter().filter(|label| label.span.file == file);
        let labels = here.enumerate().map(|(n, label)| {
            let start = (label.span.start as usize).min(length);
            let end = (label.span.end as usize).clamp(start, length);
            let span = SourceSpan::from(start..end);
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            if n == 0 { LabeledSpan::new_primary_with_span(text, span) } else { LabeledSpan::new_with_span(text, span) }
        });
        Self {
            labels: labels.collect(),
            source: Some(NamedSource::new(&source.name, source.text.clone()).with_language("yaml")),
            message: if main { headline(diagnostic) } else { "the other half is here".to_owned() },
            main,
            ..Self::bare(diagnostic)
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            _ if !self.main => miette::Severity::Advice,
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Note => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.diagnostic.help.as_ref().filter(|_| self.main)?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        let parts = self.elsewhere.iter().map(|part| part as &dyn miette::Diagnostic);
        (!self.elsewhere.is_empty()).then(|| Box::new(parts) as Box<dyn Iterator<Item = &dyn miette::Diagnostic>>)
    }
}
