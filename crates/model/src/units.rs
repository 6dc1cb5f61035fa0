//! Quantities as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A text that is no quantity of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind}, write for example {example}")]
pub struct UnitError {
    /// What was expected.
    pub kind: &'static str,
    /// What was found.
    pub text: String,
    /// A legal value.
    pub example: &'static str,
}

fn wrong(kind: &'static str, text: &str, example: &'static str) -> UnitError {
    UnitError { kind, text: text.to_owned(), example }
}

/// A number of bytes. Compose's units are powers of 1024: `b`, `k`/`kb`/`kib`, `m`, `g`, `t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let err = || wrong("size", text, "`512m`");
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
        let number: f64 = trimmed[..digits].parse().map_err(|_| err())?;
        let unit = trimmed[digits..].trim().to_ascii_lowercase();
        let shift = match unit.as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(err()),
        };
        let bytes = number * (1u64 << shift) as f64;
        // 2^63 bytes is the kernel's own limit for a memory cgroup.
        if !bytes.is_finite() || bytes >= i64::MAX as f64 {
            return Err(err());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in [("g", 1u64 << 30), ("m", 1 << 20), ("k", 1 << 10)] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A share of processors in thousandths: `0.5` is 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MilliCpus(pub u32);

impl FromStr for MilliCpus {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let cpus: f64 = text.trim().parse().map_err(|_| wrong("number of processors", text, "`0.5`"))?;
        if !(0.0..=4096.0).contains(&cpus) {
            return Err(wrong("number of processors", text, "`0.5`"));
        }
        Ok(Self((cpus * 1000.0).round() as u32))
    }
}

/// Reads a duration as Compose writes it: `1m30s`, `500ms`, `2h`, `1.5s`; a bare number is not one.
///
/// Units: ns, us/µs, ms, s, m, h, d (days are ours, for policies).
/// Errors: an empty text, an unknown unit, a missing number, more than 100 years.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let err = || wrong("duration", text, "`1m30s`");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(err());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(err)?;
        let number: f64 = rest[..digits].parse().map_err(|_| err())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(err()),
        };
        total += number * seconds;
        rest = &rest[end..];
    }
    if total > 100.0 * 366.0 * 86400.0 {
        return Err(err());
    }
    // Whole nanoseconds: floating-point dust must not show in what we print.
    Ok(Duration::from_nanos((total * 1e9).round() as u64))
}

/// Writes a duration the way [`parse_duration`] reads it, without loss down to nanoseconds.
pub fn format_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".into();
    }
    let mut out = String::new();
    let mut rest = duration.as_nanos();
    for (unit, nanos) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1u128),
    ] {
        if rest >= nanos {
            out.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_compose_writes_them() {
        let check = |text: &str, want: Option<u128>| {
            assert_eq!(parse_duration(text).ok().map(|d| d.as_micros()), want, "{text}");
        };
        check("1m30s", Some(90_000_000));
        check("1.5s", Some(1_500_000));
        check("500ms", Some(500_000));
        check("0", Some(0));
        check("0s", Some(0));
        check("10us", Some(10));
        check("2d", Some(172_800_000_000));
        for bad in ["", "10", "s", "1x", "-1s", "1s 2", "99999999999h", "1..2s"] {
            check(bad, None);
        }
        for text in ["1m30s", "500ms", "2h", "1s500ms"] {
            assert_eq!(format_duration(parse_duration(text).expect("legal")), text);
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let check = |text: &str, want: Option<u64>| assert_eq!(text.parse::<Bytes>().ok().map(|b| b.0), want, "{text}");
        check("512m", Some(512 << 20));
        check("1.5G", Some(3 << 29));
        check("10 KB", Some(10 << 10));
        check("7", Some(7));
        check("", None);
        check("m", None);
        check("-1m", None);
        check("1x", None);
        check("9999999999t", None);
        assert_eq!(Bytes(512 << 20).to_string(), "512m");
        assert_eq!(Bytes(1025).to_string(), "1025");
    }
}
