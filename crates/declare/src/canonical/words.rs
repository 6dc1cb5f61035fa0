//! A command line to words, by the shell's quoting rules; nothing is expanded.

/// Why a command line has no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A quote without its other half.
    #[error("the quote `{0}` is not closed")]
    Unclosed(char),
    /// A backslash with nothing after it.
    #[error("it ends with a backslash")]
    Backslash,
}

/// The words of a command line.
pub fn split(text: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => single(&mut chars, word.get_or_insert_default())?,
            '"' => double(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(WordsError::Backslash),
            },
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    loop {
        match chars.next().ok_or(WordsError::Unclosed('\''))? {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
}

fn double(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    const OPEN: WordsError = WordsError::Unclosed('"');
    loop {
        match chars.next().ok_or(OPEN)? {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or(OPEN)? {
                '\n' => {}
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

/// Whether a line asks for more than words: pipes, lists, redirections, variables, patterns.
pub fn needs_shell(text: &str) -> bool {
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some('\''), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (_, '$' | '`') => return true,
            (None, '|' | '&' | ';' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '~' | '#' | '\n') => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Result<&[&str], WordsError>) {
        let want = want.map(|words| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(split(text), want, "{text}");
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        check("a  b\tc\n", Ok(&["a", "b", "c"]));
        check(r#"echo "a b" 'c "d' e\ f"#, Ok(&["echo", "a b", "c \"d", "e f"]));
        check(r#"x"y"'z' "" ''"#, Ok(&["xyz", "", ""]));
        check(r#""a\"b\n""#, Ok(&["a\"b\\n"]));
        check("", Ok(&[]));
        check("a 'b", Err(WordsError::Unclosed('\'')));
        check("a\\", Err(WordsError::Backslash));
    }

    #[test]
    fn a_shell_is_used_only_where_words_do_not_suffice() {
        let check = |text: &str, want| assert_eq!(needs_shell(text), want, "{text}");
        check("cargo build --release -p shop-api", false);
        check("npm ci && npm run build", true);
        check("echo 'a && b'", false);
        check("echo \"$HOME\"", true);
        check("cp a* b", true);
    }
}
