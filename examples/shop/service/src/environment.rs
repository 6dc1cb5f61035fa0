//! Settings from the process environment, read once, with errors that name the variable, its value and the cure.
//!
//! An empty variable counts as unset, as Compose writes `${NAME:-}` for what is not given.

use std::collections::BTreeMap;
use std::str::FromStr;

/// A variable whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is `{value}`: write {want}")]
pub struct SettingError {
    /// The variable.
    pub name: String,
    /// What it holds. Never a secret: those are read from files or parsed without this error.
    pub value: String,
    /// What would be right, in words.
    pub want: String,
}

/// The variables of a process, or of a test.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process. What is not UTF-8 is left out: no setting of ours can be.
    #[must_use]
    pub fn of_process() -> Self {
        let utf8 =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self(utf8.collect())
    }

    /// A variable's text, if it is set and not empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable's value, if it is set.
    ///
    /// Errors: when the text is not a `T`; `want` says what it should be.
    pub fn optional<T: FromStr>(&self, name: &str, want: &str) -> Result<Option<T>, SettingError> {
        let parse = |value: &str| value.trim().parse().map_err(|_| error(name, value, want));
        self.text(name).map(parse).transpose()
    }

    /// As [`Environment::optional`], with a value for the variable that is not set.
    pub fn or<T: FromStr>(&self, name: &str, default: T, want: &str) -> Result<T, SettingError> {
        Ok(self.optional(name, want)?.unwrap_or(default))
    }

    /// A switch: `1`, `true`, `yes`, `on` and their opposites; unset is off.
    pub fn switch(&self, name: &str) -> Result<bool, SettingError> {
        match self.text(name).map(|value| value.trim().to_ascii_lowercase()).as_deref() {
            None | Some("0" | "false" | "no" | "off") => Ok(false),
            Some("1" | "true" | "yes" | "on") => Ok(true),
            Some(other) => Err(error(name, other, "1 or 0")),
        }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// The error for `name`, for checks that parsing alone cannot make.
#[must_use]
pub fn error(name: &str, value: &str, want: &str) -> SettingError {
    SettingError { name: name.to_owned(), value: value.to_owned(), want: want.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = Environment::from([("PORT", "")]);
        assert_eq!(environment.or("PORT", 3000_u16, "a port"), Ok(3000));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_cure() {
        let environment = Environment::from([("PORT", "eighty"), ("FLAG", "maybe")]);
        let port = environment.or("PORT", 3000_u16, "a port from 0 to 65535").unwrap_err();
        assert_eq!(port.to_string(), "PORT is `eighty`: write a port from 0 to 65535");
        assert_eq!(environment.switch("FLAG").unwrap_err().to_string(), "FLAG is `maybe`: write 1 or 0");
    }
}
