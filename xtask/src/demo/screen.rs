//! What the audience sees: a line per act with its time, and a table at the end.

use crate::load::{Phase, Report, socket};
use crate::shop::Stage;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The audience's terminal.
pub struct Screen {
    start: Instant,
    /// A terminal, which shows what is being done.
    is_live: bool,
    problems: Vec<String>,
}

impl Screen {
    /// The clock runs from here.
    pub fn new() -> Self {
        Self { start: Instant::now(), is_live: std::io::stdout().is_terminal(), problems: Vec::new() }
    }

    /// A line of its own.
    pub fn note(&self, text: &str) {
        print(&format!("{:>6.1} s  {text}\n", self.start.elapsed().as_secs_f64()));
    }

    /// Does something that takes a while, and prints it with the time it took.
    pub fn during<T>(&self, what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let begin = Instant::now();
        if self.is_live {
            print(&format!("{:>8}  {what} …\r", ""));
        }
        let outcome = work();
        let took = seconds(begin.elapsed());
        let mark = if outcome.is_ok() { "" } else { "  FAILED" };
        self.note(&format!("{what:<58} {took:>8}{mark}"));
        outcome
    }

    /// Something that must hold. What does not is printed now and told again at the end.
    pub fn check(&mut self, holds: bool, what: &str) {
        if holds {
            self.note(&format!("  ✓ {what}"));
        } else {
            self.note(&format!("  ✗ {what}"));
            self.problems.push(what.to_owned());
        }
    }

    /// The figures of the load.
    pub fn table(&self, report: &Report, echoes: socket::Counts) {
        let head = ["sent", "failed", "cut", "p50", "p99", "max"];
        print(&format!("\n{}\n", line("phase", &head.map(str::to_owned))));
        for phase in &report.phases {
            print(&format!("{}\n", row(phase)));
        }
        let total = report.total();
        let (idempotent, others) = (total.idempotent, total.others);
        print(&format!(
            "{}\n\nidempotent: {} sent, {} failed, {} cut · orders (POST): {} sent, {} failed, {} cut\n",
            row(&total),
            idempotent.sent,
            idempotent.failed,
            idempotent.cut,
            others.sent,
            others.failed,
            others.cut
        ));
        print(&format!(
            "WebSocket:  {} texts sent, {} echoed, {} connections moved politely, {} cut\n",
            echoes.sent, echoes.echoed, echoes.moved, echoes.cut
        ));
        for phase in &report.phases {
            for words in &phase.failures {
                print(&format!("  {}: {}\n", phase.name, words.trim_end()));
            }
        }
    }

    /// Where the shop is while it stays up.
    pub fn invitation(&self, url: &str) {
        print(&format!("\nThe shop is up: {url}   (Ctrl-C takes it down)\n"));
    }

    /// The last word; whether everything held.
    pub fn verdict(&self) -> bool {
        match self.problems.as_slice() {
            [] => print("\nEverything held.\n"),
            problems => print(&format!("\nDid not hold:\n  {}\n", problems.join("\n  "))),
        }
        self.problems.is_empty()
    }

    /// All a person needs to find out why it failed.
    pub fn failure(&self, stage: &Stage) {
        // After its end there is nothing to ask, and asking would only add an error of its own.
        if stage.api().version().is_ok() {
            self.status(stage);
        }
        print(&stage.log_tails(40));
    }

    fn status(&self, stage: &Stage) {
        print("\n--- mainstay status\n");
        match stage.output(&["status"]) {
            Ok(output) => {
                print(&String::from_utf8_lossy(&output.stdout));
                print(&String::from_utf8_lossy(&output.stderr));
            }
            Err(error) => print(&format!("{error:#}\n")),
        }
    }
}

/// A terminal that is gone cannot be told anything, and is no reason to leave what was started behind.
fn print(text: &str) {
    let mut out = std::io::stdout();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

fn row(phase: &Phase) -> String {
    let quantile = |share| phase.quantile(share).map_or_else(|| "–".to_owned(), millis);
    let counts = [
        phase.idempotent.sent + phase.others.sent,
        phase.idempotent.failed + phase.others.failed,
        phase.idempotent.cut + phase.others.cut,
    ];
    let [sent, failed, cut] = counts.map(|count| count.to_string());
    line(&phase.name, &[sent, failed, cut, quantile(0.5), quantile(0.99), quantile(1.0)])
}

fn line(name: &str, [sent, failed, cut, p50, p99, max]: &[String; 6]) -> String {
    format!("{name:<26} {sent:>8} {failed:>7} {cut:>6} {p50:>10} {p99:>10} {max:>10}")
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A time for people.
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Outcome;

    #[test]
    fn a_row_has_all_figures_of_a_phase() {
        let mut phase = Phase::new("release");
        phase.add(true, Outcome::Answered, Duration::from_micros(1500));
        phase.add(false, Outcome::Failed("503".into()), Duration::ZERO);
        assert_eq!(
            row(&phase).split_whitespace().collect::<Vec<_>>(),
            ["release", "2", "1", "0", "1.5", "ms", "1.5", "ms", "1.5", "ms"]
        );
    }

    #[test]
    fn what_does_not_hold_is_remembered() {
        let mut screen = Screen::new();
        screen.check(true, "fine");
        screen.check(false, "the database stayed");
        assert_eq!(screen.problems, ["the database stayed"]);
        assert!(!screen.verdict());
    }
}
