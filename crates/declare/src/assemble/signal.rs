//! Signals by name, in Linux' numbers.

const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The first and the last real-time signal that the C library leaves to programs.
const REAL_TIME: (i32, i32) = (34, 64);

/// The number of a signal written as `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
pub fn number(text: &str) -> Option<i32> {
    let legal = |number: i32| (1..=REAL_TIME.1).contains(&number).then_some(number);
    if let Ok(number) = text.parse() {
        return legal(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse::<i32>().ok()? };
        return legal(REAL_TIME.0.checked_add(offset)?);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse::<i32>().ok()? };
        return legal(REAL_TIME.1.checked_sub(offset)?).filter(|number| *number >= REAL_TIME.0);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_in_every_form() {
        let check = |text: &str, want| assert_eq!(number(text), want, "{text}");
        check("SIGTERM", Some(15));
        check("quit", Some(3));
        check("9", Some(9));
        check("SIGRTMIN+3", Some(37));
        check("RTMAX-1", Some(63));
        check("0", None);
        check("65", None);
        check("SIGRTMIN+99", None);
        check("RTMIN+2147483647", None);
        check("SIGFOO", None);
    }
}
