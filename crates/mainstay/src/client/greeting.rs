//! The first line that `mainstay connect` says on the far side, before the bytes of the daemon follow.
//!
//! Owns its form. It tells a daemon that answers from every reason why none does, in words that do not depend on a
//! shell's: what the profile of a login shell prints comes before it and is skipped.

use crate::exit::Failure;
use serde::{Deserialize, Serialize};

/// What the line begins with.
pub const MARK: &str = "mainstay-connect ";

/// The number of this form; raised when a program of before would misunderstand what follows.
pub const PROTOCOL: u32 = 1;

/// What may come before the line.
pub const MOST_NOISE: usize = 64 << 10;

/// Who speaks on the far side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Greeting {
    /// Number of the form.
    pub protocol: u32,
    /// Version of the program over there.
    pub version: String,
    /// BLAKE3 of the program's file; only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How the daemon came to run, when it was started for this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Started>,
    /// Why no daemon's bytes follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// A daemon that was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    /// Its process.
    pub pid: u32,
    /// Its state folder.
    pub state: String,
    /// `systemd`, or `process` where there is none.
    pub by: String,
}

/// A [`Failure`] on its way home.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refused {
    /// Stable code.
    pub code: Option<String>,
    /// What is wrong.
    pub message: String,
    /// Why.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Greeting {
    /// Of this program.
    pub fn of_this_program() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { protocol: PROTOCOL, version, digest: None, started: None, refused: None }
    }

    /// The line with its end.
    pub fn line(&self) -> String {
        format!("{MARK}{}\n", serde_json::to_string(self).expect("plain data"))
    }

    /// Reads a line; none when it is somebody else's.
    pub fn read(line: &str) -> Option<Result<Self, serde_json::Error>> {
        // A profile may have left its last line without an end.
        let (_, text) = line.split_once(MARK)?;
        Some(serde_json::from_str(text.trim_end()))
    }
}

impl From<&Failure> for Refused {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code.clone(),
            message: failure.message.clone(),
            causes: failure.causes.clone(),
            help: failure.help.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_one_line_and_survives_the_way() {
        let failure = Failure::failed("two\nlines").because("why").help("do");
        let greeting = Greeting { refused: Some((&failure).into()), ..Greeting::of_this_program() };
        let line = greeting.line();
        assert_eq!(line.matches('\n').count(), 1);
        let read = Greeting::read(&format!("% {line}")).expect("marked").expect("legal");
        assert_eq!(read.refused.expect("kept").message, "two\nlines");
    }

    #[test]
    fn other_lines_are_told_apart_and_newer_keys_are_no_hindrance() {
        assert!(Greeting::read("Welcome to Debian\n").is_none());
        assert!(Greeting::read("mainstay-connect {\n").expect("marked").is_err());
        let newer = "mainstay-connect {\"protocol\":2,\"version\":\"9.0.0\",\"new\":[1]}\n";
        assert_eq!(Greeting::read(newer).expect("marked").expect("legal").protocol, 2);
    }
}
