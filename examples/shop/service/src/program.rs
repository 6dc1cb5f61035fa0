//! The frame of every program of the shop: its arguments and its exit codes.
//!
//! 0 done, 1 failed, 2 wrong settings or usage.

use std::process::ExitCode;

use crate::environment::{Environment, SettingError};
use crate::log;

/// The exit code of wrong settings or usage.
pub const WRONG_USE: u8 = 2;

/// What a program says of itself.
pub struct Program {
    /// Its service, as it stands in the logs.
    pub service: &'static str,
    /// Its name and its subcommands, in one line.
    pub usage: &'static str,
    /// Its name and version.
    pub version: String,
}

impl Program {
    /// Carries out the subcommand that `command` knows; it gets the arguments, and gives none for what it does not know.
    pub fn main(
        &self,
        command: impl FnOnce(&[&str], &Environment) -> Option<Result<ExitCode, SettingError>>,
    ) -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if matches!(arguments.as_slice(), ["--version" | "-V"]) {
            println!("{}", self.version);
            return ExitCode::SUCCESS;
        }
        let Some(outcome) = command(&arguments, &Environment::of_process()) else {
            eprintln!("{}", self.usage);
            return ExitCode::from(WRONG_USE);
        };
        outcome.unwrap_or_else(|error| {
            log::last_words(self.service, &error);
            ExitCode::from(WRONG_USE)
        })
    }
}
