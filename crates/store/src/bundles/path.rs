//! Paths within a bundle.

use std::fmt;
use std::str::FromStr;

/// A path within a bundle: relative, parts divided by `/`, none of them `.` or `..` or empty, no control
/// characters. So it stays inside whatever folder it is put below.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundlePath(String);

/// A text that is no path within a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no path within a bundle: {1}")]
pub struct PathError(pub String, pub &'static str);

/// Linux' own limits of a path and of its parts.
const LONGEST: usize = 4095;
const LONGEST_PART: usize = 255;

impl BundlePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders it lies in, the outermost first.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

/// Compared as text, so it can be looked up by text.
impl std::borrow::Borrow<str> for BundlePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for BundlePath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        let wrong = |why| Err(PathError(text.chars().take(200).collect(), why));
        if text.is_empty() {
            return wrong("it is empty");
        }
        if text.len() > LONGEST {
            return wrong("it is longer than 4095 bytes");
        }
        if text.starts_with('/') {
            return wrong("it is absolute");
        }
        if text.chars().any(char::is_control) {
            return wrong("it has a control character");
        }
        for part in text.split('/') {
            match part {
                "" => return wrong("it has an empty part"),
                "." | ".." => return wrong("`.` and `..` are not allowed"),
                part if part.len() > LONGEST_PART => return wrong("a part of it is longer than 255 bytes"),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn a_path_cannot_leave_its_folder() {
        let long = "x".repeat(256);
        for bad in
            ["", "/", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".", "./a", "a//b", "a/", "a\0b", "a\nb", &long]
        {
            assert!(bad.parse::<BundlePath>().is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", ".env", "...", "a b", "ä/ö", "-rf", "a\\b"] {
            assert!(good.parse::<BundlePath>().is_ok(), "{good:?}");
        }
        let path: BundlePath = "a/b/c".parse().unwrap();
        assert_eq!(path.folders().collect::<Vec<_>>(), ["a", "a/b"]);
    }

    proptest! {
        #[test]
        fn whatever_is_a_path_has_only_plain_parts(text in "[a-c./\\\\\0\n]{0,12}") {
            if let Ok(path) = text.parse::<BundlePath>() {
                let plain = Path::new(path.as_str()).components().all(|part| matches!(part, Component::Normal(_)));
                prop_assert!(plain, "{text:?}");
            }
        }
    }
}
