//! The variables a declaration may use, each with the place that set it.
//!
//! Precedence, highest first: the process environment, `environments.<name>.variables` of mainstay.yaml,
//! `.env.<environment>`, `.env`.

use model::span::Span;
use std::collections::BTreeMap;

/// Where a variable was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The environment of the command.
    Process,
    /// A file: mainstay.yaml or an environment file.
    File(Span),
    /// Ourselves: `COMPOSE_PROJECT_NAME`.
    BuiltIn,
}

/// A variable.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its value.
    pub value: String,
    /// Where it was set.
    pub origin: Origin,
}

/// All variables of one run.
#[derive(Clone, Default)]
pub struct Variables {
    all: BTreeMap<String, Variable>,
}

impl Variables {
    /// Those of the process environment.
    pub fn of_process(environment: &BTreeMap<String, String>) -> Self {
        let variable = |value: &String| Variable { value: value.clone(), origin: Origin::Process };
        Self { all: environment.iter().map(|(name, value)| (name.clone(), variable(value))).collect() }
    }

    /// Adds a variable of lower precedence: one that is there stays.
    pub fn add_below(&mut self, name: &str, value: String, origin: Origin) {
        self.all.entry(name.to_owned()).or_insert(Variable { value, origin });
    }

    /// Sets a variable, whatever it was.
    pub fn set(&mut self, name: &str, value: String, origin: Origin) {
        self.all.insert(name.to_owned(), Variable { value, origin });
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all.get(name).map(|variable| variable.value.as_str())
    }

    /// A variable with its origin.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.all.get(name)
    }

    /// The names of all variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }
}
