//! Sizes, durations, modes and counts in the reference's way of reading and writing them.

/// Bytes of a size such as `1g`, `512MiB` or `-1`.
pub(crate) fn bytes(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    // At a blank where there is one, else behind the last digit.
    let split = text.find(' ').or_else(|| text.rfind(|c: char| c.is_ascii_digit() || c == '.').map(|at| at + 1))?;
    let (number, unit) = (
        text[..split].replace('_', "").parse::<f64>().ok()?,
        text[split..].strip_prefix(' ').unwrap_or(&text[split..]),
    );
    if number < 0.0 || !number.is_finite() {
        return None;
    }
    let unit = unit.to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit.ends_with("ib") => return None,
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * f64::from(1 << 10).powi(power)) as i64)
}

/// A duration in the form `1h2m3.5s`.
pub(crate) fn duration(text: &str) -> Option<String> {
    const UNITS: [(&str, f64); 9] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("μs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
        ("d", 8.64e13),
    ];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some("0s".into());
    }
    let mut nanos = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let split = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number = &rest[..split];
        rest = &rest[split..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, scale) = UNITS
            .iter()
            .find(|(unit, _)| *unit == &rest[..end])
            .or((&rest[..end] == "w").then_some(&("w", 6.048e14)))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let scale = *scale as u64;
        let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
        let part = fraction
            .bytes()
            .filter(u8::is_ascii_digit)
            .try_fold((0u64, scale), |(sum, unit), digit| Some((sum + unit / 10 * u64::from(digit - b'0'), unit / 10)));
        (number != ".").then_some(())?;
        nanos = nanos.checked_add(digits(whole)?.checked_mul(scale)?)?.checked_add(part?.0)?;
        rest = &rest[end..];
    }
    let sign = if negative { "-" } else { "" };
    i64::try_from(nanos).ok()?;
    Some(format!("{sign}{}", written(nanos)))
}

fn written(nanos: u64) -> String {
    let fraction = |value: u64, scale: u64| {
        let (whole, rest) = (value / scale, value % scale);
        let digits = format!("{rest:0width$}", width = scale.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        if rest == 0 { whole.to_string() } else { format!("{whole}.{digits}") }
    };
    match nanos {
        0 => return "0s".into(),
        1..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => return format!("{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => return format!("{}ms", fraction(nanos, 1_000_000)),
        _ => {}
    }
    let minutes = nanos / 60_000_000_000;
    let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
    match minutes {
        0 => format!("{seconds}s"),
        1..60 => format!("{minutes}m{seconds}s"),
        _ => format!("{}h{}m{seconds}s", minutes / 60, minutes % 60),
    }
}

/// The mode of a file: a number as it is, text as octal digits; written with a leading zero.
pub(super) fn mode(text: &str, is_octal: bool) -> String {
    let value = i64::from_str_radix(text, if is_octal { 8 } else { 10 }).unwrap_or_default();
    if value < 0 { format!("0-{:o}", -value) } else { format!("0{value:o}") }
}

/// How many devices.
pub(super) fn count(text: &str) -> i64 {
    if text.eq_ignore_ascii_case("all") { -1 } else { text.parse().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_as_the_reference_does() {
        let size = |text: &str, want: Option<i64>| assert_eq!(bytes(text), want, "{text}");
        size("1k", Some(1024));
        size("1.5g", Some(1_610_612_736));
        size("64MiB", Some(67_108_864));
        size("-1", Some(-1));
        size("x", None);
        let time = |text: &str, want: Option<&str>| assert_eq!(duration(text).as_deref(), want, "{text}");
        time("90s", Some("1m30s"));
        time("1h5m3.5s", Some("1h5m3.5s"));
        time("100ms", Some("100ms"));
        time("1d", Some("24h0m0s"));
        time("1us", Some("1µs"));
        time("0", Some("0s"));
        time("5", None);
        time("1x", None);
    }
}
