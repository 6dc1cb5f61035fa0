//! `.dockerignore`: what of a folder an image is not built of.
//!
//! The rules are Docker's own (`moby/patternmatcher`): the last line that matches a path or a folder above it wins, `!`
//! takes something back in, `**` stands for any number of folders. Pure; [`super::context`] asks for every path.

use std::collections::BTreeSet;

/// A line that is no pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{text}` is no pattern: `[` without `]`")]
pub struct NoPattern {
    /// Its number.
    pub line: usize,
    /// What is written.
    pub text: String,
}

/// The lines of one file.
#[derive(Debug, Default)]
pub struct Rules {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    /// `!`: it takes back in.
    takes_in: bool,
    parts: Vec<Part>,
    /// What every match begins with.
    literal: String,
    is_literal: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    /// `?`
    One,
    /// `*`: within one name.
    Star,
    /// `**/`: any number of folders, also none.
    Folders,
    /// `**` at the end.
    Rest,
    /// `[a-z]`, `[^a-z]`
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Rules {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, NoPattern> {
        let mut patterns = Vec::new();
        for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (takes_in, rest) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let path = clean(rest);
            if path.is_empty() {
                continue;
            }
            let parts = parts(&path).ok_or_else(|| NoPattern { line: n + 1, text: line.to_owned() })?;
            patterns.push(Pattern::new(takes_in, parts));
        }
        Ok(Self { patterns })
    }

    /// Whether a path, relative to the folder, is left out.
    pub fn leave_out(&self, path: &str) -> bool {
        let above: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        let matches = |pattern: &Pattern| pattern.is_match(path) || above.iter().any(|folder| pattern.is_match(folder));
        let mut is_out = false;
        for pattern in &self.patterns {
            // A line that would change nothing need not be asked.
            if pattern.takes_in == is_out && matches(pattern) {
                is_out = !pattern.takes_in;
            }
        }
        is_out
    }

    /// Whether a folder that is left out may hold something that is taken back in.
    pub fn may_take_in_below(&self, folder: &str) -> bool {
        let below = format!("{folder}/");
        self.patterns.iter().filter(|pattern| pattern.takes_in).any(|pattern| {
            pattern.literal.starts_with(&below) || !pattern.is_literal && below.starts_with(&pattern.literal)
        })
    }
}

/// The path without `.`, `..`, doubled slashes and the one at its beginning; empty for the folder itself.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if path.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// None when a class is not closed.
fn parts(path: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                chars.next_if_eq(&'/');
                if chars.peek().is_none() { Part::Rest } else { Part::Folders }
            }
            '*' => Part::Star,
            '?' => Part::One,
            '[' => class(&mut chars)?,
            '\\' => Part::Char(chars.next().unwrap_or('\\')),
            c => Part::Char(c),
        });
    }
    Some(parts)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Part> {
    let not = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let first = match chars.next()? {
            // The first one stands for itself.
            ']' if !ranges.is_empty() => return Some(Part::Class { not, ranges }),
            '\\' => chars.next()?,
            c => c,
        };
        let is_range = chars.peek() == Some(&'-') && chars.clone().nth(1).is_some_and(|c| c != ']');
        let last = if is_range {
            chars.next();
            match chars.next()? {
                '\\' => chars.next()?,
                c => c,
            }
        } else {
            first
        };
        ranges.push((first, last));
    }
}

impl Pattern {
    fn new(takes_in: bool, parts: Vec<Part>) -> Self {
        let chars = parts.iter().map_while(|part| if let Part::Char(c) = part { Some(*c) } else { None });
        let literal: String = chars.collect();
        let is_literal = parts.iter().all(|part| matches!(part, Part::Char(_)));
        Self { takes_in, parts, literal, is_literal }
    }

    fn is_match(&self, path: &str) -> bool {
        if self.is_literal || !path.starts_with(&self.literal) {
            return self.is_literal && path == self.literal;
        }
        // The parts that may come next, all ways at once: no pattern makes this slow.
        let mut at = BTreeSet::new();
        self.stand_before(0, &mut at);
        for c in path.chars() {
            let mut next = BTreeSet::new();
            for &n in &at {
                match self.parts.get(n) {
                    Some(Part::Char(own)) if *own == c => self.stand_before(n + 1, &mut next),
                    Some(Part::One) if c != '/' => self.stand_before(n + 1, &mut next),
                    Some(Part::Star) if c != '/' => self.stand_before(n, &mut next),
                    Some(Part::Rest) => self.stand_before(n, &mut next),
                    Some(Part::Folders) => {
                        // Within a folder's name the parts behind cannot come yet.
                        next.insert(n);
                        if c == '/' {
                            self.stand_before(n + 1, &mut next);
                        }
                    }
                    Some(Part::Class { not, ranges })
                        if ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *not =>
                    {
                        self.stand_before(n + 1, &mut next);
                    }
                    _ => {}
                }
            }
            at = next;
        }
        at.contains(&self.parts.len())
    }

    /// Adds a part, and those behind it that need nothing before them.
    fn stand_before(&self, n: usize, at: &mut BTreeSet<usize>) {
        if at.insert(n) && matches!(self.parts.get(n), Some(Part::Star | Part::Rest | Part::Folders)) {
            self.stand_before(n + 1, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, out: &[&str], inside: &[&str]) {
        let rules = Rules::parse(rules).expect("legal");
        out.iter().for_each(|path| assert!(rules.leave_out(path), "{path} is taken"));
        inside.iter().for_each(|path| assert!(!rules.leave_out(path), "{path} is left out"));
    }

    #[test]
    fn patterns_match_as_docker_has_it() {
        check("node_modules", &["node_modules", "node_modules/a/b"], &["web/node_modules", "node_modules2"]);
        check("**/node_modules", &["node_modules", "a/b/node_modules/c"], &["a/node_modules_", "xnode_modules"]);
        check("*.log", &["a.log", ".log"], &["a/b.log", "a.logs"]);
        check("*/*.log", &["a/b.log"], &["a.log", "a/b/c.log"]);
        check("a/**", &["a/b", "a/b/c"], &["b/a"]);
        check("**", &["a", "a/b"], &[]);
        check("a/**/z", &["a/z", "a/b/c/z"], &["a/zz", "b/z"]);
        check("temp?", &["tempa", "tempa/x"], &["temp", "temp/x"]);
        check("x[a-c^]y", &["xby", "x^y"], &["xdy"]);
        check("x[^a-c]y", &["xdy"], &["xby"]);
        check(r"a\*b", &["a*b"], &["axb"]);
        check("/root\n./dot/\nup/../down", &["root", "dot/x", "down"], &["up"]);
        check("a.b+c$(d)", &["a.b+c$(d)"], &["axb+c$(d)"]);
        check("# a\n\n  \n.\n/", &[], &["# a", "a"]);
        check("\u{feff}bom", &["bom"], &[]);
        check("ü*", &["über"], &["uber"]);
    }

    #[test]
    fn the_last_line_that_matches_wins() {
        check("*\n!src\n!README*\nREADME-secret", &["a", "README-secret", "a/b"], &["src", "src/x", "README"]);
        check("*.md\n!README.md", &["a.md"], &["README.md"]);
        check("!README.md\n*.md", &["README.md"], &[]);
        check("a\n!a/b\na/b/c", &["a/x", "a/b/c", "a/b/c/d"], &["a/b", "a/b/d"]);
        check("**\n!**/*.rs", &["a", "a/b.txt"], &["a/b.rs", "c.rs"]);
    }

    #[test]
    fn a_folder_is_entered_where_something_in_it_may_come_back() {
        let check = |rules: &str, folder: &str, want: bool| {
            assert_eq!(Rules::parse(rules).expect("legal").may_take_in_below(folder), want, "{rules:?} {folder}");
        };
        check("a\n!a/b", "a", true);
        check("a\n!ab", "a", false);
        check("a", "a", false);
        check("*\n!**/x", "a/b", true);
        check("*\n!src/*.rs", "src", true);
        check("*\n!src/*.rs", "node_modules", false);
        check("*\n!src*", "src-x", true);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let error = Rules::parse("a\n[b").expect_err("no pattern");
        assert_eq!(error.to_string(), "line 2: `[b` is no pattern: `[` without `]`");
    }

    #[test]
    fn no_pattern_takes_long() {
        let rules = Rules::parse(&"*a".repeat(200)).expect("legal");
        assert!(!rules.leave_out(&"a".repeat(4000).replace("aaaa", "aaab")));
    }
}
