//! Exit codes and failures: how every command ends.
//!
//! Owns the meaning of the codes and the one shape in which errors reach people. Never prints: that is [`crate::ui`].

use crate::client::{self, ssh};
use crate::ui::paint::tame;
use server::api::ApiError;
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done,
    /// The world refused, or something is not as it should be.
    Failed,
    /// The command line or the project's files are wrong.
    Usage,
    /// `plan`: something would be changed.
    Pending,
    /// A policy forbids it.
    Refused,
    /// Ctrl-C.
    Interrupted,
    /// The exit code of a command that was run for somebody.
    Passed(u8),
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Pending => 3,
            Self::Refused => 4,
            Self::Interrupted => 130,
            Self::Passed(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// Stable code, explained by `mainstay explain`.
    pub code: Option<String>,
    /// What is wrong, in one line.
    pub message: String,
    /// Why, the nearest cause first.
    pub causes: Vec<String>,
    /// What to do, one imperative sentence.
    pub help: Option<String>,
    /// For programs: what was found in the project's files, each with its place.
    pub diagnostics: Option<Box<serde_json::Value>>,
}

impl Failure {
    /// The command line, or what it names, is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::failed(message) }
    }

    /// The world refused.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            code: None,
            message: message.into(),
            causes: Vec::new(),
            help: None,
            diagnostics: None,
        }
    }

    /// An error with its chain of causes.
    pub fn of(error: &dyn std::error::Error) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { causes, ..Self::failed(error.to_string()) }
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, cause: impl ToString) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::Refused(refused) => refused.into(),
            client::Error::Host(error) => (*error).into(),
            other => Self { help: other.help(), code: Some(other.code().to_owned()), ..Self::of(&other) },
        }
    }
}

impl From<ssh::Error> for Failure {
    fn from(error: ssh::Error) -> Self {
        let (code, help, message) = (error.code().to_owned(), error.help(), error.to_string());
        let mut causes = error.said;
        if let ssh::Trouble::Refused(refused) = error.trouble {
            causes = refused.causes.iter().map(|cause| tame(cause, false)).collect();
        }
        Self { code: Some(code).filter(|code| !code.is_empty()), causes, help, ..Self::failed(message) }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let mut lines = error.message.lines().map(str::to_owned);
        Self {
            exit: match error.status {
                403 => Exit::Refused,
                400 | 422 => Exit::Usage,
                _ => Exit::Failed,
            },
            message: lines.next().unwrap_or_else(|| format!("the daemon answered {}", error.status)),
            causes: lines.collect(),
            code: Some(error.code).filter(|code| !code.is_empty()),
            help: error.help,
            diagnostics: None,
        }
    }
}
