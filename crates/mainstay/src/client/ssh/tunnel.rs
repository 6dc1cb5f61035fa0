//! One `ssh` child as a connection: bytes in, bytes out, and an end that says why.
//!
//! Owns the child for as long as the connection lives. An end of the output is an ordinary one only when `ssh` says so
//! by its exit code; else reading fails with what it said.

use super::trouble::{Error, Trouble, end_of};
use super::{ENDED, Ssh};
use crate::client::greeting::{Greeting, MOST_NOISE, PROTOCOL};
use crate::ui::paint::tame;
use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A login takes seconds at most, and so does the start of a daemon over there; both together no more than this.
const GREETING: Duration = Duration::from_secs(45);

/// A shared login that has not got that far within this is not waited for: it may hang (seen with OpenSSH 9.2 on a busy
/// machine), and a login of its own does not.
const SOON: Duration = Duration::from_secs(12);

/// Once `ssh` has closed its output it has nothing left to do.
const END: Duration = Duration::from_secs(5);

/// What was said before `ssh` ended is in the pipe already.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// So many of the last lines of its errors are kept, and so much of each.
const LINES: usize = 8;
const LINE: usize = 400;

type Said = Arc<Mutex<VecDeque<String>>>;

/// A connection through an `ssh` child, which ends with it.
#[derive(Debug)]
pub struct Tunnel {
    ssh: Ssh,
    output: BufReader<ChildStdout>,
    input: ChildStdin,
    said: Said,
    ended: Option<oneshot::Receiver<Option<ExitStatus>>>,
    _ends_with_us: DropGuard,
}

impl Tunnel {
    /// Starts `ssh` with this command over there, which must be a `mainstay connect`, and waits for its greeting.
    pub async fn open(ssh: &Ssh, remote: &str) -> Result<(Greeting, Self), Error> {
        let mut tunnel = Self::start(ssh, remote).map_err(|why| Error {
            host: ssh.host().clone(),
            trouble: Trouble::NoClient,
            said: vec![why.to_string()],
        })?;
        match tokio::time::timeout(GREETING, tunnel.greeting()).await {
            Ok(greeting) => Ok((greeting?, tunnel)),
            Err(_) => Err(tunnel.error(Trouble::Silent(GREETING.as_secs()))),
        }
    }

    /// The same by a login that is shared; none when it says nothing for a while.
    pub async fn open_soon(ssh: &Ssh, remote: &str) -> Option<Result<(Greeting, Self), Error>> {
        let mut tunnel = Self::start(ssh, remote).ok()?;
        let greeting = tokio::time::timeout(SOON, tunnel.greeting()).await.ok()?;
        Some(greeting.map(|greeting| (greeting, tunnel)))
    }

    fn start(ssh: &Ssh, remote: &str) -> io::Result<Self> {
        let mut child = ssh.command(remote).spawn()?;
        let (output, input, errors) = (child.stdout.take(), child.stdin.take(), child.stderr.take());
        let (output, input) = (output.expect("it is piped"), input.expect("it is piped"));
        let said = Said::default();
        let (tell, ended) = oneshot::channel();
        let let_go = CancellationToken::new();
        tokio::spawn(watch(child, errors.expect("it is piped"), said.clone(), let_go.clone(), tell));
        Ok(Self {
            ssh: ssh.clone(),
            output: BufReader::new(output),
            input,
            said,
            ended: Some(ended),
            _ends_with_us: let_go.drop_guard(),
        })
    }

    async fn greeting(&mut self) -> Result<Greeting, Error> {
        let mut read = 0;
        loop {
            let mut line = Vec::new();
            let room = (MOST_NOISE - read) as u64;
            let count = (&mut self.output).take(room).read_until(b'\n', &mut line).await.unwrap_or(0);
            read += count;
            if count == 0 {
                let status = if read < MOST_NOISE { self.end().await } else { None };
                return Err(Error::of_end(self.ssh.host().clone(), status, self.said()));
            }
            let line = String::from_utf8_lossy(&line);
            if let Some(code) = line.strip_prefix(ENDED).and_then(|code| code.trim().parse::<u8>().ok()) {
                // Its errors come by another way.
                tokio::time::sleep(LAST_WORDS).await;
                let status = ExitStatus::from_raw(i32::from(code) << 8);
                return Err(Error::of_end(self.ssh.host().clone(), Some(status), self.said()));
            }
            let greeting = match Greeting::read(&line) {
                None => continue,
                Some(Err(_)) => return Err(self.error(Trouble::Protocol("unknown".to_owned()))),
                Some(Ok(greeting)) => greeting,
            };
            if greeting.protocol != PROTOCOL {
                return Err(self.error(Trouble::Protocol(tame(&greeting.version, false))));
            }
            return match greeting.refused {
                Some(refused) => Err(self.error(Trouble::Refused(Box::new(refused)))),
                None => Ok(greeting),
            };
        }
    }

    fn error(&self, trouble: Trouble) -> Error {
        Error { host: self.ssh.host().clone(), trouble, said: self.said() }
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().expect("nobody panics with it").iter().cloned().collect()
    }

    async fn end(&mut self) -> Option<ExitStatus> {
        let ended = self.ended.take()?;
        tokio::time::timeout(END, ended).await.ok()?.ok()?
    }

    // The output has ended: whether that is how a connection ends.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(ended) = self.ended.as_mut() else { return Poll::Ready(Ok(())) };
        let status = ready!(Pin::new(ended).poll(cx)).ok().flatten();
        self.ended = None;
        if status.is_some_and(|status| status.success()) {
            return Poll::Ready(Ok(()));
        }
        let error = self.error(Trouble::Ended(end_of(status)));
        let said = error.said.join("; ");
        let text = if said.is_empty() { error.to_string() } else { format!("{error}: {said}") };
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, text)))
    }
}

// Keeps the last lines of what it says, and tells how it ended; ends it when it is let go.
async fn watch(
    mut child: Child,
    errors: ChildStderr,
    said: Said,
    let_go: CancellationToken,
    tell: oneshot::Sender<Option<ExitStatus>>,
) {
    let listen = async {
        let mut lines = BufReader::new(errors).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            keep(&said, &line);
        }
    };
    let mut listen = std::pin::pin!(listen);
    let mut has_heard_all = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            () = &mut listen, if !has_heard_all => has_heard_all = true,
            // Ended by being dropped.
            () = let_go.cancelled() => return,
        }
    };
    if !has_heard_all {
        // The first connection's `ssh` leaves a process behind that keeps the login, and might keep its errors open.
        let _ = tokio::time::timeout(LAST_WORDS, listen).await;
    }
    // Whoever has let go does not listen.
    let _ = tell.send(status);
}

fn keep(said: &Said, line: &[u8]) {
    let text = tame(String::from_utf8_lossy(&line[..line.len().min(LINE)]).trim_end(), false);
    if text.trim().is_empty() {
        return;
    }
    let mut said = said.lock().expect("nobody panics with it");
    if said.len() == LINES {
        said.pop_front();
    }
    said.push_back(text);
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.output).poll_read(cx, buf))?;
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_end(cx)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_said_the_last_lines_are_kept_tamed() {
        let said = Said::default();
        for number in 0..20 {
            keep(&said, format!("line {number}\x1b[2J\r").as_bytes());
        }
        keep(&said, b"  \r");
        keep(&said, &[b'x'; 2 * LINE]);
        let said = said.lock().expect("unlocked");
        assert_eq!((said.len(), said[0].as_str(), said[LINES - 1].len()), (LINES, "line 13", LINE));
    }
}
