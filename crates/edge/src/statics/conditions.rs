//! Conditions and ranges of a request for a file (RFC 9110 §13, §14).
//!
//! Owns validators and the choice of the part to send. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};

use super::file::Opened;

/// What tells one version of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validators {
    size: u64,
    changed: SystemTime,
    etag: String,
}

/// The part of a file to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// Both ends belong to it.
    Range {
        first: u64,
        last: u64,
    },
    Unsatisfiable,
}

impl Validators {
    pub(crate) fn of(opened: &Opened) -> Self {
        // The files of a release are second names of what is stored by content: what is unchanged keeps its inode from
        // release to release, and so its tag, while its change time moves with each new name.
        let (modified, changed) = (opened.modified, opened.changed);
        let etag = format!("\"{:x}-{:x}-{:x}\"", opened.size, modified.as_nanos(), opened.inode);
        // Whole seconds, as the header has no more.
        let changed = UNIX_EPOCH + Duration::from_secs(modified.max(changed).as_secs());
        Self { size: opened.size, changed, etag }
    }

    pub(crate) fn etag(&self) -> HeaderValue {
        HeaderValue::from_str(&self.etag).expect("hexadecimal digits, dashes and quotes are visible ASCII")
    }

    pub(crate) fn last_modified(&self) -> HeaderValue {
        HeaderValue::from_str(&httpdate::fmt_http_date(self.changed)).expect("a date is visible ASCII")
    }

    /// Whether the client has this version already.
    pub(crate) fn is_unchanged_for(&self, headers: &HeaderMap) -> bool {
        let mut offered = headers.get_all(header::IF_NONE_MATCH).iter().peekable();
        if offered.peek().is_some() {
            let same = |tag: &str| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == self.etag;
            return offered.filter_map(|value| value.to_str().ok()).any(|value| value.split(',').any(same));
        }
        date(headers.get(header::IF_MODIFIED_SINCE)).is_some_and(|since| self.changed <= since)
    }

    /// The part that the client asks for; several ranges at once are answered with the whole.
    pub(crate) fn part_for(&self, headers: &HeaderMap) -> Part {
        let Some(range) = headers.get(header::RANGE).and_then(|range| range.to_str().ok()) else { return Part::Whole };
        if let Some(condition) = headers.get(header::IF_RANGE) {
            let is_same = condition.as_bytes() == self.etag.as_bytes() || date(Some(condition)) == Some(self.changed);
            if !is_same {
                return Part::Whole;
            }
        }
        self.part(range)
    }

    fn part(&self, range: &str) -> Part {
        let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
            return Part::Whole;
        };
        let number = |text: &str| -> Option<u64> {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX))
        };
        match (first, last) {
            ("", "") => Part::Whole,
            ("", suffix) => match number(suffix) {
                None => Part::Whole,
                Some(0) => Part::Unsatisfiable,
                Some(_) if self.size == 0 => Part::Unsatisfiable,
                Some(count) => Part::Range { first: self.size.saturating_sub(count), last: self.size - 1 },
            },
            (first, last) => {
                let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
                match (number(first), last) {
                    (Some(first), Some(last)) if first > last => Part::Whole,
                    (Some(first), Some(_)) if first >= self.size => Part::Unsatisfiable,
                    (Some(first), Some(last)) => Part::Range { first, last: last.min(self.size - 1) },
                    _ => Part::Whole,
                }
            }
        }
    }
}

fn date(value: Option<&HeaderValue>) -> Option<SystemTime> {
    httpdate::parse_http_date(value?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(size: u64, range: &str, want: Part) {
        let validators = Validators { size, changed: UNIX_EPOCH, etag: "\"x\"".to_owned() };
        assert_eq!(validators.part(range), want, "{range} of {size}");
    }

    #[test]
    fn ranges_choose_a_part() {
        check(10, "bytes=0-3", Part::Range { first: 0, last: 3 });
        check(10, "bytes=8-", Part::Range { first: 8, last: 9 });
        check(10, "bytes=8-99", Part::Range { first: 8, last: 9 });
        check(10, "bytes=-3", Part::Range { first: 7, last: 9 });
        check(10, "bytes=-99", Part::Range { first: 0, last: 9 });
        check(10, "bytes=10-", Part::Unsatisfiable);
        check(10, "bytes=-0", Part::Unsatisfiable);
        check(0, "bytes=0-", Part::Unsatisfiable);
        check(0, "bytes=-1", Part::Unsatisfiable);
        for odd in ["bytes=0-1,3-4", "bytes=3-1", "bytes=-", "lines=0-1", "bytes=a-b", "bytes=+1-2", "bytes"] {
            check(10, odd, Part::Whole);
        }
        check(10, "bytes=99999999999999999999-", Part::Unsatisfiable);
    }

    #[test]
    fn a_client_that_has_the_version_is_told_so() {
        let changed = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let validators = Validators { size: 1, changed, etag: "\"x\"".to_owned() };
        let is_unchanged = |name: header::HeaderName, value: &'static str| {
            validators.is_unchanged_for(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]))
        };
        assert!(is_unchanged(header::IF_NONE_MATCH, "\"x\""));
        assert!(is_unchanged(header::IF_NONE_MATCH, "\"a\", W/\"x\""));
        assert!(is_unchanged(header::IF_NONE_MATCH, "*"));
        assert!(!is_unchanged(header::IF_NONE_MATCH, "\"y\""));
        assert!(is_unchanged(header::IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!is_unchanged(header::IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT"));
        assert!(!is_unchanged(header::IF_MODIFIED_SINCE, "yesterday"));
    }
}
