//! What the kernel tells about processes and ports of this machine. Reads, and ends what the caller names by process.

use anyhow::{Context as _, ensure};
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// One process: a number alone is used again, with its start it names one process for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it began, in ticks since boot.
    start: u64,
}

impl Process {
    /// The process that has this number now.
    pub fn with_pid(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // A zombie has ended; only its parent has not looked.
        let is_zombie = field(&stat, 3)? == "Z";
        (!is_zombie).then_some(Self { pid, start: field(&stat, 22)?.parse().ok()? })
    }

    /// The one that started it, or took it on after that one's end.
    pub fn parent(self) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        Self::with_pid(field(&stat, 4)?.parse().ok()?)
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::with_pid(self.pid) == Some(self)
    }

    /// Ends it the hard way; that it is gone already is fine.
    pub fn kill(self) -> anyhow::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = rustix::process::Pid::from_raw(self.pid).context("a process number above 0")?;
        match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("kill process {}", self.pid)),
        }
    }

    /// Resident memory in bytes.
    pub fn resident(self) -> anyhow::Result<u64> {
        self.kib("status", "VmRSS:")
    }

    /// Memory that is its own and was written to, in bytes.
    pub fn private_dirty(self) -> anyhow::Result<u64> {
        self.kib("smaps_rollup", "Private_Dirty:")
    }

    /// Processor time since its start.
    pub fn cpu(self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).context("read a process's times")?;
        let ticks =
            |n| field(&stat, n).and_then(|text| text.parse::<u32>().ok()).context("a process's times are numbers");
        // Linux shows user space 100 ticks a second on every machine (USER_HZ).
        Ok(Duration::from_millis(10) * (ticks(14)? + ticks(15)?))
    }

    fn kib(self, file: &str, key: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/{file}", self.pid);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line =
            text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("{path} has no {key}"))?;
        let number = line.trim().trim_end_matches("kB").trim();
        Ok(number.parse::<u64>().with_context(|| format!("{key} of {path}"))? * 1024)
    }
}

/// Field `n` of a `stat` file, counted from 1; the name in brackets may hold anything.
fn field(stat: &str, n: usize) -> Option<&str> {
    stat.rsplit_once(") ")?.1.split(' ').nth(n.checked_sub(3)?)
}

/// Set by Ctrl-C, SIGTERM and a terminal that goes away: whoever waits gives up, so that everything that was started is
/// cleared away.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on those signals end waiting instead of the process. Needs a runtime that lives on.
pub fn catch_interrupts() -> std::io::Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    }
    Ok(())
}

/// Whether somebody wants it all to end.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The same, and takes note: what is done from now on, such as clearing away, is only stopped by the next one.
pub fn take_interrupt() -> bool {
    INTERRUPTED.swap(false, Ordering::Relaxed)
}

/// Tells whoever watches on the standard error output. One that is gone cannot be told anything.
pub fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Lets time pass.
///
/// Errors: somebody wants it all to end.
pub fn pause(time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    loop {
        ensure!(!is_interrupted(), "interrupted");
        let Some(left) = until.checked_duration_since(Instant::now()) else { return Ok(()) };
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// A TCP port of the loopback that is free now.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Asks again and again until there is an answer.
///
/// Errors: no answer in time; `what` says what was waited for.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    let mut last = None;
    loop {
        match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if Instant::now() >= deadline {
            let said = last.map(|error| format!(": {error:#}")).unwrap_or_default();
            anyhow::bail!("waited {patience:?} for {what}{said}");
        }
        pause(Duration::from_millis(20))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::with_pid(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(process.is_alive());
        assert_eq!(process.parent().unwrap().pid, i32::try_from(std::process::id()).unwrap());
        assert!(!Process { start: process.start + 1, ..process }.is_alive());
        process.kill().unwrap();
        wait_for("the end", Duration::from_secs(5), || Ok((!process.is_alive()).then_some(()))).unwrap();
        process.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn memory_and_time_of_a_process_are_read() {
        let me = Process::with_pid(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.resident().unwrap() > me.private_dirty().unwrap());
        assert!(me.cpu().unwrap() < Duration::from_secs(600));
    }

    #[test]
    fn an_interrupt_that_was_taken_note_of_stops_nothing_more() {
        INTERRUPTED.store(true, Ordering::Relaxed);
        assert!(pause(Duration::ZERO).is_err());
        assert!(take_interrupt());
        assert!(pause(Duration::ZERO).is_ok() && !take_interrupt());
    }

    #[test]
    fn fields_are_counted_behind_the_name() {
        assert_eq!(field("12 (a) b) S 1 2", 3), Some("S"));
        assert_eq!(field("12 (a) b) S 1 2", 5), Some("2"));
    }

    #[test]
    fn waiting_ends_with_what_was_asked_for() {
        let error = wait_for::<()>("rain", Duration::ZERO, || anyhow::bail!("blue sky")).unwrap_err();
        assert_eq!(error.to_string(), "waited 0ns for rain: blue sky");
    }
}
