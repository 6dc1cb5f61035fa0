//! The Docker engine beside docker-compose, and beside the Engine alone: the same images, the same Engine, one run.
//!
//! [`shop`] is the application, [`crowd`] many containers, [`start`] one more replica, [`path`] the way from one service
//! to another.

mod crowd;
mod path;
mod shop;
mod start;

use super::Bench;
use super::row::Row;
use anyhow::{Context as _, ensure};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

/// The image of containers that do nothing.
const IDLE_IMAGE: &str = "mainstay-test/base";

/// A part: a function from the [`Bench`] it runs in to rows.
type Part = fn(&Bench) -> anyhow::Result<Vec<Row>>;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let parts: [(&str, Part); 4] = [
        ("docker: shop", shop::measure),
        ("docker: start", start::measure),
        ("docker: path", path::measure),
        ("docker: crowd", crowd::measure),
    ];
    let mut rows = Vec::new();
    for (name, part) in parts {
        eprintln!("  {name}");
        // One that fails takes no other with it.
        rows.extend(part(bench).unwrap_or_else(|error| vec![Row::failed(name, &format!("{error:#}"))]));
    }
    Ok(rows)
}

/// A program that must succeed, with its time in milliseconds.
fn timed(command: &mut Command) -> anyhow::Result<(String, f64)> {
    let begin = Instant::now();
    let text = succeed(command)?;
    Ok((text, begin.elapsed().as_secs_f64() * 1000.0))
}

/// What a program printed.
///
/// Errors: any exit code but 0, with what it said.
fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {name}"))?;
    let Output { status, stdout, stderr } = output;
    ensure!(status.success(), "{name} ended with {status}: {}", String::from_utf8_lossy(&stderr).trim());
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}
