//! Runs the `build:` commands of processes, one after the other.
//!
//! Owns their output: shown as it comes when somebody wants to see it, kept and shown in full when one fails. Never
//! looks at what they made.

use crate::cli::Context;
use crate::exit::Failure;
use crate::progress::words;
use crate::ui::live::Live;
use crate::ui::paint::{Tone, tame};
use std::collections::VecDeque;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Of a failed build so many lines are shown: a compiler's first error is rarely further up.
const KEPT: usize = 400;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The services it is for.
    pub services: Vec<String>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// As it was written.
    pub text: String,
}

/// Runs the builds in `folder`; stops at the first that fails.
pub async fn run(cx: &Context, folder: &Path, builds: &[Build]) -> Result<(), Failure> {
    for build in builds {
        one(cx, folder, build).await?;
    }
    Ok(())
}

async fn one(cx: &Context, folder: &Path, build: &Build) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut child = spawn(folder, build)?;
    let mut output = Output { cx, build, begun, live: Live::new(&cx.ui), kept: VecDeque::new(), dropped: 0 };
    if !output.live.is_on() {
        cx.ui.note(format!("  · building {}  {}", build.services.join(", "), cx.ui.err.tone(Tone::Dim, &build.text)));
    }
    let ended = output.watch(&mut child).await?;
    output.live.clear();
    if !ended.success() {
        return Err(output.failed(ended));
    }
    let took = words::seconds(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    let took = cx.ui.err.tone(Tone::Dim, &took);
    cx.ui.note(format!("  {} built {}  {took}", cx.ui.err.tone(Tone::Good, "✔"), build.services.join(", ")));
    Ok(())
}

fn spawn(folder: &Path, build: &Build) -> Result<Child, Failure> {
    let (program, arguments) = build.argv.split_first().ok_or_else(|| Failure::usage("a build command is empty"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| {
        Failure::failed(format!("the build of {} cannot be started: `{program}`", build.services.join(", ")))
            .because(error)
            .help(format!("install `{program}`, or use the artifacts that are there with `--no-build`"))
    })
}

struct Output<'a> {
    cx: &'a Context,
    build: &'a Build,
    begun: Instant,
    live: Live,
    kept: VecDeque<String>,
    dropped: usize,
}

impl Output<'_> {
    async fn watch(&mut self, child: &mut Child) -> Result<ExitStatus, Failure> {
        let (lines, mut arriving) = mpsc::channel(256);
        let streams: [Option<Box<dyn AsyncRead + Send + Unpin>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as Box<dyn AsyncRead + Send + Unpin>),
            child.stderr.take().map(|stream| Box::new(stream) as Box<dyn AsyncRead + Send + Unpin>),
        ];
        for stream in streams.into_iter().flatten() {
            // Ends with its stream; a line that nobody takes any more is of no interest.
            tokio::spawn(read_lines(stream, lines.clone()));
        }
        drop(lines);
        let mut status = None;
        loop {
            tokio::select! {
                line = arriving.recv() => match line {
                    Some(line) => self.line(line),
                    None => return child.wait().await.map_err(|error| Failure::of(&error)),
                },
                // A daemon that a build leaves behind keeps its output open: the build's own end counts.
                ended = child.wait(), if status.is_none() => {
                    status = Some(ended.map_err(|error| Failure::of(&error))?);
                }
                () = tokio::time::sleep(Duration::from_millis(80)) => {
                    if let Some(status) = status {
                        return Ok(status);
                    }
                    self.show();
                }
            }
        }
    }

    fn line(&mut self, line: String) {
        let ui = &self.cx.ui;
        let line = tame(&line, ui.err.0);
        if ui.verbose {
            self.live.above(ui, &format!("    {line}"));
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
            self.dropped += 1;
        }
        self.kept.push_back(line);
    }

    fn show(&mut self) {
        let paint = self.cx.ui.err;
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.kept.back().map(|line| console::strip_ansi_codes(line).trim().to_owned()).unwrap_or_default();
        let width = self.cx.ui.width().saturating_sub(1);
        let what = self.build.services.join(", ");
        self.live.show(|spinner| {
            let head = format!(
                "  {} building {what}  {}",
                paint.tone(Tone::Accent, spinner),
                paint.tone(Tone::Dim, &words::seconds(millis))
            );
            let last = paint.tone(Tone::Dim, &format!("    {last}"));
            [head, last].iter().map(|line| console::truncate_str(line, width, "…").into_owned()).collect()
        });
    }

    fn failed(&self, status: ExitStatus) -> Failure {
        let ui = &self.cx.ui;
        if !ui.verbose {
            if self.dropped > 0 {
                ui.say(&ui.err.tone(Tone::Dim, &format!("    … {} before", words::count(self.dropped, "line"))));
            }
            self.kept.iter().for_each(|line| ui.say(&format!("    {line}")));
        }
        Failure::failed(format!("the build of {} failed ({status})", self.build.services.join(", ")))
            .because(format!("`{}`", self.build.text))
            .help("mend the build; nothing was changed")
    }
}

async fn read_lines(stream: impl AsyncRead + Unpin, to: mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    // A stream that breaks has ended: the exit code says whether the build went well.
    while let Ok(1..) = reader.read_until(b'\n', &mut bytes).await {
        let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
        bytes.clear();
        if to.send(line).await.is_err() {
            return;
        }
    }
}
