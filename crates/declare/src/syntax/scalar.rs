//! What a bare scalar means: YAML 1.2's core schema with the old forms that Compose still reads.

use super::{Scalar, Style};

/// What a scalar is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text,
}

impl Scalar {
    /// What it is, decided by how it was written.
    pub fn meaning(&self) -> Meaning {
        match self.style {
            Style::Plain => of_plain(&self.text),
            Style::Quoted | Style::Substituted => Meaning::Text,
        }
    }

    /// Whether nothing was written.
    pub fn is_null(&self) -> bool {
        self.style == Style::Plain && is_null(&self.text)
    }

    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self.meaning() {
            Meaning::Null => "empty",
            Meaning::Bool(_) => "a boolean",
            Meaning::Int(_) | Meaning::Float(_) => "a number",
            Meaning::Text => "text",
        }
    }

    /// The text a variable or label gets from it: numbers in the decimal form Compose gives them.
    ///
    /// `0644` is 420 and `1.0` is 1: surprising, but what existing files get today.
    pub fn to_text(&self) -> String {
        match self.meaning() {
            Meaning::Null => String::new(),
            Meaning::Bool(value) => value.to_string(),
            Meaning::Int(value) => value.to_string(),
            // Whole numbers beyond our own keep their digits as far as the reference's do.
            Meaning::Float(value) if value > i64::MAX as f64 && self.text.parse::<u64>().is_ok() => {
                self.text.to_string()
            }
            Meaning::Float(value) => float_text(value),
            Meaning::Text => self.text.to_string(),
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn of_plain(text: &str) -> Meaning {
    if is_null(text) {
        return Meaning::Null;
    }
    match text {
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        _ => {}
    }
    // Most scalars are words: the first byte settles it.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Meaning::Text;
    }
    if let Some(number) = int(text) {
        return Meaning::Int(number);
    }
    match float(text) {
        Some(number) => Meaning::Float(number),
        None => Meaning::Text,
    }
}

fn int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits.as_str()),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(f64::NAN);
    }
    let text = text.replace('_', "");
    let legal = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let has_digit = text.bytes().any(|b| b.is_ascii_digit());
    // Too large a number is text: a revision such as `12e3456` is none.
    (legal && has_digit).then(|| text.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

fn float_text(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-4..1e6).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let power: i32 = power.parse().expect("Rust writes a whole exponent");
            format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plain: &str, text: &str) {
        let scalar = Scalar { text: plain.into(), style: Style::Plain };
        assert_eq!(scalar.to_text(), text, "{plain}");
    }

    #[test]
    fn bare_scalars_give_the_text_compose_gives() {
        check("1.0", "1");
        check("0644", "420");
        check("yes", "yes");
        check("True", "true");
        check("1e3", "1000");
        check("0x10", "16");
        check("-5", "-5");
        check("~", "");
        check("12345678901234567890", "12345678901234567890");
        check("123456789012345678901", "1.2345678901234568e+20");
        check("1.50", "1.5");
        check("1.2.3", "1.2.3");
        check("3306/tcp", "3306/tcp");
        check("089", "89");
        check("1e6", "1e+06");
        check("1234567.5", "1.2345675e+06");
        check("1e30", "1e+30");
        check("-", "-");
        check(".", ".");
        check("0x", "0x");
        check("--1", "--1");
    }
}
