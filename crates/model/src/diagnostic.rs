//! What is wrong with the user's files: values that are collected, never thrown.

use crate::span::Span;

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing can be planned until it is mended.
    Error,
    /// It works, but will hurt.
    Warning,
    /// Worth knowing, e.g. that a key is emulated.
    Note,
}

/// A place a diagnostic points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is to be seen there, in a few words; may be empty.
    pub text: String,
}

/// One finding about the user's files.
///
/// Form: lower case, no full stop, literals in backticks, the offending value and the limit shown;
/// `help` is one imperative sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code `MSnnnn`; `docs/errors/MSnnnn.md` says cause, check and cure.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where; the first label is the main one, the others are the other half of a conflict.
    pub labels: Vec<Label>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with a code.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), labels: Vec::new(), help: None }
    }

    /// A warning with a code.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// A note with a code.
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(code, message) }
    }

    /// Points at a place.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether nothing can be planned until it is mended.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
