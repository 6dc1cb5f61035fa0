//! Names as newtypes: parsed once, legal ever after.
//!
//! The grammar is Compose's: projects are lower case because they become host, folder and label names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is no legal name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("a {kind} name must not be empty")]
    Empty {
        /// What the name is for.
        kind: &'static str,
    },
    /// Longer than 63 bytes, the limit of a DNS label, which most names become.
    #[error("`{text}` is {len} bytes long, a {kind} name has at most 63")]
    TooLong {
        /// What the name is for.
        kind: &'static str,
        /// The offending text.
        text: String,
        /// Its length in bytes.
        len: usize,
    },
    /// A character outside the grammar.
    #[error("`{text}` is no {kind} name: `{bad}` is not allowed, {rule}")]
    Character {
        /// What the name is for.
        kind: &'static str,
        /// The offending text.
        text: String,
        /// The first bad character.
        bad: char,
        /// The grammar in words.
        rule: &'static str,
    },
}

const MIXED: &str = "use letters, digits, `_`, `.` and `-`, and begin with a letter or digit";
const LOWER: &str = "use lower-case letters, digits, `_` and `-`, and begin with a letter or digit";

fn check(kind: &'static str, text: &str, lower: bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > 63 {
        return Err(NameError::TooLong { kind, text: text.to_owned(), len: text.len() });
    }
    let rule = if lower { LOWER } else { MIXED };
    let legal = |index: usize, c: char| match c {
        'a'..='z' | '0'..='9' => true,
        'A'..='Z' => !lower,
        '_' | '-' => index > 0,
        '.' => index > 0 && !lower,
        _ => false,
    };
    match text.char_indices().find(|&(index, c)| !legal(index, c)) {
        Some((_, bad)) => Err(NameError::Character { kind, text: text.to_owned(), bad, rule }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, lower: $lower:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check($kind, text, $lower)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A project: one application with its two files.
    ProjectName, "project", lower: true
);
name!(
    /// An environment of a project: development, staging, production…
    EnvironmentName, "environment", lower: true
);
name!(
    /// A service of a Compose file; also its host name inside the project's networks.
    ServiceName, "service", lower: false
);
name!(
    /// A network of a project.
    NetworkName, "network", lower: false
);
name!(
    /// A named volume of a project.
    VolumeName, "volume", lower: false
);
name!(
    /// A secret of a project.
    SecretName, "secret", lower: false
);
name!(
    /// A config of a project.
    ConfigName, "config", lower: false
);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, service: bool, project: bool) {
        assert_eq!(text.parse::<ServiceName>().is_ok(), service, "service {text:?}");
        assert_eq!(text.parse::<ProjectName>().is_ok(), project, "project {text:?}");
    }

    #[test]
    fn names_follow_composes_grammar() {
        check("api", true, true);
        check("api-2_x", true, true);
        check("Api.v2", true, false);
        check("", false, false);
        check("-api", false, false);
        check("a/b", false, false);
        check("ä", false, false);
        check(&"a".repeat(64), false, false);
    }

    #[test]
    fn the_error_names_the_character_and_the_rule() {
        let error = "a b".parse::<ProjectName>().expect_err("a blank is illegal").to_string();
        assert_eq!(error, format!("`a b` is no project name: ` ` is not allowed, {LOWER}"));
    }
}
