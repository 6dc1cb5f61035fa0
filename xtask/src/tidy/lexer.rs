//! Rust text without what only looks like code: comments and the insides of literals become blanks.
//!
//! Line and column of everything else stay, so that findings point to the right place.

/// Blanks comments and literals.
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at);
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8(out).expect("whole characters are kept or blanked")
}

/// The end of the comment or literal that begins at `at`; `at` itself if none does.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return at + block_comment(rest);
    }
    let is_in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest[0] {
        b'"' => at + string(rest),
        b'r' | b'b' | b'c' if !is_in_word => at + prefixed(rest),
        b'\'' => at + character(rest),
        _ => at,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"`; 0 if it is none.
fn prefixed(rest: &[u8]) -> usize {
    let letters = rest.iter().take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count();
    let is_raw = rest[..letters].contains(&b'r');
    let hashes = rest[letters..].iter().take_while(|byte| **byte == b'#').count();
    let open = letters + hashes;
    match rest.get(open) {
        Some(b'"') if is_raw => {
            let mut close = vec![b'"'];
            close.resize(hashes + 1, b'#');
            let body = &rest[open + 1..];
            let found = body.windows(close.len()).position(|window| window == close);
            found.map_or(rest.len(), |found| open + 1 + found + close.len())
        }
        Some(b'"') if hashes == 0 && letters == 1 => letters + string(&rest[letters..]),
        _ => 0,
    }
}

/// `'x'`, `'\n'`; 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', ..] => {
            let end = rest.iter().skip(3).position(|byte| *byte == b'\'');
            end.map_or(0, |end| end + 4)
        }
        [_, first, ..] => {
            let width = match first {
                0x00..=0x7f => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(code_only(text), expected, "{text}");
    }

    #[test]
    fn comments_become_blanks() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */\n */ d", "a             \n    d");
    }

    #[test]
    fn literals_become_blanks() {
        check(r#"f("a\"b", 1)"#, "f(      , 1)");
        check(r##"f(r#"a"b"#, br"x")"##, "f(        ,      )");
        check(r"f('a', '\'', 'é')", "f(   ,     ,     )");
        check("\"a\nb\" c", "  \n   c");
    }

    #[test]
    fn lifetimes_and_names_stay() {
        check("fn f<'a>(b: &'a str, bar: r) {}", "fn f<'a>(b: &'a str, bar: r) {}");
        check("r#type = 1", "r#type = 1");
    }
}
