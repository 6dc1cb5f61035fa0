//! The real binary, black box: exit codes, what goes to standard output and what to standard error, files.
//!
//! Daemons are fakes with a state of their own ([`fake`]); each test has its own folder and its own daemon.
#![allow(clippy::disallowed_methods, reason = "tests touch the machine")]

mod diagnostics;
mod exec;
mod fake;
mod files;
mod harness;
mod orders;
mod plans;
mod streams;
mod views;
