//! The only place that prints: data on standard output, everything else on standard error.
//!
//! Owns when colours, live lines and questions are allowed. Colour never carries meaning alone: each tone comes
//! with a word or a sign. Never decides what is said. Start with [`Ui`].

pub mod live;
pub mod paint;
pub mod table;

use crate::cli::args::When;
use crate::exit::Failure;
use paint::{Paint, Tone};
use runtime::Environment;
use serde::Serialize;
use std::io::{self, BufRead as _, IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a command says things.
#[derive(Debug, Clone)]
pub struct Ui {
    /// Colours of standard output.
    pub out: Paint,
    /// Colours of standard error.
    pub err: Paint,
    /// Data is printed as JSON.
    pub json: bool,
    /// More is said.
    pub verbose: bool,
    quiet: bool,
    live: bool,
    /// Whoever read standard output has gone.
    unread: Arc<AtomicBool>,
}

/// What of the surroundings decides how things are said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings {
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set and not `0`.
    pub force_color: bool,
    /// `CI` is set: lines must not be rewritten.
    pub ci: bool,
    /// `TERM` is `dumb`.
    pub dumb: bool,
}

impl Surroundings {
    /// Those that the environment tells of.
    pub fn of(environment: &Environment) -> Self {
        Self {
            no_color: environment.get("NO_COLOR").is_some(),
            force_color: environment.get("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            ci: environment.get("CI").is_some(),
            dumb: environment.get("TERM") == Some("dumb"),
        }
    }

    /// Whether a stream gets colours. What was typed wins, then `NO_COLOR`.
    pub fn colours(self, when: When, terminal: bool) -> bool {
        match when {
            When::Always => true,
            When::Never => false,
            When::Auto => !self.no_color && (self.force_color || (terminal && !self.dumb)),
        }
    }
}

impl Ui {
    /// How to speak with these options in these surroundings.
    pub fn new(when: When, json: bool, quiet: bool, verbose: bool, around: Surroundings) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            out: Paint(around.colours(when, io::stdout().is_terminal())),
            err: Paint(around.colours(when, terminal)),
            json,
            verbose,
            quiet,
            live: terminal && !around.ci && !around.dumb && !quiet,
            unread: Arc::default(),
        }
    }

    /// Prints data.
    pub fn data(&self, text: impl AsRef<str>) {
        self.data_from(|out| out.write_all(text.as_ref().as_bytes()));
    }

    /// Prints data that is written piece by piece: as one text it would be held a second time.
    pub fn data_from(&self, write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) {
        if self.is_unread() {
            return;
        }
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = write(&mut out).and_then(|()| out.write_all(b"\n"));
        match written.and_then(|()| out.flush()) {
            // `mainstay plan | head`: the reader has seen enough, which changes nothing about how the command ends.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unread.store(true, Ordering::Relaxed),
            Err(error) => {
                self.say(&format!("error: could not write to standard output\n  because {error}"));
                std::process::exit(1);
            }
            Ok(()) => {}
        }
    }

    /// Prints data as JSON, for people and programs.
    pub fn json<T: Serialize>(&self, value: &T) {
        self.data(serde_json::to_string_pretty(value).expect("wire types are plain JSON"));
    }

    /// Prints one message of a stream as JSON on one line.
    pub fn json_line<T: Serialize>(&self, value: &T) {
        self.data(serde_json::to_string(value).expect("wire types are plain JSON"));
    }

    /// Says something by the way.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.say(text.as_ref());
        }
    }

    /// Says something that only the curious want to know.
    pub fn detail(&self, text: impl AsRef<str>) {
        if self.verbose {
            self.say(&self.err.tone(Tone::Dim, text.as_ref()));
        }
    }

    /// Says something that may hurt.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.say(&format!("{} {}", self.err.tone(Tone::Warn, "warning:"), text.as_ref()));
    }

    /// The last line: what to do next.
    pub fn next(&self, text: impl AsRef<str>) {
        self.note(format!("{} {}", self.err.tone(Tone::Dim, "next:"), self.err.commands(text.as_ref())));
    }

    /// Says it even when quiet, on standard error.
    pub fn say(&self, text: &str) {
        let mut err = io::stderr().lock();
        // Nobody is left to be told when standard error is closed.
        let _ = writeln!(err, "{text}");
    }

    /// Says why a command did not do what was asked.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            self.json(&JsonFailure { error: failure.into() });
        }
        let code = failure.code.as_deref().map(|code| format!("[{code}]")).unwrap_or_default();
        self.say(&format!("{} {}", self.err.tone(Tone::Bad, &format!("error{code}:")), failure.message));
        let mut lead = "because";
        for cause in &failure.causes {
            self.say(&format!("  {} {cause}", self.err.tone(Tone::Dim, lead)));
            lead = "       ";
        }
        if let Some(help) = &failure.help {
            self.say(&format!("  {} {}", self.err.tone(Tone::Accent, "help:"), self.err.commands(help)));
        }
    }

    /// Whether nobody reads standard output any more: what follows a stream may end.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Whether lines may be rewritten.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether somebody can be asked.
    pub fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks, and gives the trimmed answer.
    pub fn ask(&self, question: &str) -> io::Result<String> {
        let mut err = io::stderr().lock();
        write!(err, "{question} ")?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }

    /// Columns of the terminal, 100 where there is none.
    pub fn width(&self) -> usize {
        console::Term::stderr().size_checked().map_or(100, |(_, columns)| columns.max(40).into())
    }
}

#[derive(Serialize)]
struct JsonFailure<'a> {
    error: JsonError<'a>,
}

#[derive(Serialize)]
struct JsonError<'a> {
    code: Option<&'a str>,
    message: &'a str,
    causes: &'a [String],
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<&'a serde_json::Value>,
}

impl<'a> From<&'a Failure> for JsonError<'a> {
    fn from(failure: &'a Failure) -> Self {
        Self {
            code: failure.code.as_deref(),
            message: &failure.message,
            causes: &failure.causes,
            help: failure.help.as_deref(),
            diagnostics: failure.diagnostics.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_wins_then_no_color_then_the_terminal() {
        let check = |around: Surroundings, when: When, terminal: bool, want: bool| {
            assert_eq!(around.colours(when, terminal), want, "{around:?} {when:?} {terminal}");
        };
        let plain = Surroundings::default();
        check(plain, When::Auto, true, true);
        check(plain, When::Auto, false, false);
        check(Surroundings { dumb: true, ..plain }, When::Auto, true, false);
        check(Surroundings { no_color: true, ..plain }, When::Auto, true, false);
        check(Surroundings { no_color: true, force_color: true, ..plain }, When::Auto, true, false);
        check(Surroundings { force_color: true, ..plain }, When::Auto, false, true);
        check(Surroundings { no_color: true, ..plain }, When::Always, false, true);
        check(Surroundings { force_color: true, ..plain }, When::Never, true, false);
    }
}
