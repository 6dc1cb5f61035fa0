//! Environment files in the dialect of Compose: quotes, `export`, comments, variables inside, values of several lines.
//!
//! Unquoted values end at the line's end or at ` #`; single quotes are literal; double quotes know the escapes
//! `\n`, `\r`, `\t`, `\a`, `\b`, `\f`, `\v`, `\"`, `\\`, `\$`. Variables come from outside first, then from earlier lines.

use crate::codes;
use crate::findings::{Findings, error, warning};
use crate::interpolate::template::{self, Problem};
use model::span::{FileId, Span};
use std::collections::BTreeMap;

/// One setting of an environment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: String,
    /// Its value; none for a bare name, which stands for the variable of the same name outside.
    pub value: Option<String>,
    /// Where it was written.
    pub span: Span,
}

/// More text from variables than this in one file is refused: each line can double the one before.
const MAX_EXPANDED_BYTES: usize = 8 << 20;

/// How values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// With quotes, comments and variables.
    Compose,
    /// `format: raw`: the value is the rest of the line.
    Raw,
}

/// The settings of a file in order; lines that cannot be read are reported and left out.
pub fn parse(
    file: FileId,
    text: &str,
    format: Format,
    outside: &dyn Fn(&str) -> Option<String>,
    found: &mut Findings,
) -> Vec<Setting> {
    Reader { file, text, at: 0, format, outside, inside: BTreeMap::new(), room: MAX_EXPANDED_BYTES, found }.run()
}

struct Reader<'a> {
    file: FileId,
    text: &'a str,
    at: usize,
    format: Format,
    outside: &'a dyn Fn(&str) -> Option<String>,
    inside: BTreeMap<String, String>,
    room: usize,
    found: &'a mut Findings,
}

impl<'a> Reader<'a> {
    fn run(mut self) -> Vec<Setting> {
        let mut settings = Vec::new();
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            if self.rest().is_empty() {
                return settings;
            }
            if self.rest().starts_with('#') {
                self.line();
                continue;
            }
            let setting = match self.format {
                Format::Compose => self.setting(),
                Format::Raw => self.raw(),
            };
            if let Some(setting) = setting {
                if let Some(value) = &setting.value {
                    self.inside.insert(setting.name.clone(), value.clone());
                }
                settings.push(setting);
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Consumes up to and with the line's end.
    fn line(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find('\n').unwrap_or(rest.len());
        self.at += (end + 1).min(rest.len());
        rest[..end].trim_end_matches('\r')
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    fn setting(&mut self) -> Option<Setting> {
        let start = self.at;
        if let Some(rest) = self.rest().strip_prefix("export").filter(|r| r.starts_with([' ', '\t'])) {
            self.at += "export".len() + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
        }
        let rest = self.rest();
        let legal = |c: char| c.is_alphanumeric() || "_.-[]".contains(c);
        let end = rest.find(|c: char| !legal(c)).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        let span = self.span(start, self.at + end);
        let after = rest[end..].trim_start_matches([' ', '\t']);
        let sign = after.chars().next();
        if name.is_empty() || !matches!(sign, None | Some('=' | ':' | '\n' | '\r' | '#')) {
            let line = self.line();
            let at = self.span(start, start + line.trim_end().len().min(self.text.len() - start));
            self.found.push(
                error(codes::DOTENV, "this line is no `NAME=value`")
                    .at(at, "")
                    .help("write `NAME=value` with letters, digits and `_` in the name, or begin a comment with `#`"),
            );
            return None;
        }
        if !matches!(sign, Some('=' | ':')) {
            self.line();
            let value = (self.outside)(&name);
            return Some(Setting { name, value, span });
        }
        self.at += end + (rest[end..].len() - after.len()) + 1;
        let value = self.value(start, &name)?;
        Some(Setting { name, value: Some(value), span })
    }

    /// A line of a raw file: everything behind the first `=` as it stands.
    fn raw(&mut self) -> Option<Setting> {
        let start = self.at;
        let line = self.line();
        let span = self.span(start, start + line.len());
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), (self.outside)(line.trim_end())),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            let help = "write `NAME=value` without blanks in the name";
            self.found.push(error(codes::DOTENV, "this line is no `NAME=value`").at(span, "").help(help));
            return None;
        }
        Some(Setting { name: name.to_owned(), value, span })
    }

    fn value(&mut self, start: usize, name: &str) -> Option<String> {
        let rest = self.rest();
        let value = rest.trim_start_matches([' ', '\t']);
        if let Some(quote @ ('"' | '\'')) = value.chars().next() {
            self.at += rest.len() - value.len();
            return self.quoted(quote, start, name);
        }
        let at = self.at;
        let line = self.line();
        Some(self.expand(unquoted(line), at, name))
    }

    fn quoted(&mut self, quote: char, start: usize, name: &str) -> Option<String> {
        let open = self.at;
        let body = &self.text[open + 1..];
        let mut escaped = false;
        let close = body.char_indices().find(|&(_, c)| {
            let closes = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let Some((close, _)) = close else {
            self.line();
            let at = self.span(open, open + 1);
            self.found.push(
                error(codes::DOTENV, format!("the quote `{quote}` of `{name}` is not closed"))
                    .at(at, "opened here")
                    .at(self.span(start, open), "for this variable")
                    .help(format!("close the value with `{quote}`")),
            );
            return None;
        };
        self.at = open + 1 + close + 1;
        self.after_quote();
        let body = &body[..close];
        Some(if quote == '\'' { body.replace("\\'", "'") } else { self.expand(&unescaped(body), open + 1, name) })
    }

    fn after_quote(&mut self) {
        let at = self.at;
        let rest = self.line().trim();
        if !rest.is_empty() && !rest.starts_with('#') {
            let span = self.span(at, at + rest.len());
            self.found.push(
                warning(codes::DOTENV, "text after the closing quote is left out")
                    .at(span, "")
                    .help("put it inside the quotes, or begin a comment with `#`"),
            );
        }
    }

    // The text of the file is shown to nobody, so what is said names the variable.
    fn expand(&mut self, text: &str, at: usize, of: &str) -> String {
        if !text.contains('$') {
            return text.to_owned();
        }
        let mut problems = Vec::new();
        let lookup = |name: &str| (self.outside)(name).or_else(|| self.inside.get(name).cloned());
        let out = template::expand(text, &lookup, &mut self.room, &mut |problem| problems.push(problem));
        let end = self.text[at..].find('\n').map_or(self.text.len(), |n| at + n);
        for problem in problems {
            let place = self.span(at, end);
            self.found.push(match problem {
                Problem::Syntax { what, .. } => {
                    error(codes::DOTENV, format!("the value of `{of}` is no variable expression: {what}"))
                        .at(place, "")
                        .help("write the value in single quotes if the `$` is meant literally")
                }
                Problem::TooLong { .. } => {
                    let message = format!("variables expand to more than {} MiB", MAX_EXPANDED_BYTES >> 20);
                    error(codes::EXPANSION, message).at(place, "the limit is passed here").help("shorten the values")
                }
                Problem::Undefined { name, .. } => {
                    warning(codes::UNDEFINED, format!("the variable `{name}` is not set, the empty text is used"))
                        .at(place, "")
                        .help(format!("set it above, or write `${{{name}:-}}` if empty is what you mean"))
                }
                Problem::Required { name, message, .. } => {
                    error(codes::REQUIRED, format!("the variable `{name}` must be set: {message}"))
                        .at(place, "")
                        .help(format!("set `{name}` above or in the environment"))
                }
            });
        }
        out
    }
}

fn unquoted(line: &str) -> &str {
    // `A=#1` is a value with a `#`, as passwords have them.
    let line = line.trim();
    line.find(" #").map_or(line, |at| &line[..at]).trim()
}

/// Escapes of double quotes; `\$` becomes `$$`, so that it is no variable afterwards.
fn unescaped(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('a') => out.push('\x07'),
            Some('b') => out.push('\x08'),
            Some('f') => out.push('\x0c'),
            Some('v') => out.push('\x0b'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\' | '\'')) => out.push(c),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(text: &str) -> (Vec<(String, Option<String>)>, Vec<&'static str>) {
        let mut found = Findings::default();
        let outside = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        let settings = parse(FileId(0), text, Format::Compose, &outside, &mut found);
        (
            settings.into_iter().map(|s| (s.name, s.value)).collect(),
            found.into_sorted().iter().map(|d| d.code).collect(),
        )
    }

    fn check(text: &str, want: &[(&str, &str)]) {
        let want = want.iter().map(|(n, v)| ((*n).to_owned(), Some((*v).to_owned()))).collect::<Vec<_>>();
        assert_eq!(run(text), (want, vec![]), "{text}");
    }

    #[test]
    fn the_dialect_is_composes() {
        check("A=1\nexport B = two \n# c\n\nC: 3", &[("A", "1"), ("B", "two"), ("C", "3")]);
        check(
            "A=a # comment\nB=a#b\nC=#x\nD= #x\nE=\t#x",
            &[("A", "a"), ("B", "a#b"), ("C", "#x"), ("D", "#x"), ("E", "#x")],
        );
        check("A=\"\\a\\b\\f\\v\"", &[("A", "\x07\x08\x0c\x0b")]);
        check("A='a $X # \"'\nB=\"x\\ny\\\"\" # c", &[("A", "a $X # \""), ("B", "x\ny\"")]);
        check("A=\"one\ntwo\"\nB=2", &[("A", "one\ntwo"), ("B", "2")]);
        check(
            "A=1\nB=${A}2\nC=$HOME/x\nD=\"\\$A\"\nE=${NO:-d}",
            &[("A", "1"), ("B", "12"), ("C", "/root/x"), ("D", "$A"), ("E", "d")],
        );
        check("A=\r\nB=1\r\n", &[("A", ""), ("B", "1")]);
        check("HOME\nB=1", &[("HOME", "/root"), ("B", "1")]);
        check("A=a=b", &[("A", "a=b")]);
    }

    #[test]
    fn a_bad_line_spoils_only_itself() {
        assert_eq!(run("=x\nA=1").1, ["MS0033"]);
        assert_eq!(run("=x\nA=1").0.len(), 1);
        assert_eq!(run("A B=1\nC=1").1, ["MS0033"]);
        assert_eq!(run("A='x\nC=1").1, ["MS0033"]);
        assert_eq!(run("A=${date").1, ["MS0033"]);
        assert_eq!(run("A=${B:?no}").1, ["MS0032"]);
        let doubling: String = (1..64).map(|n| format!("A{n}=$A{0}$A{0}\n", n - 1)).collect();
        assert!(run(&format!("A0=0123456789\n{doubling}")).1.contains(&"MS0034"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[A-C=:'\"$\\\\{}# \n\ré]{0,60}") {
            run(&text);
        }
    }
}
