//! `mainstay fmt`: files in the usual layout. Comments stay, and so does what a file says.

use super::Context;
use super::args::Fmt;
use crate::exit::{Exit, Failure};
use crate::report;
use crate::ui::paint::Tone;
use declare::layout;
use declare::syntax::build::{MAX_FILE_BYTES, decode};
use model::span::Sources;
use serde::Serialize;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const STDIN: &str = "-";

#[derive(Serialize)]
struct Outcome {
    file: String,
    /// Whether it is, or would be, another text.
    changed: bool,
}

pub fn run(args: &Fmt, cx: &Context) -> Result<Exit, Failure> {
    let files = if args.files.is_empty() { vec![policy(cx)?] } else { args.files.clone() };
    let mut outcomes = Vec::new();
    let mut refused = false;
    for file in &files {
        let text = read(file)?;
        let Some(laid_out) = laid_out(file, &text, cx) else {
            refused = true;
            continue;
        };
        let changed = laid_out != text;
        if file.as_os_str() == STDIN && !args.check {
            cx.ui.data(laid_out.trim_end_matches('\n'));
        } else if changed && !args.check {
            write(file, &laid_out)?;
        }
        if changed && file.as_os_str() != STDIN {
            let (sign, verb) = if args.check { ("✘", "would change") } else { ("✔", "laid out") };
            let tone = if args.check { Tone::Warn } else { Tone::Good };
            cx.ui.note(format!("{} {verb} {}", cx.ui.err.tone(tone, sign), file.display()));
        }
        outcomes.push(Outcome { file: file.display().to_string(), changed });
    }
    if cx.ui.json {
        cx.ui.json(&outcomes);
    }
    if refused {
        return Err(Failure { exit: Exit::Usage, ..Failure::failed("not every file could be laid out") }
            .help("mend what is shown above; the others are done"));
    }
    Ok(if args.check && outcomes.iter().any(|outcome| outcome.changed) { Exit::Failed } else { Exit::Done })
}

fn policy(cx: &Context) -> Result<PathBuf, Failure> {
    let folder = &cx.settings.directory.value;
    let usual = ["mainstay.yaml", "mainstay.yml"].iter().map(|name| folder.join(name)).find(|path| path.is_file());
    cx.settings.policy.clone().or(usual).ok_or_else(|| {
        Failure::usage(format!("there is no mainstay.yaml in {}", folder.display()))
            .help("name a file, or write one with `mainstay init`")
    })
}

fn read(file: &Path) -> Result<String, Failure> {
    let bytes = if file.as_os_str() == STDIN {
        let mut bytes = Vec::new();
        let read = std::io::stdin().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| Failure::failed("standard input cannot be read").because(error))?;
        bytes
    } else {
        runtime::files::read(file).map_err(|error| Failure::of(&error))?
    };
    // What is left of a text that is cut would be written as the whole.
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("{} is larger than {} MiB", file.display(), MAX_FILE_BYTES >> 20);
        return Err(Failure::usage(message).help("split the file"));
    }
    let wrong = |(at, what)| {
        Failure::usage(format!("{} is no UTF-8 text: {what} at byte {at}", file.display()))
            .help("save the file as UTF-8")
    };
    decode(&bytes).map(str::to_owned).map_err(wrong)
}

fn laid_out(file: &Path, text: &str, cx: &Context) -> Option<String> {
    let mut sources = Sources::default();
    let id = sources.add(&file.display().to_string(), text);
    match layout::usual(id, text) {
        Ok(text) => Some(text),
        Err(found) => {
            report::show(&cx.ui, &found, &sources, true);
            None
        }
    }
}

/// Writes through a link, and keeps who may read the file.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("{} cannot be written", file.display())).because(error);
    let file = file.canonicalize().map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    runtime::files::write(&file, text.as_bytes(), mode).map_err(|error| Failure::of(&error))
}
