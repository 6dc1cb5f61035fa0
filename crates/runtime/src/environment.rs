//! The process environment, read once by `main` and passed on.
//!
//! Never changed: children get theirs from [`crate::processes::Spawn`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables and working directory this process was started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    working_dir: PathBuf,
}

impl Environment {
    /// Reads this process's own. Variables that are no UTF-8 are left out: nothing of ours has such a name or value.
    pub fn of_process() -> std::io::Result<Self> {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Self { variables: variables.collect(), working_dir: std::env::current_dir()? })
    }

    /// An environment made up, for tests.
    pub fn new(working_dir: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { variables: variables.into_iter().collect(), working_dir: working_dir.to_owned() }
    }

    /// The value of a variable; an empty one counts as not set, as shells and Compose users expect of ours.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables, empty ones too.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The folder the process was started in.
    pub fn working_dir(&self) -> &Path {
        &self.working_dir
    }
}
