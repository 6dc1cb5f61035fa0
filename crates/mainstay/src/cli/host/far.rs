//! Fixed scripts on another machine, through ssh, as root where they must be.
//!
//! Owns how they get there: the script is the shell's input, what belongs to one host are its arguments, each quoted.
//! What a script prints is read here; what it complains of is shown when it fails.

use crate::client::greeting::MARK;
use crate::client::ssh::{Error, Ssh, Trouble, quoted};
use crate::exit::Failure;
use crate::ui::paint::tame;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

/// What takes longer has stopped; packages of a slow mirror, and the program on a slow line, take minutes.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// The same of scripts that only look, or put one thing right.
const SHORT_PATIENCE: Duration = Duration::from_secs(2 * 60);

/// Once `ssh` has closed its output it has nothing left to do.
const END: Duration = Duration::from_secs(5);

/// What was said before the end is in the pipe already.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// So much of what a script says is read.
const MOST: u64 = 1 << 20;

/// What a script of ours fails with.
const SCRIPT_FAILED: &str = "MS0312";

/// Another machine, and how its user becomes root.
#[derive(Debug, Clone)]
pub struct Far {
    /// The way there.
    pub ssh: Ssh,
    /// Whether root is reached by sudo.
    pub sudo: bool,
}

/// A script and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// What it does, as a verb with its particles.
    pub doing: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Whether it may take minutes.
    pub is_long: bool,
}

impl Far {
    /// Runs a script as the user who logs in; what it prints.
    pub async fn run(&self, script: Script, arguments: &[&str]) -> Result<String, Failure> {
        self.feed(script.doing, &shell(arguments), script.text.as_bytes(), script.is_long).await
    }

    /// Runs a script as root; what it prints.
    pub async fn run_as_root(&self, script: Script, arguments: &[&str]) -> Result<String, Failure> {
        self.feed(script.doing, &self.as_root(&shell(arguments)), script.text.as_bytes(), script.is_long).await
    }

    /// Runs a command as the user who logs in; what it prints.
    pub async fn call(&self, doing: &'static str, words: &[&str]) -> Result<String, Failure> {
        self.feed(doing, words, &[], false).await
    }

    /// Runs a command as root; what it prints.
    pub async fn call_as_root(&self, doing: &'static str, words: &[&str]) -> Result<String, Failure> {
        self.feed(doing, &self.as_root(words), &[], false).await
    }

    /// Runs a command as root with these bytes as its input.
    pub async fn send_as_root(&self, doing: &'static str, words: &[&str], bytes: &[u8]) -> Result<(), Failure> {
        self.feed(doing, &self.as_root(words), bytes, true).await.map(drop)
    }

    fn as_root<'a>(&self, words: &[&'a str]) -> Vec<&'a str> {
        let sudo: &[&str] = if self.sudo { &["sudo", "-n"] } else { &[] };
        [sudo, words].concat()
    }

    async fn feed(&self, doing: &'static str, words: &[&str], input: &[u8], is_long: bool) -> Result<String, Failure> {
        let patience = if is_long { PATIENCE } else { SHORT_PATIENCE };
        let error = |trouble, said| Failure::from(Error { host: self.ssh.host().clone(), trouble, said });
        let line = quoted(["sh", "-c", WRAP, "sh"].into_iter().chain(words.iter().copied()));
        let fed = tokio::time::timeout(patience, fed(self.ssh.command(&line), input)).await;
        let ended = match fed {
            Err(_) => return Err(error(Trouble::Silent(patience.as_secs()), Vec::new())),
            Ok(Err(why)) => return Err(error(Trouble::NoClient, vec![why.to_string()])),
            Ok(Ok(ended)) => ended,
        };
        // One that greets says there what is wrong.
        match ended.code {
            Some(0) => Ok(ended.out),
            Some(_) if ended.out.contains(MARK) => Ok(ended.out),
            _ => Err(self.failed(doing, &ended)),
        }
    }

    fn failed(&self, doing: &str, ended: &Ended) -> Failure {
        let lines = ended.err.lines().map(|line| tame(line, false)).filter(|line| !line.trim().is_empty());
        let lines: Vec<String> = lines.collect();
        let last = lines[lines.len().saturating_sub(8)..].to_vec();
        let Some(code) = ended.code else {
            return Error::of_end(self.ssh.host().clone(), ended.ssh, last).into();
        };
        let message = format!("could not {doing} on `{}`", self.ssh.host().machine());
        let causes = if last.is_empty() { vec![format!("exit code {code}")] } else { last };
        Failure { code: Some(SCRIPT_FAILED.to_owned()), causes, ..Failure::failed(message) }
            .help("mend what it says, and run the command again: what is done already is left as it is")
    }
}

/// How a command over there ended.
struct Ended {
    /// Its exit code; none when `ssh` ended before it.
    code: Option<i32>,
    /// How `ssh` ended, when it did.
    ssh: Option<ExitStatus>,
    out: String,
    err: String,
}

/// Runs a command over there and says how it ended: an `ssh` that shares a login may miss that for as long as the login is
/// kept (seen with OpenSSH 9.2 on a busy machine).
const WRAP: &str = r#""$@"; printf "\n%s %d\n" mainstay-ended $?"#;

/// What [`WRAP`] prints at the end.
const ENDED: &str = "mainstay-ended ";

async fn fed(mut command: Command, input: &[u8]) -> io::Result<Ended> {
    let mut child = command.spawn()?;
    let (to, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let complaints = Arc::new(Mutex::new(String::new()));
    let listening = tokio::spawn(listen(err.expect("it is piped"), complaints.clone()));
    let mut write = std::pin::pin!(write(to, input));
    let mut read = std::pin::pin!(read(out.expect("it is piped")));
    let mut has_sent = false;
    let (out, code) = loop {
        tokio::select! {
            read = &mut read => break read,
            // One that has ended reads no more; how it ended says why.
            _ = &mut write, if !has_sent => has_sent = true,
        }
    };
    let patience = if code.is_some() { LAST_WORDS } else { END };
    let ssh = tokio::time::timeout(patience, child.wait()).await.ok().and_then(Result::ok);
    let _ = tokio::time::timeout(LAST_WORDS, listening).await;
    let err = complaints.lock().expect("nobody panics with it").clone();
    Ok(Ended { code, ssh, out, err })
}

fn shell<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["sh", "-s", "--"], arguments].concat()
}

async fn write(to: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let mut to = to.expect("it is piped");
    to.write_all(input).await?;
    to.shutdown().await
}

/// What it prints, and its exit code once it says so.
async fn read(from: ChildStdout) -> (String, Option<i32>) {
    let mut from = BufReader::new(from).take(MOST);
    let (mut out, mut line) = (String::new(), Vec::new());
    loop {
        line.clear();
        // What broke off is judged by how `ssh` ended.
        if !matches!(from.read_until(b'\n', &mut line).await, Ok(1..)) {
            return (out, None);
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(code) = text.strip_prefix(ENDED).and_then(|code| code.trim().parse().ok()) {
            return (out, Some(code));
        }
        out.push_str(&text);
    }
}

async fn listen(from: ChildStderr, heard: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(from.take(MOST)).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let mut heard = heard.lock().expect("nobody panics with it");
        heard.push_str(&String::from_utf8_lossy(&line));
        heard.push('\n');
    }
}

/// Whether a script said that it changed something.
pub fn has_changed(said: &str) -> bool {
    said.lines().any(|line| line == "changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn how_a_command_ended_is_known_while_its_pipes_are_still_held() {
        let held = r#"sleep 8 & printf 'a\nb'; echo why >&2; exit 7"#;
        let words = ["sh", "-c", WRAP, "sh", "sh", "-c", held];
        let mut command = Command::new("sh");
        // As a login shell does with what `ssh` hands it.
        command.args(["-c", &quoted(words)]).kill_on_drop(true);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let ended = tokio::time::timeout(Duration::from_secs(5), fed(command, b"input")).await;
        let ended = ended.expect("it is not waited for").expect("a shell");
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(7), "a\nb\n", "why\n"));
    }
}
