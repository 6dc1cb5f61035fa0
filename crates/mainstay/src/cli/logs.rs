//! `mainstay logs`: what replicas have written, each with its name in its colour.

use super::Context;
use super::args::Logs;
use crate::client::{self, escaped, of_stack, stream::Messages};
use crate::exit::{Exit, Failure};
use crate::ui::paint::{Paint, Tone, tame};
use model::StackId;
use server::api::status::LogLine;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// As long as `up` waits for a daemon that is restarted.
const ABSENCE: Duration = Duration::from_secs(30);

pub async fn run(args: &Logs, cx: &Context) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    let mut printer = Printer { names: BTreeMap::new(), width: 0, last: BTreeMap::new(), skip: BTreeMap::new() };
    let mut gone: Option<Instant> = None;
    let mut tail = args.tail.clone();
    let mut connected = false;
    loop {
        let ended = read(args, cx, &stack, &tail, &mut printer, (&mut connected, &mut gone)).await;
        let absent = match ended {
            Ok(()) if !args.follow || cx.ui.is_unread() => break,
            Ok(()) => None,
            Err(error) if args.follow && connected && error.is_absence() => Some(error),
            Err(error) => return Err(error.into()),
        };
        // A daemon that is restarted keeps the logs: what was printed is skipped, what was missed is not.
        if !printer.last.is_empty() {
            "all".clone_into(&mut tail);
        }
        let since = *gone.get_or_insert_with(|| {
            match cx.client().host() {
                None => cx.ui.note("the daemon is gone; waiting for it"),
                Some(host) => cx.ui.note(format!("the connection broke; reaching {} again", host.machine())),
            }
            Instant::now()
        });
        if since.elapsed() > ABSENCE {
            let failure = absent.map_or_else(|| Failure::failed("the daemon ended the stream"), Failure::from);
            return Err(failure);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    if printer.last.is_empty() {
        cx.ui.next("nothing was written so far; `mainstay status` shows what runs");
    } else {
        cx.ui.next("`mainstay logs -f` goes on with what is written from now on");
    }
    Ok(Exit::Done)
}

async fn read(
    args: &Logs,
    cx: &Context,
    stack: &StackId,
    tail: &str,
    printer: &mut Printer,
    (connected, gone): (&mut bool, &mut Option<Instant>),
) -> Result<(), client::Error> {
    let targets: String = args.targets.iter().map(|target| format!("&target={}", escaped(target))).collect();
    let path = of_stack(stack, &format!("/logs?tail={}&follow={}{targets}", escaped(tail), args.follow));
    let mut messages = Messages::lines(&path, cx.client().open(&path).await?);
    *connected = true;
    printer.begin_again();
    while let Some(line) = messages.next::<LogLine>().await? {
        *gone = None;
        if printer.is_new(&line) {
            if cx.ui.json {
                cx.ui.json_line(&line);
            } else {
                cx.ui.data(printer.line(&line, args.timestamps, cx.ui.out));
            }
            if cx.ui.is_unread() {
                break;
            }
        }
    }
    Ok(())
}

/// Keeps each replica's colour, and how far each was printed.
struct Printer {
    names: BTreeMap<String, usize>,
    width: usize,
    last: BTreeMap<String, Mark>,
    /// How far each was printed when the stream was opened again; forgotten once it is passed.
    skip: BTreeMap<String, Mark>,
}

/// A place in a replica's log. Lines of one write have one time, so their number counts as well.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    time: String,
    lines: usize,
}

impl Printer {
    /// The stream begins again: what was printed is skipped.
    fn begin_again(&mut self) {
        self.skip = self.last.clone();
    }

    // Times of one replica have one form and grow, so text compares as time does.
    fn is_new(&mut self, line: &LogLine) -> bool {
        if let Some(mark) = self.skip.get_mut(&line.replica) {
            if line.time < mark.time {
                return false;
            }
            if line.time == mark.time && mark.lines > 0 {
                mark.lines -= 1;
                return false;
            }
            self.skip.remove(&line.replica);
        }
        match self.last.get_mut(&line.replica) {
            Some(last) if last.time == line.time => last.lines += 1,
            _ => drop(self.last.insert(line.replica.clone(), Mark { time: line.time.clone(), lines: 1 })),
        }
        true
    }

    fn line(&mut self, line: &LogLine, timestamps: bool, paint: Paint) -> String {
        let next = self.names.len();
        let number = *self.names.entry(line.replica.clone()).or_insert(next);
        self.width = self.width.max(line.replica.len());
        let name = paint.tone(Tone::Nth(number), &format!("{:width$} │", line.replica, width = self.width));
        let time = if timestamps { format!("{} ", paint.tone(Tone::Dim, &line.time)) } else { String::new() };
        format!("{name} {time}{}", tame(&line.line, paint.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(replica: &str, time: &str) -> LogLine {
        LogLine { time: time.into(), replica: replica.into(), stream: "stdout".into(), line: "hi\x1b[2J".into() }
    }

    #[test]
    fn a_stream_that_is_read_again_prints_nothing_twice() {
        let mut printer = Printer { names: BTreeMap::new(), width: 0, last: BTreeMap::new(), skip: BTreeMap::new() };
        let times = ["2026-01-01T00:00:00.000000001Z", "2026-01-01T00:00:00.000000002Z"];
        let mut all = |replica: &str, time: &str, want: bool| {
            assert_eq!(printer.is_new(&line(replica, time)), want, "{replica} {time}")
        };
        all("api.1", times[0], true);
        all("api.2", times[0], true);
        // A second line of the same write.
        all("api.1", times[0], true);
        printer.begin_again();
        let mut all = |replica: &str, time: &str, want: bool| {
            assert_eq!(printer.is_new(&line(replica, time)), want, "{replica} {time}")
        };
        all("api.1", times[0], false);
        all("api.1", times[0], false);
        all("api.1", times[0], true);
        all("api.2", times[1], true);
        all("api.1", times[1], true);
        assert_eq!(printer.line(&line("api.1", times[1]), false, Paint(false)), "api.1 │ hi");
    }
}
