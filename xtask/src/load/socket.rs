//! WebSocket connections that are kept busy: each sends a text, waits for its echo, and comes back when sent away.
//!
//! A small client of RFC 6455 of our own: texts of less than 126 bytes, no extensions, no fragments. Counts apart
//! what a polite server does (a close frame: the client connects again) and what a violent end does (a cut).

use anyhow::{Context as _, bail, ensure};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The key of RFC 6455's own example and the answer it must get: no digest to compute.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A WebSocket connection.
pub struct Socket {
    stream: TcpStream,
}

/// What a WebSocket said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A text.
    Text(String),
    /// Goodbye: it will say nothing more.
    Close,
}

impl Socket {
    /// Connects and upgrades.
    pub async fn connect(to: SocketAddr, host: &str, path: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(to).await.context("connect")?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.context("ask for a WebSocket")?;
        let head = read_head(&mut stream).await?;
        let status = head.lines().next().unwrap_or_default();
        ensure!(status.split(' ').nth(1) == Some("101"), "asked for a WebSocket, got `{status}`");
        ensure!(head.contains(ACCEPT), "the WebSocket's accept key is not `{ACCEPT}`");
        Ok(Self { stream })
    }

    /// Sends a text of less than 126 bytes.
    pub async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        self.write(TEXT, text.as_bytes()).await
    }

    /// The next text, or that the peer says goodbye (answered in kind). Pings are answered on the way.
    ///
    /// Errors: an end without goodbye.
    pub async fn next(&mut self) -> anyhow::Result<Said> {
        loop {
            let (kind, payload) = self.read().await?;
            match kind {
                TEXT => return Ok(Said::Text(String::from_utf8(payload).context("a text is UTF-8")?)),
                CLOSE => {
                    // The peer may be gone already; its goodbye has been read.
                    drop(self.write(CLOSE, &payload).await);
                    return Ok(Said::Close);
                }
                PING => self.write(PONG, &payload).await?,
                PONG => {}
                other => bail!("a frame of kind {other}, which nobody asked for"),
            }
        }
    }

    async fn write(&mut self, kind: u8, payload: &[u8]) -> anyhow::Result<()> {
        let frame = frame(kind, payload)?;
        self.stream.write_all(&frame).await.context("send a frame")
    }

    async fn read(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).await.context("cut off without goodbye")?;
        ensure!(head[0] & 0xf0 == 0x80, "a fragment or an extension nobody asked for");
        ensure!(head[1] & 0x80 == 0, "a server must not mask");
        let length = match head[1] {
            126 => usize::from(self.stream.read_u16().await.context("cut off within a frame")?),
            127 => bail!("a frame of more than 64 KiB"),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.context("cut off within a frame")?;
        Ok((head[0] & 0x0f, payload))
    }
}

/// A masked frame, as clients send it.
fn frame(kind: u8, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    const MASK: [u8; 4] = [0x6d, 0x61, 0x73, 0x6b];
    let length =
        u8::try_from(payload.len()).ok().filter(|length| *length < 126).context("at most 125 bytes a frame")?;
    let mut frame = vec![0x80 | kind, 0x80 | length];
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Ok(frame)
}

async fn read_head(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 16 * 1024, "an answer's head of more than 16 KiB");
        head.push(stream.read_u8().await.context("cut off within the answer's head")?);
    }
    String::from_utf8(head).context("an answer's head is text")
}

/// What happened on the busy connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Texts sent.
    pub sent: u64,
    /// Echoes that came back right.
    pub echoed: u64,
    /// Connections that were told goodbye and came back.
    pub moved: u64,
    /// Connections that ended without goodbye, could not be made, or answered wrong.
    pub cut: u64,
}

impl Counts {
    /// What came after `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            echoed: self.echoed - before.echoed,
            moved: self.moved - before.moved,
            cut: self.cut - before.cut,
        }
    }
}

#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    echoed: AtomicU64,
    moved: AtomicU64,
    cut: AtomicU64,
}

/// Busy connections under way.
pub struct Echoes {
    tally: Arc<Tally>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Echoes {
    /// Keeps `n` connections busy, each with one text every `pause`.
    pub fn start(n: usize, to: SocketAddr, host: &str, path: &str, pause: Duration) -> Self {
        let echoes = Self { tally: Arc::default(), stop: CancellationToken::new(), tasks: TaskTracker::new() };
        for _ in 0..n {
            let (host, path) = (host.to_owned(), path.to_owned());
            let (tally, stop) = (echoes.tally.clone(), echoes.stop.clone());
            echoes.tasks.spawn(async move {
                while !stop.is_cancelled() {
                    if keep_busy(to, &host, &path, pause, &tally, &stop).await.is_err() {
                        tally.cut.fetch_add(1, Ordering::Relaxed);
                        // Not in a tight loop against a server that is away.
                        tokio::time::sleep(pause).await;
                    }
                }
            });
        }
        echoes
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tally = &self.tally;
        Counts {
            sent: read(&tally.sent),
            echoed: read(&tally.echoed),
            moved: read(&tally.moved),
            cut: read(&tally.cut),
        }
    }

    /// Lets every connection finish its echo and tells the counts.
    pub async fn stop(self) -> Counts {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.counts()
    }
}

/// One connection from its upgrade to its goodbye.
async fn keep_busy(
    to: SocketAddr,
    host: &str,
    path: &str,
    pause: Duration,
    tally: &Tally,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut socket = tokio::time::timeout(PATIENCE, Socket::connect(to, host, path)).await.context("upgrade")??;
    for n in 0_u64.. {
        if stop.is_cancelled() {
            socket.write(CLOSE, &1000_u16.to_be_bytes()).await?;
            return Ok(());
        }
        let text = format!("echo {n}");
        if socket.send(&text).await.is_err() {
            // A goodbye may have come first and closed the way for our text.
            return goodbye(&mut socket, tally).await;
        }
        tally.sent.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(PATIENCE, socket.next()).await.context("wait for an echo")?? {
            Said::Close => {
                tally.moved.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Said::Text(answer) => {
                ensure!(answer.contains(&text), "sent `{text}`, got `{answer}`");
                tally.echoed.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

async fn goodbye(socket: &mut Socket, tally: &Tally) -> anyhow::Result<()> {
    match socket.next().await? {
        Said::Close => {
            tally.moved.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        Said::Text(text) => bail!("`{text}` came, but nothing can be sent"),
    }
}

#[cfg(test)]
mod tests;
