//! The CRI log format: `time stream P|F line`, as shims write it.
//!
//! Source: Kubernetes' CRI logging format; `P` marks a piece of a line that goes on, `F` its end.

use crate::api::status::LogLine;

/// A longer line is cut: a program that never ends one must not fill our memory.
pub const LONGEST: usize = 256 << 10;

/// What a line that was cut ends in.
const CUT: &str = " … (the rest of the line was left out)";

/// Joins the pieces of lines of one file.
#[derive(Debug, Default)]
pub struct Joiner {
    pending: [Option<LogLine>; 2],
}

impl Joiner {
    /// Takes one raw line; gives the whole line once its last piece is there. What is no log line is given as it is.
    pub fn push(&mut self, raw: &str, replica: &str) -> Option<LogLine> {
        let mut parts = raw.splitn(4, ' ');
        let (Some(time), Some(stream @ ("stdout" | "stderr")), Some(tag), line) =
            (parts.next(), parts.next(), parts.next(), parts.next().unwrap_or(""))
        else {
            let line = raw.to_owned();
            return Some(LogLine { time: String::new(), replica: replica.into(), stream: "stderr".into(), line });
        };
        let slot = &mut self.pending[usize::from(stream == "stderr")];
        let whole = slot.get_or_insert_with(|| LogLine {
            time: time.into(),
            replica: replica.into(),
            stream: stream.into(),
            line: String::new(),
        });
        let room = LONGEST.saturating_sub(whole.line.len());
        if line.len() <= room {
            whole.line.push_str(line);
        } else if !whole.line.ends_with(CUT) {
            whole.line.push_str(&line[..line.floor_char_boundary(room)]);
            whole.line.push_str(CUT);
        }
        if tag == "F" { slot.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[&str], want: &[(&str, &str)]) {
        let mut joiner = Joiner::default();
        let lines: Vec<_> = raw.iter().filter_map(|line| joiner.push(line, "api.1")).collect();
        let got: Vec<_> = lines.iter().map(|l| (l.stream.as_str(), l.line.as_str())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn pieces_are_joined_per_stream() {
        let raw = ["1 stdout P a", "2 stderr F x y", "3 stdout F b", "4 stdout F "];
        check(&raw, &[("stderr", "x y"), ("stdout", "ab"), ("stdout", "")]);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut joiner = Joiner::default();
        let piece = format!("1 stdout P {}", "ä".repeat(8192));
        for _ in 0..100 {
            assert!(joiner.push(&piece, "api.1").is_none());
        }
        let line = joiner.push("2 stdout F end", "api.1").expect("its end").line;
        assert!(line.ends_with("left out)") && line.len() < LONGEST + 100, "{}", line.len());
    }

    #[test]
    fn what_is_no_log_line_is_shown_as_it_is() {
        check(&["garbage"], &[("stderr", "garbage")]);
    }
}
