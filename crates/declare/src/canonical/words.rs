//! A command line to words, by the shell's quoting rules; nothing is expanded.

/// Why a command line has no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A quote without its other half.
    #[error("the quote `{0}` is not closed")]
    Unclosed(char),
    /// A parenthesis, which means something to shells only.
    #[error("`{0}` means something to shells only")]
    Parenthesis(char),
    /// A backslash with nothing after it.
    #[error("it ends with a backslash")]
    Backslash,
}

/// The words of a command line; see [`command`].
pub fn split(text: &str) -> Result<Vec<String>, WordsError> {
    command(text).map(|(words, _)| words)
}

/// The words of a command line, and the mark it ends at. What a shell would do with `;`, `&`, `|`, `<` or `>` nobody does:
/// the command ends there, as it does in the reference implementation.
pub fn command(text: &str) -> Result<(Vec<String>, Option<char>), WordsError> {
    let mut words = Vec::new();
    let mut end = None;
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ';' | '&' | '|' | '<' | '>' => {
                let is_number = |word: &String| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
                word = word.filter(|word| c != '>' || !is_number(word));
                end = Some(c);
                break;
            }
            '(' | ')' => return Err(WordsError::Parenthesis(c)),
            '`' => enclosed(&mut chars, c, '`', word.get_or_insert_default())?,
            '$' if chars.as_str().starts_with('(') => {
                let word = word.get_or_insert_default();
                word.push(c);
                chars.next();
                enclosed(&mut chars, '(', ')', word)?;
            }
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => single(&mut chars, word.get_or_insert_default())?,
            '"' => double(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(escaped(c)),
                None => return Err(WordsError::Backslash),
            },
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok((words, end))
}

fn escaped(c: char) -> char {
    match c {
        't' => '\t',
        'n' => '\n',
        c => c,
    }
}

/// What stands between marks that belong to the word.
fn enclosed(chars: &mut std::str::Chars<'_>, open: char, close: char, word: &mut String) -> Result<(), WordsError> {
    word.push(open);
    loop {
        let c = chars.next().ok_or(WordsError::Unclosed(open))?;
        word.push(c);
        if c == close {
            return Ok(());
        }
    }
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
                c => word.push(escaped(c)),
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
        check(r#""a\"b\n" c\td"#, Ok(&["a\"b\n", "c\td"]));
        check("a $(b c) `d e`", Ok(&["a", "$(b c)", "`d e`"]));
        check("a b 2>c", Ok(&["a", "b"]));
        check("a && b", Ok(&["a"]));
        check("(a)", Err(WordsError::Parenthesis('(')));
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
