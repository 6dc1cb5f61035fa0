//! Fixed scripts on another machine, through ssh, as root where they must be.
//!
//! Owns how they get there: the script is the shell's input, what belongs to one host are its arguments, each quoted.
//! What a script prints is read here; what it complains of is shown when it fails.

use crate::client::greeting::MARK;
use crate::client::ssh::{Error, Ssh, Trouble, quoted};
use crate::exit::Failure;
use crate::ui::paint::tame;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What takes longer has stopped; packages of a slow mirror, and the program on a slow line, take minutes.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// The same of scripts that only look, or put one thing right.
const SHORT_PATIENCE: Duration = Duration::from_secs(2 * 60);

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
        self.feed(doing, &quoted(words.iter().copied()), &[], false).await
    }

    /// Runs a command as root; what it prints.
    pub async fn call_as_root(&self, doing: &'static str, words: &[&str]) -> Result<String, Failure> {
        self.feed(doing, &self.as_root(&quoted(words.iter().copied())), &[], false).await
    }

    /// Runs a command as root with these bytes as its input.
    pub async fn send_as_root(&self, doing: &'static str, words: &[&str], bytes: &[u8]) -> Result<(), Failure> {
        self.feed(doing, &self.as_root(&quoted(words.iter().copied())), bytes, true).await.map(drop)
    }

    fn as_root(&self, line: &str) -> String {
        if self.sudo { format!("sudo -n {line}") } else { line.to_owned() }
    }

    async fn feed(&self, doing: &'static str, line: &str, input: &[u8], is_long: bool) -> Result<String, Failure> {
        let patience = if is_long { PATIENCE } else { SHORT_PATIENCE };
        let host = self.ssh.host();
        let error = |trouble, said| Failure::from(Error { host: host.clone(), trouble, said });
        let mut command = self.ssh.command(line);
        let mut child =
            command.stdin(Stdio::piped()).spawn().map_err(|why| error(Trouble::NoClient, vec![why.to_string()]))?;
        let (to, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let complaints = tokio::spawn(read(err));
        let fed = async {
            let (sent, out) = tokio::join!(write(to, input), read(out));
            // A script that has ended reads no more; how it ended says why.
            drop(sent);
            let status = child.wait().await?;
            // The process of an old `ssh` that keeps the login keeps its errors open as well.
            let err = tokio::time::timeout(LAST_WORDS, complaints).await;
            Ok((status, out, err.ok().and_then(Result::ok).unwrap_or_default()))
        };
        let fed: Result<std::io::Result<_>, _> = tokio::time::timeout(patience, fed).await;
        let (status, out, err) = match fed {
            Err(_) => return Err(error(Trouble::Silent(patience.as_secs()), Vec::new())),
            Ok(Err(why)) => return Err(error(Trouble::NoClient, vec![why.to_string()])),
            Ok(Ok(ended)) => ended,
        };
        // One that greets says there what is wrong.
        if status.success() || out.contains(MARK) { Ok(out) } else { Err(self.failed(doing, status, &err)) }
    }

    fn failed(&self, doing: &str, status: ExitStatus, said: &str) -> Failure {
        let lines: Vec<String> = said.lines().map(|line| tame(line, false)).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(8)..].to_vec();
        if status.code() == Some(255) {
            return Error::of_end(self.ssh.host().clone(), Some(status), last).into();
        }
        let message = format!("could not {doing} on `{}`", self.ssh.host().machine());
        let causes = if last.is_empty() { vec![status.to_string()] } else { last };
        Failure { code: Some(SCRIPT_FAILED.to_owned()), causes, ..Failure::failed(message) }
            .help("mend what it says, and run the command again: what is done already is left as it is")
    }
}

fn shell(arguments: &[&str]) -> String {
    quoted(["sh", "-s", "--"].into_iter().chain(arguments.iter().copied()))
}

async fn write(to: Option<impl AsyncWrite + Unpin>, input: &[u8]) -> std::io::Result<()> {
    let mut to = to.expect("it is piped");
    to.write_all(input).await?;
    to.shutdown().await
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    // What broke off is judged by how the script ended.
    let _ = from.expect("it is piped").take(MOST).read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a script said that it changed something.
pub fn has_changed(said: &str) -> bool {
    said.lines().any(|line| line == "changed")
}
