//! One text with `$` expressions: `$X`, `${X}`, `${X:-d}`, `${X-d}`, `${X:?e}`, `${X?e}`, `${X:+a}`, `${X+a}`,
//! nested, and `$$` for a dollar sign.

/// Deeper nesting of expressions is refused: this parser recurses.
const MAX_NESTING: usize = 200;

/// Why a text could not be expanded, at a byte of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// An expression that is none.
    Syntax {
        /// Byte of the `$`.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A variable without value; the empty text was put there.
    Undefined {
        /// Byte of the `$`.
        at: usize,
        /// Its name.
        name: String,
    },
    /// A `?` expression whose variable has no value.
    Required {
        /// Byte of the `$`.
        at: usize,
        /// Its name.
        name: String,
        /// What the author has to say about it.
        message: String,
    },
    /// The values of variables are longer than there is room for; the rest of the text was left out.
    TooLong {
        /// Byte of the `$`.
        at: usize,
    },
}

/// Expands `text`; every problem is reported through `problem`.
///
/// `room` is how many bytes the values of variables may add; what is used is taken off it, so that one budget can
/// be spent over many texts.
pub fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    room: &mut usize,
    problem: &mut dyn FnMut(Problem),
) -> String {
    Expander { text, lookup, room, problem, at: 0 }.run(0, false)
}

struct Expander<'a> {
    text: &'a str,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    room: &'a mut usize,
    problem: &'a mut dyn FnMut(Problem),
    at: usize,
}

impl Expander<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Expands up to the end, or within braces up to the closing one, which is not consumed.
    fn run(&mut self, depth: usize, braced: bool) -> String {
        let mut out = String::new();
        while let Some(next) = self.rest().find(|c| c == '$' || (braced && c == '}')) {
            out.push_str(&self.text[self.at..self.at + next]);
            self.at += next;
            if self.rest().starts_with('}') {
                return out;
            }
            self.dollar(depth, &mut out);
        }
        out.push_str(self.rest());
        self.at = self.text.len();
        out
    }

    fn syntax(&mut self, at: usize, what: &'static str) {
        (self.problem)(Problem::Syntax { at, what });
    }

    fn dollar(&mut self, depth: usize, out: &mut String) {
        let start = self.at;
        self.at += 1;
        let rest = self.rest();
        if rest.starts_with('$') {
            self.at += 1;
            out.push('$');
        } else if rest.starts_with('{') {
            self.at += 1;
            self.braces(start, depth, out);
        } else {
            let name = self.name();
            if name.is_empty() {
                // Prices, patterns and other programs' variables: it stays as it is.
                out.push('$');
            } else {
                self.plain(start, name, out);
            }
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let legal = |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
        let end = rest.char_indices().find(|&pair| !legal(pair)).map_or(rest.len(), |(at, _)| at);
        let name = rest[..end].to_owned();
        self.at += end;
        name
    }

    fn plain(&mut self, start: usize, name: String, out: &mut String) {
        match (self.lookup)(&name) {
            Some(value) => self.put(start, &value, out),
            None => (self.problem)(Problem::Undefined { at: start, name }),
        }
    }

    /// Adds a variable's value, or ends the text where there is no room for it.
    fn put(&mut self, start: usize, value: &str, out: &mut String) {
        match self.room.checked_sub(value.len()) {
            Some(rest) => {
                *self.room = rest;
                out.push_str(value);
            }
            None => {
                *self.room = 0;
                self.at = self.text.len();
                (self.problem)(Problem::TooLong { at: start });
            }
        }
    }

    fn braces(&mut self, start: usize, depth: usize, out: &mut String) {
        let name = self.name();
        if name.is_empty() {
            self.syntax(start, "`${` needs a variable's name after it");
            return;
        }
        let colon = self.rest().starts_with(':');
        let operator = self.rest()[usize::from(colon)..].chars().next();
        match operator {
            Some('}') if !colon => {
                self.at += 1;
                self.plain(start, name, out);
            }
            Some(operator @ ('-' | '?' | '+')) => {
                self.at += 1 + usize::from(colon);
                if depth >= MAX_NESTING {
                    self.syntax(start, "expressions are nested too deeply");
                    self.at = self.text.len();
                    return;
                }
                self.operator(start, &name, operator, colon, depth, out);
            }
            None => self.syntax(start, "`${` is not closed by `}`"),
            Some(_) => self.syntax(start, "after the name only `}`, `:-`, `-`, `:?`, `?`, `:+` and `+` are known"),
        }
    }

    fn operator(&mut self, start: usize, name: &str, operator: char, colon: bool, depth: usize, out: &mut String) {
        let value = (self.lookup)(name).filter(|value| !colon || !value.is_empty());
        // The word is read in any case, but its problems count only where it is used.
        let used = value.is_some() == (operator == '+');
        let (word, held) = self.word(depth);
        if held.iter().any(|problem| matches!(problem, Problem::TooLong { .. })) {
            (self.problem)(Problem::TooLong { at: start });
            return;
        }
        if !self.rest().starts_with('}') {
            self.syntax(start, "`${` is not closed by `}`");
            return;
        }
        self.at += 1;
        for problem in held {
            if used {
                (self.problem)(problem);
            }
        }
        match (operator, value) {
            ('-' | '?', Some(value)) => self.put(start, &value, out),
            ('-', None) | ('+', Some(_)) => out.push_str(&word),
            ('?', None) => {
                (self.problem)(Problem::Required { at: start, name: name.to_owned(), message: word });
            }
            _ => {}
        }
    }

    fn word(&mut self, depth: usize) -> (String, Vec<Problem>) {
        let mut held = Vec::new();
        let mut keep = |problem| held.push(problem);
        let mut inner =
            Expander { text: self.text, lookup: self.lookup, room: self.room, problem: &mut keep, at: self.at };
        let word = inner.run(depth + 1, true);
        self.at = inner.at;
        (word, held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(text: &str) -> (String, Vec<Problem>) {
        let lookup = |name: &str| match name {
            "X" => Some("x".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut problems = Vec::new();
        let out = expand(text, &lookup, &mut 1000, &mut |problem| problems.push(problem));
        (out, problems)
    }

    fn check(text: &str, want: &str) {
        assert_eq!(run(text), (want.to_owned(), Vec::new()), "{text}");
    }

    #[test]
    fn every_form_expands() {
        check("$X-${X}", "x-x");
        check("${X:-d}${X-d}${X:+a}${X+a}${X:?e}${X?e}", "xxaaxx");
        check("${EMPTY:-d}|${EMPTY-d}|${EMPTY:+a}|${EMPTY+a}|${EMPTY?e}", "d|||a|");
        check("${NO:-d}${NO-d}|${NO:+a}|${NO+a}", "dd||");
        check("${NO:-${NO2-${X}}}", "x");
        check("${NO:-}", "");
        check("$$X $${X} 100%", "$X ${X} 100%");
        check("${NO:-a$$b}", "a$b");
        check("${NO:-http://x:80/?a=b}", "http://x:80/?a=b");
        check("${X:-${NO:?not asked}}", "x");
        check("${NO:-{a}}", "{a}");
    }

    #[test]
    fn problems_are_named_with_their_place() {
        let check = |text: &str, want: Problem| assert_eq!(run(text).1, [want], "{text}");
        check("a$NO", Problem::Undefined { at: 1, name: "NO".into() });
        check("${NO:?set it}", Problem::Required { at: 0, name: "NO".into(), message: "set it".into() });
        check("${EMPTY:?e}", Problem::Required { at: 0, name: "EMPTY".into(), message: "e".into() });
        for fine in ["$", "a $ b", "$1", "$(date)", "${X:-${}}"] {
            assert_eq!(run(fine).1, [], "{fine}");
        }
        for bad in ["${", "${}", "${X", "${X!}", "${X:=a}", "${X:-a", "${X:}"] {
            assert!(matches!(run(bad).1[..], [Problem::Syntax { .. }, ..]), "{bad}");
        }
        assert!(matches!(run(&"${A:-".repeat(10_000)).1[..], [Problem::Syntax { .. }, ..]));
    }

    #[test]
    fn values_are_bounded() {
        assert!(matches!(run(&"$X".repeat(1000)).1[..], []));
        assert!(matches!(run(&"$X".repeat(100_000)).1[..], [Problem::TooLong { at: 2000 }]));
        assert!(matches!(run(&format!("${{NO:-{}}}", "$X".repeat(2000))).1[..], [Problem::TooLong { at: 0 }]));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[$XN{}:?+\\-a é]{0,60}") {
            run(&text);
        }
    }
}
