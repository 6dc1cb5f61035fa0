//! Reads typed values out of a tree, with one diagnostic for each value that is none.

use crate::codes::{self, Code};
use crate::findings::{Findings, error};
use crate::syntax::scalar::Meaning;
use crate::syntax::{Map, Node, Value};
use model::units::{Bytes, parse_duration};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// Reads values; what is wrong goes to the findings.
pub struct Reader<'a> {
    /// Where problems go.
    pub found: &'a mut Findings,
}

impl Reader<'_> {
    fn wrong_type(&mut self, node: &Node, key: &str, wanted: &str) {
        let diagnostic =
            error(codes::TYPE, format!("`{key}` must be {wanted}, this is {}", node.kind())).at(node.span, "");
        let quotes = wanted.ends_with("text") && node.as_scalar().is_some_and(|scalar| !scalar.is_null());
        let help = if quotes { "put it in quotes".to_owned() } else { format!("write {wanted}") };
        self.found.push(diagnostic.help(help));
    }

    /// A value that is not legal.
    pub fn wrong(&mut self, code: Code, node: &Node, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(error(code, message).at(node.span, "").help(help));
    }

    /// A mapping; an empty value is an empty mapping.
    pub fn map<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n Map> {
        static EMPTY: Map = Map { entries: Vec::new() };
        match &node.value {
            Value::Map(map) => Some(map),
            _ if node.is_null() => Some(&EMPTY),
            _ => {
                self.wrong_type(node, key, "a mapping");
                None
            }
        }
    }

    /// A list; an empty value is an empty list.
    pub fn list<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            _ if node.is_null() => &[],
            _ => {
                self.wrong_type(node, key, "a list");
                &[]
            }
        }
    }

    /// A text; numbers and booleans must be quoted, because they may be read as something else.
    pub fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match node.as_scalar() {
            Some(scalar) if scalar.meaning() == Meaning::Text => Some(scalar.text.to_string()),
            _ => {
                self.wrong_type(node, key, "text");
                None
            }
        }
    }

    /// Any scalar that says something: whole numbers in decimal, which is how they travel, all else as written.
    pub fn scalar(&mut self, node: &Node, key: &str) -> Option<String> {
        match node.as_scalar().filter(|scalar| !scalar.is_null()) {
            Some(scalar) => Some(match scalar.meaning() {
                Meaning::Int(number) => number.to_string(),
                _ => scalar.text.to_string(),
            }),
            None => {
                self.wrong_type(node, key, "a single value");
                None
            }
        }
    }

    /// A list of texts or numbers.
    pub fn scalars(&mut self, node: &Node, key: &str) -> Vec<String> {
        let items = self.list(node, key);
        items.iter().filter_map(|item| self.scalar(item, key)).collect()
    }

    /// A value with a form of its own.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, code: Code, node: &Node, key: &str) -> Option<T> {
        let text = self.scalar(node, key)?;
        match text.trim().parse() {
            Ok(value) => Some(value),
            Err(problem) => {
                self.wrong(code, node, format!("`{key}`: {problem}"), format!("write a legal `{key}`"));
                None
            }
        }
    }

    /// A whole number within bounds; `-1` and other negatives are out of bounds.
    pub fn number(&mut self, node: &Node, key: &str, least: u64, most: u64) -> Option<u64> {
        let text = self.scalar(node, key)?;
        let number = match node.as_scalar()?.meaning() {
            Meaning::Int(number) => u64::try_from(number).ok(),
            _ => text.trim().parse().ok(),
        };
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Some(number),
            None => {
                let message = format!("`{key}` must be a whole number from {least} to {most}, not `{text}`");
                self.wrong(codes::VALUE, node, message, format!("write a number from {least} to {most}"));
                None
            }
        }
    }

    /// `true` or `false`, also in the words Compose still reads.
    pub fn boolean(&mut self, node: &Node, key: &str) -> Option<bool> {
        let text = self.scalar(node, key)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "no" | "n" | "off" | "0" => Some(false),
            _ => {
                let message = format!("`{key}` must be `true` or `false`, not `{text}`");
                self.wrong(codes::VALUE, node, message, "write `true` or `false`");
                None
            }
        }
    }

    /// A duration such as `1m30s`.
    pub fn duration(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let text = self.scalar(node, key)?;
        match parse_duration(&text) {
            Ok(duration) => Some(duration),
            Err(problem) => {
                self.wrong(
                    codes::VALUE,
                    node,
                    format!("`{key}`: {problem}"),
                    "write a number with a unit, for example `30s`",
                );
                None
            }
        }
    }

    /// A size such as `512m`.
    pub fn bytes(&mut self, node: &Node, key: &str) -> Option<Bytes> {
        self.parse(codes::VALUE, node, key)
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, node: &Node, key: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.scalar(node, key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let help = self
            .found
            .did_you_mean(&text, words.iter().map(|(word, _)| *word), || format!("write {}", names.join(" or ")));
        self.wrong(codes::VALUE, node, format!("`{text}` is no `{key}`, known are {}", names.join(", ")), help);
        None
    }

    /// A path inside a replica.
    pub fn target(&mut self, node: &Node, key: &str) -> Option<String> {
        let text = self.text(node, key)?;
        if text.starts_with('/') {
            return Some(crate::files::absolute("/", &text));
        }
        let message = format!("`{key}` must be an absolute path, not `{text}`");
        let is_drive = text.as_bytes().get(1) == Some(&b':');
        let help = match is_drive {
            true => "a name of one letter before `:` is read as a drive of Windows: give it a longer name".to_owned(),
            false => format!("write `/{}`", text.trim_start_matches("./")),
        };
        self.wrong(codes::VALUE, node, message, help);
        None
    }
}
